"""How a candidate takes over an endpoint: pure functions of routes and evidence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from attrs import evolve

from forge_core.contracts.deployer import DeploymentStrategy
from forge_core.records.serving import Route


class BlueGreenDeployment(DeploymentStrategy):
    """The candidate gets all traffic at once; its predecessor stays one `forge rollback` away."""

    def plan(self, current: tuple[Route, ...], candidate: Route) -> tuple[Route, ...]:
        return (evolve(candidate, weight=100, shadow=False),)

    def advance(
        self, routes: tuple[Route, ...], evidence: Mapping[str, Mapping[str, float]]
    ) -> tuple[Route, ...] | Literal["done", "abort"]:
        return "done" if evidence else routes
