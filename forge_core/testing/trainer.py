"""The suite of trainers."""

from __future__ import annotations

import copy
import itertools
import json
import math
import queue
import random
import re
import threading
import time
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
from forge_core.faults import Cancelled, ConfigError
from forge_core.models import Thresholded
from forge_core.records.data import JSON
from forge_core.records.models import Evaluation, ModelSpec, TaskKind, TrainedModel
from forge_core.testing import processes
from forge_core.testing.contract import Contract, Subject
from forge_core.testing.samples import (
    Listening,
    Samples,
    alike,
    chance_of,
    check_answer,
    copied,
    data_of,
    files_under,
    halves,
    misspelt,
    odd_rows,
    predictor_of,
    put,
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
from forge_core.testing.scores import LOWER_IS_BETTER, SCORES, Told, best, cut, skill

Train: TypeAlias = Callable[..., TrainedModel]
Served: TypeAlias = Callable[[TrainedModel, pa.Table], Predictor]
Metrics: TypeAlias = Mapping[TaskKind, Sequence[str]]


ODD = ("one label", "all null", "text", "other text", "NaN", "infinite", "lists", "times", "twice", "one row")


class TrainerContract(Samples, Contract):
    """A trainer's models are asked through the files of their flavor, as they are served.

    That flavor is looked for among what is installed; name its class as `flavor_class` where it is not. Give `hyperparameters` that make
    small models. A trainer of one task overrides `tasks`; one that takes something else than numbers, the tables as well.
    """

    contract = Trainer
    flavor_class: ClassVar[type[Flavor] | None] = None

    @pytest.fixture
    def least_skill(self) -> float:
        """The share of a constant answer's error that a model must take away on rows it has not seen."""
        return 0.3

    @pytest.fixture
    def drawing(self) -> Mapping[str, JSON] | None:
        """Hyperparameters under which training draws random numbers. Override it where there are any; None: it draws none."""
        return None

    @pytest.fixture
    def drawn(self, drawing: Mapping[str, JSON] | None, request: pytest.FixtureRequest) -> Mapping[str, JSON]:
        """Those, for the rules about them."""
        return undeclared(request, "random numbers in training") if drawing is None else drawing

    @pytest.fixture
    def checkpoints(self) -> bool:
        """Whether every training calls `context.save_checkpoint`. Override it where it does."""
        return False

    @pytest.fixture
    def saving(self, checkpoints: bool, request: pytest.FixtureRequest) -> None:
        """For the rules about checkpoints."""
        if not checkpoints:
            undeclared(request, "checkpoints")

    @pytest.fixture
    def threshold_metric(self) -> str | None:
        """The binary metric that the optimized threshold is best for; None where the trainer refuses to optimize one."""
        return "f1"

    @pytest.fixture
    def metrics(self, driver: Any, train: Train, served: Served, spec: Any, tasks: Sequence[TaskKind], rows_of: Any) -> Metrics:
        """The well-known metrics that are computed, by task. The default is what is not refused; override it to require each of yours."""
        known: dict[TaskKind, list[str]] = {}
        for task in tasks:
            rows, predictor = rows_of(task), served(train(task), rows_of(task))
            known[task] = [
                name for name in SCORES[task] if unless_refused(partial(driver.evaluate, asking(spec(task), name), predictor, rows))
            ]
        return known

    @pytest.fixture
    def train(self, driver: Any, spec: Callable[..., ModelSpec], rows_of: Callable[[str], pa.Table], tmp_path: Path) -> Train:
        """`train(task, table, context, ...)`: a model of these rows, or of all the task's; by keyword, fields of its spec."""
        attempts = itertools.count()

        def trained(task: TaskKind, table: pa.Table | None = None, context: Listening | None = None, /, **changes: Any) -> TrainedModel:
            heard = context or Listening(tmp_path / f"attempt-{next(attempts)}")
            model: TrainedModel = driver.train(spec(task, **changes), data_of(rows_of(task) if table is None else table), heard)
            return model

        return trained

    @pytest.fixture
    def served(self, kernel: Kernel, target: str, tmp_path: Path) -> Served:
        """`served(trained, rows)`: the model as it is asked for answers."""
        models = itertools.count()

        def loaded(trained: TrainedModel, rows: pa.Table) -> Predictor:
            sample = rows.slice(0, 20).drop_columns([target])
            return predictor_of(kernel, target_of(self.flavor_class), trained, tmp_path / f"model-{next(models)}", sample)

        return loaded

    @pytest.fixture
    def ask(self, served: Served, target: str) -> Callable[[TrainedModel, pa.Table], pa.Table]:
        """`ask(trained, rows)`: what a model says of rows, whose target it does not see."""
        return lambda trained, rows: table_of(served(trained, rows).predict(rows.drop_columns([target])))

    # ---- what a model is worth

    def test_a_model_is_better_than_a_constant(
        self, task: TaskKind, rows: pa.Table, train: Train, ask: Any, target: str, least_skill: float
    ) -> None:
        """On rows it has not seen a model takes away `least_skill` of the error of the mean or the most frequent label.

        Look for features or labels in the wrong order; where the model cannot see such a signal, override the tables.
        """
        seen, unseen = halves(rows)
        found = ask(train(task, seen), unseen)["prediction"].to_pylist()
        assert skill(task, unseen[target].to_pylist(), found) >= least_skill

    def test_every_column_but_the_target_is_a_feature(
        self, tasks: Sequence[TaskKind], rows_of: Any, train: Train, ask: Any, target: str
    ) -> None:
        """All columns beside `target` are features, wherever they stand: which ones those are, the stages decide. Leave none out."""
        task = tasks[0]
        for last in (True, False):
            table = _told(rows_of(task), target, last)
            seen, unseen = halves(table)
            found = ask(train(task, seen), unseen)["prediction"].to_pylist()
            assert skill(task, unseen[target].to_pylist(), found) >= 0.5, f"the {'last' if last else 'first'} column is not used"

    def test_every_row_is_trained_on(self, tasks: Sequence[TaskKind], rows_of: Any, train: Train, ask: Any, target: str) -> None:
        """A model is fitted on all of `data`, the first and the last rows too. The stages own splits: hold nothing out."""
        task = tasks[0]
        for last in (True, False):
            table = _rare(rows_of(task), target, last)
            found = ask(train(task, table), table)["prediction"].to_pylist()
            assert skill(task, table[target].to_pylist(), found) >= 0.5, f"the {'last' if last else 'first'} fifth of the rows is not used"

    def test_the_target_is_no_feature(self, task: TaskKind, rows: pa.Table, train: Train, served: Served, target: str) -> None:
        """A model answers without the target, and the same where wrong targets stand beside the features. Train on the other columns."""
        predictor = served(train(task), rows)
        without = table_of(predictor.predict(rows.drop_columns([target])))
        wrong = put(rows, target, rows[target].take(pa.array(range(len(rows) - 1, -1, -1))))
        told = unless_refused(lambda: table_of(predictor.predict(wrong)))  # a predictor may want its own columns alone
        assert told is None or told.equals(without)

    def test_answers_are_one_for_each_row_in_order(self, task: TaskKind, rows: pa.Table, train: Train, ask: Any) -> None:
        """`prediction` for each row, in their order; a classifier's `probabilities` are list<double>, in `classes`' order, and sum to 1.

        Look at what the flavor's predictor makes of `TrainedModel.classes`.
        """
        trained = train(task)
        answer = ask(trained, rows)
        check_answer(answer, len(rows), task, trained.classes)
        backwards = pa.array(range(len(rows) - 1, -1, -1))
        same(ask(trained, rows.take(backwards)), answer.take(backwards))

    def test_what_is_said_of_a_model_is_true(self, task: TaskKind, rows: pa.Table, train: Train, target: str) -> None:
        """`task` is what was trained, `classes` are the data's labels (none for a regression), `threshold` cuts a binary probability.

        `parameters` are JSON, `metrics` finite numbers, `dependencies` pins (`name==version`). The registry keeps them: fill them in.
        """
        trained = train(task)
        labels = set() if task == "regression" else set(rows[target].to_pylist())
        assert isinstance(trained, TrainedModel)
        assert trained.task == task
        assert (len(trained.classes), set(trained.classes)) == (len(labels), labels)
        assert trained.flavor
        assert trained.threshold is None or (task == "binary" and 0 <= trained.threshold <= 1)
        assert json.loads(json.dumps(dict(trained.parameters), allow_nan=False)) == trained.parameters
        assert trained.dependencies
        assert all(re.fullmatch(r"[\w.-]+==[\w.!+]+", pin) for pin in trained.dependencies)
        _check_numbers(trained.metrics)

    def test_the_task_is_read_from_the_target_where_none_is_named(self, task: TaskKind, train: Train) -> None:
        """`spec.task` may be None: two labels make a binary model, more a multiclass one, amounts a regression."""
        assert train(task, task=None).task == task

    @pytest.mark.parametrize("labels", [("no", "yes"), (False, True), (0, 1), (3, 7)])
    def test_labels_keep_their_type(self, labels: tuple[JSON, JSON], binary: pa.Table, train: Train, ask: Any, target: str) -> None:
        """Text, truth values and whole numbers can be labels, and come back as they were. Keep in `classes` what stands in the data."""
        second = max(binary[target].to_pylist())
        rows = put(binary, target, [labels[label == second] for label in binary[target].to_pylist()])
        trained = train("binary", rows)
        assert sorted(trained.classes) == list(labels)
        check_answer(ask(trained, rows), len(rows), "binary", trained.classes)

    # ---- what training depends on

    def test_the_same_data_spec_and_seed_give_the_same_model(
        self, subject: Subject, tasks: Sequence[TaskKind], rows_of: Any, spec: Any, train: Train, ask: Any, target: str, tmp_path: Path,
        drawing: Mapping[str, JSON] | None,
    ) -> None:  # fmt: skip
        """Trained again, here and in another process, a model gives the very same answers. Seed what draws, and sort what has no order."""
        given = {task: dict(spec(task).hyperparameters) | dict(drawing or {}) for task in tasks}
        first = {task: ask(train(task, hyperparameters=given[task]), rows_of(task)) for task in tasks}
        random.seed(len(given))  # the process's own numbers are nobody's seed
        work = [(task, written(rows_of(task), tmp_path / f"{task}.arrow"), given[task]) for task in tasks]
        elsewhere = processes.run(
            subject, trained_elsewhere, str(subject.root), target_of(self.flavor_class), work, target, str(tmp_path / "elsewhere")
        )
        for number, task in enumerate(tasks):
            assert ask(train(task, hyperparameters=given[task]), rows_of(task)).equals(first[task]), (
                f"{task}: another model the second time"
            )
            assert alike(elsewhere[number], first[task].to_pylist(), 0.0), f"{task}: another model in another process"

    def test_another_seed_gives_another_model(
        self, drawn: Mapping[str, JSON], tasks: Sequence[TaskKind], rows_of: Any, spec: Any, train: Train, ask: Any, tmp_path: Path
    ) -> None:
        """What training draws comes from `context.seed`: with `drawing` another seed gives another model. Pass the seed on."""
        task, given = tasks[0], {**spec(tasks[0]).hyperparameters, **drawn}
        models = [train(task, None, Listening(tmp_path / f"seed-{seed}", seed), hyperparameters=given) for seed in (7, 8)]
        assert not ask(models[0], rows_of(task)).equals(ask(models[1], rows_of(task)))

    def test_data_can_be_any_stream_and_is_read_anew_in_each_pass(
        self, task: TaskKind, rows: pa.Table, driver: Any, spec: Any, ask: Any, tmp_path: Path
    ) -> None:
        """`data` is an Arrow stream of batches; each pass opens it again. How the rows are cut into batches makes no difference.

        Take it with `pyarrow.table(data)`, or batch by batch.
        """
        made = []
        for batch in (11, len(rows)):
            passes: list[int] = []
            trained = driver.train(spec(task), data_of(rows, batch, passes), Listening(tmp_path / str(batch)))
            assert passes
            made.append(ask(trained, rows))
        assert made[0].equals(made[1])

    def test_training_changes_nothing_that_it_is_given(
        self, task: TaskKind, rows: pa.Table, driver: Any, spec: Any, subject: Subject, tmp_path: Path
    ) -> None:
        """Data and spec are the caller's, and files belong into `context.folder` alone. Copy what you change; leave nothing behind."""
        given, before, asked = copied(rows), copied(rows), spec(task)
        kept = copy.deepcopy(asked)
        there = {name for name in files_under(subject.root) if not name.startswith(".forge")}
        driver.train(asked, data_of(given, len(given)), Listening(tmp_path / "attempt"))
        assert given.equals(before)
        assert asked == kept
        assert {name for name in files_under(subject.root) if not name.startswith(".forge")} == there

    # ---- what a run hears

    def test_progress_rises_from_0_to_1(self, task: TaskKind, train: Train, tmp_path: Path) -> None:
        """`context.progress` is called as training goes on, with fractions that rise within 0 and 1: at least when it begins and ends."""
        context = Listening(tmp_path / "attempt")
        train(task, None, context)
        assert len(context.reports) >= 2
        assert context.reports == sorted(context.reports)
        assert 0 <= context.reports[0] < context.reports[-1] <= 1

    @pytest.mark.parametrize("where", ["first", "middle", "last"])
    def test_a_cancelled_training_ends_at_once(self, where: str, task: TaskKind, train: Train, tmp_path: Path) -> None:
        """`Cancelled`, raised by `context.progress`, leaves `train` as it is, and nothing more is done. Let it through."""
        whole = Listening(tmp_path / "whole")
        train(task, None, whole)
        at = {"first": 1, "middle": (len(whole.reports) + 1) // 2, "last": len(whole.reports)}[where]
        context = Listening(tmp_path / "cancelled", cancel_at=at)
        with pytest.raises(Cancelled):
            train(task, None, context)
        assert context.cancelled is not None
        assert time.monotonic() - context.cancelled < 5
        assert not context.late, f"after it was cancelled it called {context.late}"

    def test_logged_metrics_are_numbers_with_rising_steps(self, task: TaskKind, train: Train, tmp_path: Path) -> None:
        """What is logged are finite numbers by name, and steps that do not fall. Leave out what is not known yet."""
        context = Listening(tmp_path / "attempt")
        train(task, None, context)
        for step, logged in context.logged:
            assert isinstance(step, int)
            assert step >= 0
            _check_numbers(logged)
        assert [step for step, _ in context.logged] == sorted(step for step, _ in context.logged)

    # ---- checkpoints

    def test_checkpoints_are_saved_where_they_are_announced(self, checkpoints: bool, task: TaskKind, train: Train, tmp_path: Path) -> None:
        """A trainer that saves checkpoints says so in the fixture `checkpoints`, so that their rules are run; any other saves none."""
        context = Listening(tmp_path / "attempt")
        train(task, None, context)
        assert (context.checkpoints > 0) == checkpoints, f"{context.checkpoints} checkpoints were saved"

    def test_a_killed_training_goes_on_from_its_checkpoint(
        self, saving: None, subject: Subject, tasks: Sequence[TaskKind], rows_of: Any, spec: Any, train: Train, ask: Any, target: str,
        tmp_path: Path,
    ) -> None:  # fmt: skip
        """After `kill -9` the next attempt has `context.checkpoint`, goes on from there, and its model is as good as an unbroken one.

        Read what `save_checkpoint` wrote before the first round.
        """
        task = tasks[0]
        path, folder = written(rows_of(task), tmp_path / "rows.arrow"), tmp_path / "killed"
        asked = [task, path, dict(spec(task).hyperparameters)]
        processes.killed(subject, saves_and_waits, asked, target, str(folder))
        whole, resumed = Listening(tmp_path / "whole"), Listening(tmp_path / "resumed", checkpoint=Listening(folder).kept)
        scores = [
            skill(task, rows_of(task)[target].to_pylist(), ask(train(task, None, context), rows_of(task))["prediction"].to_pylist())
            for context in (whole, resumed)
        ]
        assert resumed.checkpoints < whole.checkpoints, "it began again"
        assert scores[1] >= scores[0] - 0.02

    def test_a_damaged_checkpoint_is_refused_or_left(
        self, saving: None, tasks: Sequence[TaskKind], rows_of: Any, train: Train, ask: Any, target: str, tmp_path: Path
    ) -> None:
        """A checkpoint whose files are cut short is a typed error, or training begins again. Check what you read before you use it."""
        task, first = tasks[0], Listening(tmp_path / "first")
        train(task, None, first)
        for path in (path for path in first.kept.rglob("*") if path.is_file()):
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        trained = unless_refused(lambda: train(task, None, Listening(tmp_path / "second", checkpoint=first.kept)))
        if trained is not None:
            found = ask(trained, rows_of(task))["prediction"].to_pylist()
            assert skill(task, rows_of(task)[target].to_pylist(), found) > 0

    # ---- what is wrong

    def test_an_unknown_hyperparameter_is_refused_with_the_nearest(
        self, tasks: Sequence[TaskKind], spec: Any, train: Train, tmp_path: Path
    ) -> None:
        """A name that is not known is a ConfigError that names it and the nearest known one, before anything is trained.

        `difflib.get_close_matches` finds it; no hyperparameter may be passed on unread.
        """
        known, context = dict(spec(tasks[0]).hyperparameters), Listening(tmp_path / "refused")
        if not known:  # those that a model was trained with, so far as they can be given
            told = train(tasks[0]).parameters
            known = {name: told[name] for name in told if unless_refused(partial(train, tasks[0], hyperparameters={name: told[name]}))}
        for name in sorted(known, key=len)[-3:] or ("anything",):
            wrong = misspelt(name)
            with refused(ConfigError, naming=wrong) as caught:
                train(tasks[0], None, context, hyperparameters={**spec(tasks[0]).hyperparameters, wrong: known.get(name)})
            assert not known or name in caught.value.remedy, f"{name!r} is nearest, and the remedy is {caught.value.remedy!r}"
        assert not any(context.reports), "it trained before it refused"

    def test_a_wrong_hyperparameter_is_a_typed_error(self, tasks: Sequence[TaskKind], spec: Any, train: Train) -> None:
        """Text, a list, a mapping, a negative number or NaN as a hyperparameter is refused, or works; it is never another exception.

        Check values yourself, or turn what the library says of them into a ConfigError.
        """
        given = dict(spec(tasks[0]).hyperparameters)
        refusals = 0
        for name, wrong in itertools.product(given or train(tasks[0]).parameters, ("no such value", [], {"a": [1]}, -1, math.nan)):
            made = unless_refused(partial(train, tasks[0], hyperparameters={**given, name: wrong}))
            refusals += made is None
        assert refusals or not given, "no value of a hyperparameter is refused"

    @pytest.mark.parametrize("wrong", ["no rows", "no target", "a target that is not named", "no features", "a null target"])
    def test_data_without_something_to_learn_is_refused(
        self, wrong: str, task: TaskKind, rows: pa.Table, train: Train, target: str
    ) -> None:
        """No rows, no target column, no target named, no other column, a null target: a typed error that says which. Check them first."""
        with refused():
            train(task, _lacking(rows, target)[wrong], target="" if wrong == "a target that is not named" else target)

    @pytest.mark.parametrize("wrong", ODD)
    def test_odd_data_is_refused_or_learnt_from(
        self, wrong: str, task: TaskKind, rows: pa.Table, train: Train, ask: Any, target: str
    ) -> None:
        """One label only, an empty or strange column, infinite values, one row: a typed error that names the column, or a sound model.

        Never another exception: look at what reaches the library, and refuse what it cannot take.
        """
        odd = odd_rows(rows, target)[wrong]
        trained = unless_refused(lambda: train(task, odd))
        if trained is not None:
            check_answer(ask(trained, odd), len(odd), task, trained.classes)

    def test_odd_rows_are_refused_or_answered(self, task: TaskKind, rows: pa.Table, train: Train, served: Served, target: str) -> None:
        """A model asked about such rows, or rows that lack a column, refuses with a typed error or answers each of them."""
        trained = train(task)
        predictor = served(trained, rows)
        features = [name for name in rows.column_names if name != target]
        cases = {**{name: odd for name, odd in odd_rows(rows, target).items() if name != "one label"}, "no rows": rows.slice(0, 0)}
        for odd in cases.values():
            answer = unless_refused(partial(predictor.predict, odd.drop_columns([target])))
            if answer is not None:
                check_answer(table_of(answer), len(odd), task, trained.classes)
        for name in features:
            with refused(naming=name):
                predictor.predict(rows.drop_columns([target, name]))

    def test_a_task_that_cannot_be_is_refused(self, tasks: Sequence[TaskKind], rows_of: Any, train: Train) -> None:
        """A task that this trainer does not do is a typed error; so are a binary model of three labels, and a regression of text.

        Compare `spec.task` with the target before anything is trained.
        """
        for other in {"binary", "multiclass", "regression"} - {*tasks}:
            with refused():
                train(other, rows_of(other))
        with refused():
            train("binary", rows_of("multiclass"))
        with refused():
            train("regression", rows_of("binary"))

    # ---- evaluation

    def test_metrics_are_those_asked_and_are_right(
        self, task: TaskKind, rows: pa.Table, driver: Any, spec: Any, train: Train, served: Served, metrics: Metrics, target: str
    ) -> None:
        """`evaluate` gives exactly what `spec.evaluation` names or requires, as its definition says: see forge_core.testing.scores.

        A binary metric is of the second class. Count what the predictor says, not its highest probability: a threshold may have cut it.
        """
        seen, unseen = halves(rows)
        trained = train(task, seen)
        assert metrics[task], f"it knows none of {', '.join(SCORES[task])}: name its metrics so, or it cannot be checked"
        for predictor in _cuts(served(trained, seen), trained):
            told = _told_by(predictor, trained, unseen, target)
            for names in ([name] for name in metrics[task]):
                found = driver.evaluate(asking(spec(task), *names), predictor, unseen)
                assert {*found} == {*names}
                assert found[names[0]] == pytest.approx(SCORES[task][names[0]](told), rel=1e-6, abs=1e-9), names[0]
                _check_numbers(found)
            first, *others = metrics[task]
            both = driver.evaluate(evolve(spec(task), evaluation=Evaluation(tuple(others), {first: 0.5})), predictor, unseen)
            assert {*both} == {*metrics[task]}, "a metric that is required is given too"

    def test_evaluation_reads_its_data_once_and_changes_nothing(
        self, task: TaskKind, rows: pa.Table, driver: Any, spec: Any, train: Train, served: Served, metrics: Metrics
    ) -> None:
        """`data` may be a stream that can be read once. Read it into a table; it and the spec are the caller's."""
        predictor, asked = served(train(task), rows), asking(spec(task), *metrics[task])
        kept, before = copy.deepcopy(asked), copied(rows)
        assert driver.evaluate(asked, predictor, stream_of(rows)) == pytest.approx(driver.evaluate(asked, predictor, rows))
        assert (asked, rows.equals(before)) == (kept, True)

    def test_an_unknown_metric_is_refused_with_the_nearest(
        self, task: TaskKind, rows: pa.Table, driver: Any, spec: Any, train: Train, served: Served, metrics: Metrics
    ) -> None:
        """A metric that is not known, asked or required, is a typed error with its name and the nearest: `difflib.get_close_matches`."""
        predictor, name = served(train(task), rows), max(metrics[task], key=len)
        for evaluation in (Evaluation((misspelt(name),)), Evaluation((), {misspelt(name): 0.5})):
            with refused(naming=misspelt(name)) as caught:
                driver.evaluate(evolve(spec(task), evaluation=evaluation), predictor, rows)
            assert name in caught.value.remedy

    def test_a_metric_that_is_undefined_is_refused_or_left_out(
        self, task: TaskKind, rows: pa.Table, driver: Any, spec: Any, train: Train, served: Served, metrics: Metrics, target: str
    ) -> None:
        """On no rows, on one, on one label, without the target: a typed error or finite numbers, never NaN. Refuse, or leave it out."""
        predictor = served(train(task), rows)
        lacking = _lacking(rows, target)
        cases = [rows.slice(0, 1), odd_rows(rows, target)["one label"], lacking["no rows"], lacking["a null target"], lacking["no target"]]
        for odd, name in itertools.product(cases, metrics[task]):
            _check_numbers(unless_refused(partial(driver.evaluate, asking(spec(task), name), predictor, odd)) or {})
        for odd in cases[2:]:
            with refused():
                driver.evaluate(asking(spec(task), metrics[task][0]), predictor, odd)

    def test_the_threshold_is_the_best_on_this_data(
        self,
        threshold_metric: str | None,
        binary: pa.Table,
        driver: Any,
        spec: Any,
        train: Train,
        served: Served,
        metrics: Metrics,
        target: str,
    ) -> None:
        """`threshold` is given only where `threshold_optimization` asks for it; no other cut on the second class's probability is better.

        Look whether a row that has just that probability is on the right side: the second class is from the threshold on.
        """
        seen, unseen = halves(binary)
        trained = train("binary", seen)
        predictor, asked = served(trained, seen), asking(spec("binary"), metrics["binary"][0])
        assert "threshold" not in driver.evaluate(asked, predictor, unseen)
        asked = evolve(asked, evaluation=evolve(asked.evaluation, threshold_optimization=True))
        if threshold_metric is None:
            with refused():
                driver.evaluate(asked, predictor, unseen)
            return
        for part in (unseen, unseen.slice(0, 9), seen):
            found, score = driver.evaluate(asked, predictor, part), SCORES["binary"][threshold_metric]
            told = _told_by(predictor, trained, part, target)
            assert {*found} == {*asked.evaluation.metrics, "threshold"}
            assert score(cut(told, found["threshold"])) == pytest.approx(best(told, score))

    def test_only_a_binary_model_has_a_threshold(
        self, tasks: Sequence[TaskKind], rows_of: Any, driver: Any, spec: Any, train: Train, served: Served, metrics: Metrics, request: Any
    ) -> None:
        """More than two classes, or amounts, cannot be cut by one threshold: refuse to look for one, or give none."""
        for task in {*tasks} - {"binary"} or undeclared(request, "other tasks than binary"):
            asked = asking(spec(task), metrics[task][0])
            asked = evolve(asked, evaluation=evolve(asked.evaluation, threshold_optimization=True))
            predictor = served(train(task), rows_of(task))
            assert "threshold" not in (unless_refused(partial(driver.evaluate, asked, predictor, rows_of(task))) or {})

    def test_the_direction_of_a_metric_is_known(self, driver: Any, tasks: Sequence[TaskKind], metrics: Metrics) -> None:
        """`higher_is_better` is false for errors and losses, since a requirement on them is a ceiling, and true for scores."""
        for name in {name for task in tasks for name in metrics[task]}:
            assert driver.higher_is_better(name) == (name not in LOWER_IS_BETTER), name
        assert unless_refused(lambda: driver.higher_is_better("no such metric")) in (None, True, False)


def asking(spec: ModelSpec, *metrics: str) -> ModelSpec:
    """The spec with these metrics to be evaluated."""
    return evolve(spec, evaluation=Evaluation(metrics))


# ---- in other processes


def trained_elsewhere(
    driver: Any, root: str, flavor: str | None, work: Sequence[Any], target: str, folder: str
) -> Iterator[list[dict[str, JSON]]]:
    """Trains a model of each (task, rows, hyperparameters) and acknowledges its answers."""
    with Kernel.open(root) as kernel:
        for task, path, hyperparameters in work:
            rows, place = read(path), Path(folder) / task
            spec = ModelSpec("suite", "suite", target=target, task=task, hyperparameters=hyperparameters)
            trained = driver.train(spec, data_of(rows), Listening(place / "attempt"))
            features = rows.drop_columns([target])
            predictor = predictor_of(kernel, flavor, trained, place / "model", features.slice(0, 20))
            yield table_of(predictor.predict(features)).to_pylist()


def saves_and_waits(driver: Any, asked: Sequence[Any], target: str, folder: str) -> Iterator[str]:
    """Trains until the first checkpoint is saved, acknowledges it, and goes no further."""
    task, path, hyperparameters = asked
    heard: queue.Queue[str] = queue.Queue()

    def stop() -> None:
        heard.put("saved")
        threading.Event().wait()

    def work() -> None:
        spec = ModelSpec("suite", "suite", target=target, task=task, hyperparameters=hyperparameters)
        driver.train(spec, data_of(read(path)), Listening(Path(folder), saved=stop))

    threading.Thread(target=work, daemon=True).start()
    yield heard.get(timeout=50)
    threading.Event().wait(50)


# ---- rows


def _shuffled(rows: pa.Table, target: str) -> pa.Table:
    """The rows with features that belong to other rows, so that they tell nothing of the target."""
    chance = chance_of(1)
    order = pa.array(chance.sample(range(len(rows)), len(rows)))
    return put(rows.take(order), target, rows[target])


def _column(rows: pa.Table, target: str, values: Sequence[float], last: bool) -> pa.Table:
    made = put(rows, "told", pa.array(values, pa.float64()))
    names = [name for name in rows.column_names if name != target]
    return made.select([*names, target, "told"] if last else ["told", *names, target])


def _told(rows: pa.Table, target: str, last: bool) -> pa.Table:
    """Rows whose target one column alone tells: the last, or the first one."""
    chance, amounts = chance_of(2), pa.types.is_floating(rows[target].type)
    labels = [] if amounts else sorted(set(rows[target].to_pylist()))
    values = [one if amounts else labels.index(one) + chance.gauss(0, 0.1) for one in rows[target].to_pylist()]
    return _column(_shuffled(rows, target), target, values, last)


def _rare(rows: pa.Table, target: str, last: bool) -> pa.Table:
    """Rows whose last, or first, fifth alone has the highest label or amount, which a column tells; all others have the lowest."""
    values, fifth = rows[target].to_pylist(), len(rows) // 5
    there = [number >= len(rows) - fifth if last else number < fifth for number in range(len(rows))]
    known = pa.array([max(values) if one else min(values) for one in there], rows[target].type)
    chance = chance_of(3)
    return _column(put(_shuffled(rows, target), target, known), target, [one + chance.gauss(0, 0.1) for one in there], last)


def _lacking(rows: pa.Table, target: str) -> Mapping[str, pa.Table]:
    """Rows that lack what training needs."""
    nulls = [None, *rows[target].to_pylist()[1:]]
    return {
        "no rows": rows.slice(0, 0),
        "no target": rows.drop_columns([target]),
        "a target that is not named": rows,
        "no features": rows.select([target]),
        "a null target": put(rows, target, pa.array(nulls, rows[target].type)),
    }


# ---- answers


def _cuts(predictor: Predictor, trained: TrainedModel) -> list[Predictor]:
    """The predictor, and for two classes what other thresholds make of it."""
    if trained.task != "binary":
        return [predictor]
    return [predictor, *(Thresholded(predictor, trained.task, trained.classes, threshold) for threshold in (0.1, 0.9))]


def _told_by(predictor: Predictor, trained: TrainedModel, rows: pa.Table, target: str) -> Told:
    answer = table_of(predictor.predict(rows.drop_columns([target])))
    chances = answer["probabilities"].to_pylist() if "probabilities" in answer.column_names else ()
    return Told(rows[target].to_pylist(), answer["prediction"].to_pylist(), trained.classes, chances)


def _check_numbers(found: Mapping[str, float]) -> None:
    for name, value in found.items():
        assert isinstance(name, str)
        assert isinstance(value, float | int), f"{name} is {value!r}"
        assert not isinstance(value, bool), f"{name} is {value!r}"
        assert math.isfinite(value), f"{name} is {value!r}"
