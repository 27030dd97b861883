"""`serving: acme`: endpoints in the project's database; whoever asks for predictions makes them.

It splits traffic by key. It does not listen: `serve` and `trace` are the contract's, which say so.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Literal

import sqlalchemy as sa
from forge_core.contracts import Deployer, DeploymentStrategy, ModelRegistry, Models, Predictor
from forge_core.database import Database
from forge_core.faults import Conflict, InvalidInput, NotFound
from forge_core.operations import current, describe
from forge_core.records import ArrowStream, Deployment, ModelStatus, Route
from forge_core.serialize import from_json, to_json

METADATA = sa.MetaData()
REVISIONS = sa.Table(
    "acme_revisions",
    METADATA,
    sa.Column("tenant", sa.Text, primary_key=True),
    sa.Column("endpoint", sa.Text, primary_key=True),
    sa.Column("revision", sa.Integer, primary_key=True),
    sa.Column("document", sa.JSON, nullable=False),
)
PRODUCTION = "production"
_LOCK = sa.text("SELECT pg_advisory_xact_lock(hashtext('forge-acme/deployer'))")
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_LOADED = 8  # models kept in memory


class AcmeDeployer(Deployer):
    """A version is DEPLOYED while an endpoint routes to it and ARCHIVED when none does any more, in the same commit."""

    transactional = True

    def __init__(self, *, registry: ModelRegistry, models: Models, database: Database) -> None:
        self._registry, self._models, self._database = registry, models, database
        self._loaded: dict[tuple[str, str], Predictor] = {}

    def open(self) -> None:
        self._database.prepare("forge-acme/deployer", METADATA)

    # ---- what is asked

    def status(self, endpoint: str) -> Deployment:
        return self.history(endpoint)[0]

    def endpoints(self) -> Sequence[str]:
        with self._database.read() as connection:
            return sorted(one.endpoint for one in _newest(connection) if one.routes)

    def history(self, endpoint: str, at: datetime | None = None) -> Sequence[Deployment]:
        if at is not None and at.utcoffset() is None:
            raise InvalidInput("a time has a zone", "add one: datetime.now(UTC)")
        with self._database.read() as connection:
            found = _revisions(connection, endpoint)
        if not found:
            raise NotFound(f"there is no endpoint {endpoint!r:.100}", "forge deploy MODEL --endpoint NAME")
        return found if at is None else [one for one in found if one.at <= at][:1]

    def predict(self, endpoint: str, data: ArrowStream, key: str | None = None) -> ArrowStream:
        routes = [route for route in self.status(endpoint).routes if route.weight and not route.shadow]
        if not routes:
            raise NotFound(f"endpoint {endpoint!r} is retired", f"forge rollback {endpoint}, or deploy to it")
        return self._model(_chosen(routes, key)).predict(data)

    # ---- what changes

    def deploy_model(self, selector: str, endpoint: str, strategy: DeploymentStrategy) -> Deployment:
        found = self._registry.get(selector)
        if found.status is ModelStatus.FAILED:
            raise InvalidInput(f"{found.selector} is failed and cannot be deployed", "deploy another version")
        before = self._before(endpoint)
        routes = strategy.plan(before.routes if before is not None else (), Route(found.name, found.version, 100))
        _check(routes)
        return self._change(endpoint, before, routes, type(strategy).__name__.removeprefix("Guarded"))

    def promote(self, endpoint: str, reason: str = "") -> Deployment:
        before = self.status(endpoint)
        if not before.routes:
            raise InvalidInput(f"endpoint {endpoint!r} is retired", "deploy a version first")
        route = Route(before.routes[-1].model, before.routes[-1].version, 100)
        alias = self._registry.aliases(route.model).get(PRODUCTION)
        if alias == route.version and before.routes == (route,):
            return before
        with self._database.transaction():
            made = self._change(endpoint, before, (route,), "promote", reason)
            if alias != route.version:
                self._registry.set_alias(route.model, PRODUCTION, route.version, alias, reason)
        return made

    def rollback(self, endpoint: str, reason: str = "") -> Deployment:
        before = self.status(endpoint)
        earlier = next((one for one in self.history(endpoint) if one.routes != before.routes), None)
        if earlier is None:
            raise InvalidInput(f"endpoint {endpoint!r} has never routed to anything else", f"forge history {endpoint}")
        with self._database.transaction():
            made = self._change(endpoint, before, earlier.routes, "rollback", reason)
            kept = {(route.model, route.version) for route in made.routes}
            for model, version in {(route.model, route.version) for route in before.routes} - kept:
                target = next((route.version for route in made.routes if route.model == model), None)
                if target is not None and self._registry.aliases(model).get(PRODUCTION) == version:
                    self._registry.set_alias(model, PRODUCTION, target, version, reason)
        return made

    def retire(self, endpoint: str, reason: str = "") -> Deployment:
        before = self.status(endpoint)
        return before if not before.routes else self._change(endpoint, before, (), "retire", reason)

    # ---- within

    def _before(self, endpoint: str) -> Deployment | None:
        if not _NAME.fullmatch(endpoint):
            raise InvalidInput(f"{endpoint!r:.100} cannot name an endpoint", "small letters, digits, - and _")
        with self._database.read() as connection:
            return next(iter(_revisions(connection, endpoint)), None)

    def _change(
        self, endpoint: str, before: Deployment | None, routes: tuple[Route, ...], strategy: str, reason: str = ""
    ) -> Deployment:
        """The next revision, where `before` is still the newest."""
        _check_reason(reason)
        with self._writing() as connection:
            newest = next(iter(_revisions(connection, endpoint)), None)
            if (newest.revision if newest else 0) != (before.revision if before else 0):
                raise Conflict(f"endpoint {endpoint!r} was changed by someone else", "look again, then try again")
            now = datetime.now(UTC)
            status: Literal["ready", "retired"] = "ready" if routes else "retired"
            made = Deployment(
                endpoint=endpoint,
                revision=newest.revision + 1 if newest else 1,
                routes=routes,
                strategy=strategy,
                url=f"acme:{endpoint}",
                actor=current().principal.name,
                reason=reason,
                at=max(now, newest.at) if newest else now,
                status=status,
            )
            key = {"tenant": _tenant(), "endpoint": endpoint, "revision": made.revision}
            connection.execute(REVISIONS.insert().values(**key, document=to_json(made)))
            self._move(connection, newest.routes if newest else (), routes)
            describe(before=to_json(newest.routes) if newest else None, after=to_json(made))
        return made

    def _move(self, connection: sa.Connection, before: Collection[Route], after: Collection[Route]) -> None:
        routed = {_selector(route) for one in _newest(connection) for route in one.routes}
        for selector in sorted({_selector(route) for route in (*before, *after)}):
            found = self._registry.get(selector)
            to = ModelStatus.DEPLOYED if selector in routed else ModelStatus.ARCHIVED
            if found.status is not to and (selector in routed or found.status is ModelStatus.DEPLOYED):
                self._registry.transition(selector, found.status, to)

    @contextmanager
    def _writing(self) -> Iterator[sa.Connection]:
        """One change at a time: a version's status depends on all endpoints. SQLite has one writer anyway."""
        with self._database.transaction() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(_LOCK)
            yield connection

    def _model(self, route: Route) -> Predictor:
        key = (_tenant(), _selector(route))
        found = self._loaded.pop(key, None) or self._models.load_model(_selector(route))
        self._loaded[key] = found  # the last one used is the last one dropped
        while len(self._loaded) > _LOADED:
            self._loaded.pop(next(iter(self._loaded)), None)
        return found


def _tenant() -> str:
    return current().principal.tenant


def _selector(route: Route) -> str:
    return f"{route.model}@{route.version}"


def _check(routes: Sequence[Route]) -> None:
    weights = [route.weight for route in routes if not route.shadow]
    if not weights or sum(weights) != 100 or any(weight < 0 for weight in weights):
        raise InvalidInput(f"the strategy's weights are {weights}", "whole numbers from 0 that sum to 100")


def _check_reason(reason: str) -> None:
    try:
        if "\x00" not in reason and reason.encode() is not None:
            return
    except UnicodeEncodeError:  # half a character
        pass
    raise InvalidInput("the reason is no text that can be kept", "text without NUL and without surrogates")


def _chosen(routes: Sequence[Route], key: str | None) -> Route:
    """By its share; the same key takes the same route as long as the routes are the same."""
    if key is None:
        return random.choices(routes, [route.weight for route in routes])[0]
    digest = hashlib.sha256(key.encode(errors="surrogatepass")).digest()
    place = int.from_bytes(digest[:8]) % 100
    for route in routes:
        place -= route.weight
        if place < 0:
            return route
    return routes[-1]


def _revisions(connection: sa.Connection, endpoint: str) -> list[Deployment]:
    """Newest first."""
    mine = sa.select(REVISIONS.c.document).where(REVISIONS.c.tenant == _tenant(), REVISIONS.c.endpoint == endpoint)
    if not _NAME.fullmatch(endpoint):
        return []
    return [_made(row) for row in connection.execute(mine.order_by(REVISIONS.c.revision.desc())).scalars()]


def _newest(connection: sa.Connection) -> list[Deployment]:
    """Of each endpoint."""
    mine = sa.select(REVISIONS.c.document).where(REVISIONS.c.tenant == _tenant()).order_by(REVISIONS.c.revision)
    return list({one.endpoint: one for one in map(_made, connection.execute(mine).scalars())}.values())


def _made(document: Any) -> Deployment:
    return from_json(document, Deployment)
