"""What is trained, kept and found again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Literal, Protocol, TypeAlias

from attrs import field, frozen

from forge_core.records.data import JSON, Column

ValidationStrategy: TypeAlias = Literal["holdout", "k_fold", "stratified_k_fold", "time_series_split"]
TaskKind: TypeAlias = Literal["binary", "multiclass", "regression"]


class ModelStatus(Enum):
    """A version is published as VALIDATING, or as FAILED where it missed a requirement."""

    TRAINING = "training"
    VALIDATING = "validating"
    DEPLOYED = "deployed"
    ARCHIVED = "archived"
    FAILED = "failed"


LEGAL_MOVES: Mapping[ModelStatus, frozenset[ModelStatus]] = {
    ModelStatus.TRAINING: frozenset(),
    ModelStatus.VALIDATING: frozenset({ModelStatus.DEPLOYED, ModelStatus.ARCHIVED, ModelStatus.FAILED}),
    ModelStatus.DEPLOYED: frozenset({ModelStatus.ARCHIVED}),
    ModelStatus.ARCHIVED: frozenset({ModelStatus.DEPLOYED, ModelStatus.VALIDATING}),
    ModelStatus.FAILED: frozenset({ModelStatus.ARCHIVED}),
}


@frozen
class Training:
    """How the rows are split. `order_by` makes the split one in time: the last part is held out.

    `validation_strategy` is `holdout`, `k_fold`, `stratified_k_fold` or `time_series_split`.
    """

    split_ratio: float = 0.8
    seed: int = 0
    validation_strategy: ValidationStrategy = "holdout"
    n_splits: int = 5
    order_by: str | None = None


@frozen
class Evaluation:
    """`require` names what a version must reach: at least for scores, at most for errors and losses."""

    metrics: tuple[str, ...] = ()
    require: Mapping[str, float] = field(factory=dict)
    threshold_optimization: bool = False


@frozen
class ModelSpec:
    """A model as forge.yaml spells it; `dataset` and `target` are filled in when the pipeline is made."""

    name: str
    type: str
    dataset: str = ""
    target: str = ""
    features: tuple[str, ...] | None = None
    task: TaskKind | None = None
    hyperparameters: Mapping[str, JSON] = field(factory=dict)
    training: Training = field(factory=Training)
    evaluation: Evaluation = field(factory=Evaluation)


@frozen
class TrainedModel:
    """Lives in the process that trained it; a flavor makes files of it.

    `classes` are the labels in the order of `probabilities`; `threshold` cuts the probability of the
    second class of a binary model, None meaning 0.5.
    """

    model: object = field(repr=False)
    flavor: str = ""
    task: TaskKind = "binary"
    classes: tuple[JSON, ...] = ()
    threshold: float | None = None
    metrics: Mapping[str, float] = field(factory=dict)
    parameters: Mapping[str, JSON] = field(factory=dict)
    dependencies: tuple[str, ...] = ()


@frozen
class FittedTransform:
    type: str
    config: Mapping[str, JSON]
    state: Mapping[str, JSON]


@frozen
class ModelManifest:
    """`forge.json` beside `flavor/` in a model's folder. It names drivers, never modules.

    `inputs` are the raw columns, before any transform.
    """

    format: int
    flavor: str
    task: TaskKind
    classes: tuple[JSON, ...]
    threshold: float | None
    inputs: tuple[Column, ...]
    transforms: tuple[FittedTransform, ...]


@frozen
class CodeVersion:
    commit: str | None
    diff_digest: str | None
    environment_digest: str


@frozen(kw_only=True)
class ModelDraft:
    """What a run knows of a version; the registry adds the rest.

    The same `idempotency_key` with another body is a `Conflict`.
    """

    name: str
    flavor: str
    run_id: str
    metrics: Mapping[str, float]
    parameters: Mapping[str, JSON]
    training_data_hash: str
    signature: tuple[Column, ...]
    dependencies: tuple[str, ...] = ()
    parents: tuple[str, ...] = ()
    tags: Mapping[str, str] = field(factory=dict)
    status: ModelStatus = ModelStatus.VALIDATING
    idempotency_key: str | None = None
    code: CodeVersion | None = None


@frozen(kw_only=True)
class ModelMetadata(ModelDraft):
    """A published version. `digest` is over its files; `version` counts from 1 and is never reused."""

    model_id: str
    version: int
    digest: str
    created_at: datetime
    updated_at: datetime
    tenant: str

    @property
    def selector(self) -> str:
        return f"{self.name}@{self.version}"


@frozen
class Lineage:
    node: str
    kind: Literal["model", "run", "code", "data", "endpoint"]
    edges: tuple[Lineage, ...] = ()


class TrainingContext(Protocol):
    """What a trainer may use of its run. `folder` belongs to this attempt alone."""

    run_id: str
    folder: Path
    seed: int
    checkpoint: Path | None

    def progress(self, fraction: float, message: str = "") -> None:
        """Report how far the work is (0 to 1). Raises `Cancelled` when the run was cancelled."""

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None: ...

    def save_checkpoint(self, write: Callable[[Path], None]) -> None:
        """`write(folder)` makes the files; they appear atomically, and the next attempt finds them as `checkpoint`."""
