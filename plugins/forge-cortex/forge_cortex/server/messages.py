"""What the processes of a server tell one another: JSON lines, tagged by type, decoded into these records."""

from __future__ import annotations

from typing import Any

from msgspec import Struct


class Field(Struct, frozen=True):
    """A raw input column; `type` is Arrow's own text."""

    name: str
    type: str
    nullable: bool


class WorkerSpec(Struct, frozen=True):
    """What a worker runs: `factory` (`module:function`) makes a `litserve.LitAPI` from `arguments`, made of JSON."""

    factory: str
    arguments: dict[str, Any] = {}


class Target(Struct, frozen=True):
    """Where one endpoint should be: its newest revision routes to this version."""

    endpoint: str
    revision: int
    model: str
    version: int
    worker: WorkerSpec


class Limits(Struct, frozen=True):
    """Seconds, bytes and counts that hold for every endpoint of a server."""

    timeout: float = 10.0
    queue: int = 512
    batch: int = 64
    body: int = 10 * 1024 * 1024
    notice: float = 1.0
    threads: int = 1


class ServerPlan(Struct, frozen=True, tag="plan"):
    """Everything a supervisor is told at its start. `access` makes the `Access` that a gateway asks who may do what.

    `folder` is for the workers' sockets: short, and nobody else's.
    """

    host: str
    port: int
    folder: str
    access: WorkerSpec
    workers: int = 1
    gateways: int = 1
    limits: Limits = Limits()


# command -> supervisor


class Desired(Struct, frozen=True, tag="desired"):
    """The whole desired state; what is not in it is drained. Endpoints in the order in which they were asked for."""

    targets: tuple[Target, ...]


class Stop(Struct, frozen=True, tag="stop"):
    """Finish what was accepted, then end. Also supervisor -> worker."""


# supervisor -> command


class Listening(Struct, frozen=True, tag="listening"):
    host: str
    port: int


class Observed(Struct, frozen=True, tag="observed"):
    """A revision is live in every gateway, or its version cannot be loaded."""

    endpoint: str
    revision: int
    live: bool
    reason: str = ""


class Fatal(Struct, frozen=True, tag="fatal"):
    """The server cannot start at all."""

    cause: str
    remedy: str


# worker -> supervisor


class Loaded(Struct, frozen=True, tag="loaded"):
    """The model is loaded and warm, the socket is in place. Without a signature requests go to it as they are.

    `batch` is how many requests it takes at once.
    """

    signature: tuple[Field, ...] | None
    batch: int


class Broken(Struct, frozen=True, tag="broken"):
    """The worker cannot set up and ends."""

    cause: str


# supervisor -> gateway


class Group(Struct, frozen=True):
    """The workers of one model version: the sockets of those that are ready, of `expected`."""

    number: int
    model: str
    version: int
    signature: tuple[Field, ...] | None
    batch: int
    sockets: tuple[str, ...]
    expected: int


class Endpoint(Struct, frozen=True):
    """`group` is None until the first version of an endpoint is loaded; `series` is its place in the metrics."""

    name: str
    revision: int
    group: int | None
    series: int


class Live(Struct, frozen=True, tag="live"):
    """The whole state a gateway should have; `serial` counts. `series` are the labels of the metrics, by their number."""

    serial: int
    endpoints: tuple[Endpoint, ...]
    groups: tuple[Group, ...]
    series: tuple[tuple[str, str, int], ...]


class Drain(Struct, frozen=True, tag="drain"):
    """Not ready from now on; end when what was accepted is answered."""


# gateway -> supervisor


class Holding(Struct, frozen=True, tag="holding"):
    """What a gateway has of `Live` number `serial`: revisions that take traffic, groups still connected."""

    serial: int
    revisions: dict[str, int]
    groups: tuple[int, ...]


class Stuck(Struct, frozen=True, tag="stuck"):
    """A worker has not answered long after the deadline."""

    socket: str


ToSupervisor = ServerPlan | Desired | Stop
ToCommand = Listening | Observed | Fatal
FromWorker = Loaded | Broken
ToGateway = Live | Drain
FromGateway = Holding | Stuck
