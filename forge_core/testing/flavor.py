"""The suite of flavors."""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

import pyarrow as pa
import pytest
from attrs import evolve

from forge_core import Kernel
from forge_core.contracts.flavor import Flavor, Predictor
from forge_core.contracts.trainer import Trainer
from forge_core.pipeline import imported
from forge_core.records.data import JSON
from forge_core.records.models import ModelSpec, TaskKind, TrainedModel
from forge_core.testing import processes
from forge_core.testing.contract import Contract, Subject
from forge_core.testing.hostile import ANSWERED, TYPED, damaged, loaders, opened_elsewhere, planted, strange, writes
from forge_core.testing.samples import (
    Listening,
    Samples,
    alike,
    check_answer,
    copied,
    data_of,
    files_under,
    odd_rows,
    read,
    refused,
    same,
    stream_of,
    table_of,
    target_of,
    undeclared,
    unless_refused,
    written,
)
from forge_core.testing.scores import skill

Saved: TypeAlias = Callable[[TaskKind], Path]


class FlavorContract(Samples, Contract):
    """A flavor needs models: name the trainer of its models as `trainer_class`, or override `trained`.

    Whether a model that was never saved would answer the same, only its own library knows; so the suite compares what was loaded here,
    what was loaded in another process, and the truth.
    """

    contract = Flavor
    trainer_class: ClassVar[type[Trainer] | None] = None

    @pytest.fixture
    def trained(
        self, kernel: Kernel, rows_of: Callable[[str], pa.Table], spec: Callable[..., ModelSpec], tmp_path: Path
    ) -> Callable[[TaskKind], TrainedModel]:
        """`trained(task)`: a model of `rows_of(task)`. Override it where no trainer of yours makes what the flavor holds."""
        assert self.trainer_class is not None, f"{type(self).__name__} needs a trainer_class, or a fixture trained"
        trainer = kernel.wire(self.trainer_class)
        return lambda task: trainer.train(spec(task), data_of(rows_of(task)), Listening(tmp_path / f"attempt-{secrets.token_hex(3)}"))

    @pytest.fixture
    def least_skill(self) -> float:
        """The share of a constant answer's error that a loaded model takes away on the rows it was trained on."""
        return 0.3

    @pytest.fixture
    def seed(self) -> int:
        """Of the damage that is done to files."""
        return 20130101

    @pytest.fixture
    def features_of(self, rows_of: Callable[[str], pa.Table], target: str) -> Callable[[TaskKind], pa.Table]:
        """The rows of a task without their target."""
        return lambda task: rows_of(task).drop_columns([target])

    @pytest.fixture
    def saved(self, driver: Any, trained: Callable[[TaskKind], TrainedModel], features_of: Any, tmp_path: Path) -> Saved:
        """`saved(task)`: the folder of a model."""
        models = itertools.count()

        def save(task: TaskKind) -> Path:
            folder = tmp_path / f"model-{next(models)}"
            folder.mkdir()
            driver.save(trained(task), folder, features_of(task).slice(0, 20))
            return folder

        return save

    @pytest.fixture
    def closed(self, request: pytest.FixtureRequest) -> None:
        """For the rules of formats that hold no code."""
        if self.driver_class.executes_code:  # type: ignore[attr-defined]
            undeclared(request, "a format that holds no code")

    @pytest.fixture
    def fates(self, subject: Subject, features_of: Any, tmp_path: Path) -> Callable[..., Mapping[str, str]]:
        """`fates(task=folders, ...)`: what became of loading each and asking it about a task's rows, in another process, which survives."""

        def opened(**folders: Mapping[str, Path]) -> Mapping[str, str]:
            work = [
                (f"{task}: {name}", str(folder), written(features_of(task).slice(0, 5), tmp_path / f"few-{task}.arrow"))
                for task, several in folders.items()
                for name, folder in several.items()
            ]
            return dict(processes.run(subject, opened_elsewhere, work, timeout=120))

        return opened

    # ---- what was saved is what is loaded

    def test_a_loaded_model_answers_the_same_in_another_process(
        self, driver: Any, subject: Subject, tasks: Sequence[TaskKind], saved: Saved, rows_of: Any, features_of: Any, target: str,
        least_skill: float, tmp_path: Path,
    ) -> None:  # fmt: skip
        """What is loaded from the files gives the very same answers in each process, and they are as good as the model was.

        Write all that the predictor needs: the features and their order, the classes, and numbers in full.
        """
        folders = {task: saved(task) for task in tasks}
        work = [(str(folders[task]), written(features_of(task), tmp_path / f"{task}.arrow")) for task in tasks]
        elsewhere = processes.run(subject, answered_elsewhere, work)
        for task, told in zip(tasks, elsewhere, strict=True):
            answer = table_of(driver.load(folders[task]).predict(features_of(task)))
            assert alike(told, answer.to_pylist(), 0.0), f"{task}: other answers in another process"
            assert skill(task, rows_of(task)[target].to_pylist(), answer["prediction"].to_pylist()) >= least_skill

    def test_answers_are_one_for_each_row_in_order(
        self, task: TaskKind, driver: Any, trained: Any, features_of: Any, tmp_path: Path
    ) -> None:
        """`prediction` for each row, in their order; a classifier's `probabilities` are list<double>, in `classes`' order, and sum to 1.

        An amount is a float. A prediction has the type of the label.
        """
        model, rows, folder = trained(task), features_of(task), tmp_path / "model"
        folder.mkdir()
        driver.save(model, folder, rows.slice(0, 20))
        predictor = driver.load(folder)
        answer = table_of(predictor.predict(rows))
        check_answer(answer, len(rows), task, model.classes)
        backwards = pa.array(range(len(rows) - 1, -1, -1))
        same(table_of(predictor.predict(rows.take(backwards))), answer.take(backwards))

    def test_rows_do_not_see_one_another(self, task: TaskKind, driver: Any, saved: Saved, features_of: Any) -> None:
        """A row's answer depends neither on its neighbours nor on batches; one row and none are rows too, and a stream is read once."""
        predictor, rows = driver.load(saved(task)), features_of(task)
        answer = table_of(predictor.predict(rows))
        edges = [0, 1, 2, 40, 40, len(rows)]
        parts = [table_of(predictor.predict(rows.slice(start, end - start))) for start, end in itertools.pairwise(edges)]
        same(pa.concat_tables(parts), answer)
        same(table_of(predictor.predict(stream_of(rows))), answer)

    def test_columns_are_found_by_name(self, task: TaskKind, driver: Any, saved: Saved, features_of: Any) -> None:
        """Columns in another order or with others among them: the same answers, or a typed error; one that is missing is named in it.

        Keep the names of the features in the files, and take the columns by them.
        """
        predictor, rows = driver.load(saved(task)), features_of(task)
        answer = table_of(predictor.predict(rows))
        others = rows.add_column(0, "forge suite", pa.array([["x"]] * len(rows)))
        for changed in (rows.select(rows.column_names[::-1]), others):
            found = unless_refused(partial(predictor.predict, changed))
            assert found is None or table_of(found).equals(answer)
        for name in rows.column_names:
            with refused(naming=name):
                predictor.predict(rows.drop_columns([name]))

    def test_odd_rows_are_refused_or_answered(self, task: TaskKind, driver: Any, saved: Saved, rows_of: Any, target: str) -> None:
        """Nulls, NaN, infinite values, text, lists: a typed error that names the column, or an answer for each row; no other exception."""
        predictor = driver.load(saved(task))
        for odd in odd_rows(rows_of(task), target).values():
            answer = unless_refused(partial(predictor.predict, odd.drop_columns([target])))
            assert answer is None or len(table_of(answer)) == len(odd)

    def test_asking_changes_nothing(self, task: TaskKind, driver: Any, saved: Saved, features_of: Any) -> None:
        """The rows are the caller's, and a model answers the same the second time. Copy what you change."""
        folder = saved(task)
        before = files_under(folder)
        predictor, given = driver.load(folder), copied(features_of(task))
        first = table_of(predictor.predict(given))
        assert given.equals(features_of(task))
        assert table_of(predictor.predict(given)).equals(first)
        assert files_under(folder) == before

    # ---- saving

    def test_saving_twice_gives_the_same_bytes(self, task: TaskKind, driver: Any, trained: Any, features_of: Any, tmp_path: Path) -> None:
        """One model gives the same files each time, whatever the sample: a step that is run again must not become a second version.

        Leave out times, random names and whatever has no order; the registry takes the digest of the files for the model's.
        """
        model, made = trained(task), []
        for number, sample in enumerate((features_of(task).slice(0, 20), features_of(task).slice(0, 1), stream_of(features_of(task)))):
            folder = tmp_path / str(number)
            folder.mkdir()
            driver.save(model, folder, sample)
            made.append(files_under(folder))
        assert made[0], "nothing was saved"
        assert made[1] == made[0]
        assert made[2] == made[0]

    def test_another_process_saves_the_same_bytes_and_nothing_elsewhere(
        self, subject: Subject, tasks: Sequence[TaskKind], rows_of: Any, spec: Any, target: str, saved: Saved, tmp_path: Path,
        request: pytest.FixtureRequest,
    ) -> None:  # fmt: skip
        """A model that is trained and saved again in another process has the same bytes; `save` and `load` write into their folder alone.

        What Python orders by hashes comes in another order there: sort it.
        """
        if self.trainer_class is None:
            undeclared(request, "a trainer")
        work = []
        for task in tasks:
            folder = tmp_path / f"elsewhere-{task}"
            folder.mkdir()
            work.append([task, written(rows_of(task), tmp_path / f"{task}.arrow"), dict(spec(task).hyperparameters), str(folder)])
        elsewhere = processes.run(subject, saved_elsewhere, str(subject.root), target_of(self.trainer_class), work, target)
        assert elsewhere == [[] for _ in tasks], "it wrote outside its folder"
        for task in tasks:
            assert files_under(tmp_path / f"elsewhere-{task}") == files_under(saved(task)), f"{task}: other bytes in another process"

    def test_a_threshold_is_kept_or_left_to_the_kernel(
        self, binary: pa.Table, driver: Any, trained: Any, target: str, tmp_path: Path
    ) -> None:
        """`threshold` changes no probability. `prediction` may follow it, as the manifest's does, or be the more probable class."""
        rows, model = binary.drop_columns([target]), trained("binary")
        answers = []
        for threshold in (None, 0.1):
            folder = tmp_path / str(threshold)
            folder.mkdir()
            driver.save(evolve(model, threshold=threshold), folder, rows.slice(0, 20))
            answers.append(table_of(driver.load(folder).predict(rows)))
        assert answers[1]["probabilities"].to_pylist() == answers[0]["probabilities"].to_pylist()
        by_it = [model.classes[row[1] >= 0.1] for row in answers[1]["probabilities"].to_pylist()]
        assert answers[1]["prediction"].to_pylist() in (by_it, answers[0]["prediction"].to_pylist())

    def test_what_the_format_cannot_hold_is_refused(self, driver: Any, trained: Any, tasks: Any, features_of: Any, tmp_path: Path) -> None:
        """A model of another library is a typed error when it is saved, not when it is served. Look at its type first."""
        for number, model in enumerate((object(), None, {"weights": [1.0]}, lambda rows: rows)):
            folder = tmp_path / str(number)
            folder.mkdir()
            with refused():
                driver.save(evolve(trained(tasks[0]), model=model), folder, features_of(tasks[0]).slice(0, 20))

    # ---- files of somebody else

    def test_it_says_whether_loading_can_run_code(self) -> None:
        """`executes_code` is a truth value of the class: the kernel reads it before it loads. False needs every rule of hostile files."""
        assert isinstance(self.driver_class.executes_code, bool)  # type: ignore[attr-defined]

    def test_a_pickle_is_never_opened(self, closed: None, saved: Saved, tasks: Any, fates: Any, tmp_path: Path) -> None:
        """A pickle in the place of a file, inside an archive, beside the model or alone is refused under every name, and not opened.

        Look at a file's first bytes, read only files that `save` writes, and never fall back to another loader.
        """
        canary = tmp_path / "canary"
        told = fates(**{tasks[0]: planted(saved(tasks[0]), tmp_path / "planted", canary)})
        assert not canary.exists(), "a pickle was opened"
        _all_refused(told)

    def test_a_file_names_no_loader(self, closed: None, saved: Saved, tasks: Any, fates: Any, tmp_path: Path) -> None:
        """A field that `save` does not write, or a module beside the files, is refused, and neither imported nor put on `sys.path`.

        Read what is JSON strictly: known fields, and no others.
        """
        _all_refused(fates(**{tasks[0]: loaders(saved(tasks[0]), tmp_path / "loaders")}))

    def test_only_what_was_saved_is_loaded(self, closed: None, saved: Saved, tasks: Any, fates: Any, tmp_path: Path) -> None:
        """A missing, empty or extra file, a link, a second name of a file elsewhere, a pipe, a folder: UnsafeFormat or InvalidInput.

        Compare the folder's names with those that `save` writes, and open ordinary files only.
        """
        _all_refused(fates(**{tasks[0]: strange(saved(tasks[0]), tmp_path / "strange")}))

    def test_a_damaged_file_harms_nobody(self, closed: None, saved: Saved, tasks: Any, fates: Any, seed: int, tmp_path: Path) -> None:
        """A file cut short is refused. Changed bits are refused, or do nothing but change answers: no other exception, no crash, no hang.

        Check lengths and indices before native code follows them, and turn what the library raises into InvalidInput.
        """
        told = fates(**{task: damaged(saved(task), tmp_path / f"damaged-{task}", seed, 40) for task in tasks})
        wrong = {name: fate for name, fate in told.items() if fate not in (*TYPED, ANSWERED)}
        assert not wrong, f"seed {seed}: {wrong}"
        _all_refused({name: fate for name, fate in told.items() if " cut at " in name})

    def test_loading_gives_a_predictor(self, driver: Any, saved: Saved, tasks: Any) -> None:
        """`load` gives a `Predictor`, and each call one of its own, which goes on answering when the folder is gone."""
        folder = saved(tasks[0])
        assert isinstance(driver.load(folder), Predictor)
        assert driver.load(folder) is not driver.load(folder)


def _all_refused(told: Mapping[str, str]) -> None:
    """Each one is UnsafeFormat or InvalidInput."""
    assert told
    taken = {name: fate for name, fate in told.items() if fate not in TYPED}
    assert not taken, taken


# ---- in other processes


def answered_elsewhere(driver: Any, work: Sequence[Sequence[str]]) -> Iterator[list[dict[str, JSON]]]:
    """Loads each (folder, rows) and acknowledges its answers."""
    for folder, path in work:
        yield table_of(driver.load(Path(folder)).predict(read(path))).to_pylist()


def saved_elsewhere(driver: Any, root: str, trainer: str, work: Sequence[Sequence[Any]], target: str) -> Iterator[list[str]]:
    """Trains a model of each (task, rows, hyperparameters, folder), saves and loads it, and acknowledges what was written elsewhere."""
    with Kernel.open(root) as kernel:
        train = kernel.wire(imported(trainer)).train
        for task, path, hyperparameters, place in work:
            folder, rows = Path(place), read(path)
            spec = ModelSpec("suite", "suite", target=target, task=task, hyperparameters=hyperparameters)
            model = train(spec, data_of(rows), Listening(folder.with_name(f"{folder.name}-attempt")))
            sample = rows.drop_columns([target]).slice(0, 20)
            with writes([folder]) as outside:
                driver.save(model, folder, sample)
                driver.load(folder).predict(sample)
            yield outside
