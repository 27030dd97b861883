"""Wrong strategies: weights that do not sum to 100, verdicts without evidence, and a memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from attrs import evolve

from forge_core.records.serving import Route
from forge_cortex.strategies import BlueGreenDeployment


class RoundedShares(BlueGreenDeployment):
    """A candidate shares the traffic with those before it, and three shares of 33 are 99."""

    suite: ClassVar[str] = "forge_cortex.testing:TestBlueGreen"

    def plan(self, current: tuple[Route, ...], candidate: Route) -> tuple[Route, ...]:
        routes = (*(one for one in current if not one.shadow), candidate)
        return tuple(evolve(one, weight=round(100 / len(routes)), shadow=False) for one in routes)


class WeightAsGiven(BlueGreenDeployment):
    """The candidate keeps the weight that it came with."""

    suite: ClassVar[str] = "forge_cortex.testing:TestBlueGreen"

    def plan(self, current: tuple[Route, ...], candidate: Route) -> tuple[Route, ...]:
        return (candidate,)


class DoneWithoutEvidence(BlueGreenDeployment):
    """The verdict is `done` at once, with evidence or without."""

    suite: ClassVar[str] = "forge_cortex.testing:TestBlueGreen"

    def advance(
        self, routes: tuple[Route, ...], evidence: Mapping[str, Mapping[str, float]]
    ) -> tuple[Route, ...] | Literal["done", "abort"]:
        return "done"


class Remembers(BlueGreenDeployment):
    """It looks at evidence twice before it says `done`, and so its answer depends on what it was asked before."""

    suite: ClassVar[str] = "forge_cortex.testing:TestBlueGreen"

    _asked = 0

    def advance(
        self, routes: tuple[Route, ...], evidence: Mapping[str, Mapping[str, float]]
    ) -> tuple[Route, ...] | Literal["done", "abort"]:
        self._asked += bool(evidence)
        return "done" if evidence and self._asked > 1 else routes
