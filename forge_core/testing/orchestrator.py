"""The suite of orchestrators."""

from __future__ import annotations

import math
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from threading import Thread
from typing import Any, Literal

import pytest
from attrs import evolve

from forge_core import Kernel
from forge_core.contracts.orchestrator import Orchestrator
from forge_core.faults import Conflict, ForgeError, InvalidInput, NotFound, Transient
from forge_core.operations import acting_as
from forge_core.records.auth import Principal, Session
from forge_core.records.data import JSON
from forge_core.records.runs import PipelineConfig, RetryPolicy, RunRecord, Step
from forge_core.serialize import from_json, to_json
from forge_core.testing.contract import Contract, Subject, tenant
from forge_core.testing.processes import killed, race
from forge_core.testing.recorded import RecordedHooks

MODULE = "contract_steps"
STEPS = '''
"""The steps of the suite's pipelines. What they leave beside this file tells which of them ran."""

import os
import secrets
import signal
import subprocess
import sys
import time
from pathlib import Path

from forge_core.faults import Conflict, Transient

HERE = Path(__file__).parent
BEAT = "import sys, time\\nfor _ in range(1500):\\n    open(sys.argv[1], 'a').write('.')\\n    time.sleep(0.02)"  # thirty seconds


def began(task):
    with open(HERE / "ran.txt", "a") as file:
        file.write(task.step.name + "\\n")
    return (HERE / "ran.txt").read_text().split().count(task.step.name)


def say(name, text):
    (HERE / f"{name}.new").write_text(text)
    os.replace(HERE / f"{name}.new", HERE / name)


def child():
    """Something that a step leaves behind: its file grows as long as it lives."""
    subprocess.Popen([sys.executable, "-I", "-S", "-c", BEAT, str(HERE / "beat")])
    while not (HERE / "beat").exists():
        time.sleep(0.01)


def add(task, plus=1):
    """`plus` and what the needed steps gave, which stands in their files as well."""
    began(task)
    for given in task.inputs.values():
        assert Path(given["folder"], "deep", "n").read_bytes() == b"\\x00" * given["n"]
    n = plus + sum(given["n"] for given in task.inputs.values())
    (task.folder / "deep").mkdir()
    (task.folder / "deep" / "n").write_bytes(b"\\x00" * n)
    return {"n": n, "of": sorted(task.inputs)}


def rests(task, salt, seconds):
    began(task)
    time.sleep(seconds)
    return {"salt": salt}


def draws(task):
    """Something that differs between any two executions, in the outputs and in a file."""
    began(task)
    token = secrets.token_hex(8)
    (task.folder / "token").write_text(token)
    time.sleep(0.3)
    return {"token": token}


def compares(task, drawn):
    began(task)
    return {"output": drawn["token"], "file": Path(drawn["folder"], "token").read_text()}


def looks(task, kernel):
    """What is recorded of its own run while it runs."""
    began(task)
    (found,) = [one for one in kernel.runs() if one.run_id == task.run_id]
    return {"run": found.state, "steps": [[step.name, step.state, dict(step.outputs)] for step in found.steps]}


def holds(task):
    """Begins, says so, and goes on when the file `go`, or one of its own, is there."""
    began(task)
    say(f"{task.step.name}.held", task.run_id)
    while not (HERE / "go").exists() and not (HERE / f"{task.step.name}.go").exists():
        time.sleep(0.01)
    return {"held": True}


def holds_with_child(task):
    child()
    return holds(task)


def fails_until(task, file):
    began(task)
    if not (HERE / file).exists():
        raise ValueError(f"there is no {file}")
    return {}


def fails_times(task, times, kind):
    """Leaves a file of each attempt."""
    number = began(task)
    (task.folder / f"attempt-{number}").write_text(str(time.time()))
    with open(HERE / "times.txt", "a") as file:
        file.write(f"{time.monotonic()}\\n")
    if number <= times:
        raise {"transient": Transient, "conflict": Conflict, "os": OSError}[kind](f"number {number}")
    return {"number": number}


def lists(task, before):
    began(task)
    return {"files": sorted(path.name for path in Path(before["folder"]).iterdir())}


def returns(task, what):
    began(task)
    return {
        "list": [1], "text": "x", "object": {"o": object()}, "bytes": {"b": b"x"}, "nothing": None, "nan": {"x": float("nan")},
        "nested": {"a": [1, 2.5, None, True, {"b": "\\u2713"}]},
    }[what]


def who(task):
    began(task)
    acting = task.session
    deadline = acting.deadline.isoformat() if acting.deadline else None
    return {"name": acting.principal.name, "tenant": acting.principal.tenant, "request": acting.request_id, "deadline": deadline}


def prints(task, words):
    began(task)
    print(words, "on stdout")
    print(words, "on stderr", file=sys.stderr)


def leaves_a_child(task):
    began(task)
    child()


def ends(task, how):
    """Goes wrong, with a child."""
    began(task)
    child()
    print("last words of", how, flush=True)
    if how == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if how == "os._exit":
        os._exit(7)
    if how == "sys.exit":
        sys.exit(3)
    if how.startswith("SIG"):
        os.kill(os.getpid(), getattr(signal, how))
    while True:
        time.sleep(1)
'''
Isolation = Literal["inline", "process"]


def step(name: str, does: str, *needs: str, isolation: Isolation = "inline", timeout: float | None = None, **parameters: JSON) -> Step:
    """A step that does a function of the suite's module; it needs all earlier ones where it says none."""
    return Step(name, "TRAINING", f"{MODULE}:{does}", parameters, needs, timeout, isolation)


def pipeline(*steps: Step, **options: Any) -> PipelineConfig:
    return PipelineConfig("suite", stages=steps, **options)


def until(condition: Callable[[], Any], seconds: float, what: str) -> Any:
    """What `condition` gives as soon as it is true."""
    ends = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < ends, f"{what}: not within {seconds:g} s"
        time.sleep(0.02)
    return found


# ---- what other processes do


def executes(driver: Any, config: JSON) -> Iterator[JSON]:
    """Says "ready" before, and afterwards how it ended."""
    yield "ready"
    yield _ended(lambda: driver.execute_pipeline(from_json(config, PipelineConfig)))


def resumes(driver: Any, run_id: str) -> Iterator[JSON]:
    yield _ended(lambda: driver.resume(run_id))


def held_in(driver: Any, root: str, name: str, config: JSON, run_id: str) -> Iterator[JSON]:
    """Execute, or resume, in a thread; acknowledge when the step `name` holds."""
    mark = Path(root, f"{name}.held")
    mark.unlink(missing_ok=True)
    act = (lambda: driver.resume(run_id)) if run_id else (lambda: driver.execute_pipeline(from_json(config, PipelineConfig)))
    thread = Thread(target=act)
    thread.start()
    yield until(lambda: mark.exists() and mark.read_text(), 30, f"step {name} begins")
    thread.join()


def beside(driver: Any, part: str, root: str, config: JSON) -> Iterator[JSON]:
    """One executes a pipeline whose step `b` holds; the other looks at it meanwhile, and cancels it or lets it end."""
    if part == "executes":
        yield from executes(driver, config)
        return
    mark = Path(root, "b.held")
    run_id = until(lambda: mark.exists() and mark.read_text(), 30, "step b begins")
    yield to_json(driver.monitor_progress(run_id))
    yield _ended(lambda: driver.resume(run_id))
    if part != "lets it end":
        driver.cancel(run_id)
    if part != "cancels what does not end":
        Path(root, "go").touch()


def _ended(act: Callable[[], Any]) -> JSON:
    """["", what it returned], or [the names of the error's classes, its cause]."""
    try:
        return ["", act()]
    except ForgeError as error:
        return [[one.__name__ for one in type(error).__mro__], error.cause]


class OrchestratorContract(Contract):
    """Set `driver_class`, and `settings` where it needs any. The steps are functions of a module that the suite writes into its project.

    A step's files and its own record are what is judged: how many processes or machines are behind it does not matter, as long as they
    see the project's folder and its database.
    """

    contract = Orchestrator

    @pytest.fixture(autouse=True)
    def _steps(self, subject: Subject) -> Iterator[None]:
        before = list(sys.path)
        (subject.root / f"{MODULE}.py").write_text(STEPS, encoding="utf-8")
        sys.modules.pop(MODULE, None)
        yield
        sys.path[:] = before  # an opened kernel leaves its project there
        sys.modules.pop(MODULE, None)

    @pytest.fixture
    def ran(self, subject: Subject) -> Callable[[], Counter[str]]:
        """How often each step was begun so far."""

        def count() -> Counter[str]:
            path = subject.root / "ran.txt"
            return Counter(path.read_text().split() if path.exists() else ())

        return count

    @pytest.fixture
    def execute(self, driver: Any) -> Callable[[PipelineConfig], RunRecord]:
        """Execute a pipeline to its end; its record."""
        return lambda config: driver.monitor_progress(driver.execute_pipeline(config))

    @pytest.fixture
    def failing(self, driver: Any, kernel: Kernel) -> Callable[[PipelineConfig], tuple[ForgeError, RunRecord]]:
        """Execute a pipeline that fails; what was raised, and the newest run's record."""

        def fail(config: PipelineConfig) -> tuple[ForgeError, RunRecord]:
            with pytest.raises(ForgeError) as caught:
                driver.execute_pipeline(config)
            return caught.value, driver.monitor_progress(kernel.runs()[0].run_id)

        return fail

    @pytest.fixture
    def stopped(self, subject: Subject) -> Callable[[float], None]:
        """`stopped(2)`: what the steps left behind has ended two seconds from now."""

        def check(seconds: float) -> None:
            beat = subject.root / "beat"
            assert beat.exists()
            ends, size, since = time.monotonic() + seconds, -1, time.monotonic()
            while time.monotonic() - since < 0.5:  # on a busy machine a pause is not an end
                if size != (size := beat.stat().st_size):
                    since = time.monotonic()
                    assert since < ends, f"what the step had started lives on {seconds:g} s later"
                time.sleep(0.05)
            beat.unlink()

        return check

    # ---- order, outputs, files

    @pytest.mark.parametrize("isolation", ["inline", "process"])
    def test_steps_run_after_what_they_need_and_get_its_outputs_and_files(
        self, execute: Callable[..., RunRecord], ran: Callable[[], Counter[str]], isolation: Isolation
    ) -> None:
        """A step starts after those it needs, whatever the order of the list, and gets their outputs and files and nobody else's.

        Follow the plan's order, and fill `Task.inputs` by `Step.needs`: outputs, and `folder` as the runtime says it.
        """
        made = execute(
            pipeline(
                evolve(step("d", "add", "b", "c", isolation=isolation), stage="VALIDATION"),
                step("b", "add", "a", isolation=isolation),
                step("c", "add", "a", isolation=isolation, plus=10),
                evolve(step("a", "add", isolation=isolation), stage="DATA_PREPARATION"),
            )
        )
        outputs = {one.name: one.outputs for one in made.steps}
        assert outputs == {
            "a": {"n": 1, "of": []},
            "b": {"n": 2, "of": ["a"]},
            "c": {"n": 11, "of": ["a"]},
            "d": {"n": 14, "of": ["b", "c"]},
        }
        assert ran() == Counter("abcd")

    def test_a_run_that_ended_is_recorded_with_all_of_its_steps(self, driver: Any, kernel: Kernel) -> None:
        """The id that `execute_pipeline` returns is a record: done, each step done, with stage, attempt and times in aware UTC.

        Keep the run in the runtime's journal; then `kernel.runs()` lists it as it lists every orchestrator's.
        """
        before = datetime.now(UTC)
        run_id = driver.execute_pipeline(pipeline(step("a", "add"), step("b", "add")))
        made = driver.monitor_progress(run_id)
        assert run_id.startswith("run_")
        assert (made.run_id, made.name, made.state, made.error, made.tenant) == (run_id, "suite", "done", "", "default")
        assert [(one.name, one.stage, one.state, one.attempt, one.cached, one.error) for one in made.steps] == [
            (name, "TRAINING", "done", 1, False, "") for name in "ab"
        ]
        assert made.ended_at is not None
        times = [before, made.started_at]
        for one in made.steps:
            assert one.ended_at is not None
            times += [one.started_at, one.ended_at]
        assert [*times, made.ended_at] == sorted([*times, made.ended_at]), "a step starts after the one before it has ended"
        assert all(time.utcoffset() == timedelta(0) for time in (*times, made.ended_at))
        assert kernel.runs() == (made,)

    def test_a_step_is_recorded_before_the_next_one_starts(self, execute: Callable[..., RunRecord]) -> None:
        """While a step runs, the journal has the ones before it as done, with outputs, itself as running, and none after it.

        Commit a step's end before, or together with, the next one's start.
        """
        made = execute(pipeline(step("a", "add"), step("b", "looks"), step("c", "looks"), step("d", "add", "a")))
        seen = {one.name: one.outputs for one in made.steps}
        for looking, done in (("b", ["a"]), ("c", ["a", "b"])):
            assert seen[looking]["run"] == "running"
            states = {name: (state, outputs) for name, state, outputs in seen[looking]["steps"]}
            assert [states[name] for name in done] == [("done", dict(seen[name])) for name in done]
            assert states[looking][0] == "running"
            assert states["d"][0] not in ("running", "done", "failed")

    @pytest.mark.parametrize(("what", "outputs"), [("nothing", {}), ("nested", {"a": [1, 2.5, None, True, {"b": "\u2713"}]})])
    def test_outputs_are_kept_as_they_were_returned(self, execute: Callable[..., RunRecord], what: str, outputs: JSON) -> None:
        """A step returns a mapping of JSON, or nothing, and the record has it, value by value. Keep it as JSON, and change nothing."""
        assert execute(pipeline(step("a", "returns", what=what))).steps[0].outputs == outputs

    def test_a_number_that_json_lacks_is_kept_or_refused(self, driver: Any, kernel: Kernel) -> None:
        """NaN among a step's outputs stays what it is, or fails the step, typed; the run ends either way, on every database."""
        with suppress(ForgeError):
            driver.execute_pipeline(pipeline(step("a", "returns", what="nan")))
        (made,) = kernel.runs()
        if made.state == "done":
            assert math.isnan(made.steps[0].outputs["x"])
        else:
            assert (made.state, made.steps[0].state) == ("failed", "failed")

    def test_hooks_and_the_audit_trail_are_told_of_a_run(
        self, kernel: Kernel, execute: Callable[..., RunRecord], recorded_hooks: RecordedHooks
    ) -> None:
        """Listeners hear of the run and each step, start before end, and the outbox has one event for the mutation.

        Write through the runtime's journal; a `transactional` driver commits in `Database.transaction()`, where the guard's event rides.
        """
        made = execute(pipeline(step("a", "add"), step("b", "add")))
        told = [
            (hook, getattr(arguments.get("step"), "name", arguments.get("run") and made.name))
            for hook, arguments in recorded_hooks.calls
            if hook.startswith(("forge_run_", "forge_step_"))
        ]
        assert told[0] == ("forge_run_started", "suite")
        assert told[-1] == ("forge_run_finished", "suite")
        assert sorted(told[1:-1]) == [(f"forge_step_{what}", name) for what in ("finished", "started") for name in "ab"]
        assert told.index(("forge_step_started", "a")) < told.index(("forge_step_finished", "a")) < told.index(("forge_step_finished", "b"))
        assert [(event.action, event.outcome) for _, event in kernel.database.events()] == [("run:start", "done")]

    # ---- what was done is not done again

    def test_a_second_execution_runs_nothing(
        self, execute: Callable[..., RunRecord], another: Callable[[], Any], ran: Callable[[], Counter[str]]
    ) -> None:
        """What has a result by its fingerprint is not run again, here and from elsewhere; the new run is done, its steps cached.

        Ask `Runtime.known` before a step, and record its outputs in the new run.
        """
        config = pipeline(step("a", "add"), step("b", "add"))
        first = execute(config)
        other = another()
        for again in (execute(config), other.monitor_progress(other.execute_pipeline(config))):
            assert again.run_id != first.run_id
            assert again.state == "done"
            assert [(one.state, one.cached, one.outputs) for one in again.steps] == [("done", True, one.outputs) for one in first.steps]
        assert ran() == Counter("ab")

    def test_a_changed_parameter_runs_its_step_and_what_needs_it(
        self, execute: Callable[..., RunRecord], ran: Callable[[], Counter[str]]
    ) -> None:
        """A change runs the changed step and those that need it, with its new outputs and files, and no other. Judge by fingerprints."""

        def config(plus: int) -> PipelineConfig:
            return pipeline(step("a", "add"), step("b", "add", "a", plus=plus), step("c", "add", "b"), step("d", "add", "a", plus=7))

        execute(config(1))
        again = execute(config(2))
        assert [(one.name, one.cached, one.outputs["n"]) for one in again.steps] == [
            ("a", True, 1),
            ("b", False, 3),
            ("c", False, 4),
            ("d", True, 8),
        ]
        assert ran() == Counter({"a": 1, "b": 2, "c": 2, "d": 1})

    # ---- failure

    @pytest.mark.parametrize("isolation", ["inline", "process"])
    def test_a_failing_step_fails_its_run_and_what_comes_after_does_not_run(
        self, failing: Callable[..., Any], ran: Callable[[], Counter[str]], isolation: Isolation
    ) -> None:
        """The run's failure is raised after it is recorded: run and step failed, with the cause; the rest never started.

        Record first, raise then, and raise a ForgeError that names the step.
        """
        error, made = failing(
            pipeline(step("a", "add"), step("b", "fails_until", isolation=isolation, file="mended"), step("c", "add", "a"))
        )
        assert "there is no mended" in error.cause
        assert (made.state, made.error) == ("failed", error.cause)
        assert [one.state for one in made.steps[:2]] == ["done", "failed"]
        assert made.steps[1].error == error.cause
        assert made.steps[2].state not in ("done", "failed", "running")
        assert made.ended_at is not None
        assert ran() == Counter("ab")

    @pytest.mark.parametrize("what", ["list", "text", "object", "bytes"])
    def test_what_is_no_mapping_of_json_fails_its_step(self, failing: Callable[..., Any], what: str) -> None:
        """A step that returns anything else than a mapping of JSON fails, typed. Perform steps by `Runtime.perform`, which checks it."""
        _error, made = failing(pipeline(step("a", "returns", what=what)))
        assert (made.state, made.steps[0].state) == ("failed", "failed")

    @pytest.mark.parametrize(
        ("target", "isolation"),
        [
            (f"{MODULE}:nowhere", "inline"), (f"{MODULE}:nowhere", "process"), (f"{MODULE}:add.nowhere", "inline"),
            (f"{MODULE}.add", "inline"), ("no_module_of_anyone:x", "inline"), (":x", "inline"), ("", "inline"),
        ],
    )  # fmt: skip
    def test_a_target_that_does_not_exist_is_a_typed_error(
        self, driver: Any, kernel: Kernel, another: Callable[[], Any], target: str, isolation: Isolation
    ) -> None:
        """A step whose function cannot be imported is a ForgeError, and its run, where there is one, has failed; the next run works.

        Let nothing but a ForgeError out, and end the run before it goes.
        """
        with pytest.raises(ForgeError):
            driver.execute_pipeline(pipeline(evolve(step("a", "add", isolation=isolation), target=target)))
        assert [one.state for one in kernel.runs()] in ([], ["failed"])
        assert driver.monitor_progress(driver.execute_pipeline(pipeline(step("b", "add")))).state == "done"

    @pytest.mark.parametrize(
        ("kind", "retry_on"), [("transient", RetryPolicy().retry_on), ("os", ("OSError",)), ("conflict", ("transient", "conflict"))]
    )
    def test_what_is_retryable_is_tried_again(
        self, execute: Callable[..., RunRecord], ran: Callable[[], Counter[str]], kind: str, retry_on: tuple[str, ...]
    ) -> None:
        """A step that fails with a kind, or a class, of `retry_on` gets a new attempt, in an empty folder, up to `max_attempts`.

        Look at `ForgeError.kind` and the class's name, and give every attempt a folder of its own.
        """
        policy = RetryPolicy(max_attempts=3, initial_delay=0.01, retry_on=retry_on)
        made = execute(pipeline(step("before", "fails_times", times=2, kind=kind), step("after", "lists"), retry_policy=policy))
        assert (made.state, made.steps[0].attempt) == ("done", 3)
        assert made.steps[1].outputs == {"files": ["attempt-3"]}
        assert ran() == Counter({"before": 3, "after": 1})

    @pytest.mark.parametrize(("kind", "attempts"), [("transient", 3), ("conflict", 1), ("os", 1)])
    def test_attempts_are_bounded_and_only_for_what_is_retryable(
        self, failing: Callable[..., Any], ran: Callable[[], Counter[str]], kind: str, attempts: int
    ) -> None:
        """After `max_attempts`, or at once where the kind is not retryable, the step's own error is raised. Count, and compare kinds."""
        policy = RetryPolicy(max_attempts=3, initial_delay=0.01)
        error, made = failing(pipeline(step("a", "fails_times", times=99, kind=kind), retry_policy=policy))
        assert isinstance(error, {"transient": Transient, "conflict": Conflict, "os": ForgeError}[kind])
        assert f"number {attempts}" in error.cause
        assert (made.state, made.steps[0].attempt) == ("failed", attempts)
        assert ran() == Counter({"a": attempts})

    def test_a_new_attempt_waits_as_the_policy_says(self, execute: Callable[..., RunRecord], subject: Subject) -> None:
        """Attempts are `initial_delay` apart, times `multiplier` after each, never more than `max_delay`, give or take the jitter.

        Sleep between attempts, not before the first.
        """
        policy = RetryPolicy(max_attempts=4, initial_delay=0.2, multiplier=3, max_delay=0.4, jitter=0.1)
        execute(pipeline(step("a", "fails_times", times=3, kind="transient"), retry_policy=policy))
        times = [float(line) for line in (subject.root / "times.txt").read_text().split()]
        waited = [after - before for before, after in pairwise(times)]
        assert waited[0] >= 0.18
        assert all(one >= 0.36 for one in waited[1:])
        assert all(one < 5 for one in waited)

    @pytest.mark.parametrize(("whose", "how"), [("step", "deaf"), ("run", "hangs")])
    def test_a_timeout_ends_the_step_and_its_children(
        self, failing: Callable[..., Any], ran: Callable[[], Counter[str]], stopped: Callable[[float], None], whose: str, how: str
    ) -> None:
        """A step past its own timeout or its run's fails; its process and all its children end, SIGTERM ignored or not.

        Give it a process group, and SIGKILL the group after a grace of at most a second.
        """
        began = time.monotonic()
        bad = step("a", "ends", isolation="process", timeout=1.5 if whose == "step" else None, how=how)
        error, made = failing(pipeline(bad, step("b", "add", "a"), timeout=1.5 if whose == "run" else None))
        assert time.monotonic() - began < 20
        assert (made.state, made.error) == ("failed", error.cause)
        assert made.steps[0].state == "failed"
        stopped(2.0)
        assert ran() == Counter("a")

    def test_a_step_whose_process_ends_fails_alone(
        self, driver: Any, failing: Callable[..., Any], execute: Callable[..., RunRecord], stopped: Callable[[float], None]
    ) -> None:
        """A step of `isolation: process` that exits, crashes or is killed fails its run, typed; its children end, its last words stay.

        The driver lives on, and the next run works. Perform such a step in a process whose end you watch.
        """
        for how in ("os._exit", "sys.exit", "SIGSEGV", "SIGKILL"):
            error, made = failing(pipeline(step("a", "ends", isolation="process", how=how)))
            assert error.cause, how
            assert (made.state, made.steps[0].state, made.error) == ("failed", "failed", error.cause), how
            if how != "sys.exit":  # which is no crash: a process may live on
                stopped(2.0)
            assert any(f"last words of {how}" in line for line in driver.logs(made.run_id, "a")), how
        assert execute(pipeline(step("b", "add", isolation="process"))).state == "done"

    def test_what_a_step_leaves_behind_ends_with_the_driver(self, subject: Subject, stopped: Callable[[float], None]) -> None:
        """A step may end well and leave a process; that one ends when the driver is closed, at the latest. End groups in `close`."""
        with subject.opened() as driver:
            made = driver.monitor_progress(driver.execute_pipeline(pipeline(step("a", "leaves_a_child", isolation="process"))))
            assert made.state == "done"
        stopped(2.0)

    # ---- death and resume

    def test_a_failed_run_is_resumed_by_its_plan(
        self, driver: Any, failing: Callable[..., Any], subject: Subject, ran: Callable[[], Counter[str]], kernel: Kernel
    ) -> None:
        """Resume goes on where a failed run stopped: finished steps keep their record, the others run, and get outputs and files.

        Follow the plan that is stored with the run; ask the journal what is done.
        """
        _error, before = failing(
            pipeline(step("a", "add"), step("b", "fails_until", file="mended"), step("c", "add", "a"), step("d", "add", "a", "c"))
        )
        (subject.root / "mended").touch()
        driver.resume(before.run_id)
        after = driver.monitor_progress(before.run_id)
        assert (after.state, after.error) == ("done", "")
        assert after.steps[0] == before.steps[0]
        assert [one.outputs.get("n") for one in after.steps] == [1, None, 2, 4]
        assert ran() == Counter({"a": 1, "b": 2, "c": 1, "d": 1})
        assert [(event.action, event.outcome) for _, event in kernel.database.events()][-1] == ("run:resume", "done")

    def test_a_run_that_fails_again_fails_and_can_be_resumed_again(
        self, driver: Any, failing: Callable[..., Any], subject: Subject, ran: Callable[[], Counter[str]]
    ) -> None:
        """Resume raises what the run fails by, after it is recorded, as execute does. Treat both alike."""
        _error, before = failing(pipeline(step("a", "add"), step("b", "fails_until", file="mended")))
        with pytest.raises(ForgeError, match="there is no mended"):
            driver.resume(before.run_id)
        assert driver.monitor_progress(before.run_id).state == "failed"
        (subject.root / "mended").touch()
        driver.resume(before.run_id)
        assert driver.monitor_progress(before.run_id).state == "done"
        assert ran() == Counter({"a": 1, "b": 3})

    def test_a_run_killed_in_each_step_is_found_dead_and_resumed_without_doing_anything_twice(
        self, driver: Any, kernel: Kernel, subject: Subject, ran: Callable[[], Counter[str]], stopped: Callable[[float], None]
    ) -> None:
        """SIGKILL while a step runs: the run is dead within two leases, children are gone, resume runs no finished step.

        Keep the lease and the owner in the journal, tie children to their parent's life, and take a dead run over by `Journal.take`.
        """
        steps = [step(name, "holds") for name in "abc"]
        steps[1] = evolve(steps[1], target=f"{MODULE}:holds_with_child", isolation="process")
        config, run_id = to_json(pipeline(*steps)), ""
        for number, name in enumerate("abc"):
            (run_id,) = killed(subject, held_in, str(subject.root), name, config, run_id)
            self._dies(driver, kernel, run_id)
            states = [one.state for one in driver.monitor_progress(run_id).steps]
            assert (states[:number], states[number] in ("done", "failed")) == (["done"] * number, False)
            if name == "b":
                stopped(10.0)
            (subject.root / f"{name}.go").touch()
        driver.resume(run_id)
        after = driver.monitor_progress(run_id)
        assert (after.state, [one.state for one in after.steps]) == ("done", ["done"] * 3)
        assert ran() == Counter({"a": 2, "b": 2, "c": 2})

    def test_a_run_killed_at_any_instant_ends_well_after_resume(
        self, driver: Any, kernel: Kernel, subject: Subject, ran: Callable[[], Counter[str]]
    ) -> None:
        """Killed at random instants, a run is done, dead or was never begun; what was recorded as done stays so, and runs once.

        No step is done without its record, no record without its outputs. Commit both at once.
        """
        seed = time.time_ns() % 10**6
        print(f"seed {seed}")  # noqa: T201 - pytest shows it with a failure
        chance = random.Random(seed)  # noqa: S311 - chooses instants
        for salt in range(3):
            names = [f"{name}{salt}" for name in "abcd"]
            config = pipeline(*(step(name, "rests", salt=salt, seconds=0.03) for name in names))
            killed(subject, executes, to_json(config), after=chance.uniform(0.0, 0.25))
            found = next((one for one in kernel.runs() if one.steps[0].name == names[0]), None)
            if found is None:
                assert not set(ran()) & set(names), "a step ran before its run was recorded"
                continue
            self._dies(driver, kernel, found.run_id, ("dead", "done"))
            before = driver.monitor_progress(found.run_id)
            done = {one.name for one in before.steps if one.state == "done"}
            assert done <= set(ran())
            if before.state == "dead":
                driver.resume(found.run_id)
            after = driver.monitor_progress(found.run_id)
            assert after.state == "done"
            assert [one.outputs for one in after.steps] == [{"salt": salt}] * 4
            counts = ran()
            assert all(counts[name] == 1 for name in done)
            assert sorted(counts[name] for name in names)[:3] == [1, 1, 1], "one step at most was under way when it was killed"

    def test_one_of_several_who_resume_a_dead_run_gets_it(
        self, driver: Any, kernel: Kernel, subject: Subject, ran: Callable[[], Counter[str]]
    ) -> None:
        """Four processes resume one dead run at once: one does, the others get `Conflict`, and nothing is done twice.

        Take it by compare-and-set on owner and lease, as `Journal.take` does.
        """
        config = pipeline(step("a", "add"), step("b", "holds"), step("c", "rests", salt=0, seconds=0.1))
        (run_id,) = killed(subject, held_in, str(subject.root), "b", to_json(config), "")
        self._dies(driver, kernel, run_id)
        (subject.root / "go").touch()
        ended = [error for ((error, _),) in race(subject, resumes, [[run_id]] * 4)]
        assert ended.count("") == 1
        assert all("Conflict" in error for error in ended if error)
        assert driver.monitor_progress(run_id).state == "done"
        assert ran() == Counter({"a": 1, "b": 2, "c": 1})

    def test_a_living_run_is_seen_from_elsewhere_and_cannot_be_resumed(
        self, driver: Any, subject: Subject, ran: Callable[[], Counter[str]]
    ) -> None:
        """From another process a run that is alive reads as running, up to its present step, and resuming it is a `Conflict`.

        Read what the journal says; take a run only where its lease has run out or its owner is known to be dead.
        """
        config = to_json(pipeline(step("a", "add"), step("b", "holds"), step("c", "add", "a")))
        arguments = [[part, str(subject.root), config] for part in ("executes", "lets it end")]
        (_ready, (error, run_id)), (seen, (resumed, _cause)) = race(subject, beside, arguments)
        assert (error, seen["run_id"], seen["state"]) == ("", run_id, "running")
        assert [one["state"] for one in seen["steps"][:2]] == ["done", "running"]
        assert seen["steps"][0]["outputs"]["n"] == 1
        assert seen["steps"][2]["state"] not in ("done", "running", "failed")
        assert "Conflict" in resumed
        assert driver.monitor_progress(run_id).state == "done"
        assert ran() == Counter("abc")

    def test_a_run_that_is_done_can_be_neither_resumed_nor_cancelled(self, driver: Any, execute: Callable[..., RunRecord]) -> None:
        """Both are a `Conflict`, and the record stays as it was. Compare the state in the transaction that would change it."""
        made = execute(pipeline(step("a", "add")))
        for act in (driver.resume, driver.cancel):
            with pytest.raises(Conflict):
                act(made.run_id)
        assert driver.monitor_progress(made.run_id) == made

    # ---- cancel

    @pytest.mark.parametrize(("isolation", "part"), [("inline", "cancels what ends"), ("process", "cancels what does not end")])
    def test_a_run_is_cancelled_from_another_process(
        self, driver: Any, subject: Subject, ran: Callable[[], Counter[str]], kernel: Kernel, isolation: Isolation, part: str
    ) -> None:
        """Cancelling ends the run as cancelled: no further step starts, a step of `isolation: process` is ended, execute raises.

        Ask `Journal.cancel_requested` while a step runs, and let the commit before the next one refuse.
        """
        config = to_json(pipeline(step("a", "add"), step("b", "holds", isolation=isolation), step("c", "add", "a")))
        (_ready, (error, _cause)), _seen = race(subject, beside, [[one, str(subject.root), config] for one in ("executes", part)])
        (made,) = kernel.runs()
        assert "Cancelled" in error
        assert driver.monitor_progress(made.run_id).state == "cancelled"
        assert [one.state for one in made.steps].count("done") in (1, 2)
        assert made.ended_at is not None
        assert ran() == Counter("ab")
        assert ("run:cancel", "done") in [(event.action, event.outcome) for _, event in kernel.database.events()]

    def test_a_dead_run_is_cancelled_at_once(self, driver: Any, kernel: Kernel, subject: Subject) -> None:
        """Nobody is there to hear of it: a dead run that is cancelled reads as cancelled from then on. Set its state."""
        (run_id,) = killed(subject, held_in, str(subject.root), "a", to_json(pipeline(step("a", "holds"))), "")
        self._dies(driver, kernel, run_id)
        driver.cancel(run_id)
        assert driver.monitor_progress(run_id).state == "cancelled"

    # ---- several at once, and whose it is

    def test_runs_of_one_pipeline_at_the_same_time_all_end_well(
        self, execute: Callable[..., RunRecord], driver: Any, subject: Subject
    ) -> None:
        """Three processes execute one pipeline at once: all runs are done, and each step's outputs and files fit together.

        Let an attempt write beside its folder, and rename it while the run is held (`Journal.held`): who is late takes what is there.
        """
        config = pipeline(step("drawn", "draws"), step("b", "compares"))
        ended = race(subject, executes, [[to_json(config)]] * 3)
        assert [error for _ready, (error, _run) in ended] == [""] * 3
        runs = [driver.monitor_progress(run_id) for _ready, (_error, run_id) in ended]
        assert len({one.run_id for one in runs}) == 3
        for one in (*runs, execute(config)):
            assert one.state == "done"
            token = one.steps[0].outputs["token"]
            assert one.steps[1].outputs == {"output": token, "file": token}

    def test_runs_in_threads_of_one_driver_do_not_disturb_each_other(self, driver: Any) -> None:
        """One driver executes several pipelines at once, from several threads; each run has its own outputs. Keep no run in `self`."""
        configs = [pipeline(*(step(f"{name}{number}", "add", plus=number) for name in "abc")) for number in range(6)]
        with ThreadPoolExecutor(6) as pool:
            runs = [driver.monitor_progress(run_id) for run_id in pool.map(driver.execute_pipeline, configs)]
        for number, made in enumerate(runs):
            assert made.state == "done"
            assert [one.outputs["n"] for one in made.steps] == [number, 2 * number, 4 * number]

    @pytest.mark.parametrize("isolation", ["inline", "process"])
    def test_the_session_travels_into_steps(self, execute: Callable[..., RunRecord], isolation: Isolation) -> None:
        """A step knows who acts, for which tenant, on which request and how long. Put `operations.current()` into its `Task`."""
        deadline = datetime.now(UTC) + timedelta(hours=1)
        with acting_as(Session(Principal("ann", ("admin",), "acme"), "req_42", deadline)):
            made = execute(pipeline(step("a", "who", isolation=isolation)))
        assert made.tenant == "acme"
        assert made.steps[0].outputs == {"name": "ann", "tenant": "acme", "request": "req_42", "deadline": deadline.isoformat()}

    def test_one_tenants_runs_and_results_are_not_anothers(
        self, driver: Any, execute: Callable[..., RunRecord], failing: Callable[..., Any], ran: Callable[[], Counter[str]]
    ) -> None:
        """Tenants whose names look alike share no result, and see, resume, cancel and read no run of another's.

        Give the tenant to every row, and turn its name into a folder's by a digest where it is not plain.
        """
        names = ["a", "ab", "a/", "A", "a%2Fb"]
        config = pipeline(step("s", "add"), step("t", "fails_until", file="nowhere"))
        runs = {}
        for name in names:
            with tenant(name):
                runs[name] = failing(config)[1]
                assert not runs[name].steps[0].cached
        assert ran() == Counter({"s": len(names), "t": len(names)})
        for name, made in runs.items():
            for other in names:
                if other == name:
                    continue
                with tenant(other):
                    for act in (driver.monitor_progress, driver.resume, driver.cancel, lambda run_id: list(driver.logs(run_id))):
                        with pytest.raises(NotFound):
                            act(made.run_id)
            with tenant(name):
                assert driver.monitor_progress(made.run_id) == made

    # ---- logs, and what is not there

    def test_logs_hold_what_a_step_printed(self, driver: Any, execute: Callable[..., RunRecord]) -> None:
        """What a step of `isolation: process` prints, on stdout and stderr, is in its run's log: all of it, or one step's lines.

        Lines come in the order of the steps, without line ends. Redirect both streams of the process into a file of run and step.
        """
        made = execute(pipeline(*(step(name, "prints", isolation="process", words=f"words of {name}") for name in "ab")))
        lines = list(driver.logs(made.run_id))
        for name in "ab":
            own = list(driver.logs(made.run_id, name))
            assert [sum(f"words of {name} on {stream}" in line for line in own) for stream in ("stdout", "stderr")] == [1, 1]
            assert own == [line for line in lines if line in own]
        assert not any("words of b" in line for line in driver.logs(made.run_id, "a"))
        assert [name for line in lines for name in "ab" if f"words of {name} on stdout" in line] == ["a", "b"]
        assert not any(line.endswith(("\n", "\r")) for line in lines)

    def test_what_is_not_there_is_not_found(self, driver: Any, execute: Callable[..., RunRecord], hostile_paths: tuple[str, ...]) -> None:
        """An unknown run or step is `NotFound`; what can be no name may be `InvalidInput`; no file is read by either.

        Look a run and its steps up in the journal before a path is made of them.
        """
        made = execute(pipeline(step("a", "add")))
        acts = (driver.monitor_progress, driver.resume, driver.cancel, lambda one: list(driver.logs(one)))
        for act in (*acts, lambda one: list(driver.logs(made.run_id, one))):
            with pytest.raises(NotFound):
                act("nobody")
            for name in hostile_paths:
                with pytest.raises((NotFound, InvalidInput)):
                    act(name)

    @staticmethod
    def _dies(driver: Any, kernel: Kernel, run_id: str, states: tuple[str, ...] = ("dead",)) -> None:
        until(lambda: driver.monitor_progress(run_id).state in states, 2 * kernel.journal.lease, f"the run is {' or '.join(states)}")
