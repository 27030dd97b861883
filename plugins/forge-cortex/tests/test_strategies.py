from __future__ import annotations

from forge_core.records.serving import Route
from forge_cortex.strategies import BlueGreenDeployment


def test_blue_green_gives_the_candidate_everything_whatever_was_there():
    for current in ((), (Route("m", 1, 100),), (Route("m", 1, 60), Route("m", 2, 40))):
        assert BlueGreenDeployment().plan(current, Route("m", 3, 0, shadow=True)) == (Route("m", 3, 100),)


def test_blue_green_is_done_when_it_is_seen_and_stays_without_evidence():
    routes = (Route("m", 3, 100),)
    assert BlueGreenDeployment().advance(routes, {}) == routes
    assert BlueGreenDeployment().advance(routes, {"m@3": {"requests": 10.0}}) == "done"
