"""The suite of trackers."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from functools import partial
from math import inf, nan
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from attrs import field, frozen

from forge_core import Kernel
from forge_core.contracts.tracker import ExperimentTracker
from forge_core.faults import InvalidInput, NotFound
from forge_core.identifiers import new_id
from forge_core.records.data import JSON
from forge_core.testing.contract import Contract, Subject, tenant
from forge_core.testing.processes import killed, race, run
from forge_core.testing.registry import PLANTS, TENANTS, answer, meet, siege

Metric: TypeAlias = tuple[str, float, int, datetime]
START = datetime(2026, 1, 31, 12, 30, 15, 123456, tzinfo=UTC)
PARAMETERS: Mapping[str, JSON] = {"depth": 3, "rate": 0.1 + 0.2, "nested": {"l": [1, None, True, "\u96ea"], "": ""}, "r\u00e4te": -1e-300}


@frozen
class Kept:
    """What a driver keeps of a run beside its metrics. `artifacts` maps names to bytes."""

    experiment: str
    parameters: Mapping[str, JSON]
    state: str
    artifacts: Mapping[str, bytes] = field(factory=dict)


Read: TypeAlias = Callable[[Any, str], Kept]


class TrackerContract(Contract):
    """Give `kept`: the contract reads metrics alone, so that nobody but the author knows where the rest of a run can be read."""

    contract = ExperimentTracker

    @pytest.fixture
    def kept(self) -> Read:
        """`kept(driver, run_id)` reads a run back, behind the contract, as a `Kept`. There is no default: override it."""
        pytest.fail(
            "override the fixture `kept`: it returns a function that is given the driver and a run's id, and returns what is kept of"
            " that run as forge_core.testing.tracker.Kept(experiment, parameters, state, artifacts); without it nobody knows"
        )

    @pytest.fixture
    def file(self, tmp_path: Path) -> Callable[[bytes], Path]:
        """`file(data)`: a new file with these bytes."""
        numbers = itertools.count()

        def make(data: bytes) -> Path:
            made = tmp_path / f"file-{next(numbers)}"
            made.write_bytes(data)
            return made

        return make

    # ---- runs

    def test_a_run_is_kept_with_its_experiment_and_parameters(self, driver: Any, another: Any, kept: Read) -> None:
        """Parameters are JSON and come back equal, nested and non-ASCII ones too, in every process. Keep their types."""
        driver.start("flights \u2708", "run_1", PARAMETERS)
        driver.start("flights \u2708", "run_2", {})
        for one in (driver, another()):
            assert (kept(one, "run_1").experiment, kept(one, "run_1").parameters) == ("flights \u2708", PARAMETERS)
            assert kept(one, "run_2").parameters == {}

    def test_starting_a_run_again_changes_nothing(self, kernel: Kernel, driver: Any, another: Any, kept: Read) -> None:
        """A resumed run is started again: what it has stays, whatever is said the second time, after its end as well.

        Insert it if it is absent. A `transactional` driver opens no transaction for what changes nothing: it is no event.
        """
        driver.start("flights", "run_1", {"depth": 3})
        driver.log_metrics("run_1", [("loss", 0.5, 1, START)])
        before = kept(driver, "run_1")
        another().start("other", "run_1", {"depth": 4})
        assert kept(driver, "run_1") == before
        driver.end("run_1", "failed")
        driver.start("other", "run_1", {})
        assert (kept(driver, "run_1").parameters, kept(driver, "run_1").state) == ({"depth": 3}, "failed")
        assert driver.metrics("run_1") == [("loss", 0.5, 1, START)]
        if self.driver_class.transactional:
            done = [event.action for _number, event in kernel.database.events() if event.outcome == "done"]
            assert done == ["run:track"]

    def test_many_who_start_one_run_at_once_make_one(self, subject: Subject, driver: Any) -> None:
        """Processes that start the same run at once all succeed, and it is one run. A unique constraint, not a look before."""
        starters, rounds = 4, 20
        meeting = str(subject.root / "meeting")
        race(subject, start_and_log, [[meeting, starters, rounds, number] for number in range(starters)])
        for number in range(rounds):
            assert [step for _name, _value, step, _at in driver.metrics(f"run_{number}")] == list(range(starters))

    @pytest.mark.parametrize("state", ["done", "failed", "cancelled"])
    def test_a_run_that_ended_says_how(self, driver: Any, another: Any, kept: Read, state: str) -> None:
        """The state is what `end` was told last: a run that failed, was resumed and ended again has the new one. Overwrite it."""
        driver.start("flights", "run_1", {})
        driver.start("flights", "run_2", {})
        assert kept(driver, "run_1").state not in {"done", "failed", "cancelled"}
        driver.end("run_1", "failed")
        driver.log_metrics("run_1", [("loss", 0.5, 1, START)])
        driver.end("run_1", state)
        assert kept(another(), "run_1").state == state
        assert kept(driver, "run_2").state not in {"done", "failed", "cancelled"}
        assert len(driver.metrics("run_1")) == 1

    def test_a_run_that_was_not_started_is_not_found(self, driver: Any, file: Callable[[bytes], Path]) -> None:
        """`NotFound`, from every method that takes a run, and none makes one on the way. Look for the run before you write."""
        driver.start("flights", "run_1", {})
        calls: tuple[tuple[Callable[..., object], Any], ...] = (
            (driver.metrics, ()),
            (driver.log_metrics, ([("loss", 0.5, 1, START)],)),
            (driver.log_artifact, (file(b"x"), "report")),
            (driver.end, ("done",)),
        )
        for ask, rest in calls:
            assert answer(ask, "run_2", *rest) is NotFound
            assert answer(driver.metrics, "run_2") is NotFound
        driver.start("flights", "run_2", {})
        assert driver.metrics("run_2") == []

    def test_parameters_that_are_not_json_are_refused(self, driver: Any) -> None:
        """NaN, infinities and objects are no JSON: a typed error, and no run. Check them where they enter."""
        for value in (nan, inf, -inf, object(), {1, 2}, b"x", "\ud800"):
            assert answer(driver.start, "flights", "run_1", {"x": [value]}) is not None, value
        assert answer(driver.metrics, "run_1") is NotFound

    # ---- metrics

    def test_metrics_come_back_in_the_order_of_name_step_and_time(self, driver: Any, another: Any) -> None:
        """By name as Python orders texts, then step as a number, then time; batches do not matter. Order in the store, by code points."""
        later = START + timedelta(microseconds=1)
        names = ("val/loss", "Loss", "loss", "_", "\u00c4uc", "a b", "a-b", "ab", "\U0001f4c8", "\uffee", "10", "9")
        told = [(name, 0.5, step, at) for name in names for step in (10, 9, -1, 2**40, 0) for at in (later, START)]
        random.Random(7).shuffle(told)  # noqa: S311 - no secret
        driver.start("flights", "run_1", {})
        for first in range(0, len(told), 17):
            driver.log_metrics("run_1", told[first : first + 17])
        expected = sorted(told, key=lambda metric: (metric[0], metric[2], metric[3]))
        assert driver.metrics("run_1") == another().metrics("run_1") == expected

    def test_every_metric_that_was_logged_is_kept(self, driver: Any) -> None:
        """What is logged twice is there twice: a step that is done again has two values. Merge and replace nothing."""
        driver.start("flights", "run_1", {})
        driver.start("flights", "run_2", {})
        same = ("loss", 0.5, 1, START)
        driver.log_metrics("run_1", [same, same])
        driver.log_metrics("run_1", [same, ("loss", 0.25, 1, START)])
        driver.log_metrics("run_2", [])
        assert sorted(driver.metrics("run_1")) == [("loss", 0.25, 1, START), same, same, same]
        assert driver.metrics("run_2") == []

    def test_values_are_kept_to_the_last_bit(self, driver: Any) -> None:
        """A double comes back as the double that it was, the smallest and the largest too. Do not print, round or narrow it."""
        values = [0.1 + 0.2, 5e-324, 1.7976931348623157e308, -1e-300, 1 / 3, 2.0**53 + 2]
        driver.start("flights", "run_1", {})
        driver.log_metrics("run_1", [("loss", value, step, START) for step, value in enumerate(values)])
        found = [value for _name, value, _step, _at in driver.metrics("run_1")]
        assert [value.hex() for value in found] == [value.hex() for value in values]

    def test_a_metric_that_is_no_number_is_kept_as_such(self, driver: Any, another: Any) -> None:
        """NaN and the infinities are what a run that diverged has to say: they come back, and are never 0, None or an error."""
        driver.start("flights", "run_1", {})
        driver.log_metrics("run_1", [("a", nan, 1, START), ("b", inf, 1, START), ("c", -inf, 1, START), ("d", 1.0, 1, START)])
        for one in (driver, another()):
            values = [value for _name, value, _step, _at in one.metrics("run_1")]
            assert math.isnan(values[0])
            assert values[1:] == [inf, -inf, 1.0]

    def test_times_are_aware_utc_to_the_microsecond(self, driver: Any) -> None:
        """A time in any zone comes back as the same instant in UTC; one without a zone is a typed error. Convert, and guess nothing."""
        driver.start("flights", "run_1", {})
        zones = (UTC, timezone(timedelta(hours=14)), timezone(timedelta(hours=-9, minutes=-30)))
        driver.log_metrics("run_1", [("loss", 0.5, step, START.astimezone(zone)) for step, zone in enumerate(zones)])
        times = [at for _name, _value, _step, at in driver.metrics("run_1")]
        assert times == [START] * 3
        assert {at.utcoffset() for at in times} == {timedelta(0)}
        assert answer(driver.log_metrics, "run_1", [("loss", 0.5, 9, START.replace(tzinfo=None))]) is not None
        assert len(driver.metrics("run_1")) == 3

    def test_a_batch_with_a_wrong_metric_is_refused_whole(self, driver: Any) -> None:
        """A value, step, name or time that is none is `InvalidInput`, and nothing of its batch is kept. Check all before you write one."""
        driver.start("flights", "run_1", {})
        good = ("loss", 0.5, 1, START)
        wrong: tuple[tuple[Any, ...], ...] = (
            *(("loss", value, 1, START) for value in ("0.5", b"1", 10**400, None, object(), [0.5])),
            *(("loss", 0.5, step, START) for step in (None, "1", nan, 1.5, 2**63, -(2**63) - 1)),
            *((name, 0.5, 1, START) for name in (None, 1, b"loss", "loss\ud800")),
            *(("loss", 0.5, 1, at) for at in (None, "2026-01-31", 1.7e9, START.replace(tzinfo=None))),
            ("loss", 0.5, 1), ("loss",), (), ("loss", 0.5, 1, START, "more"),
        )  # fmt: skip
        for metric in wrong:
            assert answer(driver.log_metrics, "run_1", [good, metric, good]) is InvalidInput, metric
        assert driver.metrics("run_1") == []

    def test_a_large_batch_is_kept_whole(self, driver: Any) -> None:
        """Twenty-five thousand metrics in one batch are all there, in order. Write them in pieces, and do not cut what you return."""
        driver.start("flights", "run_1", {})
        driver.log_metrics("run_1", [("loss", float(step), step, START) for step in range(25_000)])
        assert [(value, step) for _name, value, step, _at in driver.metrics("run_1")] == [(float(step), step) for step in range(25_000)]

    def test_batches_of_many_processes_at_once_are_all_kept(self, subject: Subject, driver: Any) -> None:
        """Six processes that log at once lose nothing and see no error. Append rows; do not read, add and write back."""
        driver.start("flights", "run_1", {})
        race(subject, log, [["run_1", f"worker{number}", 12, 50] for number in range(6)])
        found = [(name, step) for name, _value, step, _at in driver.metrics("run_1")]
        assert found == [(f"worker{number}", step) for number in range(6) for step in range(600)]

    def test_a_killed_process_loses_nothing_that_was_acknowledged(self, subject: Subject, driver: Any) -> None:
        """After SIGKILL at any instant each batch whose call had returned is there, and more can be logged. Return after it is durable."""
        driver.start("flights", "run_1", {})
        for number, after in enumerate((0.0, 0.004, 0.015)):
            told = killed(subject, log, "run_1", f"worker{number}", 100_000, 20, after=after, acknowledged=1 + 3 * number)
            steps = [step for name, _value, step, _at in driver.metrics("run_1") if name == f"worker{number}"]
            assert steps[: told[-1]] == list(range(told[-1]))
            assert len(set(steps)) == len(steps)
        driver.log_metrics("run_1", [("after", 1.0, 1, START)])

    # ---- artifacts

    def test_an_artifact_comes_back_as_it_was(self, driver: Any, another: Any, kept: Read, file: Callable[[bytes], Path]) -> None:
        """A file's bytes are kept under a name of its run, folders in it included, whatever becomes of the file. Copy it."""
        driver.start("flights", "run_1", {})
        driver.start("flights", "run_2", {})
        told = {"report.html": bytes(range(256)) * 2000, "plots/loss/train.png": b"\r\n\x00", "empty": b""}
        for name, data in told.items():
            given = file(data)
            driver.log_artifact("run_1", given, name)
            given.write_bytes(b"overwritten")
            given.unlink()
        driver.log_artifact("run_2", file(b"theirs"), "report.html")
        assert kept(driver, "run_1").artifacts == kept(another(), "run_1").artifacts == told
        assert kept(driver, "run_2").artifacts == {"report.html": b"theirs"}

    def test_an_artifact_of_the_same_name_is_replaced(self, driver: Any, another: Any, kept: Read, file: Callable[[bytes], Path]) -> None:
        """The last one logged under a name is the one that is kept: a resumed run logs it again. Replace it at once and whole."""
        driver.start("flights", "run_1", {})
        for data in (b"a long one" * 1000, b"short", b"last!"):
            driver.log_artifact("run_1", file(data), "report")
            assert kept(another(), "run_1").artifacts == {"report": data}

    def test_an_artifact_that_is_no_file_is_refused(self, subject: Subject, driver: Any, kept: Read, file: Callable[[bytes], Path]) -> None:
        """What is not there, a folder, a link and a pipe are typed errors, at once, and nothing is kept. Follow no link."""
        driver.start("flights", "run_1", {})
        outside = file(b"secret")
        places = [outside.with_name(name) for name in PLANTS if name != "hard link"]
        for place in places:
            PLANTS[place.name](place, outside)
        wrong = [str(one) for one in (*places, outside.parent, outside.with_name("nowhere"))]
        assert [path for path, kind in run(subject, refusals, "run_1", wrong) if kind is None] == []
        assert kept(driver, "run_1").artifacts == {}

    # ---- whose it is

    def test_tenants_do_not_see_one_another(self, driver: Any, kept: Read, file: Callable[[bytes], Path]) -> None:
        """Another tenant's run does not exist; a run of the same id is another run. Every row, key and path carries the tenant as it is."""
        for name in TENANTS:
            with tenant(name):
                driver.start(name, "run_1", {"of": name})
                driver.log_metrics("run_1", [(name, 0.5, 1, START)])
                driver.log_artifact("run_1", file(name.encode()), "report")
                driver.start(name, f"run_of_{TENANTS.index(name)}", {})
        with tenant("a"):
            driver.end("run_1", "failed")
        for name in TENANTS:
            with tenant(name):
                found = kept(driver, "run_1")
                assert (found.experiment, found.parameters, found.artifacts) == (name, {"of": name}, {"report": name.encode()})
                assert (found.state == "failed") is (name == "a")
                assert driver.metrics("run_1") == [(name, 0.5, 1, START)]
                for other in {f"run_of_{number}" for number in range(len(TENANTS))} - {f"run_of_{TENANTS.index(name)}"}:
                    assert answer(driver.metrics, other) is NotFound
                    assert answer(driver.log_metrics, other, [("m", 0.5, 1, START)]) is NotFound
                    assert answer(driver.log_artifact, other, file(b"x"), "x") is NotFound
                    assert answer(driver.end, other, "done") is NotFound
        assert answer(driver.metrics, "run_1") is NotFound

    def test_hostile_names_reach_no_file_outside(self, subject: Subject, driver: Any, kept: Read, hostile_paths: Any, file: Any) -> None:
        """A hostile text in any field is a typed error, or kept as it is; no file outside is opened.

        Match names against a narrow pattern before they reach storage, and bind them in queries.
        """
        driver.start("flights", "run_1", {})
        artifact = file(b"x")
        wrong, opened, tried = run(subject, besiege, str(artifact), list(hostile_paths), [str(artifact)], timeout=300)
        assert tried > len(hostile_paths) * len(ATTEMPTS)
        assert opened == []
        assert wrong == []
        assert kept(driver, "run_1").artifacts.items() <= {(text, b"x") for text in ("harmless", *hostile_paths)}

    def test_a_run_s_beginning_is_recorded_and_its_metrics_are_not(self, kernel: Kernel, driver: Any) -> None:
        """That a run began is in the project's outbox, done, once; metrics are not, and what was refused is not.

        A `transactional` driver writes in `Database.transaction()`, so that it rolls back with it; any other declares nothing.
        """
        driver.start("flights", "run_1", {})
        driver.log_metrics("run_1", [("loss", 0.5, 1, START)])
        driver.end("run_1", "done")
        assert answer(driver.end, "run_2", "done") is NotFound
        assert answer(driver.start, "flights", "run_2", {"x": nan}) is not None
        done = [event for _number, event in kernel.database.events() if event.outcome == "done"]
        assert [(event.action, event.resource) for event in done] == [("run:track", "run:run_1")]
        if self.driver_class.transactional:
            with suppress(RuntimeError), kernel.database.transaction():
                driver.start("flights", "run_2", {})
                driver.log_metrics("run_2", [("loss", 0.5, 1, START)])
                raise RuntimeError("roll back")
            assert answer(driver.metrics, "run_2") is NotFound

    def test_reopening_sees_everything(self, subject: Subject, kept: Read, file: Callable[[bytes], Path]) -> None:
        """What one driver did, another sees: while it is open, and after it was closed. Flush with each call, at the latest at `close`."""
        with subject.opened() as first:
            first.start("flights", "run_1", PARAMETERS)
            first.log_metrics("run_1", [("loss", 0.5, 1, START)])
            with subject.opened() as beside:
                assert beside.metrics("run_1") == [("loss", 0.5, 1, START)]
            first.log_artifact("run_1", file(b"x"), "report")
            first.end("run_1", "done")
        with subject.opened() as second:
            assert kept(second, "run_1") == Kept("flights", PARAMETERS, "done", {"report": b"x"})
            assert second.metrics("run_1") == [("loss", 0.5, 1, START)]


# ---- what other processes do


def start_and_log(driver: Any, place: str, parties: int, rounds: int, mine: int) -> None:
    for number in range(rounds):
        meet(place, parties, number)
        driver.start("flights", f"run_{number}", {"depth": 3})
        driver.log_metrics(f"run_{number}", [("loss", 0.5, mine, START)])


def log(driver: Any, run_id: str, name: str, batches: int, size: int) -> Iterator[JSON]:
    """How many metrics were logged so far, after each batch."""
    for first in range(0, batches * size, size):
        driver.log_metrics(run_id, [(name, 0.5, step, START) for step in range(first, first + size)])
        yield first + size


def refusals(driver: Any, run_id: str, paths: Sequence[str]) -> Iterator[JSON]:
    for path in paths:
        found = answer(driver.log_artifact, run_id, Path(path), "artifact")
        yield [path, found.kind if found else None]


def besiege(driver: Any, artifact: str, texts: Sequence[str], roots: Sequence[str]) -> Iterator[JSON]:
    yield from siege({attempt.__name__: partial(attempt, driver, Path(artifact)) for attempt in ATTEMPTS}, texts, roots)


def _started(driver: Any, experiment: str = "flights", parameters: Mapping[str, JSON] | None = None) -> str:
    run_id = new_id("run")
    driver.start(experiment, run_id, parameters or {})
    return run_id


def _unknown(driver: Any, artifact: Path, text: str) -> bool:
    refused = (
        answer(driver.metrics, text),
        answer(driver.log_metrics, text, [("loss", 0.5, 1, START)]),
        answer(driver.log_artifact, text, artifact, "report"),
        answer(driver.end, text, "done"),
    )
    return None not in refused


def _run(driver: Any, artifact: Path, text: str) -> bool:
    driver.start("flights", text, {})
    driver.log_metrics(text, [("loss", 0.5, 1, START)])
    driver.log_artifact(text, artifact, "report")
    driver.end(text, "done")
    return bool(driver.metrics(text) == [("loss", 0.5, 1, START)])


def _experiment(driver: Any, artifact: Path, text: str) -> bool:
    return bool(driver.metrics(_started(driver, experiment=text)) == [])


def _parameter(driver: Any, artifact: Path, text: str) -> bool:
    return bool(driver.metrics(_started(driver, parameters={text: text})) == [])


def _metric(driver: Any, artifact: Path, text: str) -> bool:
    run_id = _started(driver)
    driver.log_metrics(run_id, [(text, 0.5, 1, START)])
    return bool(driver.metrics(run_id) == [(text, 0.5, 1, START)])


def _artifact(driver: Any, artifact: Path, text: str) -> bool:
    driver.log_artifact("run_1", artifact, text)
    return True


def _state(driver: Any, artifact: Path, text: str) -> bool:
    driver.end(_started(driver), text)
    return True


def _tenant(driver: Any, artifact: Path, text: str) -> bool:
    with tenant(text):
        driver.start("flights", "run_1", {})
        driver.log_metrics("run_1", [("loss", 0.5, 1, START)])
        driver.log_artifact("run_1", artifact, "report")
        return bool(driver.metrics("run_1") == [("loss", 0.5, 1, START)])


ATTEMPTS: tuple[Callable[[Any, Path, str], bool], ...] = (
    _unknown, _run, _experiment, _parameter, _metric, _artifact, _state, _tenant,
)  # fmt: skip
