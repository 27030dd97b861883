"""What executes pipelines."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Protocol

from forge_core.contracts.driver import Driver
from forge_core.hookspecs import TrainingHooks
from forge_core.journal import Journal, Result
from forge_core.operations import operation
from forge_core.records.auth import Session
from forge_core.records.data import JSON
from forge_core.records.models import CodeVersion
from forge_core.records.runs import KernelSpec, PipelineConfig, Plan, RunRecord, Task


class Runtime(Protocol):
    """What the kernel gives an orchestrator, injected by annotation as a contract is."""

    journal: Journal

    def code(self) -> CodeVersion | None:
        """The commit and environment that a run is made by."""

    def known(self, fingerprints: Sequence[str]) -> Mapping[str, Result]:
        """The recorded results with these fingerprints whose files, if they left any, are still there."""

    def folder(self, fingerprint: str) -> Path:
        """Where a step's files lie; an attempt writes beside it and renames."""

    def progress(self, run_id: str, step: str, fraction: float, message: str) -> None: ...

    def plan(self, pipeline: PipelineConfig, session: Session) -> Plan:
        """Read only: nothing is created, no driver's library beyond the connector's is imported."""

    def replan(self, plan: Plan, finished: Collection[str]) -> Plan:
        """The same plan, data pinned, with the fingerprints that unfinished steps have by the code of now."""

    @property
    def spec(self) -> KernelSpec:
        """What opens the kernel in another process."""

    def bound(self, pipeline: PipelineConfig) -> Runtime:
        """The same for one pipeline, with the data sets that it brings along."""

    def perform(self, task: Task) -> Mapping[str, JSON]:
        """Do a step here; `python -P -m forge_core.worker` does it elsewhere, from `spec`."""


class Orchestrator(Driver):
    """Runs a plan's steps, each journaled before the next one starts."""

    role: ClassVar[str] = "orchestrator"

    @abstractmethod
    @operation("run:start", resource="pipeline:{config.name}", mutates=True, gate=TrainingHooks.forge_before_run)
    def execute_pipeline(self, config: PipelineConfig) -> str:
        """Execute to the end and return the run's id; the run's failure is raised after it is recorded."""

    @abstractmethod
    @operation("run:resume", resource="run:{run_id}", mutates=True)
    def resume(self, run_id: str) -> None:
        """Continue a dead or failed run by its stored plan; a finished step is not run again. `Conflict` while it is alive."""

    @abstractmethod
    @operation("run:cancel", resource="run:{run_id}", mutates=True)
    def cancel(self, run_id: str) -> None: ...

    @abstractmethod
    @operation("run:read", resource="run:{run_id}")
    def monitor_progress(self, run_id: str) -> RunRecord: ...

    @abstractmethod
    @operation("run:read", resource="run:{run_id}")
    def logs(self, run_id: str, step: str | None = None) -> Iterator[str]: ...
