"""TrainingOrchestrator: the local executor. A step's result is on disk before the next one starts."""

from __future__ import annotations

import os
import random
import secrets
import shutil
import threading
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from attrs import evolve, frozen

from forge_core.contracts.orchestrator import Orchestrator, Runtime
from forge_core.faults import Cancelled, ForgeError, NotFound
from forge_core.files import sync_tree
from forge_core.identifiers import new_id
from forge_core.operations import current
from forge_core.planner import moves_traffic
from forge_core.processes import me
from forge_core.records.data import JSON
from forge_core.records.project import Project
from forge_core.records.runs import KernelSpec, PipelineConfig, Plan, Planned, RetryPolicy, RunRecord, StepRecord, Task
from forge_core.worker import StepTimeout, Worker


class TrainingOrchestrator(Orchestrator):
    """Runs a plan's steps in order: cheap ones in place, the others in one worker process that is replaced after it ended."""

    transactional = True

    @frozen
    class Settings:
        """`isolation: process` runs every step in the worker, `inline` none (for debugging)."""

        isolation: Literal["auto", "process", "inline"] = "auto"

    def __init__(self, settings: Settings, *, runtime: Runtime, project: Project) -> None:
        self._settings, self._runtime, self._project = settings, runtime, project
        self._free: list[tuple[KernelSpec, Worker]] = []  # a worker performs one task at a time; those of other threads have their own

    def close(self) -> None:
        while self._free:
            self._free.pop()[1].close()

    def execute_pipeline(self, config: PipelineConfig) -> str:
        session = current()
        plan = self._runtime.plan(config, session)
        run_id, owner = new_id("run"), me()
        self._runtime.journal.begin(run_id, plan, owner, self._runtime.code())
        self._run(run_id, owner, plan)
        return run_id

    def resume(self, run_id: str) -> None:
        owner = me()
        journal = self._runtime.journal
        plan = journal.plan_of(run_id)
        done = [step.fingerprint for step in journal.run(run_id).steps if step.state == "done"]
        there = self._runtime.known(done)  # a finished step whose files are gone is done again
        finished = {one.step.name for one in plan.steps if one.fingerprint in there and one.fingerprint in done}
        plan = self._runtime.replan(plan, finished)
        journal.take(run_id, owner)
        self._run(run_id, owner, plan, finished)

    def cancel(self, run_id: str) -> None:
        self._runtime.journal.request_cancel(run_id)

    def monitor_progress(self, run_id: str) -> RunRecord:
        return self._runtime.journal.run(run_id)

    def logs(self, run_id: str, step: str | None = None) -> Iterator[str]:
        run = self._runtime.journal.run(run_id)
        names = [one.name for one in run.steps]
        if step is not None and step not in names:
            raise NotFound(f"run {run_id} has no step {step!r}", f"steps: {', '.join(names)}")
        for name in names if step is None else [step]:
            path = self._log(run_id, name)
            if path.is_file():
                with path.open(encoding="utf-8", errors="replace") as lines:
                    yield from (f"{name}: {line.rstrip()}" for line in lines)

    def _log(self, run_id: str, step: str) -> Path:
        return self._project.state / "runs" / run_id / f"{step}.log"

    def _run(self, run_id: str, owner: str, plan: Plan, finished: Collection[str] = ()) -> None:
        ends = time.monotonic() + plan.pipeline.timeout if plan.pipeline.timeout is not None else None
        execution = _Execution(self._runtime.bound(plan.pipeline), run_id, owner, plan, finished)
        with self._beating(run_id, owner), execution:
            known = self._runtime.known([planned.fingerprint for planned in plan.steps if not moves_traffic(planned.step)])
            for position, planned in enumerate(plan.steps):
                if execution.finished(position):
                    continue
                result = known.get(planned.fingerprint)
                if result is not None:
                    execution.ended(position, planned, (result.outputs, result.files), cached=True)
                else:
                    self._attempts(execution, position, planned, plan.pipeline.retry_policy, ends)

    def _attempts(self, execution: _Execution, position: int, planned: Planned, policy: RetryPolicy, ends: float | None) -> None:
        """Bounded and jittered, and only for what is retryable."""
        for attempt in range(1, policy.max_attempts + 1):
            started = execution.started(position, planned, attempt)
            try:
                outputs, files = self._perform(execution, planned, attempt, ends)
            except ForgeError as error:
                if attempt == policy.max_attempts or not retryable(error, policy):
                    execution.failed(position, started, error)
                    raise
                time.sleep(delay(policy, attempt))
            except BaseException as error:  # Ctrl-C, or an exit in a step that runs in place
                execution.failed(position, started, ForgeError(f"ended by {type(error).__name__}"))
                raise
            else:
                execution.ended(position, planned, (outputs, files), attempt=attempt, started=started)
                return

    def _perform(self, execution: _Execution, planned: Planned, attempt: int, ends: float | None) -> tuple[Mapping[str, JSON], bool]:
        step, run_id = planned.step, execution.run_id
        final = execution.runtime.folder(planned.fingerprint)
        work = final.with_name(f"{final.name}.{run_id}.{secrets.token_hex(3)}")  # of this attempt alone
        task = Task(run_id, step, execution.inputs(step.needs), work, current(), attempt)
        try:
            outputs = (
                execution.runtime.perform(task)
                if self._in_place(planned)
                else self._in_worker(execution.runtime.spec, task, _left(step.timeout, ends))
            )
            files = _has_files(work)
            if files:  # bytes first, then the row that names them
                sync_tree(work)
                with self._runtime.journal.held(run_id, execution.owner):
                    other = execution.runtime.known([planned.fingerprint]).get(planned.fingerprint)
                    if other is not None:  # another run was faster: its row names its files, and both stay
                        return other.outputs, other.files
                    aside = work.with_name(f"{work.name}.old")
                    if final.exists():
                        os.rename(final, aside)
                    os.rename(work, final)
                _remove(aside)
            return outputs, files
        finally:
            _remove(work)

    def _in_place(self, planned: Planned) -> bool:
        if self._settings.isolation != "auto":
            return self._settings.isolation == "inline"
        return planned.step.isolation == "inline" and planned.step.timeout is None

    def _in_worker(self, spec: KernelSpec, task: Task, timeout: float | None) -> Mapping[str, JSON]:
        worker = self._taken(spec)
        try:
            outputs = worker.perform(
                task,
                self._log(task.run_id, task.step.name),
                timeout,
                lambda fraction, message: self._runtime.progress(task.run_id, task.step.name, fraction, message),
                lambda: self._runtime.journal.cancel_requested(task.run_id),
            )
        except BaseException as error:
            if not isinstance(error, ForgeError) or error.kind in ("process_ended", "timeout", "cancelled"):
                worker.close()
            else:
                self._free.append((spec, worker))
            raise
        self._free.append((spec, worker))
        return outputs

    def _taken(self, spec: KernelSpec) -> Worker:
        while self._free:
            try:
                found, worker = self._free.pop()
            except IndexError:  # another thread was faster
                break
            if found == spec:
                return worker
            worker.close()
        return Worker(spec)

    @contextmanager
    def _beating(self, run_id: str, owner: str) -> Iterator[None]:
        stop, journal = threading.Event(), self._runtime.journal

        def beat() -> None:
            while not stop.wait(journal.lease / 3):
                try:
                    journal.beat(run_id, owner)
                except ForgeError:
                    continue  # the next beat tries again; a lease that ran out is found by `note`

        thread = threading.Thread(target=beat, daemon=True, name=f"lease of {run_id}")
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()


class _Execution:
    """One execution of a plan: what has ended, and one commit for a step's end with the next one's start."""

    def __init__(self, runtime: Runtime, run_id: str, owner: str, plan: Plan, finished: Collection[str]) -> None:
        self.run_id, self.owner = run_id, owner
        self._journal, self._plan, self.runtime = runtime.journal, plan, runtime
        steps = runtime.journal.run(run_id).steps if finished else ()
        self._outputs: dict[str, Mapping[str, JSON]] = {step.name: step.outputs for step in steps if step.name in finished}
        self._prints = {planned.step.name: planned.fingerprint for planned in plan.steps}
        self._waiting: list[tuple[int, StepRecord, bool]] = []

    def __enter__(self) -> _Execution:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _trace: object) -> None:
        if error is None:
            self._journal.note(self.run_id, self.owner, self._waiting, "done")
            return
        state = "cancelled" if isinstance(error, Cancelled | KeyboardInterrupt) else "failed"
        cause = error.cause if isinstance(error, ForgeError) else type(error).__name__
        try:
            self._journal.note(self.run_id, self.owner, self._waiting, state, cause)
        except ForgeError as other:
            error.add_note(f"and it could not be recorded: {other}")

    def finished(self, position: int) -> bool:
        return self._plan.steps[position].step.name in self._outputs

    def inputs(self, needs: tuple[str, ...]) -> dict[str, Mapping[str, JSON]]:
        return {name: {**self._outputs[name], "folder": str(self.runtime.folder(self._prints[name]))} for name in needs}

    def started(self, position: int, planned: Planned, attempt: int) -> StepRecord:
        record = StepRecord(planned.step.name, planned.step.stage, "running", planned.fingerprint, attempt, False, {}, datetime.now(UTC))
        self._journal.note(self.run_id, self.owner, [*self._waiting, (position, record, False)])
        self._waiting = []
        return record

    def ended(
        self,
        position: int,
        planned: Planned,
        result: tuple[Mapping[str, JSON], bool],
        *,
        cached: bool = False,
        attempt: int = 0,
        started: StepRecord | None = None,
    ) -> None:
        """Kept until the next step starts or the run ends, so that both are one commit."""
        outputs, files = result
        now = datetime.now(UTC)
        began = started.started_at if started is not None else now
        record = StepRecord(planned.step.name, planned.step.stage, "done", planned.fingerprint, attempt, cached, outputs, began, now)
        self._outputs[planned.step.name] = outputs
        self._waiting.append((position, record, files))

    def failed(self, position: int, started: StepRecord, error: ForgeError) -> None:
        self._waiting.append((position, evolve(started, state="failed", error=error.cause, ended_at=datetime.now(UTC)), False))


def _has_files(folder: Path) -> bool:
    try:
        with os.scandir(folder) as entries:
            return next(entries, None) is not None
    except FileNotFoundError:
        return False


def _remove(folder: Path) -> None:
    """A step that names no `task` has no folder, and most others leave theirs empty; only the rest are walked through."""
    try:
        os.rmdir(folder)
    except FileNotFoundError:
        return
    except OSError:
        shutil.rmtree(folder, ignore_errors=True)


def retryable(error: ForgeError, policy: RetryPolicy) -> bool:
    return error.kind in policy.retry_on or type(error).__name__ in policy.retry_on


def delay(policy: RetryPolicy, attempt: int) -> float:
    """Seconds before the attempt after `attempt`: exponential, bounded, with a share of chance."""
    plain = min(policy.max_delay, policy.initial_delay * policy.multiplier ** (attempt - 1))
    return plain * (1 + policy.jitter * (2 * random.random() - 1))  # noqa: S311 - spreads retries, guards nothing


def _left(timeout: float | None, ends: float | None) -> float | None:
    if ends is None:
        return timeout
    left = ends - time.monotonic()
    if left <= 0:
        raise StepTimeout("the run's time is over", "raise pipeline.timeout")
    return left if timeout is None else min(timeout, left)
