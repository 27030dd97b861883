"""The fixtures and helpers that the kit gives to authors."""

from __future__ import annotations

import os
import sys
import time

import pytest

from forge_core import Kernel
from forge_core.builtin.secrets import EnvironmentSecrets
from forge_core.faults import NotFound
from forge_core.hookspecs import KernelHooks
from forge_core.operations import bare
from forge_core.testing import assert_light, import_of
from forge_core.testing.contract import Subject
from forge_core.testing.processes import killed, race, run

STEPS = """
import pathlib
def first(): pathlib.Path("first").open("a").write("x"); return {"n": 1}
def second(first): pathlib.Path("second").open("a").write("x"); return {"n": first["n"] + 1}
"""
YAML = """
project: {name: crashing}
pipeline:
  steps:
    - {name: first, stage: TRAINING, target: "crash_steps:first"}
    - {name: second, stage: TRAINING, target: "crash_steps:second", needs: [first]}
"""


def test_a_project_is_there_and_is_the_working_directory(forge_project):
    assert forge_project.path.samefile(os.getcwd())
    assert os.fspath(forge_project) == str(forge_project.path)
    with Kernel.open(forge_project) as kernel:
        assert kernel.project.name == "test"
    forge_project({"project": {"name": "other"}}, helper="ANSWER = 42")
    assert (forge_project / "helper.py").read_text() == "ANSWER = 42"
    with Kernel.open(forge_project) as kernel:
        assert kernel.project.name == "other"


def test_hooks_are_recorded_with_their_arguments_in_order(kernel, hub, recorded_hooks):
    assert hub is kernel.hub
    hub.tell(KernelHooks.forge_command_started, command="a")
    hub.tell(KernelHooks.forge_command_finished, command="a", exit_code=3)
    assert recorded_hooks.calls == [
        ("forge_command_started", {"command": "a"}),
        ("forge_command_finished", {"command": "a", "exit_code": 3}),
    ]
    assert recorded_hooks.of("forge_command_finished") == [{"command": "a", "exit_code": 3}]
    assert hub.faults == []


def test_a_run_crashes_at_the_step_and_can_be_resumed(forge_project, crash_at):
    forge_project(YAML, crash_steps=STEPS)
    crash = crash_at("second")
    assert ((forge_project / "first").read_text(), (forge_project / "second").exists()) == ("x", False)
    with Kernel.open(forge_project) as kernel:
        states = {step.name: step.state for step in kernel.journal.run(crash.run_id).steps}
        assert states == {"first": "done", "second": "running"}
        kernel.orchestrator.resume(crash.run_id)
        assert kernel.journal.run(crash.run_id).state == "done"
    assert ((forge_project / "first").read_text(), (forge_project / "second").read_text()) == ("x", "x")


def test_a_run_that_never_gets_to_the_step_is_an_error_of_the_test(forge_project, crash_at):
    forge_project(YAML, crash_steps=STEPS)
    with pytest.raises(AssertionError, match="did not get to 'third'"):
        crash_at("third")


def test_sixty_hostile_paths(hostile_paths):
    assert len(set(hostile_paths)) == len(hostile_paths) >= 60


def test_a_heavy_import_is_named(fake_distribution):
    fake_distribution.add("acme", acme_heavy="import sqlite3, pyarrow", acme_light="import json\nfrom forge_core import hookimpl")
    assert_light("acme_light")
    with pytest.raises(AssertionError, match="acme_heavy imports numpy, pyarrow"):
        assert_light("acme_heavy")
    assert_light("acme_heavy", budget=2000, banned=("torch",))
    with pytest.raises(AssertionError, match="acme_light imports [0-9]+ modules, 0 are allowed"):
        assert_light("acme_light", budget=0)
    with pytest.raises(AssertionError, match="cannot be imported"):
        assert_light("acme_missing")
    assert "acme_light" in import_of("acme_light").modules


# ---- other processes


def names_of(driver, *refs):
    for ref in refs:
        try:
            yield driver.read(ref)
        except NotFound:
            yield None


def who(driver):
    time.sleep(0.2)
    return [os.getpid(), type(bare(driver)).__name__, time.monotonic()]


def endless(driver, ready):
    for number in range(1000):
        with open(ready, "a") as file:
            file.write(f"{number}\n")
        yield number
        time.sleep(0.02)


def fails(driver):
    raise ValueError("on purpose")


@pytest.fixture
def subject(forge_project, monkeypatch):
    monkeypatch.setenv("FORGE_SECRET_DB", "s3cret")
    monkeypatch.setattr(sys, "path", [*sys.path, os.path.dirname(__file__)])
    for function in (names_of, who, endless, fails):
        monkeypatch.setattr(function, "__module__", "test_fixtures")  # as a child imports it, under pytest's import mode too
    return Subject(forge_project.path, f"{EnvironmentSecrets.__module__}:{EnvironmentSecrets.__qualname__}")


def test_another_process_has_the_same_driver(subject):
    assert run(subject, names_of, "db", "elsewhere") == ["s3cret", None]


def test_racing_processes_are_let_go_together(subject):
    answers = [answer[0] for answer in race(subject, who, [()] * 6)]
    assert len({pid for pid, _, _ in answers}) == 6
    assert {name for _, name, _ in answers} == {"EnvironmentSecrets"}
    ended = [at for _, _, at in answers]
    assert max(ended) - min(ended) < 5


def test_a_killed_process_has_acknowledged_what_it_did(subject, tmp_path):
    ready = tmp_path / "ready"
    acknowledged = killed(subject, endless, str(ready), acknowledged=3)
    written = [int(line) for line in ready.read_text().split()]
    assert acknowledged == list(range(len(acknowledged)))
    assert len(acknowledged) >= 3
    assert len(acknowledged) <= len(written) <= len(acknowledged) + 1
    time.sleep(0.2)
    assert [int(line) for line in ready.read_text().split()] == written


def test_what_failed_elsewhere_fails_here_with_its_text(subject):
    with pytest.raises(AssertionError, match="ValueError: on purpose"):
        run(subject, fails)
    with pytest.raises(AssertionError, match="did not end within"):
        run(subject, endless, "/dev/null", timeout=1)
