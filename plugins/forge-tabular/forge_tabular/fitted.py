"""What a trainer of this distribution hands to a flavor."""

from __future__ import annotations

from attrs import field, frozen


@frozen
class Fitted:
    """A library's own model and the feature columns it was fitted on, in its order.

    Classifiers are fitted on codes 0, 1, ..., which stand for `TrainedModel.classes`.
    """

    model: object = field(repr=False)
    features: tuple[str, ...]
