"""The pipeline that forge.yaml spells, as the record that the builder makes too."""

from __future__ import annotations

from forge_core.document import Document
from forge_core.faults import ConfigError
from forge_core.pipeline import chosen, complete
from forge_core.records.models import ModelSpec
from forge_core.records.runs import DeploymentSpec, PipelineConfig


def spelled(document: Document, name: str | None) -> PipelineConfig:
    """The pipeline of a model, or of the only one; without models, that of the project's own steps."""
    names = [one.name for one in document.models]
    if not names and document.pipeline.steps:
        return _assembled(document, None, name or document.project.name)
    if name is None and len(names) > 1:
        raise ConfigError("which model?", f"one of {', '.join(names)}")
    model = next((one for one in document.models if name in (None, one.name)), None)
    if model is None:
        raise ConfigError(
            f"there is no model {name!r}" if name else "no model is listed", f"models: {', '.join(names) or 'list one under models'}"
        )
    return _assembled(document, complete(model, document.datasets), model.name)


def _assembled(document: Document, model: ModelSpec | None, name: str) -> PipelineConfig:
    said = document.pipeline
    return PipelineConfig(
        name=name,
        model=model,
        datasets=chosen(model, document.datasets) if model is not None else document.datasets,
        transforms=document.feature_engineering.transformations if model is not None else (),
        deployment=_deployment(document, name) if model is not None else None,
        stages=said.steps,
        parameters=said.parameters,
        timeout=said.timeout,
        retry_policy=said.retry_policy,
        notifications=said.notifications,
    )


def _deployment(document: Document, model: str) -> DeploymentSpec | None:
    """Only where it is automatic; else traffic moves by `forge deploy`."""
    said = document.deployment
    if not said.automatic:
        return None
    endpoint = next((one.name for one in said.endpoints if one.model in ("", model)), "default")
    return DeploymentSpec(said.strategy, endpoint, True, said.config)
