"""The suite of strategies."""

from __future__ import annotations

import copy
import random
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import inf, nan
from types import MappingProxyType
from typing import Any, Literal, TypeAlias

import pytest
from attrs import evolve

from forge_core.contracts.deployer import DeploymentStrategy
from forge_core.operations import bare
from forge_core.records.data import JSON
from forge_core.records.serving import Route
from forge_core.serialize import from_json, to_json
from forge_core.testing.contract import Contract, Subject
from forge_core.testing.processes import run

Routes: TypeAlias = tuple[Route, ...]
Evidence: TypeAlias = Mapping[str, Mapping[str, float]]
CHAMPION = Route("churn", 1, 100)
CANDIDATE = Route("churn", 2, 100)
STEPS = 200
"""Within so many pieces of evidence a strategy comes to its verdict."""
LIVE: tuple[Routes, ...] = (
    (CHAMPION,),
    (Route("churn", 1, 60), Route("churn", 3, 40)),
    (Route("churn", 1, 34), Route("churn", 3, 33), Route("other", 7, 33)),
    (Route("churn", 1, 99), Route("churn", 3, 1)),
    (Route("churn", 1, 100), Route("churn", 3, 0, shadow=True)),
    (Route("churn", 2, 100),),
    (Route("churn", 1, 90), Route("churn", 2, 10)),
    (Route("other", 2, 100),),
)
"""What may be live when a candidate comes; the candidate itself among it."""


class StrategyContract(Contract):
    """Give `bad_evidence`, and `good_evidence` where the strategy looks at other numbers than those of the default."""

    contract = DeploymentStrategy

    @pytest.fixture
    def good_evidence(self) -> Callable[[Routes], Evidence]:
        """`good_evidence(routes)`: what speaks for the candidate `churn@2` on these routes. Override it with the numbers that you judge."""
        return _faultless

    @pytest.fixture
    def bad_evidence(self) -> Callable[[Routes], Evidence] | None:
        """The same against the candidate. None says that the strategy judges nothing; then it must give all traffic at once."""
        return None

    # ---- the first routes

    @pytest.mark.parametrize("given", [100, 7, 0])
    @pytest.mark.parametrize("shadow", [False, True])
    def test_the_first_version_of_an_endpoint_gets_all_traffic(self, driver: Any, given: int, shadow: bool) -> None:
        """Where nothing is live, the plan is the candidate with 100, in the light. Do not read the weight that the candidate came with."""
        assert driver.plan((), evolve(CANDIDATE, weight=given, shadow=shadow)) == (CANDIDATE,)

    @pytest.mark.parametrize("given", [100, 7, 0])
    @pytest.mark.parametrize("current", LIVE)
    def test_the_first_routes_sum_to_100(self, driver: Any, current: Routes, given: int) -> None:
        """Weights are whole numbers from 0 that sum to 100, each version once. Give what rounding leaves to one of the routes."""
        assert_sound(driver.plan(current, evolve(CANDIDATE, weight=given)))

    @pytest.mark.parametrize("current", LIVE)
    def test_the_candidate_is_among_the_first_routes(self, driver: Any, current: Routes) -> None:
        """A plan names the candidate, be it as a shadow. A deploy that routes nothing to its version is none."""
        assert any(_version(route) == _version(CANDIDATE) for route in driver.plan(current, CANDIDATE))

    @pytest.mark.parametrize("current", LIVE)
    def test_what_was_live_stays_until_it_is_replaced(self, driver: Any, current: Routes) -> None:
        """Traffic that the candidate does not get stays with the versions that had it. Neither drop one of them nor invent one."""
        planned = driver.plan(current, CANDIDATE)
        had = {_version(route) for route in current if not route.shadow}
        named = {_version(route) for route in planned}
        assert named <= {_version(route) for route in current} | {_version(CANDIDATE)}
        assert share(planned) == 100 or had <= named

    # ---- the next ones

    def test_without_evidence_the_routes_stay_as_they_are(self, driver: Any, good_evidence: Callable[[Routes], Evidence]) -> None:
        """`advance(routes, {})` gives back the routes, at each step of the way. Nothing seen is no reason to move."""
        for routes in path(driver, good_evidence)[:-1]:
            assert driver.advance(routes, {}) == routes

    def test_good_evidence_ends_in_done(self, driver: Any, good_evidence: Callable[[Routes], Evidence]) -> None:
        """Good evidence leads to "done" within 200 steps, over sound routes. Override `good_evidence` where you judge other numbers."""
        stages = path(driver, good_evidence)
        assert stages[-1] == "done", f"after {len(stages)} steps: {stages[-1]!r}"
        for routes in stages[:-1]:
            assert_sound(routes)

    def test_with_good_evidence_the_candidate_never_loses_traffic(self, driver: Any, good_evidence: Callable[[Routes], Evidence]) -> None:
        """On the way to "done" the candidate's weight rises or stays. A step back is for bad evidence, and that aborts."""
        shares = [share(routes) for routes in path(driver, good_evidence)[:-1]]
        assert shares == sorted(shares)

    def test_the_way_names_only_versions_that_were_planned(self, driver: Any, good_evidence: Callable[[Routes], Evidence]) -> None:
        """`advance` moves weights between the routes that it is given; it names no other version, and keeps the candidate."""
        for routes in path(driver, good_evidence)[:-1]:
            named = {_version(route) for route in routes}
            assert _version(CANDIDATE) in named
            assert named <= {_version(CHAMPION), _version(CANDIDATE)}

    def test_bad_evidence_ends_in_abort(
        self,
        driver: Any,
        good_evidence: Callable[[Routes], Evidence],
        bad_evidence: Callable[[Routes], Evidence] | None,
    ) -> None:
        """Bad evidence leads from each step of the way to "abort", never to more traffic; who judges nothing splits nothing either."""
        if bad_evidence is None:
            assert share(driver.plan((CHAMPION,), CANDIDATE)) == 100, "a strategy that splits traffic judges: override `bad_evidence`"
            return
        for routes in path(driver, good_evidence)[:-1]:
            said = walked(driver, routes, bad_evidence)
            assert said[-1] == "abort", f"from {routes} bad evidence led to {said[-1]!r}"
            shares = [share(one) for one in said[:-1]]
            assert shares == sorted(shares, reverse=True)

    @pytest.mark.parametrize("spoiled", ["all are NaN", "the candidate's are NaN", "no metric", "no candidate", "an unknown version"])
    def test_what_is_not_known_promotes_nobody(self, driver: Any, good_evidence: Callable[[Routes], Evidence], spoiled: str) -> None:
        """NaN, a metric or a version that is missing, and an unknown one raise nothing and give the candidate no traffic.

        NaN is neither above nor below a threshold: ask for what must hold (`rate <= limit`), not for what must not.
        """
        for routes in path(driver, good_evidence)[:-1]:
            said = driver.advance(routes, _SPOILED[spoiled](good_evidence(routes)))
            assert_answer(said)
            assert not promotes(routes, said), f"{routes} became {said!r}"

    @pytest.mark.parametrize("number", [inf, -inf, -1.0, 0.0, 1e308, 5e-324])
    def test_absurd_numbers_raise_nothing(self, driver: Any, good_evidence: Callable[[Routes], Evidence], number: float) -> None:
        """Whatever the numbers are, the answer is routes that sum to 100 or a verdict. Mind what divides, and what rounds infinity."""
        for routes in path(driver, good_evidence)[:-1]:
            evidence = {name: dict.fromkeys(metrics, number) for name, metrics in good_evidence(routes).items()}
            assert_answer(driver.advance(routes, evidence))

    # ---- pure

    def test_the_same_question_has_the_same_answer(
        self, driver: Any, subject: Subject, good_evidence: Callable[[Routes], Evidence], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Chance, the clock, what was asked before, and the process it is asked in change no answer. Keep no state; sort sets."""
        asked = [[to_json(current), to_json(good_evidence(driver.plan(current, CANDIDATE)))] for current in LIVE]
        random.seed(1)
        first = list(answers(driver, asked))
        random.seed(2)
        monkeypatch.setattr(time, "time", lambda: 4e9)
        monkeypatch.setattr(time, "monotonic", lambda: 4e9)
        again = list(answers(driver, asked[::-1]))[::-1]
        monkeypatch.undo()
        assert again == first
        assert run(subject, answers, asked) == first

    def test_it_does_no_input_or_output(self, driver: Any, good_evidence: Callable[[Routes], Evidence]) -> None:
        """It opens no file, socket, process or database: evidence is given to it. An audit hook looks on; import modules at the top."""
        strategy = bare(driver)
        for current in LIVE:
            with watched() as planning:
                routes = strategy.plan(current, CANDIDATE)
            evidence = good_evidence(routes)
            with watched() as advancing:
                strategy.advance(routes, evidence)
            seen = planning + advancing
            touched = [(event, subjects) for event, subjects in seen if event.startswith(_TOUCHING) and not _imports(event, subjects)]
            assert not touched

    def test_what_it_is_given_stays_as_it_was(self, driver: Any, good_evidence: Callable[[Routes], Evidence]) -> None:
        """Evidence is read: a mapping that cannot be written to will do, and one that can is unchanged afterwards. Copy what you change."""
        for current in LIVE:
            routes = driver.plan(current, CANDIDATE)
            evidence = {name: dict(metrics) for name, metrics in good_evidence(routes).items()}
            before = copy.deepcopy((routes, evidence))
            answer = driver.advance(routes, evidence)
            assert (routes, evidence) == before
            assert driver.advance(routes, MappingProxyType({name: MappingProxyType(one) for name, one in evidence.items()})) == answer


# ---- what the suite asks


def share(routes: Sequence[Route]) -> int:
    """The candidate's part of the traffic that is answered."""
    return sum(route.weight for route in routes if _version(route) == _version(CANDIDATE) and not route.shadow)


def promotes(routes: Routes, said: Routes | Literal["done", "abort"]) -> bool:
    """Whether an answer gives the candidate more than it has."""
    if isinstance(said, str):
        return said == "done" and share(routes) < 100
    return share(said) > share(routes)


def path(driver: Any, evidence: Callable[[Routes], Evidence]) -> list[Any]:
    """The plan for the candidate beside the champion, each step from there with this evidence, and at last the verdict."""
    return walked(driver, driver.plan((CHAMPION,), CANDIDATE), evidence)


def walked(driver: Any, routes: Routes, evidence: Callable[[Routes], Evidence]) -> list[Any]:
    """The same from any routes."""
    stages: list[Any] = [routes]
    while not isinstance(stages[-1], str) and len(stages) <= STEPS:
        stages.append(driver.advance(stages[-1], evidence(stages[-1])))
    assert isinstance(stages[-1], str), f"no verdict within {STEPS} steps; the last routes were {stages[-1]!r}"
    return stages


def assert_answer(said: object) -> None:
    """Sound routes, or one of the two verdicts."""
    if said not in ("done", "abort"):
        assert_sound(said)


def assert_sound(routes: object) -> None:
    """A tuple of routes, each version once, whose weights are whole numbers from 0 and sum to 100, those of shadows left out or not."""
    assert isinstance(routes, tuple)
    assert all(isinstance(route, Route) for route in routes)
    assert all(type(route.weight) is int and route.weight >= 0 for route in routes), routes
    assert sum(route.weight for route in routes) == 100, routes
    assert sum(route.weight for route in routes if not route.shadow) == 100, routes
    assert len({_version(route) for route in routes}) == len(routes), routes


def answers(driver: Any, asked: Sequence[Sequence[Any]]) -> Iterator[JSON]:
    """The plan for each (routes, evidence) and the step from it, as JSON."""
    for routes, evidence in asked:
        current = tuple(from_json(route, Route) for route in routes)
        planned = driver.plan(current, CANDIDATE)
        yield [to_json(planned), to_json(driver.advance(planned, evidence))]


def _version(route: Route) -> tuple[str, int]:
    return route.model, route.version


def _faultless(routes: Routes) -> Evidence:
    seen = {"requests": 10_000.0, "errors": 0.0, "error_rate": 0.0, "latency_p50": 5.0, "latency_p99": 20.0, "seconds": 86_400.0}
    return {
        f"{route.model}@{route.version}": {**seen, "accuracy": 0.95 if _version(route) == _version(CANDIDATE) else 0.9} for route in routes
    }


_SELECTOR = f"{CANDIDATE.model}@{CANDIDATE.version}"
_SPOILED: Mapping[str, Callable[[Evidence], Evidence]] = {
    "all are NaN": lambda evidence: {name: dict.fromkeys(metrics, nan) for name, metrics in evidence.items()},
    "the candidate's are NaN": lambda evidence: {**evidence, _SELECTOR: dict.fromkeys(evidence.get(_SELECTOR, ()), nan)},
    "no metric": lambda evidence: {name: {} for name in evidence},
    "no candidate": lambda evidence: {name: metrics for name, metrics in evidence.items() if name != _SELECTOR},
    "an unknown version": lambda evidence: {"churn@99": evidence.get(_SELECTOR, {}), "": {}},
}


# ---- an audit hook, which cannot be taken off again and so hears only while somebody looks


_TOUCHING = ("open", "os.", "socket.", "subprocess.", "sqlite3.", "shutil.", "tempfile.", "urllib.", "http.")
_HEARD: list[list[tuple[str, tuple[Any, ...]]]] = []
_HOOKED: list[bool] = []


@contextmanager
def watched() -> Iterator[list[tuple[str, tuple[Any, ...]]]]:
    """(event, arguments) of every audit event while this is open."""
    if not _HOOKED:
        sys.addaudithook(_hear)
        _HOOKED.append(True)
    seen: list[tuple[str, tuple[Any, ...]]] = []
    _HEARD.append(seen)
    try:
        yield seen
    finally:
        _HEARD.remove(seen)


def _hear(event: str, arguments: tuple[Any, ...]) -> None:
    for seen in _HEARD:
        seen.append((event, arguments))


def _imports(event: str, arguments: tuple[Any, ...]) -> bool:
    """A module that the interpreter reads when it is first needed."""
    return event == "os.listdir" or (event == "open" and str(arguments[0]).endswith((".py", ".pyc", ".so")))
