"""Frozen records that cross a contract or a hook, made of JSON, paths and other records. Times are aware UTC.

A name is imported from its subject's file when it is asked for, so that a plugin module pays for what it uses.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

_SUBJECTS = {
    "auth": ("Decision", "Event", "Principal", "Refusal", "Session"),
    "data": (
        "ArrowStream",
        "Column",
        "Condition",
        "DatasetSpec",
        "DatasetVersion",
        "JSON",
        "Query",
        "Transaction",
        "TrainingData",
    ),
    "models": (
        "LEGAL_MOVES",
        "CodeVersion",
        "Evaluation",
        "FittedTransform",
        "Lineage",
        "ModelDraft",
        "ModelManifest",
        "ModelMetadata",
        "ModelSpec",
        "ModelStatus",
        "TaskKind",
        "TrainedModel",
        "Training",
        "TrainingContext",
    ),
    "project": ("Command", "Compute", "Project", "Storage"),
    "runs": (
        "DeploymentSpec",
        "KernelSpec",
        "PipelineConfig",
        "PipelineStage",
        "Plan",
        "Planned",
        "RetryPolicy",
        "RunRecord",
        "Step",
        "StepRecord",
        "Task",
        "TransformSpec",
    ),
    "serving": ("Alert", "Deployment", "HealthCheck", "Notice", "Resource", "Route"),
}
_HOME = {name: subject for subject, names in _SUBJECTS.items() for name in names}

if TYPE_CHECKING:
    from forge_core.records.auth import Decision, Event, Principal, Refusal, Session
    from forge_core.records.data import (
        JSON,
        ArrowStream,
        Column,
        Condition,
        DatasetSpec,
        DatasetVersion,
        Query,
        TrainingData,
        Transaction,
    )
    from forge_core.records.models import (
        LEGAL_MOVES,
        CodeVersion,
        Evaluation,
        FittedTransform,
        Lineage,
        ModelDraft,
        ModelManifest,
        ModelMetadata,
        ModelSpec,
        ModelStatus,
        TaskKind,
        TrainedModel,
        Training,
        TrainingContext,
    )
    from forge_core.records.project import Command, Compute, Project, Storage
    from forge_core.records.runs import (
        DeploymentSpec,
        KernelSpec,
        PipelineConfig,
        PipelineStage,
        Plan,
        Planned,
        RetryPolicy,
        RunRecord,
        Step,
        StepRecord,
        Task,
        TransformSpec,
    )
    from forge_core.records.serving import Alert, Deployment, HealthCheck, Notice, Resource, Route

__all__ = [
    "JSON",
    "LEGAL_MOVES",
    "Alert",
    "ArrowStream",
    "CodeVersion",
    "Column",
    "Command",
    "Compute",
    "Condition",
    "DatasetSpec",
    "DatasetVersion",
    "Decision",
    "Deployment",
    "DeploymentSpec",
    "Evaluation",
    "Event",
    "FittedTransform",
    "HealthCheck",
    "KernelSpec",
    "Lineage",
    "ModelDraft",
    "ModelManifest",
    "ModelMetadata",
    "ModelSpec",
    "ModelStatus",
    "Notice",
    "PipelineConfig",
    "PipelineStage",
    "Plan",
    "Planned",
    "Principal",
    "Project",
    "Query",
    "Refusal",
    "Resource",
    "RetryPolicy",
    "Route",
    "RunRecord",
    "Session",
    "Step",
    "StepRecord",
    "Storage",
    "Task",
    "TaskKind",
    "TrainedModel",
    "Training",
    "TrainingContext",
    "TrainingData",
    "Transaction",
    "TransformSpec",
]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
