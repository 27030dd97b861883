"""Feature engineering."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import ClassVar

from forge_core.contracts.driver import Driver
from forge_core.operations import operation
from forge_core.records.data import JSON, ArrowStream


class Transformation(Driver):
    """One instance per use: its Settings are the `config` of forge.yaml.

    `by_row` transforms are fitted on the training part alone, without the target, and run at serving too. The others
    change the rows: they run before the split, have no state and are not served.
    """

    role: ClassVar[str] = "transform"
    stable: ClassVar[bool] = True
    by_row: ClassVar[bool] = True

    @abstractmethod
    @operation("transform:fit", resource="transform")
    def fit(self, data: ArrowStream) -> Mapping[str, JSON]:
        """The state, made of JSON; `{}` where there is nothing to learn."""

    @abstractmethod
    @operation("transform:apply", resource="transform")
    def apply(self, data: ArrowStream, state: Mapping[str, JSON]) -> ArrowStream:
        """The transformed rows; pure. A `by_row` transform keeps their number and order, and passes other columns on.

        A transform that is not `by_row` is given the target column among the others.
        """
