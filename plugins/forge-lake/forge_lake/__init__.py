"""Data sets as they lie in folders, on a disk or behind an fsspec URL, versioned by what is in them.

`LakeServiceConnector` is loaded when it is asked for, so that `import forge_lake` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from forge_lake.connector import LakeServiceConnector

__all__ = ["LakeServiceConnector"]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.connector"), name)
