"""Wrong deployers: revisions, aliases, history and selectors."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import ClassVar

import sqlalchemy as sa
from attrs import evolve
from mutant_swap import swap

from forge_core.contracts.deployer import DeploymentStrategy
from forge_core.contracts.flavor import Predictor
from forge_core.faults import InvalidInput
from forge_core.operations import current, describe
from forge_core.records.data import ArrowStream
from forge_core.records.serving import Deployment
from forge_core.serialize import to_json
from forge_cortex import revisions, service
from forge_cortex.revisions import REVISIONS
from forge_cortex.service import ModelDeploymentService


class RollbackInPlace(ModelDeploymentService):
    """A rollback edits the last revision."""

    suite: ClassVar[str] = "forge_cortex.testing:TestCortex"

    def rollback(self, endpoint: str, reason: str = "") -> Deployment:
        before = self.status(endpoint)
        earlier = next((one for one in self.history(endpoint) if one.routes != before.routes), None)
        if earlier is None:
            raise InvalidInput(f"endpoint {endpoint!r} has never routed to anything else", f"forge history {endpoint}")
        last = sa.and_(REVISIONS.c.tenant == current().principal.tenant, REVISIONS.c.endpoint == endpoint)
        with self._database.transaction() as connection:
            connection.execute(
                REVISIONS.update()
                .where(last, REVISIONS.c.revision == before.revision)
                .values(routes=to_json(earlier.routes), strategy="rollback", reason=reason)
            )
            self._move_versions(connection, before.routes, earlier.routes)
            self._take_back_alias(before.routes, earlier.routes, reason or f"rolled back at {endpoint}")
            describe(before=to_json(before.routes), after=to_json(earlier.routes))
        return self.status(endpoint)


class RollbackByOne(ModelDeploymentService):
    """A rollback goes to the revision before, though that may have had the same routes."""

    suite: ClassVar[str] = "forge_cortex.testing:TestCortex"

    def rollback(self, endpoint: str, reason: str = "") -> Deployment:
        history = self.history(endpoint)
        if len(history) < 2:
            raise InvalidInput(f"endpoint {endpoint!r} has never routed to anything else", f"forge history {endpoint}")
        return _back(self, history[0], history[1], reason)


def _back(deployer: ModelDeploymentService, before: Deployment, earlier: Deployment, reason: str) -> Deployment:
    with deployer._database.transaction() as connection:
        made = deployer._change(before.endpoint, before, earlier.routes, "rollback", reason)
        states = ("progressing", "ready", "failed")
        revisions.mark(connection, service._tenant(), before.endpoint, before.revision, "rolled_back", states)
        deployer._take_back_alias(before.routes, earlier.routes, reason or f"rolled back at {before.endpoint}")
    return made


class PromoteWithoutAlias(ModelDeploymentService):
    """Promoting moves the routes, and leaves the alias where it was."""

    suite: ClassVar[str] = "forge_cortex.testing:TestCortex"

    def promote(self, endpoint: str, reason: str = "") -> Deployment:
        before = self.status(endpoint)
        if not before.routes:
            raise InvalidInput(f"endpoint {endpoint!r} is retired: there is nothing to promote", "deploy a version first")
        return self._change(endpoint, before, (evolve(before.routes[-1], weight=100, shadow=False),), "promote", reason)


class SelectorKept(ModelDeploymentService):
    """A prediction asks what the selector means now, not what it meant at deploy."""

    suite: ClassVar[str] = "forge_cortex.testing:TestCortex"

    def open(self) -> None:
        super().open()
        self._selectors: dict[tuple[str, int], str] = {}

    def deploy_model(self, selector: str, endpoint: str, strategy: DeploymentStrategy) -> Deployment:
        made = super().deploy_model(selector, endpoint, strategy)
        self._selectors[made.endpoint, made.routes[0].version] = selector
        return made

    def predict(self, endpoint: str, data: ArrowStream, key: str | None = None) -> ArrowStream:
        routes = self.status(endpoint).routes
        selector = self._selectors.get((endpoint, routes[0].version)) if routes else None
        return self._models.load_model(selector).predict(data) if selector else super().predict(endpoint, data, key)


class OldestFirst(ModelDeploymentService):
    """The history is told oldest first."""

    suite: ClassVar[str] = "forge_cortex.testing:TestCortex"

    def history(self, endpoint: str, at: datetime | None = None) -> Sequence[Deployment]:
        return list(reversed(super().history(endpoint, at)))

    def rollback(self, endpoint: str, reason: str = "") -> Deployment:
        history = super().history(endpoint)
        if all(one.routes == history[0].routes for one in history):
            raise InvalidInput(f"endpoint {endpoint!r} has never routed to anything else", f"forge history {endpoint}")
        earlier = next(one for one in history if one.routes != history[0].routes)
        return _back(self, history[0], earlier, reason)


class TimeOfTheCaller(ModelDeploymentService):
    """What was live at a time is looked up by the caller's clock, whatever its zone."""

    suite: ClassVar[str] = "forge_cortex.testing:TestCortex"

    def history(self, endpoint: str, at: datetime | None = None) -> Sequence[Deployment]:
        return super().history(endpoint, at if at is None else at.replace(tzinfo=datetime.now().astimezone().tzinfo))


class RetiredListed(ModelDeploymentService):
    """Endpoints that were retired are listed among those that route somewhere."""

    suite: ClassVar[str] = "forge_cortex.testing:TestCortex"

    def endpoints(self) -> Sequence[str]:
        mine = REVISIONS.c.tenant == current().principal.tenant
        with self._database.read() as connection:
            return connection.execute(sa.select(REVISIONS.c.endpoint).where(mine).distinct().order_by(REVISIONS.c.endpoint)).scalars().all()


class RetireForgets(ModelDeploymentService):
    """Retiring an endpoint removes its revisions."""

    suite: ClassVar[str] = "forge_cortex.testing:TestCortex"

    def retire(self, endpoint: str, reason: str = "") -> Deployment:
        before = self.status(endpoint)
        mine = sa.and_(REVISIONS.c.tenant == current().principal.tenant, REVISIONS.c.endpoint == endpoint)
        with self._database.transaction() as connection:
            connection.execute(REVISIONS.delete().where(mine))
            self._move_versions(connection, before.routes, ())
            describe(before=to_json(before.routes))
        return evolve(before, revision=before.revision + 1, routes=(), strategy="retire", reason=reason, status="retired")


class OneTenant(ModelDeploymentService):
    """The endpoints of all tenants are one another's."""

    suite: ClassVar[str] = "forge_cortex.testing:TestCortex"

    def open(self) -> None:
        super().open()
        swap(service, "_tenant", lambda: "default")


class PredictorKept(ModelDeploymentService):
    """What answers an endpoint is kept until the next deploy, though a rollback may come before."""

    suite: ClassVar[str] = "forge_cortex.testing:TestCortex"

    def open(self) -> None:
        super().open()
        self._kept: dict[str, Predictor] = {}

    def deploy_model(self, selector: str, endpoint: str, strategy: DeploymentStrategy) -> Deployment:
        self._kept.pop(endpoint, None)
        return super().deploy_model(selector, endpoint, strategy)

    def predict(self, endpoint: str, data: ArrowStream, key: str | None = None) -> ArrowStream:
        routes = self.status(endpoint).routes
        if not routes:
            return super().predict(endpoint, data, key)
        if endpoint not in self._kept:
            self._kept[endpoint] = self._model(routes[0])
        return self._kept[endpoint].predict(data)
