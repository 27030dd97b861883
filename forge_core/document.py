"""The shape of forge.yaml."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import field, frozen

from forge_core.records.data import JSON, DatasetSpec
from forge_core.records.models import ModelSpec
from forge_core.records.runs import RetryPolicy, Step, TransformSpec

INFRASTRUCTURE: dict[str, dict[str, JSON]] = {
    "storage": {"type": "file", "path": ".forge/artifacts"},
    "database": {"url": "sqlite:///.forge/forge.db"},
    "registry": {"type": "sql"},
    "tracking": {"type": "sql"},
    "orchestration": {"type": "local"},
    "serving": {"type": "cortex", "host": "127.0.0.1", "port": 8000},
    "monitoring": {"type": "log"},
    "auth": {"type": "none"},
    "compute": {"type": "pyarrow"},
    "secrets": {"type": "env"},
}
"""What `infrastructure` means where it says nothing."""


@frozen
class ProjectSection:
    name: str = "project"
    version: str = "0"
    description: str = ""


@frozen
class Infrastructure:
    """One key for each role that has one driver, and for what the kernel itself needs."""

    storage: Mapping[str, JSON] = field(factory=dict)
    database: Mapping[str, JSON] = field(factory=dict)
    registry: Mapping[str, JSON] = field(factory=dict)
    tracking: Mapping[str, JSON] = field(factory=dict)
    orchestration: Mapping[str, JSON] = field(factory=dict)
    serving: Mapping[str, JSON] = field(factory=dict)
    monitoring: Mapping[str, JSON] = field(factory=dict)
    auth: Mapping[str, JSON] = field(factory=dict)
    compute: Mapping[str, JSON] = field(factory=dict)
    secrets: Mapping[str, JSON] = field(factory=dict)


@frozen
class FeatureSection:
    transformations: tuple[TransformSpec, ...] = ()


@frozen
class EndpointSection:
    name: str
    url: str = ""
    model: str = ""
    version: str = "production"


@frozen
class DeploymentSection:
    strategy: str = "blue_green"
    automatic: bool = False
    config: Mapping[str, JSON] = field(factory=dict)
    endpoints: tuple[EndpointSection, ...] = ()
    monitoring: Mapping[str, JSON] = field(factory=dict)


@frozen
class PipelineSection:
    timeout: float | None = None
    retry_policy: RetryPolicy = field(factory=RetryPolicy)
    notifications: tuple[str, ...] = ()
    parameters: Mapping[str, JSON] = field(factory=dict)
    steps: tuple[Step, ...] = ()


@frozen
class PluginsSection:
    deny: tuple[str, ...] = ()
    allow: tuple[str, ...] | None = None
    require: tuple[str, ...] = ()
    local: tuple[str, ...] = ()


@frozen
class Document:
    project: ProjectSection = field(factory=ProjectSection)
    infrastructure: Infrastructure = field(factory=Infrastructure)
    connectors: Mapping[str, Mapping[str, JSON]] = field(factory=dict)
    trainers: Mapping[str, Mapping[str, JSON]] = field(factory=dict)
    flavors: Mapping[str, Mapping[str, JSON]] = field(factory=dict)
    strategies: Mapping[str, Mapping[str, JSON]] = field(factory=dict)
    notifiers: Mapping[str, Mapping[str, JSON]] = field(factory=dict)
    datasets: tuple[DatasetSpec, ...] = ()
    feature_engineering: FeatureSection = field(factory=FeatureSection)
    models: tuple[ModelSpec, ...] = ()
    deployment: DeploymentSection = field(factory=DeploymentSection)
    pipeline: PipelineSection = field(factory=PipelineSection)
    plugins: PluginsSection = field(factory=PluginsSection)
