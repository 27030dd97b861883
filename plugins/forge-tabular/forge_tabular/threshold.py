"""The cut on a probability that is best for a score, found exactly."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from forge_core.faults import InvalidInput


def best_f1(positive: NDArray[np.bool_], scores: NDArray[np.floating]) -> float:
    """The threshold t for which `scores >= t` has the highest F1 score, the highest such t; O(n log n).

    Only scores that occur are candidates, since F1 changes at no other. `InvalidInput` where no row is positive.
    """
    total = int(positive.sum())
    if not total:
        raise InvalidInput("no row has the positive class, so that no threshold is best", "evaluate on more rows")
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    last = np.append(ranked[1:] != ranked[:-1], True)  # equal scores fall on the same side of every cut
    found = np.cumsum(positive[order])[last]
    f1 = 2 * found / (np.flatnonzero(last) + 1 + total)
    return float(ranked[last][np.argmax(f1)])
