"""Where experiments are followed."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import ClassVar

from forge_core.contracts.driver import Driver
from forge_core.operations import operation
from forge_core.records.data import JSON


class ExperimentTracker(Driver):
    """Runs, their parameters, metrics and artifacts. Metrics always come in batches."""

    role: ClassVar[str] = "tracker"

    @abstractmethod
    @operation("run:track", resource="run:{run_id}", mutates=True)
    def start(self, experiment: str, run_id: str, parameters: Mapping[str, JSON]) -> None:
        """Begin to follow a run; doing so again (a resumed run) changes nothing."""

    @abstractmethod
    @operation("run:track", resource="run:{run_id}")
    def log_metrics(self, run_id: str, metrics: Sequence[tuple[str, float, int, datetime]]) -> None:
        """A batch of (name, value, step, time). Telemetry, not a mutation: it is not in the audit trail."""

    @abstractmethod
    @operation("run:track", resource="run:{run_id}")
    def log_artifact(self, run_id: str, path: Path, name: str) -> None: ...

    @abstractmethod
    @operation("run:track", resource="run:{run_id}")
    def end(self, run_id: str, state: str) -> None: ...

    @abstractmethod
    @operation("run:read", resource="run:{run_id}")
    def metrics(self, run_id: str) -> Sequence[tuple[str, float, int, datetime]]:
        """What was logged, in the order of name, step and time."""
