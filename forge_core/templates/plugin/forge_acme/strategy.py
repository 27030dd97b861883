"""`strategy: acme`: the candidate's share grows step by step, unless it fails more often."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from attrs import evolve, field, frozen
from forge_core.contracts import DeploymentStrategy
from forge_core.faults import ConfigError
from forge_core.records import Route


def _growing(_settings: object, _field: object, steps: tuple[int, ...]) -> None:
    if not steps or steps[-1] != 100 or steps[0] < 1 or list(steps) != sorted(set(steps)):
        raise ConfigError(f"strategies: steps are {list(steps)}", "shares in per cent that grow and end with 100")


class AcmeStrategy(DeploymentStrategy):
    """The candidate's route is the last one. Of the evidence, by `name@version`, `error_rate` is read."""

    @frozen
    class Settings:
        """`steps` are the candidate's shares in per cent; `tolerance` is how much more often it may fail."""

        steps: tuple[int, ...] = field(default=(10, 50, 100), validator=_growing)
        tolerance: float = 0.01

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def plan(self, current: tuple[Route, ...], candidate: Route) -> tuple[Route, ...]:
        others = tuple(route for route in current if _takes_traffic(route) and _name(route) != _name(candidate))
        return _shared(others, candidate, self._settings.steps[0] if others else 100)

    def advance(
        self, routes: tuple[Route, ...], evidence: Mapping[str, Mapping[str, float]]
    ) -> tuple[Route, ...] | Literal["done", "abort"]:
        *others, candidate = routes
        rates = [evidence.get(_name(route), {}).get("error_rate") for route in routes]
        known = [rate for rate in rates if rate is not None and 0 <= rate <= 1]  # neither NaN nor absurd
        if len(known) < len(routes):
            return routes
        allowed = (max(known[:-1]) if others else 0.0) + self._settings.tolerance
        if not known[-1] <= allowed:
            return "abort"
        if not others:
            return "done"
        share = next((step for step in self._settings.steps if step > candidate.weight), 100)
        return _shared(tuple(others), candidate, share)


def _takes_traffic(route: Route) -> bool:
    return route.weight > 0 and not route.shadow


def _name(route: Route) -> str:
    return f"{route.model}@{route.version}"


def _shared(others: tuple[Route, ...], candidate: Route, share: int) -> tuple[Route, ...]:
    """`share` for the candidate; the others keep their proportions, and the first one what rounding leaves."""
    moved = evolve(candidate, weight=share, shadow=False)
    if share == 100:
        return (moved,)
    total, left = sum(route.weight for route in others), 100 - share
    weights = [left * route.weight // total for route in others]
    weights[0] += left - sum(weights)
    return (*(evolve(route, weight=weight) for route, weight in zip(others, weights, strict=True)), moved)
