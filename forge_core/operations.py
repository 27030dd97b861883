"""A contract's method as the kernel exposes it: a named action behind one guard.

The guard authorizes, asks the gates, calls the driver with its event in the same transaction, and tells the
hooks afterwards. Drivers call no hook and check no permission; a driver that keeps state per tenant asks
`current()` for the session. The table of all operations is the table of all permissions.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar, cast

from attrs import define, evolve, field, frozen

from forge_core.faults import ConfigError, InvalidInput, Refused
from forge_core.records.auth import Decision, Principal, Session
from forge_core.records.data import JSON, Query

if TYPE_CHECKING:
    from forge_core.contracts.driver import Driver
    from forge_core.hub import Hub

P = ParamSpec("P")
R = TypeVar("R")
D = TypeVar("D", bound="Driver")
MARK = "__forge_operation__"


@frozen
class Operation:
    """`resource` is a template over the call's arguments, as in `model:{draft.name}`."""

    method: str
    action: str
    resource: str
    mutates: bool
    gate: Callable[..., Any] | None
    tells: tuple[Callable[..., Any], ...]


def operation(
    action: str,
    *,
    resource: str = "",
    mutates: bool = False,
    gate: Callable[..., Any] | None = None,
    tells: Callable[..., Any] | tuple[Callable[..., Any], ...] = (),
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Declare a method to be an operation.

    A hook's arguments are the call's arguments of the same name, `session`, and, for `tells`, the call's result
    under the one name that is left.
    """
    told = tells if isinstance(tells, tuple) else (tells,)

    def mark(function: Callable[P, R]) -> Callable[P, R]:
        known = {*inspect.signature(function).parameters, "session"}
        for spec in (*told, *((gate,) if gate else ())):
            left = [name for name in inspect.signature(spec).parameters if name not in known]
            if len(left) > (0 if spec is gate else 1):
                raise TypeError(f"{function.__qualname__} cannot give {spec.__name__} its {', '.join(left)}")
        setattr(function, MARK, Operation(function.__name__, action, resource, mutates, gate, told))
        return function

    return mark


def operations_of(cls: type) -> Mapping[str, Operation]:
    """Every operation of a driver's class or a contract, by method name; a driver's override keeps its contract's."""
    found: dict[str, Operation] = {}
    for base in reversed(cls.__mro__):
        for name, member in vars(base).items():
            if isinstance(mark := getattr(member, MARK, None), Operation):
                found[name] = mark
    return found


@define
class Call:
    """An operation under way; the database writes its event with the first transaction that commits."""

    session: Session
    operation: Operation
    resource: str
    before: JSON = None
    after: JSON = None
    recorded: bool = False
    detail: dict[str, JSON] = field(factory=dict)


_SESSION: ContextVar[Session | None] = ContextVar("forge_session", default=None)
_CALL: ContextVar[Call | None] = ContextVar("forge_call", default=None)
LOCAL = Session(Principal("system", ("admin",)), "local")


def current() -> Session:
    """The session that acts: set by the guard, or by `acting_as`; the system's own elsewhere."""
    return _SESSION.get() or LOCAL


def acting() -> Session | None:
    return _SESSION.get()


def pending() -> Call | None:
    """The call whose event is to be written with the transaction that commits next."""
    return _CALL.get()


def describe(*, resource: str | None = None, before: JSON = None, after: JSON = None) -> None:
    """Let a driver tell the event of the call under way what it changed."""
    call = _CALL.get()
    if call is not None:
        call.resource = resource or call.resource
        call.before = before if before is not None else call.before
        call.after = after if after is not None else call.after


@contextmanager
def acting_as(session: Session) -> Iterator[None]:
    """Everything inside is done by this session."""
    token = _SESSION.set(session)
    try:
        yield
    finally:
        _SESSION.reset(token)


class Authority(Protocol):
    """What the guard asks of the kernel."""

    @property
    def session(self) -> Session: ...
    @property
    def hub(self) -> Hub: ...
    def decide(self, session: Session, action: str, resource: str) -> Decision: ...
    def require_sound(self) -> None:
        """Raise `Refused` while a required distribution or the auth driver is faulty."""

    def outside(self, call: Call) -> Any:
        """A context manager that records a mutation outside the database: intent, then done or failed."""

    def after_commit(self, act: Callable[[], None]) -> None:
        """Run `act` when the transaction under way has committed; at once where there is none."""


def guard(driver: D, authority: Authority) -> D:
    """The driver as everyone sees it: its operations alone, each behind authorization, gates and events."""
    cls = type(driver)
    return cast("D", _guarded_class(cls)(driver, authority))


def bare(driver: object) -> Any:
    """What stands behind a guard; for the kernel itself and for tests."""
    return getattr(driver, "_forge_bare", driver)


@functools.cache
def _guarded_class(cls: type) -> type:
    members: dict[str, Any] = {
        "__init__": _init,
        "__repr__": lambda self: f"<guarded {cls.__name__}>",
        "__doc__": cls.__doc__,
        "__module__": cls.__module__,
        "__abstractmethods__": frozenset(),
    }
    table = operations_of(cls)
    for name, found in table.items():
        members[name] = _method(name, getattr(cls, name), found)
    for name in dir(cls):
        if name not in table and not name.startswith("_") and callable(getattr(cls, name)) and not isinstance(getattr(cls, name), type):
            members[name] = _closed(cls, name)
    made = type(cls)(f"Guarded{cls.__name__}", (cls,), members)
    made.__abstractmethods__ = frozenset()  # type: ignore[attr-defined]
    return made


def _init(self: Any, driver: object, authority: Authority) -> None:
    object.__setattr__(self, "_forge_bare", driver)
    object.__setattr__(self, "_forge_authority", authority)


def _closed(cls: type, name: str) -> property:
    def refuse(self: object) -> None:
        raise AttributeError(f"{cls.__name__}.{name} is not an operation: only the kernel calls it")

    return property(refuse)


def _method(name: str, function: Callable[..., Any], declared: Operation) -> Callable[..., Any]:
    signature = inspect.signature(function)

    @functools.wraps(function)
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        driver, authority = self._forge_bare, self._forge_authority
        bound = signature.bind(driver, *args, **kwargs)
        bound.apply_defaults()
        session = _SESSION.get() or authority.session
        arguments = {**bound.arguments, "session": session}
        resource = render(declared.resource, arguments)
        if declared.mutates:
            authority.require_sound()
        decision = authority.decide(session, declared.action, resource)
        if "query" in bound.arguments:
            bound.arguments["query"] = arguments["query"] = oblige(bound.arguments["query"], decision, type(driver))
        if declared.gate is not None:
            authority.hub.gate(declared.gate, **_given(declared.gate, arguments))
        call = Call(session, declared, resource)
        result = _perform(getattr(driver, name), bound, call, driver, authority)
        if declared.tells and (call.recorded or not declared.mutates):  # a mutation that changed nothing has nothing to tell
            authority.after_commit(lambda: _tell_all(declared, authority, arguments, result))
        return result

    return method


def _tell_all(declared: Operation, authority: Authority, arguments: Mapping[str, Any], result: Any) -> None:
    for spec in declared.tells:
        authority.hub.tell(spec, **_given(spec, arguments, result))


def _perform(function: Callable[..., Any], bound: inspect.BoundArguments, call: Call, driver: Driver, authority: Authority) -> Any:
    session_token = _SESSION.set(call.session)
    call_token = _CALL.set(call if call.operation.mutates and driver.transactional else None)
    try:
        if call.operation.mutates and not driver.transactional:
            with authority.outside(call):
                return function(*bound.args[1:], **bound.kwargs)
        result = function(*bound.args[1:], **bound.kwargs)
        return _later(result, call.session) if inspect.isgenerator(result) else result
    finally:
        _CALL.reset(call_token)
        _SESSION.reset(session_token)


def _later(results: Iterator[Any], session: Session) -> Iterator[Any]:
    """What a driver yields after its call has returned is still yielded to the session that asked: it decides the tenant."""
    while True:
        with acting_as(session):
            try:
                found = next(results)
            except StopIteration:
                return
        yield found


def _given(spec: Callable[..., Any], arguments: Mapping[str, Any], result: Any = None) -> dict[str, Any]:
    return {name: arguments.get(name, result) for name in inspect.signature(spec).parameters}


def render(template: str, arguments: Mapping[str, Any]) -> str:
    """`model:{draft.name}` over the arguments of a call; only attributes are followed."""

    def value(match: re.Match[str]) -> str:
        name, *attributes = match[1].split(".")
        found = arguments[name]
        for attribute in attributes:
            found = getattr(found, attribute)
        return str(found)

    rendered = re.sub(r"\{([\w.]+)\}", value, template)
    try:
        rendered.encode()
    except UnicodeEncodeError:  # a lone surrogate, which no database keeps
        raise InvalidInput("a name is no Unicode text", "use letters and digits") from None
    return rendered


def oblige(query: Query, decision: Decision, cls: type[Driver]) -> Query:
    """The query with a decision's row filters and masks in it; refused to a connector that cannot apply them."""
    if not decision.filters and not decision.masks:
        return query
    able = {capability.name for capability in cls.capabilities}
    if (decision.filters and "FILTERS" not in able) or (decision.masks and "MASKS" not in able):
        raise Refused(
            f"{query.dataset} may only be read with filters or masks, and {cls.__name__} cannot apply them",
            "read it through a connector with the capabilities FILTERS and MASKS",
        )
    for condition in query.where:
        if condition.column in decision.masks:
            raise InvalidInput(f"column {condition.column!r} is masked and may not stand in a condition", "drop the condition")
    return evolve(query, where=(*query.where, *decision.filters), masked={**query.masked, **decision.masks})


def permissions(contracts: Mapping[str, type]) -> tuple[tuple[str, Operation], ...]:
    """(role, operation) of every contract: the table of permissions."""
    table = [(role, found) for role, contract in contracts.items() for found in operations_of(contract).values()]
    if any(not found.action for _role, found in table):
        raise ConfigError("an operation has no action", "give it one: @operation('noun:verb')")
    return tuple(sorted(table, key=lambda row: (row[0], row[1].method)))
