"""The indices inside trees. Native code follows them without looking, so a file could lead it anywhere."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from forge_tabular.flavors.flavor import require


def check_links(children: NDArray[np.generic], nodes: int, what: str) -> None:
    """Check that `children`, all of them, form a tree under node 0 of `nodes`.

    Each index must be a node, no node may have two parents, and the root has none: then no path from the root meets a node twice.
    """
    require(nodes > 0, f"{what} has no nodes")
    if children.size:
        require(children.min() >= 1 and children.max() < nodes, f"{what} has a child that is none of its nodes")
        require(np.bincount(children.astype(np.int64), minlength=nodes).max() == 1, f"{what} has a node with two parents")


def check_features(features: NDArray[np.generic], known: int, what: str) -> None:
    """Check that all splits are on one of the `known` features."""
    require(
        not features.size or (features.min() >= 0 and features.max() < known), f"{what} splits on a feature that the model does not have"
    )
