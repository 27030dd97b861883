"""What is executed: steps, plans, runs and the pipeline they come from."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Literal

from attrs import field, frozen

from forge_core.records.auth import Session
from forge_core.records.data import JSON, DatasetSpec, DatasetVersion, Query
from forge_core.records.models import CodeVersion, ModelSpec


class PipelineStage(Enum):
    """The four phases a step belongs to."""

    DATA_PREPARATION = "DATA_PREPARATION"
    TRAINING = "TRAINING"
    VALIDATION = "VALIDATION"
    DEPLOYMENT = "DEPLOYMENT"


@frozen
class Step:
    """A unit of work named by string (`module:function`), so that another process can do it.

    It is called as `function(task, kernel)` and returns JSON; bytes go into the task's folder. `isolation` is
    `process` (a worker of the run) or `inline`; `timeout` in seconds implies `process`.
    """

    name: str
    stage: str
    target: str
    parameters: Mapping[str, JSON] = field(factory=dict)
    needs: tuple[str, ...] = ()
    timeout: float | None = None
    isolation: Literal["inline", "process"] = "inline"


@frozen
class TransformSpec:
    type: str
    config: Mapping[str, JSON] = field(factory=dict)


@frozen
class RetryPolicy:
    """Delays in seconds; `retry_on` names kinds of error (`ForgeError.kind`) or exception classes."""

    max_attempts: int = 1
    initial_delay: float = 1.0
    multiplier: float = 2.0
    max_delay: float = 60.0
    jitter: float = 0.1
    retry_on: tuple[str, ...] = ("transient",)


@frozen
class DeploymentSpec:
    """Where a trained version goes, when `automatic` asks for it."""

    strategy: str = "blue_green"
    endpoint: str = "default"
    automatic: bool = False
    config: Mapping[str, JSON] = field(factory=dict)


@frozen
class PipelineConfig:
    """One pipeline. Its digest is over what differs from the defaults, before `${...}` is resolved.

    `stages` are the steps a project adds to the four standard ones; a pipeline without a model has only those.
    """

    name: str
    model: ModelSpec | None = None
    datasets: tuple[DatasetSpec, ...] = ()
    transforms: tuple[TransformSpec, ...] = ()
    deployment: DeploymentSpec | None = None
    stages: tuple[Step, ...] = ()
    parameters: Mapping[str, JSON] = field(factory=dict)
    timeout: float | None = None
    retry_policy: RetryPolicy = field(factory=RetryPolicy)
    notifications: tuple[str, ...] = ()


@frozen
class Planned:
    step: Step
    fingerprint: str
    cached: bool
    why: str


@frozen
class Plan:
    """What a run will do, pinned: stored with the run, and followed by resume.

    `queries` are what the rows of `data` are read by, one for each, with the filters and masks that whoever planned it must accept.
    """

    pipeline: PipelineConfig
    data: tuple[DatasetVersion, ...]
    steps: tuple[Planned, ...]
    queries: tuple[Query, ...] = ()


@frozen
class Task:
    """One attempt at a step. `inputs` maps each needed step to its outputs, its folder under `folder`."""

    run_id: str
    step: Step
    inputs: Mapping[str, Mapping[str, JSON]]
    folder: Path
    session: Session
    attempt: int = 1


@frozen
class StepRecord:
    name: str
    stage: str
    state: str
    fingerprint: str
    attempt: int
    cached: bool
    outputs: Mapping[str, JSON]
    started_at: datetime
    ended_at: datetime | None = None
    error: str = ""


@frozen
class RunRecord:
    """`dead` is a run whose process ended without saying so; `forge runs resume` continues it."""

    run_id: str
    name: str
    state: Literal["running", "done", "failed", "cancelled", "dead"]
    started_at: datetime
    steps: tuple[StepRecord, ...]
    tenant: str
    ended_at: datetime | None = None
    code: CodeVersion | None = None
    error: str = ""


@frozen
class KernelSpec:
    """What opens the same kernel in another process: JSON with `${...}` unresolved, so no secret is in it."""

    document: Mapping[str, JSON]
    root: Path
    environment: str | None = None
    plugins: bool = True
