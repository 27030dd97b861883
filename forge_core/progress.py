"""What a trainer may use of its run: progress, metrics, checkpoints."""

from __future__ import annotations

import secrets
import shutil
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from forge_core.faults import Cancelled
from forge_core.files import sync_tree
from forge_core.hookspecs import TrainingHooks
from forge_core.records.data import JSON
from forge_core.records.runs import Task

if TYPE_CHECKING:
    from forge_core.kernel import Kernel

FLUSH = 1.0  # seconds between batches of metrics, and between questions whether the run was cancelled


class StepContext:
    """A `TrainingContext`. Metrics go to the tracker in batches; the run's checkpoint outlives an attempt."""

    def __init__(self, kernel: Kernel, task: Task, seed: int, experiment: str, parameters: Mapping[str, JSON]) -> None:
        self._kernel, self._task = kernel, task
        self.run_id, self.seed = task.run_id, seed
        self.folder = task.folder / "scratch"
        self._experiment, self._parameters = experiment, parameters
        self._kept = kernel.project.state / "runs" / task.run_id / f"{task.step.name}.checkpoint"
        self._batch: list[tuple[str, float, int, datetime]] = []
        self._flushed = self._asked = time.monotonic()
        self._from, self._width = 0.0, 1.0

    @property
    def checkpoint(self) -> Path | None:
        return self._kept if self._kept.is_dir() else None

    def __enter__(self) -> StepContext:
        self.folder.mkdir(parents=True, exist_ok=True)
        experiment = self._kernel.journal.plan_of(self.run_id).pipeline.parameters.get("experiment_name") or self._experiment
        self._kernel.tracker.start(str(experiment), self.run_id, self._parameters)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None) -> None:
        self._flush()
        self._kernel.tracker.end(self.run_id, "failed" if error is not None else "done")
        shutil.rmtree(self.folder, ignore_errors=True)
        if error is None:
            shutil.rmtree(self._kept, ignore_errors=True)

    def share(self, number: int, of: int) -> None:
        """What follows is the share `number` of so many equal ones."""
        self._from, self._width = number / of, 1 / of

    def progress(self, fraction: float, message: str = "") -> None:
        now = time.monotonic()
        if now - self._asked >= FLUSH:
            self._asked = now
            if self._kernel.journal.cancel_requested(self.run_id):
                raise Cancelled(f"run {self.run_id} was cancelled", f"forge runs resume {self.run_id}")
        self._kernel.on_progress(self._from + self._width * min(max(fraction, 0.0), 1.0), message)

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        if not metrics:
            return
        now = datetime.now(UTC)
        self._batch.extend((name, float(value), step, now) for name, value in metrics.items())
        self._kernel.hub.tell(TrainingHooks.forge_metrics_logged, run_id=self.run_id, metrics=dict(metrics), step=step)
        if len(self._batch) >= 1000 or time.monotonic() - self._flushed >= FLUSH:
            self._flush()

    def save_checkpoint(self, write: Callable[[Path], None]) -> None:
        self._kept.parent.mkdir(parents=True, exist_ok=True)
        beside = self._kept.with_name(f"{self._kept.name}.{secrets.token_hex(3)}")
        beside.mkdir()
        try:
            write(beside)
            sync_tree(beside)
            shutil.rmtree(self._kept, ignore_errors=True)
            beside.rename(self._kept)
        finally:
            shutil.rmtree(beside, ignore_errors=True)

    def quiet(self, name: str) -> _Quiet:
        """For the model of a fold: progress and cancel, but neither metrics nor checkpoints."""
        return _Quiet(self, self.folder / name)

    def _flush(self) -> None:
        self._flushed = time.monotonic()
        if self._batch:
            batch, self._batch = self._batch, []
            self._kernel.tracker.log_metrics(self.run_id, batch)


class _Quiet:
    checkpoint: Path | None = None

    def __init__(self, outer: StepContext, folder: Path) -> None:
        self._outer = outer
        self.run_id, self.seed, self.folder = outer.run_id, outer.seed, folder
        folder.mkdir(parents=True)

    def progress(self, fraction: float, message: str = "") -> None:
        self._outer.progress(fraction, message)

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None: ...

    def save_checkpoint(self, write: Callable[[Path], None]) -> None: ...
