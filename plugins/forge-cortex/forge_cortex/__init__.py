"""Serving: endpoints as desired state, and the HTTP server that converges to it.

Names are imported when they are asked for; `forge_cortex.server` holds the processes of `forge serve`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from forge_cortex.client import CortexClient
    from forge_cortex.service import ModelDeploymentService

_HOME = {"CortexClient": "forge_cortex.client", "ModelDeploymentService": "forge_cortex.service"}

__all__ = ["CortexClient", "ModelDeploymentService"]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)
