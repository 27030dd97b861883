"""Forge's kernel: contracts, hooks, configuration and runs. It knows no library of the field.

Names are loaded when they are asked for, so that `import forge_core` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

__version__ = "1.0.0"
_HOME = {
    "Kernel": "kernel",
    "ModelFactory": "factory",
    "Pipeline": "pipeline",
    "TrainingOrchestrator": "orchestrator",
    "hookimpl": "hookspecs",
    "register_model": "factory",
    "step": "pipeline",
}

if TYPE_CHECKING:
    from forge_core.factory import ModelFactory, register_model
    from forge_core.hookspecs import hookimpl
    from forge_core.kernel import Kernel
    from forge_core.orchestrator import TrainingOrchestrator
    from forge_core.pipeline import Pipeline, step

__all__ = ["Kernel", "ModelFactory", "Pipeline", "TrainingOrchestrator", "hookimpl", "register_model", "step"]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
