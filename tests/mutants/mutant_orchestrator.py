"""Wrong orchestrators: what runs again, what is not recorded, and who may take a run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar

from mutant_swap import swap

from forge_core import orchestrator
from forge_core.faults import Conflict, ForgeError
from forge_core.identifiers import new_id
from forge_core.journal import Journal, Result
from forge_core.operations import current, describe
from forge_core.orchestrator import TrainingOrchestrator
from forge_core.processes import me
from forge_core.records.runs import PipelineConfig, Plan, Planned, RetryPolicy, StepRecord
from forge_core.serialize import from_json
from forge_core.tables import RUNS
from forge_core.worker import Worker


class ResumeFromTheStart(TrainingOrchestrator):
    """A resumed run does its finished steps again."""

    suite: ClassVar[str] = "forge_core.builtin.testing:TestLocalOrchestrator"

    def resume(self, run_id: str) -> None:
        runtime = self._runtime
        self._runtime = _Forgetful(runtime)
        try:
            super().resume(run_id)
        finally:
            self._runtime = runtime


class _Forgetful:
    def __init__(self, runtime: Any) -> None:
        self._right = runtime

    def __getattr__(self, name: str) -> Any:
        return getattr(self._right, name)

    def known(self, fingerprints: Sequence[str]) -> Mapping[str, Result]:
        return {}


class ResumeAlive(TrainingOrchestrator):
    """A run that is alive is taken from its owner."""

    suite: ClassVar[str] = "forge_core.builtin.testing:TestLocalOrchestrator"

    def open(self) -> None:
        swap(Journal, "take", _take)


_right_take = Journal.take


def _take(self: Journal, run_id: str, owner: str) -> Plan:
    try:
        return _right_take(self, run_id, owner)
    except Conflict:
        with self._database.transaction() as connection:
            row = self._row(connection, run_id)
            if row["state"] == "done":
                raise
            connection.execute(RUNS.update().where(RUNS.c.run_id == run_id).values(owner=owner))
            describe(after={"state": "running"})
        return from_json(row["plan"], Plan)


class FailureSwallowed(TrainingOrchestrator):
    """A run's failure is recorded and not raised."""

    suite: ClassVar[str] = "forge_core.builtin.testing:TestLocalOrchestrator"

    def execute_pipeline(self, config: PipelineConfig) -> str:
        plan = self._runtime.plan(config, current())
        run_id, owner = new_id("run"), me()
        self._runtime.journal.begin(run_id, plan, owner, self._runtime.code())
        try:
            self._run(run_id, owner, plan)
        except ForgeError:
            return run_id
        return run_id


class FailureUnrecorded(TrainingOrchestrator):
    """A run's failure is raised and not recorded."""

    suite: ClassVar[str] = "forge_core.builtin.testing:TestLocalOrchestrator"

    def open(self) -> None:
        swap(orchestrator, "_Execution", _Unrecorded)


_right_execution = orchestrator._Execution


class _Unrecorded(_right_execution):
    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _trace: object) -> None:
        if error is None:
            super().__exit__(kind, error, _trace)


class JournaledAtTheEnd(TrainingOrchestrator):
    """Steps are kept in memory and journaled when the run ends."""

    suite: ClassVar[str] = "forge_core.builtin.testing:TestLocalOrchestrator"

    def open(self) -> None:
        swap(orchestrator, "_Execution", _AtTheEnd)


class _AtTheEnd(_right_execution):
    def started(self, position: int, planned: Planned, attempt: int) -> StepRecord:
        return StepRecord(planned.step.name, planned.step.stage, "running", planned.fingerprint, attempt, False, {}, datetime.now(UTC))


class RetriesAnything(TrainingOrchestrator):
    """Every failure is tried again, whatever the retry policy names."""

    suite: ClassVar[str] = "forge_core.builtin.testing:TestLocalOrchestrator"

    def open(self) -> None:
        swap(orchestrator, "retryable", _any_failure)


def _any_failure(error: ForgeError, policy: RetryPolicy) -> bool:
    return True


class LogsOfAllSteps(TrainingOrchestrator):
    """The logs of one step are those of the whole run."""

    suite: ClassVar[str] = "forge_core.builtin.testing:TestLocalOrchestrator"

    def logs(self, run_id: str, step: str | None = None) -> Iterator[str]:
        if step is not None:
            next(super().logs(run_id, step), None)  # a step that the run has not is refused
        yield from super().logs(run_id)


class DeafToCancel(TrainingOrchestrator):
    """A step that runs in the worker is not cancelled, only those that would follow it."""

    suite: ClassVar[str] = "forge_core.builtin.testing:TestLocalOrchestrator"

    def open(self) -> None:
        swap(orchestrator, "Worker", _Deaf)


class _Deaf(Worker):
    def perform(
        self, task: Any, log: Any, timeout: float | None, progress: Callable[[float, str], None], cancelled: Callable[[], bool]
    ) -> Any:
        return super().perform(task, log, timeout, progress, lambda: False)
