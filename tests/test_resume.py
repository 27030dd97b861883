"""A run that is continued: by whom, with which code, with what is still there, and by one process alone."""

from __future__ import annotations

import importlib
import shutil
import sys
import threading
import time
from pathlib import Path

import pytest

from forge_core import Kernel, Pipeline
from forge_core.faults import Conflict, ForgeError
from forge_core.journal import Journal
from forge_core.operations import acting_as
from forge_core.records import Condition, PipelineConfig, Plan, StepRecord

YAML = """
project: {name: test}
infrastructure:
  orchestration: {isolation: inline}
  registry: {type: folder}
  tracking: {type: nothing}
"""
MODEL = """
datasets: [{name: d, path: d.csv, format: csv, connector: rows, target: y}]
models: [{name: m, type: mean}]
"""
GUARDED = YAML + "  auth: {type: staff}" + MODEL
STEPS = YAML + "pipeline: {steps: [{name: a, stage: DATA_PREPARATION, target: 'ab:a'}, {name: b, stage: TRAINING, target: 'ab:b'}]}\n"
AB = """
from pathlib import Path
def a(task):
    with open("ran.txt", "a") as file:
        file.write("a\\n")
    task.folder.mkdir(parents=True, exist_ok=True)
    (task.folder / "x").write_text("1")
    return {"v": 1}
def b(a):
    x = Path(a["folder"], "x").read_text()
    %s
    return {"x": x}
"""
BROKEN, MENDED = AB % "raise ValueError('a bug')", AB % "pass"
FLAGGED = AB % "if not Path('mended').exists(): raise ValueError('a bug')"


@pytest.fixture(autouse=True)
def _tiny(fake_distribution, project):
    shutil.copytree(Path(__file__).with_name("tiny"), fake_distribution.folder, dirs_exist_ok=True)
    (project() / "d.csv").write_text("x,y\n" + "".join(f"{number},{number * 2.0}\n" for number in range(100)))


def ran() -> list[str]:
    return Path("ran.txt").read_text().split()


def code(source: str) -> None:
    """The project's steps from now on, as a new process would find them."""
    Path("ab.py").write_text(source)
    sys.modules.pop("ab", None)
    importlib.invalidate_caches()


def failed(kernel: Kernel, pipeline=None) -> str:
    with pytest.raises(ForgeError, match="a bug"):
        kernel.execute(pipeline)
    return kernel.runs()[0].run_id


# ---- by whom


def begun_by_the_viewer(project, run_id: str) -> Plan:
    """A run whose process died before its first step."""
    project(GUARDED)
    with Kernel.open(credentials={"api_key": "viewer"}) as kernel, acting_as(kernel.session):
        plan = kernel.plan()
        Journal(kernel.database, lease=-1.0).begin(run_id, plan, "nobody")
    return plan


def test_a_plan_holds_the_query_with_what_its_maker_must_accept(project):
    plan = begun_by_the_viewer(project, "run_1")
    assert plan.queries[0].where == (Condition("x", "<", 50),)


def test_who_starts_a_run_reads_what_they_may_also_when_it_is_resumed(project):
    begun_by_the_viewer(project, "run_1")
    with Kernel.open(credentials={"api_key": "viewer"}) as kernel:
        kernel.orchestrator.resume("run_1")
        run = kernel.orchestrator.monitor_progress("run_1")
        assert (run.state, run.steps[0].outputs["rows"]["read"]) == ("done", 50)
        assert [one.cached for one in kernel.plan().steps] == [True, True, True]


def test_another_who_may_read_other_rows_cannot_resume_a_run_and_leaves_nothing_behind(project):
    plan = begun_by_the_viewer(project, "run_1")
    with Kernel.open(credentials={"api_key": "ann"}) as kernel:
        with pytest.raises(Conflict):
            kernel.orchestrator.resume("run_1")
        run = kernel.orchestrator.monitor_progress("run_1")
        assert (run.state, [step.state for step in run.steps]) == ("dead", ["waiting", "waiting", "waiting"]), "it is not even taken"
        assert kernel.journal.results([one.fingerprint for one in plan.steps]) == {}
    with Kernel.open(credentials={"api_key": "viewer"}, read_only=True) as kernel:
        assert [one.cached for one in kernel.plan().steps] == [False, False, False]


def test_another_who_may_read_fewer_rows_gets_no_finished_result_by_resuming(project):
    project(GUARDED)
    with Kernel.open(credentials={"api_key": "ann"}) as kernel:
        kernel.execute()
        with acting_as(kernel.session):
            Journal(kernel.database, lease=-1.0).begin("run_1", kernel.plan(), "nobody")
    with Kernel.open(credentials={"api_key": "viewer"}) as kernel:
        with pytest.raises(Conflict):
            kernel.orchestrator.resume("run_1")
        assert [step.state for step in kernel.orchestrator.monitor_progress("run_1").steps].count("done") == 0


# ---- with which code


def test_a_mended_step_is_journaled_under_its_new_fingerprint_and_finished_ones_are_kept(project):
    project(STEPS)
    code(BROKEN)
    with Kernel.open() as kernel:
        run_id = failed(kernel)
        before = kernel.orchestrator.monitor_progress(run_id).steps
    code(MENDED)
    with Kernel.open() as kernel:
        kernel.orchestrator.resume(run_id)
        after = kernel.orchestrator.monitor_progress(run_id)
    assert (after.state, after.steps[1].outputs, ran()) == ("done", {"x": "1"}, ["a"])
    assert after.steps[0] == before[0]
    assert after.steps[1].fingerprint != before[1].fingerprint
    code(BROKEN)
    with Kernel.open() as kernel:
        assert [one.cached for one in kernel.plan().steps] == [True, False]
        failed(kernel)  # the old code is as wrong as it was


# ---- with what is still there


def test_a_finished_step_whose_files_are_gone_is_done_again(project):
    project(STEPS)
    code(FLAGGED)
    with Kernel.open() as kernel:
        run_id = failed(kernel)
        shutil.rmtree(kernel.project.state / "steps")
        Path("mended").touch()
        kernel.orchestrator.resume(run_id)
        run = kernel.orchestrator.monitor_progress(run_id)
        assert (run.state, run.steps[1].outputs, ran()) == ("done", {"x": "1"}, ["a", "a"])


@pytest.mark.parametrize("isolation", ["inline", "process"])
def test_a_run_with_a_builders_data_set_is_resumed_without_the_builder(open_kernel, isolation):
    sets = (f"infrastructure.orchestration.isolation={isolation}",)
    kernel = open_kernel(YAML, sets=sets, ab=FLAGGED.replace("def b(a)", "def b(a, prepare)"))
    Path("e.csv").write_text(Path("d.csv").read_text())
    ab = importlib.import_module("ab")
    built = Pipeline("m").with_dataset("e", path="e.csv", format="csv", connector="rows", target="y").with_training("mean")
    run_id = failed(kernel, built.with_step(ab.a, "DATA_PREPARATION").with_step(ab.b, "DATA_PREPARATION").build())
    shutil.rmtree(kernel.project.state / "steps")  # so that the data is read again, too
    kernel.close()
    Path("mended").touch()
    with Kernel.open(sets=sets) as after:
        after.orchestrator.resume(run_id)
        assert after.orchestrator.monitor_progress(run_id).state == "done"
        assert [one.selector for one in after.registry.search("m")] == ["m@1"]


# ---- by one process alone


def test_a_run_that_was_cancelled_while_it_was_dead_stays_cancelled_when_its_owner_wakes(kernel):
    journal = Journal(kernel.database, lease=-1.0)
    journal.begin("run_1", Plan(PipelineConfig("p"), (), ()), "owner")
    assert journal.run("run_1").state == "dead"
    journal.request_cancel("run_1")
    assert journal.run("run_1").state == "cancelled"
    ended = journal.run("run_1").ended_at
    for state in ("running", "done", "failed"):
        with pytest.raises(Conflict):
            journal.note("run_1", "owner", [], state)
    with pytest.raises(Conflict), journal.held("run_1", "owner"):
        raise AssertionError("it may do nothing")
    assert (journal.run("run_1").state, journal.run("run_1").ended_at) == ("cancelled", ended)


TWICE = """
import time
from pathlib import Path
def make(task):
    Path("started", task.run_id).touch()
    while not Path("go", task.run_id).exists():
        time.sleep(0.01)
    task.folder.mkdir(parents=True, exist_ok=True)
    (task.folder / "by").write_text(task.run_id)
    return {"by": task.run_id}
def use(task, make):
    return {"file": Path(make["folder"], "by").read_text(), "outputs": make["by"]}
"""


def test_of_two_runs_that_make_the_same_step_the_first_result_stays(open_kernel):
    kernel = open_kernel(YAML, twice=TWICE)
    for folder in ("started", "go"):
        Path(folder).mkdir()
    twice = importlib.import_module("twice")
    config = Pipeline("p").with_step(twice.make, "DATA_PREPARATION").with_step(twice.use, "TRAINING").build()
    threads, failures = [], []

    def execute() -> None:
        try:
            kernel.execute(config)
        except BaseException as error:
            failures.append(error)

    try:
        for number in (1, 2):
            threads.append(threading.Thread(target=execute))
            threads[-1].start()
            ends = time.monotonic() + 10
            while len(list(Path("started").iterdir())) < number and time.monotonic() < ends:
                time.sleep(0.01)
        early, late = sorted(path.name for path in Path("started").iterdir())
        first, second = (late, early)  # whoever ends first, not whoever began first
        for run_id in (first, second):
            Path("go", run_id).touch()
            ends = time.monotonic() + 10
            while kernel.orchestrator.monitor_progress(run_id).state == "running" and time.monotonic() < ends:
                time.sleep(0.01)
    finally:
        for path in Path("started").iterdir():
            Path("go", path.name).touch()
        for thread in threads:
            thread.join(10)
    assert failures == []
    runs = [kernel.orchestrator.monitor_progress(run_id) for run_id in (first, second)]
    third = kernel.execute(config)
    assert third.steps[0].cached
    for run in (*runs, third):
        assert (run.state, run.steps[0].outputs, run.steps[1].outputs) == ("done", {"by": first}, {"file": first, "outputs": first})


def test_a_step_that_ended_is_not_undone_by_a_late_owner(kernel):
    journal = Journal(kernel.database, lease=-1.0)
    journal.begin("run_1", Plan(PipelineConfig("p"), (), ()), "old")
    journal.take("run_1", "new")
    now = journal.run("run_1").started_at
    with pytest.raises(Conflict, match="another owner"):
        journal.note("run_1", "old", [(0, StepRecord("s", "TRAINING", "done", "f", 1, False, {}, now), False)], "done")
    journal.note("run_1", "new", [], "done")
    assert journal.run("run_1").state == "done"
