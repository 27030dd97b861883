"""Endpoints as desired state: what should be live is in the database, `forge serve` makes it so."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from importlib.metadata import entry_points
from threading import Lock

import sqlalchemy as sa
from attrs import evolve, field, frozen, validators

from forge_core.contracts.deployer import Deployer, DeploymentStrategy
from forge_core.contracts.flavor import Models, Predictor
from forge_core.contracts.registry import ModelRegistry
from forge_core.database import Database
from forge_core.faults import ConfigError, Conflict, InvalidInput, NotFound
from forge_core.operations import current, describe
from forge_core.records.data import ArrowStream
from forge_core.records.models import ModelStatus
from forge_core.records.runs import KernelSpec
from forge_core.records.serving import Deployment, Route
from forge_core.serialize import to_json
from forge_cortex import revisions
from forge_cortex.names import endpoint_name, plain_reason, traced
from forge_cortex.server import command
from forge_cortex.server.messages import Limits, Observed, ServerPlan, Target, WorkerSpec

logger = logging.getLogger(__name__)
Version = tuple[str, int]
PRODUCTION = "production"
LOADED = 8  # versions kept in memory for `predict`


class ModelDeploymentService(Deployer):
    """One row per revision of an endpoint, kept for ever; every change expects the revision it began from.

    A version is DEPLOYED while an endpoint routes to it and ARCHIVED when none does any more, in the same transaction.
    """

    transactional = True

    @frozen
    class Settings:
        """Seconds, bytes and counts; they hold for each endpoint of a server."""

        host: str = "127.0.0.1"
        port: int = field(default=8000, validator=[validators.ge(0), validators.le(65535)])
        gateways: int = field(default=1, validator=[validators.ge(1), validators.le(64)])
        max_batch_size: int = field(default=64, validator=[validators.ge(1), validators.le(4096)])
        queue: int = field(default=512, validator=validators.ge(1))
        timeout: float = field(default=10.0, validator=validators.gt(0.0))
        max_body: int = field(default=10 * 1024 * 1024, validator=[validators.ge(1), validators.le(32 * 1024 * 1024)])
        drain_notice: float = field(default=1.0, validator=validators.ge(0.0))
        threads: int = field(default=1, validator=validators.ge(1))

    def __init__(self, settings: Settings, *, registry: ModelRegistry, models: Models, database: Database, spec: KernelSpec) -> None:
        self._settings, self._registry, self._models, self._database, self._spec = settings, registry, models, database, spec
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        self._url = f"http://{host}:{settings.port}"
        self._loaded: OrderedDict[tuple[str, str, int], Predictor] = OrderedDict()
        self._lock = Lock()

    def open(self) -> None:
        self._database.prepare("forge-cortex", revisions.METADATA, revisions.VERSION)

    # ---- what is asked

    def status(self, endpoint: str) -> Deployment:
        """The newest revision. `NotFound` where the endpoint never had one."""
        with self._database.read() as connection:
            found = revisions.newest(connection, _tenant(), endpoint_name(endpoint), self._url)
        if found is None:
            raise NotFound(f"there is no endpoint {endpoint!r}", f"forge deploy MODEL --endpoint {endpoint}")
        return found

    def endpoints(self) -> Sequence[str]:
        return [one.endpoint for one in self._heads()]

    def history(self, endpoint: str, at: datetime | None = None) -> Sequence[Deployment]:
        self.status(endpoint)
        if at is not None and at.utcoffset() is None:
            raise InvalidInput("a time without a zone is no instant", "give one in UTC: datetime.now(UTC)")
        until = revisions.text_of(at) if at is not None else None
        with self._database.read() as connection:
            return revisions.listed(connection, _tenant(), endpoint, self._url, until=until, limit=1 if until else None)

    def trace(self, request_id: str) -> Deployment:
        """From the id alone, which carries endpoint, revision and route; nothing had to be logged."""
        said = traced(request_id)
        found = next((one for one in self.history(said.endpoint) if one.revision == said.revision), None)
        if found is None or said.route >= len(found.routes):
            raise NotFound(f"no revision of {said.endpoint!r} answered the request {request_id!r}", f"forge history {said.endpoint}")
        return evolve(found, routes=(found.routes[said.route],))

    def predict(self, endpoint: str, data: ArrowStream, key: str | None = None) -> ArrowStream:
        """In this process. There is one route for now, so `key` goes where every key goes."""
        routes = self.status(endpoint).routes
        if not routes:
            raise NotFound(f"endpoint {endpoint!r} is retired", f"forge rollback {endpoint}, or deploy to it")
        return self._model(routes[0]).predict(data)

    # ---- what changes

    def deploy_model(self, selector: str, endpoint: str, strategy: DeploymentStrategy) -> Deployment:
        """The selector is resolved here, once. A FAILED version is refused; an ARCHIVED one comes back."""
        found = self._registry.get(selector)
        if found.status is ModelStatus.FAILED:
            raise InvalidInput(f"{found.selector} is failed and cannot be deployed", "deploy another version: forge models list")
        before = self._newest(endpoint)
        routes = strategy.plan(before.routes if before is not None else (), Route(found.name, found.version, 100))
        if len(routes) != 1 or routes[0].weight != 100 or routes[0].shadow:
            raise ConfigError("an endpoint routes to one version for now", "use the strategy blue_green")
        return self._change(endpoint, before, routes, _name_of(strategy))

    def promote(self, endpoint: str, reason: str = "") -> Deployment:
        before = self.status(endpoint)
        if not before.routes:
            raise InvalidInput(f"endpoint {endpoint!r} is retired: there is nothing to promote", "deploy a version first")
        route = before.routes[-1]
        production = self._registry.aliases(route.model).get(PRODUCTION)
        if production == route.version and before.routes == (Route(route.model, route.version, 100),):
            return before
        with self._database.transaction():
            if production != route.version:
                self._registry.set_alias(route.model, PRODUCTION, route.version, production, reason or f"promoted at {endpoint}")
            return self._change(endpoint, before, (Route(route.model, route.version, 100),), "promote", reason)

    def rollback(self, endpoint: str, reason: str = "") -> Deployment:
        """Back to the routes before the present ones. Where the alias `production` named what loses its traffic, it goes back too."""
        before = self.status(endpoint)
        earlier = next((one for one in self.history(endpoint) if one.routes != before.routes), None)
        if earlier is None:
            raise InvalidInput(f"endpoint {endpoint!r} has never routed to anything else", f"forge history {endpoint}")
        with self._database.transaction() as connection:
            made = self._change(endpoint, before, earlier.routes, "rollback", reason)
            revisions.mark(connection, _tenant(), endpoint, before.revision, "rolled_back", ("progressing", "ready", "failed"))
            self._take_back_alias(before.routes, earlier.routes, reason or f"rolled back at {endpoint}")
        return made

    def retire(self, endpoint: str, reason: str = "") -> Deployment:
        before = self.status(endpoint)
        return before if not before.routes else self._change(endpoint, before, (), "retire", reason)

    # ---- the server

    def serve(self, endpoints: Sequence[str], host: str, port: int, workers: int) -> None:
        """Until SIGTERM or SIGINT, which drain. A new revision is loaded beside the old one and then takes its place."""
        names = [endpoint_name(name) for name in endpoints]
        live = set(self.endpoints())
        for name in names:
            if name not in live:
                raise NotFound(f"endpoint {name!r} routes nowhere", f"forge deploy MODEL --endpoint {name}")
        if not 0 <= port <= 65535:
            raise ConfigError(f"{port} is no port", "0 to 65535; 0 takes a free one")
        if workers < 1:
            raise ConfigError(f"{workers} workers cannot serve", "give --workers 1 or more")
        if not live:
            logger.warning("no endpoint is deployed yet: forge deploy MODEL")
        with self._database.transaction():
            describe(after={"endpoints": names, "workers": workers})
        said, session = self._settings, to_json(current())
        limits = Limits(said.timeout, said.queue, said.max_batch_size, said.max_body, said.drain_notice, said.threads)
        spec = to_json(self._spec)
        access = WorkerSpec("forge_cortex.server.access:kernel_access", {"spec": spec, "session": session})
        plan = ServerPlan(host, port, "", access, workers, said.gateways, limits)

        def desired() -> tuple[Target, ...]:
            heads = {one.endpoint: one for one in self._heads()}
            return tuple(self._target(heads[name], spec, session) for name in names or heads if name in heads)

        command.serve(plan, desired, self._observed)

    def _target(self, head: Deployment, spec: object, session: object) -> Target:
        route = head.routes[0]
        arguments = {
            "spec": spec,
            "session": session,
            "endpoint": head.endpoint,
            "selector": f"{route.model}@{route.version}",
            "max_batch_size": self._settings.max_batch_size,
        }
        worker = WorkerSpec("forge_cortex.server.registry_api:registry_api", arguments)
        return Target(head.endpoint, head.revision, route.model, route.version, worker)

    def _observed(self, seen: Observed) -> None:
        """A server made a revision live, or cannot load its version."""
        if not seen.live:
            logger.error("%s revision %s cannot be made live: %s", seen.endpoint, seen.revision, seen.reason)
        status = "ready" if seen.live else "failed"
        with self._database.transaction() as connection:
            revisions.mark(connection, _tenant(), seen.endpoint, seen.revision, status, ("progressing", "failed", "ready"))

    # ---- within

    def _newest(self, endpoint: str) -> Deployment | None:
        with self._database.read() as connection:
            return revisions.newest(connection, _tenant(), endpoint_name(endpoint), self._url)

    def _heads(self) -> Sequence[Deployment]:
        if not self._database.exists:
            return ()
        with self._database.read() as connection:
            return revisions.heads(connection, _tenant(), self._url)

    def _change(self, endpoint: str, before: Deployment | None, routes: tuple[Route, ...], strategy: str, reason: str = "") -> Deployment:
        """The next revision, if `before` is still the newest; registry, revision and event commit together."""
        plain_reason(reason)
        tenant, actor = _tenant(), current().principal.name
        number = before.revision + 1 if before is not None else 1
        same = before is not None and before.routes == routes and before.status == "ready"
        status = "retired" if not routes else "ready" if same else "progressing"
        url = f"{self._url}/predict/{endpoint}"
        with self._database.transaction() as connection:
            revisions.lock(connection, tenant)
            newest = revisions.newest(connection, tenant, endpoint, self._url)
            if (newest.revision if newest is not None else 0) != number - 1:
                raise Conflict(
                    f"endpoint {endpoint!r} was changed by someone else at the same time",
                    f"look at forge history {endpoint}, then try again",
                )
            now = datetime.now(UTC)
            if newest is not None:
                now = max(now, newest.at)  # a clock that was set back must not reorder history
            made = Deployment(endpoint, number, routes, strategy, url, actor, reason, now, status)  # type: ignore[arg-type]
            revisions.append(connection, tenant, made)
            self._move_versions(connection, before.routes if before is not None else (), routes)
            describe(before=to_json(before.routes) if before is not None else None, after=to_json(made))
        return made

    def _move_versions(self, connection: sa.Connection, before: Iterable[Route], after: Iterable[Route]) -> None:
        """DEPLOYED while an endpoint routes to it; ARCHIVED when none does."""
        routed = {_version(route) for head in revisions.heads(connection, _tenant(), self._url) for route in head.routes}
        for model, version in {_version(route) for route in after}:
            found = self._registry.get(f"{model}@{version}")
            if found.status is not ModelStatus.DEPLOYED:
                self._registry.transition(found.selector, found.status, ModelStatus.DEPLOYED)
        for model, version in {_version(route) for route in before} - routed:
            found = self._registry.get(f"{model}@{version}")
            if found.status is ModelStatus.DEPLOYED:
                self._registry.transition(found.selector, found.status, ModelStatus.ARCHIVED)

    def _take_back_alias(self, before: Iterable[Route], after: Sequence[Route], reason: str) -> None:
        for model, version in {_version(route) for route in before} - {_version(route) for route in after}:
            target = next((route.version for route in after if route.model == model), None)
            if target is not None and self._registry.aliases(model).get(PRODUCTION) == version:
                self._registry.set_alias(model, PRODUCTION, target, version, reason)

    def _model(self, route: Route) -> Predictor:
        key = (_tenant(), *_version(route))
        with self._lock:
            if key not in self._loaded:
                self._loaded[key] = self._models.load_model(f"{route.model}@{route.version}")
            self._loaded.move_to_end(key)
            while len(self._loaded) > LOADED:
                self._loaded.popitem(last=False)
            return self._loaded[key]


def _tenant() -> str:
    return current().principal.tenant


def _version(route: Route) -> Version:
    return route.model, route.version


def _name_of(strategy: DeploymentStrategy) -> str:
    """The name in its entry point; its class's where it was not installed."""
    cls = next(one for one in type(strategy).__mro__ if not one.__name__.startswith("Guarded"))
    place = f"{cls.__module__}:{cls.__qualname__}"
    return next((one.name for one in entry_points(group="forge.strategies") if one.value == place), cls.__name__)
