"""What the suites of trainers, flavors and transforms share: rows with a known signal, a run that listens, answers and refusals."""

from __future__ import annotations

import math
import random
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import pyarrow as pa
import pytest
from attrs import define, field

from forge_core import Kernel
from forge_core.contracts.flavor import Predictor
from forge_core.faults import Cancelled, ForgeError
from forge_core.models import columns_of
from forge_core.pipeline import imported
from forge_core.records.data import JSON, DatasetVersion, Query, TrainingData
from forge_core.records.models import ModelSpec, TaskKind, TrainedModel
from forge_core.testing.contract import UNDECLARED

T = TypeVar("T")
TASKS: tuple[TaskKind, ...] = ("binary", "multiclass", "regression")


class Samples:
    """The fixtures of a suite that needs models: tables, a target and hyperparameters. An author overrides what does not fit."""

    @pytest.fixture
    def tasks(self) -> tuple[TaskKind, ...]:
        """The tasks that are done. Override it where it is not all three: the rules of the others are then listed as not declared."""
        return TASKS

    @pytest.fixture
    def target(self) -> str:
        """The column to predict, in all tables."""
        return "y"

    @pytest.fixture
    def classification(self) -> pa.Table:
        """Rows of two classes, in no order, that the columns beside `target` nearly decide. Override it where numbers are not taken."""
        return made_rows("binary")

    @pytest.fixture
    def multiclass(self) -> pa.Table:
        """The same with three classes."""
        return made_rows("multiclass")

    @pytest.fixture
    def regression(self) -> pa.Table:
        """The same with an amount."""
        return made_rows("regression")

    @pytest.fixture
    def hyperparameters(self) -> Mapping[str, JSON]:
        """Those to train with: choose them so that a model of some hundred rows takes well under a second."""
        return {}

    @pytest.fixture
    def rows_of(self, classification: pa.Table, multiclass: pa.Table, regression: pa.Table) -> Callable[[str], pa.Table]:
        """The table of a task."""
        tables = {"binary": classification, "multiclass": multiclass, "regression": regression}
        return lambda task: tables[task]

    @pytest.fixture(params=TASKS)
    def task(self, request: pytest.FixtureRequest, tasks: tuple[TaskKind, ...]) -> TaskKind:
        """Each task in turn; one that is not among `tasks` is listed as not declared."""
        assert tasks, "the fixture tasks names none"
        asked: TaskKind = request.param
        return asked if asked in tasks else undeclared(request, asked)

    @pytest.fixture
    def rows(self, task: TaskKind, rows_of: Callable[[str], pa.Table]) -> pa.Table:
        """The rows of `task`."""
        return rows_of(task)

    @pytest.fixture
    def binary(self, request: pytest.FixtureRequest, tasks: tuple[TaskKind, ...], classification: pa.Table) -> pa.Table:
        """The rows of two classes, for rules about those alone."""
        return classification if "binary" in tasks else undeclared(request, "binary")

    @pytest.fixture
    def spec(self, target: str, hyperparameters: Mapping[str, JSON]) -> Callable[..., ModelSpec]:
        """`spec(task, ...)`: a model of these hyperparameters; by keyword, any other field of a `ModelSpec`."""

        def build(task: TaskKind | None, /, **changes: Any) -> ModelSpec:
            return ModelSpec(
                **{"name": "suite", "type": "suite", "target": target, "task": task, "hyperparameters": dict(hyperparameters), **changes}
            )

        return build


def undeclared(request: pytest.FixtureRequest, what: str) -> NoReturn:
    """The rule at hand is about something that the author says the driver does not do: it is listed as such."""
    setattr(request.node, UNDECLARED, what)
    pytest.skip(f"not declared: {what}")


def chance_of(seed: int) -> random.Random:
    """The same numbers in each session."""
    return random.Random(seed)  # noqa: S311 - nothing secret


def made_rows(task: str, count: int = 240, seed: int = 0) -> pa.Table:
    """Four columns of floats and one of whole numbers; three of them decide `y` but for some noise."""
    chance = chance_of(seed)
    values = [[chance.gauss(0, 1) for _ in range(count)] for _ in range(4)]
    score = [one + 2 * two - three + chance.gauss(0, 0.3) for one, two, three, _ in zip(*values, strict=True)]
    target: list[JSON] = {
        "binary": ["on time" if one > 0 else "late" for one in score],
        "multiclass": ["early" if one < -1.5 else "late" if one > 1.5 else "on time" for one in score],
        "regression": score,
    }[task]
    whole = pa.array([chance.randrange(9) for _ in range(count)], pa.int32())
    return pa.table({**{f"x{number}": column for number, column in enumerate(values)}, "whole": whole, "y": target})


def odd_rows(rows: pa.Table, target: str) -> Mapping[str, pa.Table]:
    """Rows with something that a model may not be able to take, in their first feature or their target."""
    name = next(name for name in rows.column_names if name != target)
    count = len(rows)
    floats = [float(number) for number in range(count)]
    return {
        "one label": put(rows, target, pa.array([rows[target][0].as_py()] * count, rows[target].type)),
        "all null": put(rows, name, pa.nulls(count, pa.float64())),
        "text": put(rows, name, [f"word {number % 3}" for number in range(count)]),
        "other text": put(rows, name, pa.array(["", None, "\u2713"] * count, pa.string()).slice(0, count)),
        "NaN": put(rows, name, [math.nan, *floats[1:]]),
        "infinite": put(rows, name, [math.inf, -math.inf, *floats[2:]]),
        "lists": put(rows, name, [[number] for number in range(count)]),
        "times": put(rows, name, pa.array(range(count), pa.timestamp("s", "UTC"))),
        "twice": rows.append_column(name, rows[name]),
        "one row": rows.slice(0, 1),
    }


@define
class Listening:
    """A `TrainingContext` in a folder of its own, which keeps what it is told.

    It cancels at report number `cancel_at`. Checkpoints appear as the run's do: written beside, then renamed.
    """

    folder: Path
    seed: int = 7
    checkpoint: Path | None = None
    cancel_at: int | None = None
    saved: Callable[[], object] = lambda: None
    run_id: str = "run_suite"
    reports: list[float] = field(factory=list)
    logged: list[tuple[int, Mapping[str, float]]] = field(factory=list)
    checkpoints: int = 0
    cancelled: float | None = None
    late: list[str] = field(factory=list)

    def __attrs_post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)

    @property
    def kept(self) -> Path:
        """Where the last checkpoint lies."""
        return self.folder.with_name(f"{self.folder.name}.checkpoint")

    def progress(self, fraction: float, message: str = "") -> None:
        self._hear("progress")
        self.reports.append(fraction)
        if self.cancel_at is not None and len(self.reports) >= self.cancel_at:
            self.cancelled = time.monotonic()
            raise Cancelled("the run was cancelled", "forge runs resume run_suite")

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        self._hear("log_metrics")
        self.logged.append((step, dict(metrics)))

    def save_checkpoint(self, write: Callable[[Path], None]) -> None:
        self._hear("save_checkpoint")
        beside = self.kept.with_suffix(".new")
        beside.mkdir()
        write(beside)
        shutil.rmtree(self.kept, ignore_errors=True)
        beside.rename(self.kept)
        self.checkpoints += 1
        self.saved()

    def _hear(self, what: str) -> None:
        if self.cancelled is not None:
            self.late.append(what)


def data_of(table: pa.Table, batch: int = 50, opened: list[int] | None = None) -> TrainingData:
    """Training data as a run gives it: each pass is a stream of batches that can be read once. `opened` counts the passes."""

    def read() -> Any:
        if opened is not None:
            opened.append(batch)
        return stream_of(table, batch)

    return TrainingData(DatasetVersion("suite", "1", "0"), Query("suite"), columns_of(table.schema), read)


def stream_of(table: pa.Table, batch: int = 7) -> Any:
    """The table as a stream that can be read once."""
    return pa.RecordBatchReader.from_batches(table.schema, table.to_batches(batch))


def table_of(stream: Any) -> pa.Table:
    """What came back, whichever library's it is."""
    return stream if isinstance(stream, pa.Table) else pa.table(stream)


def copied(table: pa.Table) -> pa.Table:
    """The same rows in memory of their own, so that a change of the table's buffers can be seen."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return pa.ipc.open_stream(sink.getvalue()).read_all()


def written(table: pa.Table, path: Path) -> str:
    """The rows in a file, for another process."""
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return str(path)


def read(path: str) -> pa.Table:
    with pa.OSFile(path) as source:
        return pa.ipc.open_file(source).read_all()


def halves(table: pa.Table) -> tuple[pa.Table, pa.Table]:
    """Three quarters of the rows to train on, and the others."""
    first = len(table) * 3 // 4
    return table.slice(0, first), table.slice(first)


def put(table: pa.Table, name: str, values: Any) -> pa.Table:
    """The table with this column in the place of the one of its name, or at its end."""
    column = values if isinstance(values, pa.Array | pa.ChunkedArray) else pa.array(values)
    if name not in table.column_names:
        return table.append_column(name, column)
    return table.set_column(table.column_names.index(name), name, column)


def target_of(cls: type | None) -> str | None:
    """`module:Class`, as another process imports it."""
    return None if cls is None else f"{cls.__module__}:{cls.__qualname__}"


def predictor_of(kernel: Kernel, flavor: str | None, trained: TrainedModel, folder: Path, sample: pa.Table) -> Predictor:
    """The model as it is served: through the files of its flavor, the class `flavor` or the installed driver that it names."""
    driver = kernel.wire(imported(flavor)) if flavor is not None else kernel.driver("flavor", trained.flavor)
    folder.mkdir(parents=True)
    driver.save(trained, folder, sample)
    predictor: Predictor = driver.load(folder)
    return predictor


def check_answer(answer: pa.Table, rows: int, task: TaskKind, classes: tuple[JSON, ...]) -> None:
    """One row for each row: `prediction`, and for classifiers `probabilities` in the order of `classes`."""
    assert len(answer) == rows, f"{len(answer)} answers for {rows} rows"
    predictions = answer["prediction"].to_pylist()
    assert answer["prediction"].null_count == 0
    if task == "regression":
        assert all(isinstance(one, float) and math.isfinite(one) for one in predictions), "an amount is a finite float"
        return
    assert answer.schema.field("probabilities").type == pa.list_(pa.float64()), "probabilities are list<double>"
    assert {type(one) for one in predictions} <= {type(one) for one in classes}, "a label has the type that it had in training"
    for prediction, row in zip(predictions, answer["probabilities"].to_pylist(), strict=True):
        assert len(row) == len(classes), "a probability for each class"
        assert all(0 <= chance <= 1 for chance in row)
        assert math.fsum(row) == pytest.approx(1, abs=1e-6)
        assert row[classes.index(prediction)] == pytest.approx(max(row), abs=1e-9), "the prediction is the most probable class"


def same(one: pa.Table, other: pa.Table, close: float = 1e-9) -> None:
    """Equal tables; floats may differ by what rounding in another order makes of them."""
    assert one.column_names == other.column_names
    assert one.schema.types == other.schema.types
    assert len(one) == len(other)
    for name, left, right in zip(one.column_names, one.columns, other.columns, strict=True):
        assert alike(left.to_pylist(), right.to_pylist(), close), f"column {name!r} is not the same"


def alike(one: Any, other: Any, close: float = 1e-9) -> bool:
    """Equal values, lists and mappings of them; floats up to rounding, NaN like NaN."""
    if isinstance(one, float) and isinstance(other, float):
        return (math.isnan(one) and math.isnan(other)) or math.isclose(one, other, rel_tol=close, abs_tol=close)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(alike(left, right, close) for left, right in zip(one, other, strict=True))
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(alike(one[key], other[key], close) for key in one)
    return type(one) is type(other) and bool(one == other)


@contextmanager
def refused(*kinds: type[ForgeError], naming: str = "") -> Iterator[pytest.ExceptionInfo[ForgeError]]:
    """What happens inside is a typed error, with one line of cause and one of remedy; `naming` stands in one of them."""
    with pytest.raises(kinds or ForgeError) as caught:
        yield caught
    check_refusal(caught.value)
    assert naming in f"{caught.value.cause} {caught.value.remedy}", f"{caught.value.cause!r} and its remedy do not name {naming!r}"


def check_refusal(error: ForgeError) -> None:
    """One line says what is wrong, another what to do."""
    assert error.cause
    assert "\n" not in error.cause
    assert error.remedy, f"{error.cause!r} has no remedy"
    assert "\n" not in error.remedy


def unless_refused(act: Callable[[], T]) -> T | None:
    """What `act` gives, or None where it refuses with a typed error. Any other exception is the test's failure."""
    try:
        return act()
    except ForgeError as error:
        check_refusal(error)
        return None


def misspelt(name: str) -> str:
    """The name with two letters of its middle changed over, as a hurried hand writes it."""
    middle = len(name) // 2
    changed = name[: middle - 1] + name[middle] + name[middle - 1] + name[middle + 1 :] if middle else name
    return changed if changed != name else f"{name}{name[-1]}"


def files_under(folder: Path) -> Mapping[str, bytes]:
    """The files of a folder with their bytes, by their path within it."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
