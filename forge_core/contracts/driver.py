"""What every driver is."""

from __future__ import annotations

from abc import ABC
from enum import Enum
from typing import ClassVar


class Capability(Enum):
    """What a driver may offer beyond its contract; its suite tests what it declares."""

    WRITE = "write"
    TRANSACTIONS = "transactions"
    SUBSCRIBE = "subscribe"
    FILTERS = "filters"
    MASKS = "masks"
    SAMPLE = "sample"
    ORDER = "order"
    TIME_TRAVEL = "time_travel"
    WRAP = "wrap"


class Driver(ABC):
    """A plain class, chosen by name: `__init__(self, settings: Settings, *, registry: ModelRegistry, ...)`.

    `Settings` is a frozen attrs class nested in or beside the driver; collaborators are parameters annotated with a
    contract or a resource. `open()` and `close()`, where present, are called once, in dependency order.

    `transactional` drivers commit their mutations in `Database.transaction()`, and the guard's event rides in it;
    the mutations of any other driver are recorded as intent, then as done or failed.

    A contract is provisional until two drivers pass its suite; a `stable` one grows only by a method with a default body,
    an optional argument or a capability, until the kernel's major version moves.
    """

    role: ClassVar[str]
    capabilities: ClassVar[frozenset[Capability]] = frozenset()
    transactional: ClassVar[bool] = False
    stable: ClassVar[bool] = False
