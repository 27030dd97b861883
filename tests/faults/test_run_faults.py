"""P1, P2, P5: processes die, hang and wake up again; each run has one owner and one result."""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from forge_core import Kernel, Pipeline
from forge_core.faults import ForgeError
from forge_core.processes import me
from forge_core.records import PipelineConfig, Plan

pytestmark = pytest.mark.faults

YAML = """
project: {name: test}
infrastructure: {orchestration: {isolation: %s}}
pipeline:
  steps:
    - {name: before, stage: DATA_PREPARATION, target: "fault_steps:before"}
    - {name: during, stage: TRAINING, target: "fault_steps:during"}
    - {name: after, stage: VALIDATION, target: "fault_steps:after"}
"""
STEPS = """
import os, signal, subprocess, sys, time, ctypes
from pathlib import Path
from forge_core import step

def ran(name):
    with open("ran.txt", "a") as file:
        file.write(name + "\\n")

def before():
    ran("before")

def during(task):
    ran("during")
    Path("pids").write_text(f"{os.getpid()} {os.getppid()}")
    while not Path("go").exists():
        time.sleep(0.02)
    task.folder.mkdir(parents=True, exist_ok=True)
    (task.folder / "by.txt").write_text(str(os.getpid()))
    return {"pid": os.getpid()}

def after(during):
    ran("after")
    return during

def child():
    made = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    Path("child").write_text(str(made.pid))

def bad_exit():
    child(); print("last words", flush=True); os._exit(7)

def bad_sys_exit():
    child(); sys.exit(3)

def bad_segfault():
    child(); ctypes.string_at(0)

def bad_killed():
    child(); os.kill(os.getpid(), signal.SIGKILL)

@step(timeout=1.0)
def bad_hangs():
    child(); print("last words", flush=True)
    while True: time.sleep(1)

@step(timeout=1.0)
def bad_deaf():
    signal.signal(signal.SIGTERM, signal.SIG_IGN); child()
    while True: time.sleep(1)

def bad_raises():
    child(); raise MemoryError("none left")

def good(n):
    return {"fine": n}
"""
EXECUTE = "from forge_core import Kernel\nwith Kernel.open() as kernel:\n    kernel.journal.lease = {lease}\n    kernel.execute()"


def until(condition, seconds: float = 20.0):
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        found = condition()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError("it did not happen")


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def executing(lease: float = 15.0) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", EXECUTE.format(lease=lease)], stderr=subprocess.PIPE)


@pytest.mark.parametrize("isolation", ["inline", "process"])
def test_p1_a_killed_run_is_dead_at_once_its_children_are_gone_and_resume_runs_no_finished_step(project, open_kernel, isolation):
    project(YAML % isolation, fault_steps=STEPS)
    process = executing()
    pid = int(until(lambda: Path("pids").exists() and Path("pids").read_text()).split()[0])
    process.send_signal(signal.SIGKILL)
    process.communicate()
    with Kernel.open() as kernel:
        (run,) = kernel.runs()
        assert (run.state, [step.state for step in run.steps]) == ("dead", ["done", "running", "waiting"])
        until(lambda: not alive(pid), 2)
        Path("go").touch()
        kernel.orchestrator.resume(run.run_id)
        after = kernel.orchestrator.monitor_progress(run.run_id)
    assert Path("ran.txt").read_text().split() == ["before", "during", "during", "after"]
    assert (after.state, after.steps[0]) == ("done", run.steps[0])


def test_p1_a_dead_run_is_listed_and_resumed_from_the_command_line(project, forge):
    project(YAML % "auto", fault_steps=STEPS)
    process = executing()
    until(lambda: Path("pids").exists())
    process.kill()
    process.communicate()
    (run,) = json.loads(forge("runs", "list", "--json").stdout)
    assert run["state"] == "dead"
    Path("go").touch()
    assert json.loads(forge("runs", "resume", run["run_id"], "--json").stdout)["state"] == "done"
    assert forge("runs", "resume", run["run_id"]).returncode == 1


def test_p2_who_was_paused_beyond_its_lease_is_fenced_off_and_one_owners_result_is_recorded(project):
    project(YAML % "inline", fault_steps=STEPS)
    process = executing(lease=0.6)
    try:
        until(lambda: Path("pids").exists())
        process.send_signal(signal.SIGSTOP)
        time.sleep(0.8)
        with Kernel.open() as kernel:
            (run,) = kernel.runs()
            assert run.state == "dead"
            Path("go").touch()
            kernel.orchestrator.resume(run.run_id)
            won = kernel.orchestrator.monitor_progress(run.run_id)
            folder = kernel.project.state / "steps" / "default" / won.steps[1].fingerprint[:40]
            assert (won.state, won.steps[1].outputs) == ("done", {"pid": os.getpid()})
            process.send_signal(signal.SIGCONT)
            _out, err = process.communicate(timeout=30)
            assert process.returncode != 0
            assert b"has another owner now" in err
            assert kernel.orchestrator.monitor_progress(run.run_id) == won
        assert (folder / "by.txt").read_text() == str(os.getpid()), "the files are those of the run's owner too"
        assert Path("ran.txt").read_text().split() == ["before", "during", "during", "after"]
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(
    ("name", "kind", "cause"),
    [
        ("bad_exit", "process_ended", "its process exited with 7"),
        ("bad_sys_exit", None, "exit"),
        ("bad_segfault", "process_ended", "its process was ended by SIGSEGV"),
        ("bad_killed", "process_ended", "its process was ended by SIGKILL (out of memory?)"),
        ("bad_hangs", "timeout", "ran past 1 s"),
        ("bad_deaf", "timeout", "ran past 1 s"),
        ("bad_raises", "MemoryError", "MemoryError: none left"),
    ],
)
def test_p5_a_step_that_goes_wrong_is_recorded_as_it_went_its_children_end_and_the_next_run_works(open_kernel, name, kind, cause):
    kernel = open_kernel("project: {name: t}\ninfrastructure: {orchestration: {isolation: process}}", fault_steps=STEPS)
    steps = importlib.import_module("fault_steps")
    good = Pipeline("q").with_step(steps.good, "TRAINING", n=1).build()
    kernel.execute(good)  # the worker has started, and its start takes nothing from a step's second
    with pytest.raises(ForgeError) as caught:
        kernel.execute(Pipeline("p").with_step(getattr(steps, name), "TRAINING").build())
    failed = time.monotonic()
    assert cause in caught.value.cause
    assert kind in (None, caught.value.kind)
    run, _good = kernel.runs()
    assert (run.state, run.steps[0].state, run.error) == ("failed", "failed", caught.value.cause)
    if name != "bad_raises":  # there the worker lives on, and with it what it started
        until(lambda: not alive(int(Path("child").read_text())), 2)
        assert time.monotonic() - failed < 1.5
    if name in ("bad_exit", "bad_hangs"):
        assert f"{name}: last words" in list(kernel.orchestrator.logs(run.run_id))
    again = kernel.execute(Pipeline("q").with_step(steps.good, "TRAINING", n=2).build())
    assert again.steps[0].outputs == {"fine": 2}
    kernel.close()
    until(lambda: not alive(int(Path("child").read_text())), 2)


def test_p4_a_hundred_orphaned_runs_are_all_dead_and_the_living_one_is_not(open_kernel):
    kernel = open_kernel()
    source = "from forge_core.processes import me; print(me(), end='')"
    gone = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True).stdout
    plan = Plan(PipelineConfig("p"), (), ())
    with kernel.database.transaction():
        for number in range(100):
            kernel.journal.begin(f"run_{number:03}", plan, gone)
        kernel.journal.begin("run_living", plan, me())
    before = time.monotonic()
    states = [run.state for run in kernel.runs(limit=1000)]
    assert time.monotonic() - before < 2
    assert (states.count("dead"), states.count("running")) == (100, 1)
