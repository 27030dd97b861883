"""A run belongs to one owner with a lease; who lost it cannot write."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pytest
from attrs import evolve

from forge_core.database import Database
from forge_core.faults import Conflict, NotFound
from forge_core.journal import Journal, Listener, Result
from forge_core.operations import acting_as
from forge_core.processes import known_dead, me
from forge_core.records import PipelineConfig, Plan, Planned, Principal, RunRecord, Session, Step, StepRecord

PLAN = Plan(PipelineConfig("p"), (), tuple(Planned(Step(name, "TRAINING", f"m:{name}"), f"print-{name}", False, "") for name in ("a", "b")))
ELSEWHERE = "another-machine/1:1:1:token"  # judged by its lease alone


class Told(Listener):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def run_started(self, run: RunRecord) -> None:
        self.lines.append(f"started {run.run_id}")

    def run_finished(self, run: RunRecord) -> None:
        self.lines.append(f"{run.state} {run.run_id}")

    def step_started(self, run_id: str, step: StepRecord) -> None:
        self.lines.append(f"step {step.name}")

    def step_finished(self, run_id: str, step: StepRecord) -> None:
        self.lines.append(f"{step.state} {step.name}")


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def journal(tmp_path, told) -> Iterator[Journal]:
    database = Database(f"sqlite:///{tmp_path}/forge.db")
    yield Journal(database, told, lease=0.3)
    database.close()


@pytest.fixture
def dead_owner() -> str:
    """The name of a process that has ended."""
    source = "from forge_core.processes import me; print(me(), end='')"
    return subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True).stdout


def step(name: str, state: str, **more) -> StepRecord:
    return StepRecord(name, "TRAINING", state, f"print-{name}", 1, False, more.pop("outputs", {}), datetime.now(UTC), **more)


def raises_conflict(act: Callable[[], object]) -> str:
    with pytest.raises(Conflict) as caught:
        act()
    return caught.value.cause


def test_a_new_run_has_all_of_its_steps_waiting_and_its_plan(journal):
    journal.begin("run_1", PLAN, me())
    run = journal.run("run_1")
    assert (run.state, run.name, [(one.name, one.state) for one in run.steps]) == ("running", "p", [("a", "waiting"), ("b", "waiting")])
    assert journal.plan_of("run_1") == PLAN


def test_steps_and_the_end_are_noted_and_told_after_their_commit(journal, told):
    owner = me()
    journal.begin("run_1", PLAN, owner)
    journal.note("run_1", owner, [(0, step("a", "running"), False)])
    journal.note("run_1", owner, [(0, step("a", "done", outputs={"n": 1}), True), (1, step("b", "running"), False)])
    journal.note("run_1", owner, [(1, step("b", "failed", error="no"), False)], "failed", "no")
    run = journal.run("run_1")
    assert (run.state, run.error, run.steps[0].outputs, run.steps[1].error) == ("failed", "no", {"n": 1}, "no")
    assert run.ended_at is not None
    assert told.lines == ["started run_1", "step a", "done a", "step b", "failed b", "failed run_1"]


def test_a_finished_step_is_found_by_its_fingerprint_and_a_failed_one_is_not(journal):
    owner = me()
    assert journal.results(["print-a"]) == {}
    journal.begin("run_1", PLAN, owner)
    journal.note("run_1", owner, [(0, step("a", "done", outputs={"n": 1}), True), (1, step("b", "failed"), False)])
    assert journal.results(["print-a", "print-b", "print-c"]) == {"print-a": Result("run_1", {"n": 1}, True)}


def test_of_several_results_the_newest_that_was_computed_is_found(journal):
    for number, cached in enumerate((False, False, True)):
        journal.begin(f"run_{number}", PLAN, owner := me())
        journal.note(f"run_{number}", owner, [(0, evolve(step("a", "done", outputs={"n": number}), cached=cached), False)], "done")
    assert journal.results(["print-a"])["print-a"].run_id == "run_1"


def test_a_thousand_fingerprints_are_looked_up(journal):
    journal.begin("run_1", PLAN, owner := me())
    journal.note("run_1", owner, [(0, step("a", "done"), False)])
    assert set(journal.results([*(f"x{number}" for number in range(1000)), "print-a"])) == {"print-a"}


def test_a_result_belongs_to_its_tenant(journal):
    with acting_as(Session(Principal("ann", (), "acme"), "r")):
        journal.begin("run_1", PLAN, owner := me())
        journal.note("run_1", owner, [(0, step("a", "done"), False)], "done")
        assert set(journal.results(["print-a"])) == {"print-a"}
        assert [run.run_id for run in journal.runs()] == ["run_1"]
    assert journal.results(["print-a"]) == {}
    assert journal.runs() == ()
    with pytest.raises(NotFound):
        journal.run("run_1")
    with pytest.raises(NotFound):
        journal.take("run_1", me())
    with pytest.raises(NotFound):
        journal.request_cancel("run_1")


def test_a_run_whose_process_is_gone_is_dead_at_once(journal, dead_owner):
    assert known_dead(dead_owner)
    assert not known_dead(me())
    journal.lease = 1000
    journal.begin("run_1", PLAN, dead_owner)
    assert journal.run("run_1").state == "dead"
    assert journal.runs()[0].state == "dead"


def test_a_run_of_another_machine_is_dead_when_its_lease_ran_out(journal):
    journal.begin("run_1", PLAN, ELSEWHERE)
    assert journal.run("run_1").state == "running"
    time.sleep(0.35)
    assert journal.run("run_1").state == "dead"
    journal.beat("run_1", ELSEWHERE)
    assert journal.run("run_1").state == "running"


def test_a_living_run_is_not_taken_and_a_done_one_neither(journal):
    journal.begin("run_1", PLAN, owner := me())
    assert raises_conflict(lambda: journal.take("run_1", me())) == "run run_1 is alive"
    journal.note("run_1", owner, (), "done")
    assert raises_conflict(lambda: journal.take("run_1", me())) == "run run_1 is done"


@pytest.mark.parametrize("state", ["failed", "cancelled"])
def test_a_run_that_ended_badly_is_taken_with_its_stored_plan(journal, state):
    journal.begin("run_1", PLAN, owner := me())
    journal.note("run_1", owner, (), state, "why")
    assert journal.take("run_1", me()) == PLAN
    run = journal.run("run_1")
    assert (run.state, run.error, run.ended_at) == ("running", "", None)


def test_who_lost_its_run_writes_nothing_more(journal, told):
    journal.begin("run_1", PLAN, ELSEWHERE)
    time.sleep(0.35)
    journal.take("run_1", mine := me())
    before = journal.run("run_1")
    told.lines.clear()
    assert (
        raises_conflict(lambda: journal.note("run_1", ELSEWHERE, [(0, step("a", "done"), False)], "done"))
        == "run run_1 has another owner now"
    )
    journal.beat("run_1", ELSEWHERE)
    assert journal.run("run_1") == before
    assert told.lines == []
    journal.note("run_1", mine, (), "done")


def test_cancel_asks_the_living_and_ends_the_dead(journal, dead_owner):
    journal.begin("run_1", PLAN, owner := me())
    assert not journal.cancel_requested("run_1")
    journal.request_cancel("run_1")
    assert journal.cancel_requested("run_1")
    assert journal.run("run_1").state == "running"
    journal.note("run_1", owner, (), "cancelled")
    assert raises_conflict(lambda: journal.request_cancel("run_1")) == "run run_1 is cancelled"
    journal.begin("run_2", PLAN, dead_owner)
    journal.request_cancel("run_2")
    assert journal.run("run_2").state == "cancelled"


def test_runs_are_listed_newest_first_by_name_and_up_to_a_limit(journal):
    other = Plan(PipelineConfig("other"), (), ())
    for number, plan in enumerate((PLAN, other, PLAN)):
        journal.begin(f"run_{number}", plan, me())
    assert [run.run_id for run in journal.runs()] == ["run_2", "run_1", "run_0"]
    assert [run.run_id for run in journal.runs("p", limit=1)] == ["run_2"]
    assert [one.name for one in journal.runs()[0].steps] == ["a", "b"]


def test_where_nothing_ever_ran_there_is_nothing(journal):
    assert journal.runs() == ()
    with pytest.raises(NotFound):
        journal.run("run_1")
