"""The local executor: in order, cached, retried where that may help, journaled, cancelled, resumed."""

from __future__ import annotations

import importlib
import os
import threading
import time
from pathlib import Path

import pytest
from attrs import evolve

from forge_core import Pipeline, hookimpl
from forge_core.faults import Cancelled, Conflict, ForgeError, NotFound, Transient
from forge_core.operations import acting_as
from forge_core.orchestrator import delay, retryable
from forge_core.records import Principal, RetryPolicy, Session

STEPS = """
from __future__ import annotations
import os, time
from pathlib import Path
from forge_core import step
from forge_core.faults import Conflict, Transient

def ran(name):
    with open("ran.txt", "a") as file:
        file.write(name + "\\n")

def first(task, n=1):
    ran("first")
    task.folder.mkdir(parents=True, exist_ok=True)
    (task.folder / "n.txt").write_text(str(n))
    return {"n": n}

def second(task, first):
    ran("second")
    assert Path(first["folder"], "n.txt").read_text() == str(first["n"])
    return {"n": first["n"] + 1}

def third(second, factor=10):
    ran("third")
    return {"n": second["n"] * factor}

def flaky(kind="transient", times=2):
    ran("flaky")
    if len(Path("ran.txt").read_text().splitlines()) <= times:
        raise {"transient": Transient, "conflict": Conflict, "os": OSError}[kind]("not yet")

def fails():
    ran("fails")
    raise ValueError("two\\nlines")

def interrupted():
    raise KeyboardInterrupt

def waits():
    ran("waits")
    while not Path("go").exists():
        time.sleep(0.01)

def returns(what="list"):
    return {"list": [1], "object": {"o": object()}, "nothing": None, "nan": {"x": float("nan")}}[what]

def who(kernel, task):
    print("hello from the step")
    return {"tenant": task.session.principal.tenant, "pid": os.getpid(), "project": kernel.project.name}

@step("renamed", timeout=30)
def timed(): ...
"""


def ran() -> list[str]:
    path = Path("ran.txt")
    return path.read_text().split() if path.exists() else []


@pytest.fixture
def steps(open_kernel):
    """The project's module of steps; its kernel is `steps.kernel`."""
    kernel = open_kernel("project: {name: test}", my_steps=STEPS)
    module = importlib.import_module("my_steps")
    module.kernel = kernel
    return module


def three(steps, n=1, factor=10):
    return (
        Pipeline("p")
        .with_step(steps.first, "DATA_PREPARATION", n=n)
        .with_step(steps.second, "TRAINING")
        .with_step(steps.third, "VALIDATION", factor=factor)
        .build()
    )


def one(function, *, retry: RetryPolicy | None = None, timeout: float | None = None, **parameters):
    return Pipeline("p").with_step(function, "TRAINING", **parameters).with_options(retry_policy=retry, timeout=timeout).build()


# ---- order and cache


def test_steps_run_in_order_and_each_gets_the_outputs_of_those_before(steps):
    run = steps.kernel.execute(three(steps))
    assert ran() == ["first", "second", "third"]
    assert (run.state, [(step.name, step.state, step.outputs["n"], step.cached) for step in run.steps]) == (
        "done",
        [("first", "done", 1, False), ("second", "done", 2, False), ("third", "done", 20, False)],
    )
    assert run.steps[0].stage == "DATA_PREPARATION"
    assert all(step.attempt == 1 and step.ended_at >= step.started_at for step in run.steps)


def test_what_has_a_result_is_not_run_again(steps):
    steps.kernel.execute(three(steps))
    again = steps.kernel.execute(three(steps))
    assert ran() == ["first", "second", "third"]
    assert [(step.cached, step.outputs["n"]) for step in again.steps] == [(True, 1), (True, 2), (True, 20)]


def test_a_changed_parameter_runs_its_step_and_what_depends_on_it_and_nothing_else(steps):
    steps.kernel.execute(three(steps))
    late = steps.kernel.execute(three(steps, factor=5))
    assert [step.cached for step in late.steps] == [True, True, False]
    early = steps.kernel.execute(three(steps, n=2))
    assert [step.cached for step in early.steps] == [False, False, False]
    assert early.steps[2].outputs == {"n": 30}


def test_a_result_whose_files_are_gone_is_made_again(steps):
    run = steps.kernel.execute(three(steps))
    folder = steps.kernel.project.state / "steps" / "default" / run.steps[0].fingerprint[:40]
    assert (folder / "n.txt").read_text() == "1"
    (folder / "n.txt").unlink()
    folder.rmdir()
    assert steps.kernel.plan(three(steps)).steps[0].why.endswith("but what it left is gone or damaged")
    assert [step.cached for step in steps.kernel.execute(three(steps)).steps] == [False, True, True]


def test_one_tenants_results_are_not_anothers(steps):
    config = one(steps.first)
    steps.kernel.execute(config)
    with acting_as(Session(Principal("ann", ("admin",), "acme"), "r")):
        assert not steps.kernel.orchestrator.monitor_progress(steps.kernel.orchestrator.execute_pipeline(config)).steps[0].cached
    assert ran() == ["first", "first"]


def test_hooks_are_told_of_a_run_and_its_steps(steps):
    told = []

    class Listener:
        @hookimpl
        def forge_run_started(self, run):
            told.append(("run", run.state))

        @hookimpl
        def forge_step_started(self, run_id, step):
            told.append(("start", step.name))

        @hookimpl
        def forge_step_finished(self, run_id, step):
            told.append((step.state, step.name))

        @hookimpl
        def forge_run_finished(self, run):
            told.append(("run", run.state))

    steps.kernel.hub.listen(Listener(), "forge-test")
    steps.kernel.execute(one(steps.first))
    assert told == [("run", "running"), ("start", "first"), ("done", "first"), ("run", "done")]


# ---- failure and retries


def test_a_failure_is_recorded_and_raised_and_what_follows_does_not_run(steps):
    config = Pipeline("p").with_step(steps.fails, "TRAINING").with_step(steps.third, "VALIDATION").build()
    with pytest.raises(ForgeError, match=r"^step 'fails': ValueError: two$"):
        steps.kernel.execute(config)
    (run,) = steps.kernel.runs()
    assert (run.state, run.error) == ("failed", "step 'fails': ValueError: two")
    assert [(step.state, step.error) for step in run.steps] == [("failed", run.error), ("waiting", "")]
    assert ran() == ["fails"]


@pytest.mark.parametrize(
    ("kind", "retry_on"), [("transient", ("transient",)), ("os", ("OSError",)), ("conflict", ("Conflict",)), ("conflict", ("conflict",))]
)
def test_what_is_retryable_is_tried_again(steps, kind, retry_on):
    policy = RetryPolicy(max_attempts=3, initial_delay=0.01, retry_on=retry_on)
    run = steps.kernel.execute(one(steps.flaky, retry=policy, kind=kind))
    assert ran() == ["flaky"] * 3
    assert (run.state, run.steps[0].attempt) == ("done", 3)


def test_attempts_are_bounded(steps):
    with pytest.raises(Transient, match="not yet"):
        steps.kernel.execute(one(steps.flaky, retry=RetryPolicy(max_attempts=2, initial_delay=0.01), times=9))
    assert ran() == ["flaky"] * 2


def test_what_is_not_retryable_is_tried_once(steps):
    with pytest.raises(Conflict):
        steps.kernel.execute(one(steps.flaky, retry=RetryPolicy(max_attempts=5, initial_delay=0.01), kind="conflict"))
    assert ran() == ["flaky"]


def test_delays_grow_are_bounded_and_jittered():
    policy = RetryPolicy(initial_delay=1.0, multiplier=3.0, max_delay=5.0, jitter=0.1)
    for attempt, plain in ((1, 1.0), (2, 3.0), (3, 5.0), (9, 5.0)):
        found = {delay(policy, attempt) for _ in range(50)}
        assert all(plain * 0.9 <= one <= plain * 1.1 for one in found)
        assert len(found) > 1
    assert delay(evolve(policy, jitter=0.0), 2) == 3.0


def test_a_kind_or_a_class_name_is_retryable():
    assert retryable(Transient("x"), RetryPolicy())
    assert not retryable(Conflict("x"), RetryPolicy())
    assert retryable(Conflict("x"), RetryPolicy(retry_on=("Conflict",)))


@pytest.mark.parametrize(
    ("what", "cause"), [("list", "step 'returns' returned list"), ("object", "step 'returns' returned what is not JSON")]
)
def test_a_step_returns_a_mapping_of_json(steps, what, cause):
    with pytest.raises(ForgeError, match=cause):
        steps.kernel.execute(one(steps.returns, what=what))


def test_a_step_may_return_nothing(steps):
    assert steps.kernel.execute(one(steps.returns, what="nothing")).steps[0].outputs == {}


def test_ctrl_c_cancels_the_run(steps):
    with pytest.raises(KeyboardInterrupt):
        steps.kernel.execute(one(steps.interrupted))
    assert [run.state for run in steps.kernel.runs()] == ["cancelled"]


# ---- processes


def test_a_step_in_a_process_has_the_kernel_the_session_and_a_log(open_kernel):
    kernel = open_kernel("project: {name: test}\ninfrastructure: {orchestration: {isolation: process}}", my_steps=STEPS)
    module = importlib.import_module("my_steps")
    with acting_as(Session(Principal("ann", ("admin",), "acme"), "r")):
        run_id = kernel.orchestrator.execute_pipeline(one(module.who))
        outputs = kernel.orchestrator.monitor_progress(run_id).steps[0].outputs
        lines = list(kernel.orchestrator.logs(run_id, "who"))
    assert (outputs["tenant"], outputs["project"]) == ("acme", "test")
    assert outputs["pid"] != os.getpid()
    assert lines == ["who: hello from the step"]
    with pytest.raises(NotFound, match="there is no run"):
        list(kernel.orchestrator.logs(run_id))  # another tenant's


def test_a_step_with_a_timeout_has_a_process_of_its_own(steps):
    config = Pipeline("p").with_step(steps.timed, "TRAINING").build()
    assert (config.stages[0].name, config.stages[0].timeout) == ("renamed", 30)
    assert steps.kernel.plan(config).steps[0].step.isolation == "process"


def test_the_time_of_a_run_bounds_steps_in_place_too(steps):
    started = time.monotonic()
    threading.Timer(4, Path("go").absolute().touch).start()  # or a failing test would hang
    with pytest.raises(ForgeError) as caught:
        steps.kernel.execute(one(steps.waits, timeout=1.0))
    assert caught.value.kind == "timeout"
    assert time.monotonic() - started < 3.5


# ---- cancel and resume


def in_background(act) -> threading.Thread:
    def quietly() -> None:
        try:
            act()
        except ForgeError:
            return

    thread = threading.Thread(target=quietly)
    thread.start()
    return thread


def until(condition, seconds: float = 10.0):
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        found = condition()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError("it did not happen")


def test_a_cancelled_run_starts_no_further_step(steps):
    config = Pipeline("p").with_step(steps.waits, "TRAINING").with_step(steps.fails, "VALIDATION").build()
    thread = in_background(lambda: steps.kernel.execute(config))
    run_id = until(lambda: [run.run_id for run in steps.kernel.runs() if ran()])[0]
    steps.kernel.orchestrator.cancel(run_id)
    Path("go").touch()
    thread.join(20)
    assert ran() == ["waits"]
    assert steps.kernel.orchestrator.monitor_progress(run_id).state == "cancelled"


def test_a_step_in_a_process_is_ended_when_its_run_is_cancelled(open_kernel):
    kernel = open_kernel("project: {name: test}\ninfrastructure: {orchestration: {isolation: process}}", my_steps=STEPS)
    module = importlib.import_module("my_steps")
    failures = []

    def execute():
        try:
            kernel.execute(one(module.waits))
        except ForgeError as error:
            failures.append(error)

    thread = in_background(execute)
    run_id = until(lambda: [run.run_id for run in kernel.runs() if ran()])[0]
    kernel.orchestrator.cancel(run_id)
    thread.join(20)
    assert [type(error) for error in failures] == [Cancelled]
    assert kernel.orchestrator.monitor_progress(run_id).state == "cancelled"


def test_resume_runs_no_finished_step_and_follows_the_stored_plan(steps):
    config = Pipeline("p").with_step(steps.first, "DATA_PREPARATION").with_step(steps.flaky, "TRAINING", times=2).build()
    with pytest.raises(Transient):
        steps.kernel.execute(config)
    (run,) = steps.kernel.runs()
    assert [step.state for step in run.steps] == ["done", "failed"]
    steps.kernel.orchestrator.resume(run.run_id)
    after = steps.kernel.orchestrator.monitor_progress(run.run_id)
    assert ran() == ["first", "flaky", "flaky"]
    assert (after.state, after.error, [step.state for step in after.steps]) == ("done", "", ["done", "done"])
    assert after.steps[0] == run.steps[0]


def test_a_living_run_cannot_be_resumed_and_a_done_one_neither(steps):
    thread = in_background(lambda: steps.kernel.execute(one(steps.waits)))
    run_id = until(lambda: [run.run_id for run in steps.kernel.runs() if ran()])[0]
    with pytest.raises(Conflict, match="is alive"):
        steps.kernel.orchestrator.resume(run_id)
    Path("go").touch()
    thread.join(20)
    with pytest.raises(Conflict, match="is done"):
        steps.kernel.orchestrator.resume(run_id)


def test_a_run_that_nobody_made_is_not_found(steps):
    for act in (steps.kernel.orchestrator.resume, steps.kernel.orchestrator.cancel, steps.kernel.orchestrator.monitor_progress):
        with pytest.raises(NotFound):
            act("run_nobody")
