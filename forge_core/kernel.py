"""Kernel: the composition root. It hands out drivers, each behind the one guard, and nothing else."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import cached_property
from pathlib import Path
from threading import RLock
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar, cast, get_args, get_origin

import attrs
from attrs import evolve

from forge_core import config as configuration
from forge_core import drivers, lastfaults, wiring
from forge_core.assembly import spelled
from forge_core.catalog import Catalog, Policy
from forge_core.config import Config
from forge_core.contracts import CONTRACTS
from forge_core.contracts.auth import AuthProvider
from forge_core.contracts.connector import DataSourceConnector
from forge_core.contracts.deployer import Deployer
from forge_core.contracts.driver import Driver
from forge_core.contracts.flavor import Models, ServedModel
from forge_core.contracts.monitor import Monitor
from forge_core.contracts.orchestrator import Orchestrator, Runtime
from forge_core.contracts.registry import ModelRegistry
from forge_core.contracts.secrets import SecretStore
from forge_core.contracts.tracker import ExperimentTracker
from forge_core.database import Database
from forge_core.document import Document
from forge_core.factory import ModelFactory
from forge_core.faults import ConfigError, Fault, ForgeError, Refused
from forge_core.hookspecs import AuthHooks, KernelHooks
from forge_core.hub import Hub
from forge_core.identifiers import new_id
from forge_core.journal import Journal
from forge_core.operations import Call, acting, acting_as, bare, guard
from forge_core.processes import known_dead, me
from forge_core.records.auth import Decision, Principal, Session
from forge_core.records.data import JSON
from forge_core.records.project import Compute, Project, Storage
from forge_core.records.runs import KernelSpec, PipelineConfig, Plan, RunRecord
from forge_core.records.serving import Notice
from forge_core.references import interpolate
from forge_core.resources import DriversByName, HubListener, KernelModels, KernelRuntime
from forge_core.roles import ROLES
from forge_core.serialize import digest_of, to_json

if TYPE_CHECKING:
    from forge_core.contracts.notifier import Notifier

R = TypeVar("R")
D = TypeVar("D", bound=Driver)
ANONYMOUS = Principal("anonymous")


class Kernel:
    """A project, opened. `kernel.faults` is what is wrong with the plugins around it.

    Example::

        with Kernel.open("forge.yaml") as kernel:
            run = kernel.execute("churn_classifier")
            kernel.load_model("churn_classifier@latest").predict(rows)
    """

    def __init__(
        self,
        config: Config,
        *,
        plugins: bool = True,
        credentials: Mapping[str, str] | None = None,
        read_only: bool = False,
        hub: Hub | None = None,
    ) -> None:
        self.config = config
        self.document: Document = config.document
        said = self.document.plugins
        self.catalog = Catalog.scan(Policy(said.deny, said.allow, said.require), plugins=plugins)
        self._plugins, self._credentials, self._read_only = plugins, credentials, read_only
        self._live: dict[tuple[str, str], Driver] = {}
        self._order: list[Driver] = []
        self._building: list[tuple[str, str]] = []
        self._lock = RLock()
        self._variants: dict[str, Kernel] = {}
        self._auth_fault: Fault | None = None
        self._faults: list[Fault] = []
        self.on_progress: Callable[[float, str], None] = lambda fraction, message: None
        self.on_step_progress: Callable[[str, str, float, str], None] = lambda run_id, step, fraction, message: None
        if str(config.root) not in sys.path:
            sys.path.append(str(config.root))  # last: a project's own modules shadow nothing
        self.hub = hub or Hub(self.catalog, self._required(), said.local if plugins else ())
        if hub is not None:  # beside another kernel, which says what happens
            return
        self._settle()
        if not read_only and plugins:
            lastfaults.write(config.root, self.faults)
        self.hub.tell(KernelHooks.forge_kernel_opened, project=self.project)

    @classmethod
    def open(
        cls,
        path: str | Path | None = None,
        environment: str | None = None,
        sets: Sequence[str] = (),
        credentials: Mapping[str, str] | None = None,
        *,
        plugins: bool = True,
        read_only: bool = False,
    ) -> Kernel:
        """Open the project of this file, folder, or the working directory."""
        return cls(configuration.load(path, environment, sets), plugins=plugins, credentials=credentials, read_only=read_only)

    @classmethod
    def from_spec(cls, spec: KernelSpec, credentials: Mapping[str, str] | None = None) -> Kernel:
        """The same kernel in another process."""
        return cls(configuration.from_json(spec.document, spec.root, spec.environment), plugins=spec.plugins, credentials=credentials)

    def __enter__(self) -> Kernel:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close drivers, the last one opened first; one that fails is a fault."""
        for variant in self._variants.values():
            variant.close()
        self._variants.clear()
        while self._order:
            driver = self._order.pop()
            try:
                getattr(driver, "close", lambda: None)()
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # a driver of a stranger may raise anything, SystemExit included
                self._note("close", type(driver).__module__.partition(".")[0], error)
        self._live.clear()
        if "database" in self.__dict__:
            self.database.close()
        self.hub.tell(KernelHooks.forge_kernel_closed, project=self.project)

    # ---- what a project has

    @property
    def faults(self) -> tuple[Fault, ...]:
        _ = self._auth
        own = (self._auth_fault,) if self._auth_fault is not None else ()
        return (*own, *self._faults, *self.hub.faults)

    @cached_property
    def project(self) -> Project:
        said = self.document.project
        datasets = tuple(evolve(one, path=str(interpolate(one.path, self._secret))) for one in self.document.datasets)
        return Project(said.name, self.config.root, said.version, said.description, self.config.environment, datasets, self._read_only)

    @cached_property
    def database(self) -> Database:
        url = self._infrastructure("database").get("url")
        if not isinstance(url, str):
            raise ConfigError(f"{self.config.locate(('infrastructure', 'database'))}: url is missing", "url: sqlite:///.forge/forge.db")
        database = Database(url, read_only=self._read_only, owner=me(), root=self.config.root)
        database.on_event = lambda event: self.hub.tell(AuthHooks.forge_event_recorded, event=event)
        return database

    @cached_property
    def storage(self) -> Storage:
        said = self._infrastructure("storage")
        kind, options = (
            said.get("type", "file"),
            {key: value for key, value in said.items() if key not in ("type", "path", "bucket", "prefix", "url")},
        )
        if "url" in said:
            return Storage(str(said["url"]), options)
        if kind == "file":
            return Storage((self.config.root / str(said.get("path", ".forge/artifacts"))).as_uri(), options)
        place = "/".join(str(said[key]).strip("/") for key in ("bucket", "path", "prefix") if said.get(key))
        if kind == "s3" and "endpoint" in options:
            options = {"endpoint_url": options.pop("endpoint"), **options}
        return Storage(f"{kind}://{place}", options)

    @cached_property
    def compute(self) -> Compute:
        said = dict(self._infrastructure("compute"))
        said["engine"] = said.pop("type", "pyarrow")
        return wiring.structure(said, Compute, ("infrastructure", "compute"), self.config.locate)

    @property
    def spec(self) -> KernelSpec:
        """What opens the same kernel in another process; `${...}` is still unresolved, so no secret is in it."""
        return KernelSpec(dict(self.config.raw), self.config.root, self.config.environment, self._plugins)

    @cached_property
    def journal(self) -> Journal:
        return Journal(self.database, HubListener(self.hub))

    # ---- who acts

    @cached_property
    def session(self) -> Session:
        """Who this kernel acts for, proved by its credentials or `FORGE_API_KEY`."""
        said = self._credentials if self._credentials is not None else {}
        key = os.environ.get("FORGE_API_KEY")
        return self.authenticate(said or ({"api_key": key} if key else {}))

    def authenticate(self, credentials: Mapping[str, str]) -> Session:
        """A session for what these credentials prove; wrong ones are `Refused`."""
        provider = self._auth
        principal = provider.authenticate(credentials) if provider is not None else ANONYMOUS
        return Session(principal, new_id("req"))

    def authorize(self, session: Session, action: str, resource: str) -> Decision:
        """The one answer to "may they?": the auth driver's, then the gate `forge_authorize`. `Refused` where it is no."""
        return self.decide(session, action, resource)

    def decide(self, session: Session, action: str, resource: str) -> Decision:
        provider = self._auth
        if provider is None:
            decision = Decision(
                action not in ("data:read", "endpoint:predict"), "the auth driver is faulty, and with it go filters and masks"
            )
        else:
            decision = provider.authorize(session.principal, action, resource)
        if not decision.allowed:
            raise Refused(
                f"{session.principal.name} may not {action} on {resource}" + (f": {decision.reason}" if decision.reason else ""),
                "ask who grants roles here"
                if session.principal.roles
                else "give a key with the role it needs: FORGE_API_KEY or --api-key-file",
            )
        self.hub.gate(AuthHooks.forge_authorize, principal=session.principal, action=action, resource=resource)
        return decision

    def require_sound(self) -> None:
        """Mutations stop while a required distribution or the auth driver is faulty: their gates must not vanish."""
        _ = self._auth
        broken = ((self._auth_fault,) if self._auth_fault is not None else ()) + self.hub.broken
        if broken:
            fault = broken[0]
            raise Refused(f"nothing may be changed while {fault.distribution} {fault.version} is faulty: {fault.cause}", fault.remedy)

    @cached_property
    def _auth(self) -> AuthProvider | None:
        try:
            return cast("AuthProvider", bare(self.driver("auth")))
        except ForgeError as error:
            name = self._auth_name()
            offers = [ref for ref in self.catalog.refs if (ref.role, ref.name) == ("auth", name)]
            distribution, version = (offers[0].distribution, offers[0].version) if offers else (f"the auth driver {name!r}", "")
            self._auth_fault = Fault("auth", distribution, version, error.cause, error.remedy)
            return None

    # ---- drivers

    def driver(self, role: str, name: str | None = None) -> Any:
        """The one live driver behind the guard: by its key in forge.yaml, or by a driver's own name with its defaults."""
        if name is not None and not ROLES[role].many and name == self._section(role, None)[0]:
            name = None  # the one configured, by its driver's name
        key = (role, name or "")
        with self._lock:
            if key not in self._live:
                self._live[key] = self._built(role, name)
            return self._live[key]

    def make(self, role: str, name: str, config: Mapping[str, JSON] | None = None, optional: Mapping[str, JSON] | None = None) -> Any:
        """A new driver per use (a transform, a strategy) with these settings; `optional` ones are given where its Settings know them."""
        cls = self._class(role, name)
        settings = wiring.settings_class(cls)
        known = {one.name for one in attrs.fields(settings)} if settings is not None else set()
        given = {**{key: value for key, value in (optional or {}).items() if key in known}, **dict(config or {})}
        return guard(self._constructed(role, name, lambda: wiring.build(cls, given, self._collaborator, (role, name))), self)

    def wire(self, cls: type[D], settings: Mapping[str, JSON] | None = None) -> D:
        """A driver of this very class for the caller alone: built, opened and guarded like a chosen one, and closed with the kernel."""
        _complete(cls, cls.role, cls.__qualname__)
        return self._opened(cls, cls.role, cls.__qualname__, settings or {}, (cls.role, cls.__qualname__))

    def check_driver(self, role: str, name: str | None = None, config: Mapping[str, JSON] | None = None) -> None:
        """Raise what is wrong with a driver's name or settings, without constructing it."""
        kind, section, where = self._section(role, name)
        settings = wiring.settings_class(self._class(role, kind))
        said = interpolate({**section, **dict(config or {})}, None if role == "secrets" else self._secret, self.config.locate, where)
        if settings is not None:
            wiring.structure(said, settings, where, self.config.locate)
        elif said:
            raise ConfigError(f"{self.config.locate((*where, next(iter(said))))}: {role} {kind!r} has no settings", "take them out")

    def connector(self, name: str) -> DataSourceConnector:
        return cast("DataSourceConnector", self.driver("connector", name))

    @property
    def registry(self) -> ModelRegistry:
        return cast("ModelRegistry", self.driver("registry"))

    @property
    def tracker(self) -> ExperimentTracker:
        return cast("ExperimentTracker", self.driver("tracker"))

    @property
    def deployer(self) -> Deployer:
        return cast("Deployer", self.driver("deployer"))

    @property
    def orchestrator(self) -> Orchestrator:
        return cast("Orchestrator", self.driver("orchestrator"))

    @property
    def monitor(self) -> Monitor:
        return cast("Monitor", self.driver("monitor"))

    def notifier(self, name: str) -> Notifier:
        return cast("Notifier", self.driver("notifier", name))

    def _built(self, role: str, name: str | None) -> Driver:
        key = (role, name or "")
        if key in self._building:
            cycle = " -> ".join("/".join(filter(None, one)) for one in (*self._building, key))
            raise ConfigError(f"drivers need one another in a circle: {cycle}", "make one of them optional, or a Mapping")
        self._building.append(key)
        try:
            kind, section, where = self._section(role, name)
            resolved = interpolate(section, None if role == "secrets" else self._secret, self.config.locate, where)
            return self._opened(self._class(role, kind), role, kind, resolved, where)
        finally:
            self._building.pop()

    def _opened(self, cls: type[D], role: str, name: str, settings: Mapping[str, JSON], where: tuple[str, ...]) -> D:
        driver = self._constructed(role, name, lambda: wiring.build(cls, settings, self._collaborator, where, self.config.locate))
        self._order.append(driver)  # before it is opened: what opened half-way is closed too
        self._constructed(role, name, getattr(driver, "open", lambda: None))
        return guard(driver, self)

    def _constructed(self, role: str, name: str, act: Callable[[], R]) -> R:
        """A driver's own code while it is built and opened may raise anything; people see whose it is."""
        try:
            return act()
        except (ForgeError, KeyboardInterrupt):
            raise
        except BaseException as error:
            offers = [f"{one.distribution} {one.version}" for one in self.catalog.refs if (one.role, one.name) == (role, name)]
            whose = offers[0] if offers else "this project"
            cause = f"{role} {name!r} of {whose} cannot be opened: {type(error).__name__}: {drivers.first_line(error)}"
            raise ForgeError(cause, f"look at its settings, or mend {whose}") from error

    def _class(self, role: str, name: str) -> type[Driver]:
        cls = ModelFactory.local(name) if role == "trainer" else None
        cls = cls or drivers.load(self.catalog, role, name)
        _complete(cls, role, name)
        return cast("type[Driver]", cls)

    def section(self, role: str, name: str | None = None) -> tuple[str, Mapping[str, JSON]]:
        """(the driver, its settings as written) behind a name of forge.yaml; a driver's own name stands for itself."""
        if role == "storage":
            return "", self._raw("infrastructure", "storage")
        kind, settings, _where = self._section(role, name)
        return kind, settings

    def _section(self, role: str, name: str | None) -> tuple[str, dict[str, JSON], tuple[str, ...]]:
        """(driver's name, its settings, where they stand)."""
        about = ROLES[role]
        if name is None or not about.many:
            said, where = self._raw("infrastructure", about.section), ("infrastructure", about.section)
            kind = name or said.get("type") or about.default
        else:
            said, where = self._raw(about.section, name), (about.section, name)
            kind = said.get("type", name)
        if kind is None:
            raise ConfigError(f"no {role} is named", f"see forge plugins list for what is installed as {role}")
        kind = interpolate(kind, self._secret if role != "secrets" else None, self.config.locate, (*where, "type"))
        return str(kind), {key: value for key, value in said.items() if key != "type"}, where

    def _raw(self, section: str, name: str) -> dict[str, JSON]:
        found = (self.config.raw.get(section) or {}).get(name) or {}
        return dict(found)

    def _infrastructure(self, name: str) -> Mapping[str, JSON]:
        place = ("infrastructure", name)
        resolved: Mapping[str, JSON] = interpolate(
            self._raw(*place), self._secret if name != "secrets" else None, self.config.locate, place
        )
        return resolved

    def _secret(self, ref: str) -> str:
        return cast("SecretStore", bare(self.driver("secrets"))).read(ref)

    def _collaborator(self, kind: Any, optional: bool) -> Any:
        resources: dict[Any, Callable[[], Any]] = {
            Catalog: lambda: self.catalog,
            Compute: lambda: self.compute,
            Database: lambda: self.database,
            KernelSpec: lambda: self.spec,
            Models: lambda: KernelModels(self),
            Project: lambda: self.project,
            Runtime: lambda: KernelRuntime(self),
            Storage: lambda: self.storage,
        }
        if kind in resources:
            return resources[kind]()
        if get_origin(kind) is not None and isinstance(get_origin(kind), type) and issubclass(get_origin(kind), Mapping):
            contract = get_args(kind)[1]
            if contract in CONTRACTS.values():
                return DriversByName(self, contract.role)
        role = next((name for name, contract in CONTRACTS.items() if contract is kind), None)
        if role is None:
            raise ConfigError(
                f"nothing is known of {kind!r}", "annotate with a contract, Mapping[str, contract], Project, Storage, Database or Compute"
            )
        if optional and ROLES[role].section not in self._said_infrastructure:
            return None
        return self.driver(role)

    @cached_property
    def _said_infrastructure(self) -> frozenset[str]:
        return frozenset(self.config.raw.get("infrastructure") or {})

    # ---- what people do

    def pipeline(self, model: str | None = None) -> PipelineConfig:
        """The pipeline that forge.yaml spells for a model; the only one where none is named."""
        return spelled(self.document, model)

    def execute(self, pipeline: str | PipelineConfig | None = None, **parameters: JSON) -> RunRecord:
        """Run a model's pipeline to its end; what failed is raised after it is recorded."""
        config = pipeline if isinstance(pipeline, PipelineConfig) else self.pipeline(pipeline)
        if parameters:
            config = evolve(config, parameters={**config.parameters, **parameters})
        for name in config.notifications:
            self.check_driver("notifier", name)
        orchestrator = self.orchestrator
        try:
            run = orchestrator.monitor_progress(orchestrator.execute_pipeline(config))
        except ForgeError as error:
            self._notify(config, f"{config.name} failed", error.cause, "critical")
            raise
        self._notify(config, f"{config.name} is done", run.run_id, "info")
        return run

    def knowing(self, config: PipelineConfig) -> Kernel:
        """This kernel, or one beside it whose project also has the data sets that a builder's pipeline brings along."""
        brought = [one for one in config.datasets if one not in self.document.datasets]
        if not brought:
            return self
        names = {one.name for one in brought}
        raw = dict(self.config.raw)
        raw["datasets"] = [*(one for one in raw.get("datasets") or () if one["name"] not in names), *(to_json(one) for one in brought)]
        key = digest_of(raw["datasets"])
        with self._lock:
            if key not in self._variants:
                made = Kernel(configuration.from_json(raw, self.config.root, self.config.environment), plugins=self._plugins,
                              credentials=self._credentials, read_only=self._read_only, hub=self.hub)  # fmt: skip
                made.on_step_progress = self._progressed
                self._variants[key] = made
            return self._variants[key]

    def _progressed(self, run_id: str, step: str, fraction: float, message: str) -> None:
        self.on_step_progress(run_id, step, fraction, message)

    def plan(self, pipeline: str | PipelineConfig | None = None) -> Plan:
        """What a run would do now; reads only."""
        config = pipeline if isinstance(pipeline, PipelineConfig) else self.pipeline(pipeline)
        with acting_as(self.session):
            return KernelRuntime(self).plan(config, self.session)

    def runs(self, name: str | None = None, limit: int = 100) -> Sequence[RunRecord]:
        """Runs of any orchestrator, newest first."""
        session = acting() or self.session
        self.decide(session, "run:read", "runs")
        with acting_as(session):
            return self.journal.runs(name, limit)

    def load_model(self, selector: str) -> ServedModel:
        """A registered version as a predictor of raw rows: the one place where a model is loaded."""
        from forge_core import models  # needs pyarrow, as nothing else here does

        metadata = self.registry.get(selector)
        return models.load_folder(self, self.registry.checkout(metadata.selector), metadata)

    def _notify(self, config: PipelineConfig, subject: str, text: str, severity: Any) -> None:
        for name in config.notifications:
            try:
                self.notifier(name).notify(Notice(subject, text, severity))
            except Exception as error:  # a notice that cannot be sent is no reason to fail a run
                self._note("notify", name, error)

    # ---- what the guard asks

    def outside(self, call: Call) -> AbstractContextManager[None]:
        return self.database.outside(call)

    def after_commit(self, act: Callable[[], None]) -> None:
        if "database" in self.__dict__:
            self.database.after_commit(act)
        else:
            act()

    def _required(self) -> tuple[str, ...]:
        name = self._auth_name()
        auth = [ref.distribution for ref in self.catalog.refs if (ref.role, ref.name) == ("auth", name)]
        return (*self.document.plugins.require, *(one for one in auth if one != "forge-kernel"))

    def _auth_name(self) -> str:
        try:
            return self._section("auth", None)[0]
        except ForgeError:  # a reference that cannot be resolved: the driver is faulty, which is told elsewhere
            return ""

    def _settle(self) -> None:
        """Mutations outside the database whose process has ended are settled as unknown."""
        if not self._read_only and self._infrastructure("database").get("url") and self.database.exists:
            try:
                self.database.settle(known_dead)
            except ForgeError as error:
                self._note("settle", "forge-kernel", error)

    def _note(self, where: str, distribution: str, error: BaseException) -> None:
        if isinstance(error, ForgeError):
            self._faults.append(Fault(where, distribution, "", error.cause, error.remedy))
            return
        cause = f"{type(error).__name__}: {drivers.first_line(error)}"
        self._faults.append(Fault(where, distribution, "", cause, f"upgrade or deny {distribution}"))


def _complete(cls: type, role: str, name: str) -> None:
    contract = CONTRACTS[role]
    if not issubclass(cls, contract):
        raise ForgeError(f"{role} {name!r} is no {contract.__name__}", "it must be a subclass of the contract")
    left = sorted(getattr(cls, "__abstractmethods__", ()))
    if left:
        raise ForgeError(f"{role} {name!r} does not implement {', '.join(left)}", f"see forge_core.contracts.{contract.__name__}")
