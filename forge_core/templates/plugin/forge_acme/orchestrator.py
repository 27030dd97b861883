"""`orchestration: acme`: steps one after the other, each in a worker process."""

from __future__ import annotations

import contextlib
import os
import random
import secrets
import shutil
import threading
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

from attrs import evolve
from forge_core.contracts import Orchestrator, Runtime
from forge_core.faults import Cancelled, ForgeError, NotFound
from forge_core.files import sync_tree
from forge_core.identifiers import new_id
from forge_core.operations import acting_as, current
from forge_core.processes import me
from forge_core.records import JSON, PipelineConfig, Plan, Planned, Project, RunRecord, StepRecord, Task
from forge_core.worker import StepTimeout, Worker

Outputs = dict[str, Mapping[str, JSON]]


class AcmeOrchestrator(Orchestrator):
    """A step's files are renamed into their place, then its record is committed, then the next step starts."""

    transactional = True

    def __init__(self, *, runtime: Runtime, project: Project) -> None:
        self._runtime, self._logs = runtime, project.state / "runs"

    def execute_pipeline(self, config: PipelineConfig) -> str:
        plan = self._runtime.plan(config, current())
        run_id, owner = new_id("run"), me()
        self._runtime.journal.begin(run_id, plan, owner, self._runtime.code())
        self._run(run_id, owner, plan, {})
        return run_id

    def resume(self, run_id: str) -> None:
        journal, owner = self._runtime.journal, me()
        plan, steps = journal.plan_of(run_id), journal.run(run_id).steps
        there = self._runtime.known([step.fingerprint for step in steps if step.state == "done"])
        done = {step.name: step.outputs for step in steps if step.state == "done" and step.fingerprint in there}
        plan = self._runtime.replan(plan, set(done))
        journal.take(run_id, owner)
        self._run(run_id, owner, plan, done)

    def cancel(self, run_id: str) -> None:
        self._runtime.journal.request_cancel(run_id)

    def monitor_progress(self, run_id: str) -> RunRecord:
        return self._runtime.journal.run(run_id)

    def logs(self, run_id: str, step: str | None = None) -> Iterator[str]:
        names = [one.name for one in self._runtime.journal.run(run_id).steps]
        if step is not None and step not in names:
            raise NotFound(f"run {run_id} has no step {step!r:.100}", f"steps: {', '.join(names)}")
        for name in names if step is None else [step]:
            path = self._log(run_id, name)
            if path.is_file():
                with path.open(encoding="utf-8", errors="replace") as lines:
                    yield from (f"{name}: {line.rstrip()}" for line in lines)

    def _log(self, run_id: str, step: str) -> Path:
        return self._logs / run_id / f"{step}.log"

    def _run(self, run_id: str, owner: str, plan: Plan, done: Outputs) -> None:
        journal = self._runtime.journal
        limit = plan.pipeline.timeout
        ends = None if limit is None else time.monotonic() + limit
        execution = Execution(self._runtime.bound(plan.pipeline), run_id, owner, plan, done, self._logs / run_id)
        with self._beating(run_id, owner):
            try:
                for position, planned in enumerate(plan.steps):
                    if planned.step.name not in done:
                        execution.step(position, planned, ends)
                state, cause = "done", ""
            except BaseException as error:
                state = "cancelled" if isinstance(error, Cancelled | KeyboardInterrupt) else "failed"
                cause = error.cause if isinstance(error, ForgeError) else type(error).__name__
                with contextlib.suppress(ForgeError):  # somebody else owns the run by now
                    journal.note(run_id, owner, execution.waiting, state, cause)
                raise
            finally:
                execution.close()
            journal.note(run_id, owner, execution.waiting, state, cause)

    @contextlib.contextmanager
    def _beating(self, run_id: str, owner: str) -> Iterator[None]:
        """The lease is prolonged as long as this process lives."""
        journal, stop, session = self._runtime.journal, threading.Event(), current()

        def beat() -> None:
            with acting_as(session):
                while not stop.wait(journal.lease / 3):
                    with contextlib.suppress(ForgeError):  # the next beat tries again
                        journal.beat(run_id, owner)

        thread = threading.Thread(target=beat, daemon=True, name=f"lease of {run_id}")
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()


class Execution:
    """A run under way. `waiting` are records that the next commit takes along."""

    def __init__(self, runtime: Runtime, run_id: str, owner: str, plan: Plan, done: Outputs, logs: Path) -> None:
        self.waiting: list[tuple[int, StepRecord, bool]] = []
        self._runtime, self._run_id, self._owner, self._done, self._logs = runtime, run_id, owner, done, logs
        self._policy = plan.pipeline.retry_policy
        self._prints = {planned.step.name: planned.fingerprint for planned in plan.steps}
        self._worker: Worker | None = None

    def close(self) -> None:
        if self._worker is not None:
            self._worker.close()
            self._worker = None

    def step(self, position: int, planned: Planned, ends: float | None) -> None:
        """Take the result over where a run has it already; else do the step, as often as the policy says."""
        known = None if planned.step.stage == "DEPLOYMENT" else self._known(planned)
        if known is not None:
            record = self._record(planned, 0)
            self._ended(position, evolve(record, cached=True), known[0], known[1])
            return
        for attempt in range(1, self._policy.max_attempts + 1):
            record = self._record(planned, attempt)
            self._runtime.journal.note(self._run_id, self._owner, [*self.waiting, (position, record, False)])
            self.waiting = []
            try:
                outputs, files = self._performed(planned, attempt, ends)
            except BaseException as error:
                self._failed(position, record, error)
                again = isinstance(error, ForgeError) and {error.kind, type(error).__name__} & {*self._policy.retry_on}
                if not again or attempt == self._policy.max_attempts:
                    raise
                time.sleep(self._delay(attempt))
            else:
                self._ended(position, record, outputs, files)
                return

    def _known(self, planned: Planned) -> tuple[Mapping[str, JSON], bool] | None:
        found = self._runtime.known([planned.fingerprint]).get(planned.fingerprint)
        return None if found is None else (found.outputs, found.files)

    def _record(self, planned: Planned, attempt: int) -> StepRecord:
        step, now = planned.step, datetime.now(UTC)
        return StepRecord(step.name, step.stage, "running", planned.fingerprint, attempt, False, {}, now)

    def _ended(self, position: int, record: StepRecord, outputs: Mapping[str, JSON], files: bool) -> None:
        """Kept until the next step starts or the run ends, so that both are one commit."""
        self._done[record.name] = outputs
        made = evolve(record, state="done", outputs=outputs, ended_at=datetime.now(UTC))
        self.waiting.append((position, made, files))

    def _failed(self, position: int, record: StepRecord, error: BaseException) -> None:
        cause = error.cause if isinstance(error, ForgeError) else f"ended by {type(error).__name__}"
        made = evolve(record, state="failed", error=cause, ended_at=datetime.now(UTC))
        self.waiting = [(position, made, False)]

    def _delay(self, attempt: int) -> float:
        """Seconds: exponential, bounded, with a share of chance."""
        policy = self._policy
        plain = min(policy.max_delay, policy.initial_delay * policy.multiplier ** (attempt - 1))
        return plain * (1 + policy.jitter * random.uniform(-1, 1))

    def _performed(self, planned: Planned, attempt: int, ends: float | None) -> tuple[Mapping[str, JSON], bool]:
        """The step's outputs, and whether it left files; those lie in their place then, or nowhere."""
        final = self._runtime.folder(planned.fingerprint)
        work = final.with_name(f"{final.name}.{self._run_id}.{secrets.token_hex(3)}")
        needed = {
            name: {**self._done[name], "folder": str(self._runtime.folder(self._prints[name]))}
            for name in planned.step.needs
        }
        task = Task(self._run_id, planned.step, needed, work, current(), attempt)
        try:
            outputs = self._in_worker(task, ends)
            files = work.is_dir() and any(work.iterdir())
            if files:
                sync_tree(work)
                with self._runtime.journal.held(self._run_id, self._owner):
                    other = self._known(planned)
                    if other is not None:  # another run was faster: its files stay
                        return other
                    _remove(final)
                    os.rename(work, final)
            return outputs, files
        finally:
            _remove(work)

    def _in_worker(self, task: Task, ends: float | None) -> Mapping[str, JSON]:
        left = None if ends is None else ends - time.monotonic()
        if left is not None and left <= 0:
            raise StepTimeout("the run's time is over", "raise pipeline.timeout")
        times = [one for one in (task.step.timeout, left) if one is not None]
        if self._worker is None:
            self._worker = Worker(self._runtime.spec)
        journal, run_id, name = self._runtime.journal, self._run_id, task.step.name
        try:
            return self._worker.perform(
                task,
                self._logs / f"{name}.log",
                min(times, default=None),
                lambda fraction, message: self._runtime.progress(run_id, name, fraction, message),
                lambda: journal.cancel_requested(run_id),
            )
        except BaseException:
            self.close()  # with whatever the step has started
            raise


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
