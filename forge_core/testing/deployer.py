"""The suite of deployers."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import random
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol, get_args, get_type_hints
from urllib.parse import urlsplit

import pyarrow as pa
import pytest
from attrs import evolve

from forge_core import Kernel
from forge_core.contracts.deployer import Deployer, DeploymentStrategy
from forge_core.contracts.registry import ModelRegistry
from forge_core.faults import Conflict, ForgeError, NotFound
from forge_core.identifiers import new_id
from forge_core.operations import bare
from forge_core.pipeline import imported
from forge_core.records.data import JSON, Column
from forge_core.records.models import ModelDraft, ModelManifest, ModelStatus
from forge_core.records.serving import Deployment, Route
from forge_core.serialize import to_json
from forge_core.testing.contract import Contract, Subject, tenant
from forge_core.testing.processes import killed, race, run
from forge_core.testing.project import FakeDistributions
from forge_core.testing.strategy import watched

PRODUCTION = "production"
TENANTS = ("a", "ab", "a/", "A", "a%2Fb")
PROMOTE, ROLLBACK = "suite: promote", "suite: rollback"
"""The reasons by which a test knows a revision's verb again."""
_INPUTS = (Column("x", "double", False),)
_FLAVOR = '''
"""The suite's own flavor: a number that is added to x."""

import json

import pyarrow as pa
import pyarrow.compute as pc

from forge_core.contracts.flavor import Flavor, Predictor


class Shift(Predictor):
    def __init__(self, by):
        self.by = by

    def predict(self, data):
        return pa.table({"prediction": pc.add(pa.table(data)["x"], self.by)})


class ShiftFlavor(Flavor):
    def save(self, trained, folder, sample):
        (folder / "shift.json").write_text(json.dumps(trained.model))

    def load(self, folder):
        return Shift(float(json.loads((folder / "shift.json").read_text())))
'''


class Published(Protocol):
    """`published(3)`: version 3 of the model `line`, which must be the next one; it predicts x + 3000, or x + `shift`."""

    def __call__(self, version: int, status: ModelStatus = ModelStatus.VALIDATING, shift: float | None = None) -> str: ...


class AllAtOnce(DeploymentStrategy):
    """All traffic to the candidate: the strategy that every deployer can follow."""

    def plan(self, current: tuple[Route, ...], candidate: Route) -> tuple[Route, ...]:
        return (Route(candidate.model, candidate.version, 100),)

    def advance(self, routes: tuple[Route, ...], evidence: Mapping[str, Mapping[str, float]]) -> tuple[Route, ...]:
        return routes


class Says(AllAtOnce):
    """A strategy whose plan was written down before."""

    def __init__(self, routes: tuple[Route, ...]) -> None:
        self._routes = routes

    def plan(self, current: tuple[Route, ...], candidate: Route) -> tuple[Route, ...]:
        return self._routes


class Asked(AllAtOnce):
    """Keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[tuple[Route, ...], Route]] = []

    def plan(self, current: tuple[Route, ...], candidate: Route) -> tuple[Route, ...]:
        self.asked.append((current, candidate))
        return super().plan(current, candidate)


class Fails(AllAtOnce):
    """Has no plan."""

    def plan(self, current: tuple[Route, ...], candidate: Route) -> tuple[Route, ...]:
        raise ForgeError("no plan", "choose another strategy")


class DeployerContract(Contract):
    """Needs a registry (`pip install forge-registry`); models and a flavor for them are the suite's own. Give `request_id` if you trace."""

    contract = Deployer

    @pytest.fixture(autouse=True)
    def _flavor(self, fake_distribution: FakeDistributions) -> None:
        entries = {"forge.flavors": {"suite_shift": "forge_suite_shift:ShiftFlavor"}}
        fake_distribution.add("forge-suite-shift", entries=entries, forge_suite_shift=_FLAVOR)

    @pytest.fixture
    def registry(self, kernel: Kernel) -> ModelRegistry:
        """The project's registry, which the deployer is given too. Override `infrastructure` to name another than `sql`."""
        try:
            return kernel.registry
        except ForgeError as error:
            pytest.fail(f"a deployer is tested with a registry, `pip install forge-registry`: {error.cause}")

    @pytest.fixture
    def published(self, registry: ModelRegistry, tmp_path: Path) -> Published:
        """Publishes tiny models, for whoever acts: see `Published`."""

        def publish(version: int, status: ModelStatus = ModelStatus.VALIDATING, shift: float | None = None) -> str:
            folder = tmp_path / new_id("mdl")
            (folder / "flavor").mkdir(parents=True)
            (folder / "flavor" / "shift.json").write_text(json.dumps(1000.0 * version if shift is None else shift))
            manifest = ModelManifest(1, "suite_shift", "regression", (), None, _INPUTS, ())
            (folder / "forge.json").write_text(json.dumps(to_json(manifest)))
            draft = ModelDraft(
                name="line", flavor="suite_shift", run_id=new_id("run"), metrics={}, parameters={}, training_data_hash="",
                signature=_INPUTS, status=status,
            )  # fmt: skip
            made = registry.register_model(folder, draft)
            assert made.version == version
            return made.selector

        return publish

    @pytest.fixture
    def request_id(self) -> Callable[[Deployment], str] | None:
        """The id of a request that this revision answered by its first route. Override it where the driver traces."""
        return None

    @pytest.fixture
    def payload(self) -> JSON:
        """A request over HTTP with one row, x = 1.0. The default is MLflow's; override it where the server speaks another."""
        return {"dataframe_records": [{"x": 1.0}]}

    # ---- deploy

    def test_a_selector_is_resolved_once_at_deploy(self, driver: Any, registry: Any, published: Published) -> None:
        """An alias and `latest` are looked up at deploy; what they name later moves no traffic. Keep the version, not the selector."""
        published(1)
        registry.set_alias("line", "champion", 1, None)
        made = (deploy(driver, "line@latest", "newest"), deploy(driver, "line@champion", "best"), deploy(driver, "line", "bare"))
        assert {one.routes for one in made} == {(Route("line", 1, 100),)}
        published(2)
        registry.set_alias("line", "champion", 2, 1)
        for one in made:
            assert driver.status(one.endpoint) == one
            assert predicted(driver, one.endpoint) == [1001.0]

    def test_a_revision_says_who_made_it_when_and_where_it_answers(self, driver: Any, published: Published) -> None:
        """Endpoint, revision, routes, strategy, url, actor, aware UTC time and status are filled in, and `status` gives the same."""
        published(1)
        before = datetime.now(UTC)
        with tenant("default", "ann"):
            made = deploy(driver, "line@1")
        assert isinstance(made, Deployment)
        assert (made.endpoint, made.revision, made.routes, made.actor) == ("churn", 1, (Route("line", 1, 100),), "ann")
        assert made.strategy
        assert urlsplit(made.url).scheme
        assert made.at.utcoffset() == timedelta(0)
        assert before - timedelta(seconds=1) <= made.at <= datetime.now(UTC) + timedelta(seconds=1)
        assert made.status in get_args(get_type_hints(Deployment)["status"])
        assert driver.status("churn") == made

    @pytest.mark.parametrize("selector", ["line@9", "line@nowhere", "other@1", "other"])
    def test_an_unknown_version_is_not_found_and_leaves_nothing(self, driver: Any, published: Published, selector: str) -> None:
        """`NotFound`, no revision, no endpoint, and what was live stays live. Look the version up before anything is written."""
        published(1)
        with pytest.raises(NotFound):
            deploy(driver, selector)
        assert list(driver.endpoints()) == []
        made = deploy(driver, "line@1")
        with pytest.raises(NotFound):
            deploy(driver, selector)
        assert list(driver.history("churn")) == [made]

    def test_hostile_selectors_are_refused(self, driver: Any, published: Published, hostile_paths: Sequence[str]) -> None:
        """What is no selector is a typed error, and no revision. Hand it to the registry, and build no path or URL from it."""
        published(1)
        for selector in (*hostile_paths, "line@0", "line@-1", "line@1.0", "line@01", "line@1@1", "line@", "@1", "line @1"):
            with pytest.raises(ForgeError):
                deploy(driver, selector)
        assert list(driver.endpoints()) == []

    def test_a_failed_version_gets_no_traffic(self, driver: Any, registry: Any, published: Published) -> None:
        """A FAILED version missed a requirement: deploying it is a typed error, it stays FAILED, and there is no revision."""
        published(1, status=ModelStatus.FAILED)
        with pytest.raises(ForgeError):
            deploy(driver, "line@1")
        assert registry.get("line@1").status is ModelStatus.FAILED
        assert list(driver.endpoints()) == []

    def test_an_archived_version_comes_back(self, driver: Any, registry: Any, published: Published) -> None:
        """An ARCHIVED version can be deployed, and is DEPLOYED then. Move its status instead of refusing it."""
        published(1)
        registry.transition("line@1", ModelStatus.VALIDATING, ModelStatus.ARCHIVED)
        deploy(driver, "line@1")
        assert registry.get("line@1").status is ModelStatus.DEPLOYED

    def test_a_version_is_deployed_while_an_endpoint_routes_to_it(self, driver: Any, registry: Any, published: Published) -> None:
        """DEPLOYED from its first endpoint to its last, whatever the verb, and no longer. Look at all endpoints before you archive."""
        published(1)
        published(2)
        deploy(driver, "line@1", "one")
        deploy(driver, "line@1", "two")
        assert live(registry, 2) == {1}
        deploy(driver, "line@2", "one")
        assert live(registry, 2) == {1, 2}
        driver.retire("two")
        assert live(registry, 2) == {2}
        driver.rollback("one")
        assert live(registry, 2) == {1}
        driver.retire("one")
        assert live(registry, 2) == set()

    @pytest.mark.parametrize(
        "weights", [(90,), (101,), (100, 1), (50, 49), (0,), (-100,), (200, -100), ()], ids=lambda one: "+".join(map(str, one)) or "nothing"
    )
    def test_a_plan_that_does_not_sum_to_100_is_refused(self, driver: Any, published: Published, weights: tuple[int, ...]) -> None:
        """Strategies are strangers' code: weights below 0, or that do not sum to 100, are a typed error and no revision. Check the plan."""
        for version, _ in enumerate(weights, 1):
            published(version)
        published(len(weights) + 1)
        plan = tuple(Route("line", version, weight) for version, weight in enumerate(weights, 1))
        with pytest.raises(ForgeError):
            deploy(driver, "line@1", strategy=Says(plan))
        assert list(driver.endpoints()) == []

    def test_a_plan_that_names_an_unknown_version_is_refused(self, driver: Any, registry: Any, published: Published) -> None:
        """A route to a version that is not there is a typed error: no revision, no status moved. Look all routes up, in the transaction."""
        published(1)
        for plan in ((Route("line", 7, 100),), (Route("other", 1, 100),), (Route("line", 1, 50), Route("line", 7, 50))):
            with pytest.raises(ForgeError):
                deploy(driver, "line@1", strategy=Says(plan))
        assert list(driver.endpoints()) == []
        assert live(registry, 1) == set()

    @pytest.mark.parametrize("heavy", [50, 90])
    def test_a_split_is_routed_as_planned_or_refused(
        self, driver: Any, subject: Subject, registry: Any, published: Published, heavy: int
    ) -> None:
        """Who cannot split traffic refuses the plan, typed. Who can gives each version its share, and each key one version."""
        published(1)
        published(2)
        deploy(driver, "line@1")
        plan = (Route("line", 1, heavy), Route("line", 2, 100 - heavy))
        try:
            made = deploy(driver, "line@2", strategy=Says(plan))
        except ForgeError:
            assert [one.revision for one in driver.history("churn")] == [1]
            assert live(registry, 2) == {1}
            return
        assert made.routes == plan
        assert live(registry, 2) == {1, 2}
        answers = {key: predicted(driver, "churn", key) for key in map(str, range(400))}
        assert all(predicted(driver, "churn", key) == said for key, said in answers.items())
        first = sum(said == [1001.0] for said in answers.values())
        assert abs(first / 4 - heavy) < 12
        some = list(answers)[:20]
        assert run(subject, predictions, some) == [answers[key] for key in some]
        assert driver.promote("churn", PROMOTE).routes == (Route("line", 2, 100),)
        assert driver.rollback("churn", ROLLBACK).routes == plan

    def test_a_strategy_is_asked_with_what_is_live(self, kernel: Kernel, driver: Any, published: Published) -> None:
        """`plan` gets the live routes, none at first and after retiring, and the resolved version. Ask it once for each deploy."""
        published(1)
        published(2)
        strategy = kernel.wire(Asked)
        for selector in ("line@1", "line@2"):
            deploy(driver, selector, strategy=strategy)
        driver.retire("churn")
        deploy(driver, "line@2", strategy=strategy)
        live_then = [current for current, _ in bare(strategy).asked]
        assert live_then == [(), (Route("line", 1, 100),), ()]
        assert [(one.model, one.version) for _, one in bare(strategy).asked] == [("line", 1), ("line", 2), ("line", 2)]

    def test_a_strategy_that_fails_leaves_nothing(self, driver: Any, registry: Any, published: Published) -> None:
        """What a strategy raises reaches the caller; no revision is made, and no status moved. Plan before anything is written."""
        published(1)
        with pytest.raises(ForgeError, match="no plan"):
            deploy(driver, "line@1", strategy=Fails())
        assert list(driver.endpoints()) == []
        assert live(registry, 1) == set()

    # ---- promote, rollback, retire

    def test_promote_moves_all_traffic_and_the_alias_together(self, driver: Any, registry: Any, published: Published) -> None:
        """The routed version has 100 and is the alias `production`; deploying alone moves no alias. Set it in the same transaction."""
        published(1)
        published(2)
        deploy(driver, "line@1")
        assert dict(registry.aliases("line")) == {}
        assert driver.promote("churn", PROMOTE).routes == (Route("line", 1, 100),)
        assert registry.aliases("line")[PRODUCTION] == 1
        deploy(driver, "line@2")
        assert registry.aliases("line")[PRODUCTION] == 1
        made = driver.promote("churn", "good week")
        assert (made.routes, made.reason) == ((Route("line", 2, 100),), "good week")
        assert driver.status("churn") == made
        assert registry.aliases("line")[PRODUCTION] == 2

    def test_promoting_again_changes_nothing(self, driver: Any, registry: Any, published: Published) -> None:
        """What has all traffic and the alias already stays so, and nothing is raised. A retried command must do no harm."""
        published(1)
        deploy(driver, "line@1")
        first = driver.promote("churn", PROMOTE)
        assert driver.promote("churn", PROMOTE).routes == first.routes
        assert registry.aliases("line") == {PRODUCTION: 1}

    def test_rollback_goes_back_to_the_routes_before_as_a_new_revision(self, driver: Any, published: Published) -> None:
        """Back to the last routes that were others than the present ones, by a revision of its own; a second one comes forth again."""
        published(1)
        published(2)
        deploy(driver, "line@1")
        deploy(driver, "line@2")
        latest = driver.promote("churn", PROMOTE)  # the same routes
        made = driver.rollback("churn", "worse")
        assert (made.revision, made.routes, made.reason) == (latest.revision + 1, (Route("line", 1, 100),), "worse")
        assert driver.status("churn").routes == made.routes
        assert predicted(driver, "churn") == [1001.0]
        assert driver.rollback("churn").routes == (Route("line", 2, 100),)
        assert predicted(driver, "churn") == [2001.0]

    def test_rollback_takes_the_alias_along(self, driver: Any, registry: Any, published: Published) -> None:
        """Where `production` names the version that loses its traffic, it goes back in the same step; an alias elsewhere stays."""
        for version in (1, 2, 3):
            published(version)
        deploy(driver, "line@1")
        driver.promote("churn", PROMOTE)
        deploy(driver, "line@2")
        driver.promote("churn", PROMOTE)
        driver.rollback("churn", ROLLBACK)
        assert registry.aliases("line")[PRODUCTION] == 1
        deploy(driver, "line@3")
        driver.rollback("churn", ROLLBACK)
        assert registry.aliases("line")[PRODUCTION] == 1

    def test_without_a_predecessor_there_is_no_rollback(self, driver: Any, published: Published) -> None:
        """An endpoint that never routed to anything else: a typed error, and no revision. Do not make it route nowhere."""
        published(1)
        deploy(driver, "line@1")
        with pytest.raises(ForgeError) as refused:
            driver.rollback("churn")
        assert not isinstance(refused.value, NotFound)
        assert [one.revision for one in driver.history("churn")] == [1]

    def test_a_retired_endpoint_routes_nowhere(self, driver: Any, published: Published) -> None:
        """It routes nowhere, is listed no more and predicts nothing; its history stays, and rollback or deploy brings it back."""
        published(1)
        published(2)
        deploy(driver, "line@1")
        deploy(driver, "line@2", "other")
        made = driver.retire("churn", "end of season")
        assert (made.revision, made.routes, made.status, made.reason) == (2, (), "retired", "end of season")
        assert list(driver.endpoints()) == ["other"]
        assert driver.status("churn") == made
        with pytest.raises(ForgeError):
            predicted(driver, "churn")
        with pytest.raises(ForgeError):
            driver.promote("churn")
        assert driver.rollback("churn").routes == (Route("line", 1, 100),)
        driver.retire("churn")
        assert deploy(driver, "line@2").revision == 5
        assert list(driver.endpoints()) == ["churn", "other"]
        assert [one.revision for one in driver.history("churn")] == [5, 4, 3, 2, 1]

    # ---- what is kept

    def test_revisions_rise_by_one_and_are_kept_for_ever(self, driver: Any, published: Published) -> None:
        """Numbers rise by one, newest first; a revision never changes afterwards, its status aside. Append, and overwrite nothing."""
        published(1)
        published(2)
        made = [deploy(driver, "line@1"), deploy(driver, "line@2"), deploy(driver, "line@1"), driver.rollback("churn", ROLLBACK)]
        made += [driver.retire("churn", "end"), deploy(driver, "line@2"), driver.promote("churn", PROMOTE)]
        assert [one.revision for one in made] == list(range(1, 8))
        kept = driver.history("churn")
        assert [evolve(one, status="ready") for one in kept] == [evolve(one, status="ready") for one in reversed(made)]

    def test_history_tells_what_was_live_then(self, driver: Any, published: Published) -> None:
        """`at` gives the one revision that was live at that instant, in whatever zone it is said; before the first there is none."""
        published(1)
        published(2)
        before = datetime.now(UTC) - timedelta(seconds=1)
        made, between = [], []
        for selector in ("line@1", "line@2", "line@1"):
            made.append(deploy(driver, selector))
            time.sleep(0.005)
            between.append(datetime.now(UTC))
            time.sleep(0.005)
        assert list(driver.history("churn", before)) == []
        for one, then in zip(made, between, strict=True):
            elsewhere = then.astimezone(timezone(timedelta(hours=-9, minutes=-30)))
            for at in (then, elsewhere, one.at):
                assert [found.revision for found in driver.history("churn", at)] == [one.revision]
        assert [found.revision for found in driver.history("churn", datetime.now(UTC) + timedelta(days=1))] == [3]

    def test_a_time_without_a_zone_is_refused(self, driver: Any, published: Published) -> None:
        """Times are aware: one without a zone would be another instant on another machine. Refuse it, typed."""
        published(1)
        deploy(driver, "line@1")
        with pytest.raises(ForgeError):
            driver.history("churn", datetime(2026, 11, 22, 12))  # noqa: DTZ001 - the fault itself

    def test_an_unknown_endpoint_is_not_found(self, driver: Any, published: Published) -> None:
        """Each verb says `NotFound` of an endpoint that never was, and makes none. An empty history is not an answer."""
        published(1)
        deploy(driver, "line@1")
        for verb in (driver.status, driver.promote, driver.rollback, driver.retire, driver.history, lambda name: predicted(driver, name)):
            with pytest.raises(NotFound):
                verb("nobody")
        with pytest.raises(NotFound):
            driver.history("nobody", datetime.now(UTC))
        assert list(driver.endpoints()) == ["churn"]

    def test_endpoints_are_sorted_and_route_somewhere(self, driver: Any, published: Published) -> None:
        """Names in sorted order, each once, those that were retired left out. With none there is an empty sequence."""
        assert list(driver.endpoints()) == []
        published(1)
        for name in ("zeta", "alpha", "mu-2", "mu-10", "gone"):
            deploy(driver, "line@1", name)
            deploy(driver, "line@1", name)
        driver.retire("gone")
        assert list(driver.endpoints()) == ["alpha", "mu-10", "mu-2", "zeta"]

    def test_another_opening_sees_the_same(self, driver: Any, another: Callable[[], Any], published: Published) -> None:
        """What one process did the next one sees, at once and both ways; nothing is known in memory alone. Read what is stored."""
        published(1)
        published(2)
        deploy(driver, "line@1")
        other = another()
        assert list(other.history("churn")) == list(driver.history("churn"))
        assert predicted(other, "churn") == predicted(driver, "churn") == [1001.0]
        made = deploy(other, "line@2")
        assert driver.status("churn") == made
        assert predicted(driver, "churn") == [2001.0]
        other.retire("churn")
        assert list(driver.endpoints()) == []

    @pytest.mark.parametrize("reason", ["d\u00e9j\u00e0 \u2713", "two\nlines", "'; DROP TABLE x; --", "x" * 20_000, "a\x00b", "\ud800"])
    def test_a_reason_is_kept_as_it_was_said(self, driver: Any, published: Published, reason: str) -> None:
        """A reason is data: it comes back as it was, or is refused as a whole, typed and with no revision. Never interpret or cut it."""
        published(1)
        published(2)
        deploy(driver, "line@1")
        deploy(driver, "line@2")
        for verb in (driver.promote, driver.rollback, driver.retire):
            before = driver.status("churn")
            try:
                verb("churn", reason)
            except ForgeError:
                assert driver.status("churn") == before
            else:
                assert driver.status("churn").revision == before.revision + 1
                assert driver.status("churn").reason == reason

    # ---- predict

    @pytest.mark.parametrize("rows", [0, 1, 3, 20_000])
    def test_one_row_comes_out_for_each_row_that_goes_in(self, driver: Any, published: Published, rows: int) -> None:
        """Predictions are of the routed version, in the rows' order, however the rows are chunked. Pass the stream on as it is."""
        published(1)
        published(2)
        deploy(driver, "line@1")
        deploy(driver, "line@2")
        values = [float(number) for number in range(rows)]
        half = rows // 2
        table = pa.table({"other": pa.nulls(rows), "x": pa.chunked_array([values[:half], values[half:]], pa.float64())})
        expected = [value + 2000.0 for value in values]
        assert pa.table(driver.predict("churn", table))["prediction"].to_pylist() == expected
        reader = pa.RecordBatchReader.from_batches(table.schema, table.to_batches(max_chunksize=1000))
        assert pa.table(driver.predict("churn", reader))["prediction"].to_pylist() == expected

    def test_predictions_follow_each_change(self, driver: Any, published: Published) -> None:
        """Each verb takes effect with the next prediction in this process. Look up what is routed each time; keep models, not routes."""
        published(1)
        published(2)
        deploy(driver, "line@1")
        assert predicted(driver, "churn") == [1001.0]
        deploy(driver, "line@2")
        assert predicted(driver, "churn") == [2001.0]
        driver.rollback("churn")
        assert predicted(driver, "churn") == [1001.0]

    def test_a_key_goes_to_one_version(self, driver: Any, another: Callable[[], Any], published: Published) -> None:
        """The same key has the same version's answer, here and in another opening, whatever text it is. Hash its bytes, without a seed."""
        published(1)
        deploy(driver, "line@1")
        other = another()
        for key in (None, "", "anna", "d\u00e9j\u00e0", "x" * 10_000, "\x00", "\ud800"):
            assert predicted(driver, "churn", key) == predicted(other, "churn", key) == [1001.0]

    def test_rows_that_do_not_fit_are_a_typed_error(self, driver: Any, published: Published) -> None:
        """A column that is missing is a `ForgeError`, and the next prediction works. Let what the model says through."""
        published(1)
        deploy(driver, "line@1")
        with pytest.raises(ForgeError):
            driver.predict("churn", pa.table({"y": [1.0]}))
        assert predicted(driver, "churn") == [1001.0]

    # ---- whose it is, and names

    def test_tenants_do_not_see_one_another(self, driver: Any, published: Published) -> None:
        """Endpoints, revisions and models are their tenant's: to the others they do not exist, and numbers count for each from 1."""
        with tenant("a"):
            published(1)
            mine = [deploy(driver, "line@1"), deploy(driver, "line@1")]
        for name in TENANTS[1:]:
            with tenant(name):
                assert list(driver.endpoints()) == []
                for verb in (driver.status, driver.promote, driver.rollback, driver.retire, driver.history):
                    with pytest.raises(NotFound):
                        verb("churn")
                with pytest.raises(NotFound):
                    predicted(driver, "churn")
                with pytest.raises(NotFound):
                    deploy(driver, "line@1")
                published(1)
                assert deploy(driver, "line@1").revision == 1
                driver.retire("churn")
        with tenant("a"):
            assert list(driver.history("churn")) == mine[::-1]
            assert list(driver.endpoints()) == ["churn"]

    def test_a_loaded_model_stays_with_its_tenant(self, driver: Any, published: Published) -> None:
        """Two tenants' `line@1` are two models: each endpoint answers by its own. Put the tenant in the key of what is kept in memory."""
        for name, shift in (("a", 5.0), ("b", 7.0)):
            with tenant(name):
                published(1, shift=shift)
                deploy(driver, "line@1")
                assert predicted(driver, "churn") == [shift + 1]
        with tenant("a"):
            assert predicted(driver, "churn") == [6.0]

    def test_hostile_names_of_endpoints_are_refused(
        self, driver: Any, subject: Subject, published: Published, hostile_paths: Sequence[str], tmp_path: Path
    ) -> None:
        """A name stands in paths, URLs and permissions: a hostile one is a typed error for each verb, makes nothing, and opens nothing."""
        published(1)
        deploy(driver, "line@1")
        kept = list(driver.history("churn"))
        with watched() as seen:
            for name in hostile_paths:
                for verb in _verbs(driver):
                    with pytest.raises(ForgeError):
                        verb(name)
        assert list(driver.endpoints()) == ["churn"]
        assert list(driver.history("churn")) == kept
        outside = [arguments for event, arguments in seen if event == "open" and _written_outside(arguments, (subject.root, tmp_path))]
        assert not outside

    # ---- many at once

    def test_deploys_of_one_endpoint_at_once_lose_none_and_count_none_twice(
        self, driver: Any, subject: Subject, another: Callable[[], Any], published: Published
    ) -> None:
        """8 processes deploy to one endpoint: each success is a revision of its own with its routes, a loser gets `Conflict`.

        Number revisions by a unique constraint, and begin from the revision that was read.
        """
        for version in range(1, 5):
            published(version)
        won = [made for one in race(subject, deploys, [(1 + number % 4, 4) for number in range(8)]) for made in one if made]
        kept = another().history("churn")
        assert [one.revision for one in kept] == list(range(len(won), 0, -1))
        assert sorted([one.revision, one.routes[0].version] for one in kept) == sorted(won)
        assert [one.at for one in kept] == sorted((one.at for one in kept), reverse=True)

    def test_other_verbs_at_once_leave_all_in_step(
        self, driver: Any, subject: Subject, registry: Any, another: Callable[[], Any], published: Published
    ) -> None:
        """Whoever deploys, promotes, rolls back and retires at once, on endpoints that share versions: revisions have no gap, and
        a version is DEPLOYED exactly while it is routed. A version's status depends on all endpoints of a tenant: change one at a time.
        """
        for version in (1, 2, 3):
            published(version)
        for name in ("one", "two"):
            deploy(driver, "line@1", name)
        made = race(subject, anything, [(name, number) for number, name in enumerate(("one", "two") * 4)])
        again = another()
        for number, name in enumerate(("one", "two")):
            newest = max([1, *(revision for one in made[number::2] for revision in one)])
            assert [one.revision for one in again.history(name)] == list(range(newest, 0, -1))
        assert_statuses(again, registry, 3)

    # ---- what fails half-way

    @pytest.mark.parametrize("method", ["set_alias", "transition"])
    def test_what_fails_half_way_leaves_nothing(
        self, driver: Any, registry: Any, published: Published, monkeypatch: pytest.MonkeyPatch, method: str
    ) -> None:
        """Where the registry fails inside a verb, the caller is told; alias, statuses and revisions are as they were: one transaction."""
        published(1)
        published(2)
        deploy(driver, "line@1")
        driver.promote("churn", PROMOTE)
        verb = "deploy"
        if method == "set_alias":
            deploy(driver, "line@2")
            verb = "promote"
        before = list(driver.history("churn")), live(registry, 2), dict(registry.aliases("line"))

        def fails(*_: object, **__: object) -> None:
            raise ForgeError("the disk is full", "make room")

        with monkeypatch.context() as patched:
            patched.setattr(type(bare(registry)), method, fails)
            with pytest.raises(ForgeError):
                done(driver, verb, "churn", 2)
        assert (list(driver.history("churn")), live(registry, 2), dict(registry.aliases("line"))) == before
        assert done(driver, verb, "churn", 2).revision == before[0][0].revision + 1

    @pytest.mark.parametrize(
        ("verb", "method", "when"),
        [
            ("promote", "set_alias", "before"),
            ("promote", "set_alias", "after"),
            ("rollback", "set_alias", "before"),
            ("rollback", "set_alias", "after"),
            ("deploy", "transition", "before"),
            ("deploy", "transition", "after"),
        ],
    )
    def test_a_kill_inside_a_verb_leaves_alias_status_and_routes_in_step(
        self,
        driver: Any,
        subject: Subject,
        registry: Any,
        another: Callable[[], Any],
        published: Published,
        verb: str,
        method: str,
        when: str,
    ) -> None:
        """SIGKILL right before and right after the registry's part of a verb: all of it happened, or none. Commit both together."""
        published(1)
        published(2)
        deploy(driver, "line@1")
        driver.promote("churn", PROMOTE)
        if verb != "deploy":
            deploy(driver, "line@2")
        if verb == "rollback":
            driver.promote("churn", PROMOTE)
        cls = type(bare(registry))
        said = killed(subject, stops, verb, f"{cls.__module__}:{cls.__qualname__}", method, when)
        assert said == ["there"], f"{verb} did not come to the registry's {method}"
        assert_in_step(another(), registry, 2)
        newest = driver.status("churn").revision
        assert deploy(driver, "line@1").revision == newest + 1

    def test_what_was_acknowledged_survives_kills_at_any_instant(
        self, subject: Subject, registry: Any, another: Callable[[], Any], published: Published
    ) -> None:
        """SIGKILL at random instants of deploy, promote and rollback: each acknowledged revision is there, and the next opening, within
        5 s, finds alias, statuses and routes in step. Acknowledge after the commit, and repair nothing later.
        """
        for version in (1, 2, 3):
            published(version)
        seed = random.SystemRandom().randrange(1 << 32)
        print(f"seed {seed}")  # noqa: T201 - shown where the test fails
        chance = random.Random(seed)  # noqa: S311 - no secret
        for _ in range(4):
            said = killed(subject, moves, after=chance.random() / 10, acknowledged=chance.randint(1, 5))
            begun = time.monotonic()
            again = another()
            kept = {one.revision: one for one in again.history("churn")}
            assert time.monotonic() - begun < 5
            for revision, version in said:
                assert [route.version for route in kept[revision].routes] == [version]
            assert_in_step(again, registry, 3)

    # ---- what may be left out

    def test_a_request_leads_to_the_revision_that_answered(
        self, driver: Any, published: Published, request_id: Callable[[Deployment], str] | None
    ) -> None:
        """`trace` gives the revision and the one route of a request, also when others came since; or it is not implemented, and says so."""
        published(1)
        published(2)
        made = deploy(driver, "line@1")
        if type(bare(driver)).trace is Deployer.trace:
            with pytest.raises(ForgeError):
                driver.trace("req_1")
            return
        assert request_id is not None, "the driver traces: override `request_id`"
        said = request_id(made)
        deploy(driver, "line@2")
        found = driver.trace(said)
        assert (found.endpoint, found.revision, found.routes) == ("churn", 1, (Route("line", 1, 100),))
        assert driver.trace(request_id(driver.status("churn"))).routes == (Route("line", 2, 100),)
        with tenant("b"), pytest.raises(ForgeError):
            driver.trace(said)
        with pytest.raises(ForgeError):
            driver.trace(request_id(evolve(made, revision=9)))

    def test_what_is_no_request_id_is_refused(self, driver: Any, published: Published, hostile_paths: Sequence[str]) -> None:
        """An id comes from outside: one that nobody gave is a typed error. Parse it strictly."""
        published(1)
        deploy(driver, "line@1")
        for said in (*hostile_paths, "req_1", "churn", "churn.1", "1"):
            with pytest.raises(ForgeError):
                driver.trace(said)

    def test_it_serves_every_endpoint_until_it_is_interrupted(
        self, driver: Any, subject: Subject, published: Published, payload: JSON
    ) -> None:
        """With no endpoints named all answer over HTTP, each by its own version, until SIGINT; then the port is free. An unknown one is
        refused before anything listens. A deployer that does not serve says so.
        """
        published(1)
        published(2)
        made = [deploy(driver, "line@1", "one"), deploy(driver, "line@2", "two")]
        if type(bare(driver)).serve is Deployer.serve:
            with pytest.raises(ForgeError):
                driver.serve([], "127.0.0.1", 0, 1)
            return
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        paths = [urlsplit(one.url).path for one in made]
        refused, first, second, ended = run(subject, serves, paths, port, payload, timeout=120)
        assert refused == "refused"
        assert (first, second) == ([1001.0], [2001.0])
        assert ended == "free"


# ---- what the suite does, here and in other processes


def deploy(driver: Any, selector: str, endpoint: str = "churn", strategy: DeploymentStrategy | None = None) -> Deployment:
    made: Deployment = driver.deploy_model(selector, endpoint, strategy or AllAtOnce())
    return made


def predicted(driver: Any, endpoint: str, key: str | None = None) -> list[float]:
    """What the endpoint makes of x = 1: 1000 times the version that answered, and 1."""
    said: list[float] = pa.table(driver.predict(endpoint, pa.table({"x": [1.0]}), key))["prediction"].to_pylist()
    return said


def predictions(driver: Any, keys: Sequence[str]) -> Iterator[JSON]:
    """The same of `churn` for each of these keys."""
    for key in keys:
        yield predicted(driver, "churn", key)


def live(registry: Any, versions: int) -> set[int]:
    """The versions of `line`, of so many, that are DEPLOYED."""
    return {version for version in range(1, versions + 1) if registry.get(f"line@{version}").status is ModelStatus.DEPLOYED}


def assert_statuses(driver: Any, registry: Any, versions: int) -> None:
    """A version is DEPLOYED exactly while an endpoint routes to it."""
    assert live(registry, versions) == {route.version for name in driver.endpoints() for route in driver.status(name).routes}


def assert_in_step(driver: Any, registry: Any, versions: int) -> None:
    """The revisions of `churn` have no gap, and the alias and the statuses are what they lead to."""
    kept = list(driver.history("churn"))[::-1]
    assert [one.revision for one in kept] == list(range(1, len(kept) + 1))
    production = None
    for before, one in pairwise([None, *kept]):
        assert one is not None
        assert sum(route.weight for route in one.routes) == 100
        left = before is not None and production in {route.version for route in before.routes}
        if one.reason == PROMOTE or (one.reason == ROLLBACK and left):
            production = one.routes[0].version
    assert registry.aliases("line").get(PRODUCTION) == production
    assert_statuses(driver, registry, versions)


def deploys(driver: Any, first: int, turns: int) -> Iterator[JSON]:
    """[revision, version] of each deploy; None where somebody else was faster."""
    for turn in range(turns):
        version = 1 + (first + turn) % 4
        try:
            yield [deploy(driver, f"line@{version}").revision, version]
        except Conflict:
            yield None


def anything(driver: Any, endpoint: str, seed: int) -> Iterator[JSON]:
    """The revision after each of some random changes; those that were refused are left out."""
    chance = random.Random(seed)  # noqa: S311 - no secret
    for _ in range(6):
        verb = chance.choice(("deploy", "deploy", "promote", "rollback", "retire"))
        with contextlib.suppress(ForgeError):
            yield done(driver, verb, endpoint, chance.randint(1, 3)).revision


def moves(driver: Any) -> Iterator[JSON]:
    """[revision, version] of deploy, promote and rollback, round and round."""
    turn = 0
    while True:
        turn += 1
        for verb in ("deploy", "promote", "rollback"):
            if verb == "rollback" and turn == 1:
                continue
            made = done(driver, verb, "churn", 1 + turn % 3)
            yield [made.revision, made.routes[0].version]


def stops(driver: Any, verb: str, registry: str, method: str, when: str) -> Iterator[JSON]:
    """Acknowledges from within a verb, which stands still before or after the registry's part of it."""
    there = threading.Event()
    cls = imported(registry)
    original = getattr(cls, method)

    def stopping(*args: Any, **kwargs: Any) -> Any:
        made = original(*args, **kwargs) if when == "after" else None
        there.set()
        time.sleep(600)
        return made

    setattr(cls, method, stopping)
    threading.Thread(target=done, args=(driver, verb, "churn", 2), daemon=True).start()
    yield "there" if there.wait(30) else "elsewhere"
    time.sleep(600)


def serves(driver: Any, paths: Sequence[str], port: int, payload: JSON) -> Iterator[JSON]:
    """Whether an unknown endpoint was refused, what each path answered, and whether the port is free afterwards."""
    try:
        driver.serve(["nobody"], "127.0.0.1", port, 1)
    except ForgeError:
        yield "refused"
    answers: list[JSON] = []

    def ask() -> None:
        try:
            answers.extend(_answered(path, port, payload) for path in paths)
        finally:
            os.kill(os.getpid(), signal.SIGINT)

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    with contextlib.suppress(KeyboardInterrupt):
        driver.serve([], "127.0.0.1", port, 1)
    asking.join(10)
    yield from answers
    with socket.socket() as again:
        again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        again.bind(("127.0.0.1", port))
    yield "free"


def _answered(path: str, port: int, payload: JSON, within: float = 60) -> JSON:
    """The predictions, as soon as there are any."""
    ends = time.monotonic() + within
    said = "no answer"
    while time.monotonic() < ends:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException, ValueError):
            connection.request("POST", path, json.dumps(payload), {"content-type": "application/json"})
            answer = connection.getresponse()
            said = answer.read().decode(errors="replace")
            if answer.status == 200:
                made: JSON = json.loads(said)["predictions"]
                return made
        time.sleep(0.1)
    return f"not within {within:g} s: {said[:500]}"


def done(driver: Any, verb: str, endpoint: str, version: int) -> Deployment:
    if verb == "deploy":
        return deploy(driver, f"line@{version}", endpoint)
    made: Deployment = getattr(driver, verb)(endpoint, {"promote": PROMOTE, "rollback": ROLLBACK, "retire": ""}[verb])
    return made


def _verbs(driver: Any) -> tuple[Callable[[str], object], ...]:
    return (
        lambda name: deploy(driver, "line@1", name),
        driver.status,
        driver.promote,
        driver.rollback,
        driver.retire,
        driver.history,
        lambda name: predicted(driver, name),
        lambda name: driver.serve([name], "127.0.0.1", 0, 1),
    )


def _written_outside(arguments: tuple[Any, ...], roots: Sequence[Path]) -> bool:
    """Whether an `open` event is of a file outside these folders that is opened to be written."""
    path, _mode, flags = arguments[:3]
    if not isinstance(path, str | bytes | os.PathLike) or not isinstance(flags, int) or not flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
        return False
    return not any(Path(os.fsdecode(path)).absolute().is_relative_to(root) for root in roots)
