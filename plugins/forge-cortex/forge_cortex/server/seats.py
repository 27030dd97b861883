"""What a fleet keeps of its processes: places for them and their successors, groups of workers, endpoints."""

from __future__ import annotations

import socket
from typing import Any

from attrs import define, field

from forge_cortex.server.children import Backoff, Child
from forge_cortex.server.messages import Field, Holding, Target


@define(eq=False)
class Seat:
    """A place for a process and its successors. `slot` is its block in the metrics."""

    name: str
    slot: int
    backoff: Backoff = field(factory=Backoff)
    child: Child[Any] | None = None
    due: float = 0.0


@define(eq=False)
class GatewaySeat(Seat):
    listener: socket.socket | None = None
    holding: Holding | None = None


@define(eq=False)
class WorkerSeat(Seat):
    path: str = ""
    ready: bool = False
    kill_at: float | None = None


@define(eq=False)
class Workers:
    """The group of one model version; `complete` once every worker was ready."""

    number: int
    target: Target
    seats: list[WorkerSeat]
    series: int
    signature: tuple[Field, ...] | None = None
    batch: int = 1
    complete: bool = False
    stopping: bool = False

    def serves(self, target: Target) -> bool:
        mine = self.target
        return not self.stopping and (mine.model, mine.version, mine.worker) == (target.model, target.version, target.worker)


@define(eq=False)
class Place:
    """An endpoint: where it should be, and where it is. `told` is what the command knows of it."""

    target: Target
    coming: Workers
    live: Workers | None = None
    revision: int = 0
    told: tuple[int, bool] | None = None

    def arrive(self) -> None:
        self.live, self.revision = self.coming, self.target.revision
