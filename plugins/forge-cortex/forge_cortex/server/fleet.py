"""All processes of a server: what is wanted of them, what they have become, and what follows from that.

A version is loaded by a new group of workers beside the old one. When every worker of it is ready the gateways are told;
when every gateway has let go of the old group, its workers are stopped.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import selectors
import socket
import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from forge_cortex.server import gateway, worker
from forge_cortex.server.channel import Channel, Closed
from forge_cortex.server.children import Child, fork
from forge_cortex.server.messages import (
    Broken,
    Drain,
    Endpoint,
    FromGateway,
    FromWorker,
    Group,
    Holding,
    Live,
    Loaded,
    Observed,
    ServerPlan,
    Stop,
    Stuck,
    Target,
    ToGateway,
)
from forge_cortex.server.metrics import Board
from forge_cortex.server.seats import GatewaySeat, Place, Seat, Workers, WorkerSeat

logger = logging.getLogger(__name__)
STOPPED = 5.0  # seconds a worker has to end once it was told to
_NUMBERS = itertools.count(1)
_SERIALS = itertools.count(1)
_SPAWNED = itertools.count(1)


class Fleet:
    """Forks and tends. `tell` reaches the command; `forget` closes, in a fork, what is the supervisor's own."""

    def __init__(
        self,
        plan: ServerPlan,
        listeners: Sequence[socket.socket],
        selector: selectors.BaseSelector,
        tell: Callable[[msgspec.Struct], None],
        forget: Callable[[], None],
    ) -> None:
        self._plan, self._selector = plan, selector
        self._tell, self._forget_parent = tell, forget
        places = max(64, 4 * plan.workers)
        self._board = Board(plan.gateways + places)
        self._free = list(range(plan.gateways + places - 1, plan.gateways - 1, -1))
        self._gateways = [GatewaySeat(f"gateway {slot}", slot, listener=listener) for slot, listener in enumerate(listeners)]
        self._groups: dict[int, Workers] = {}
        self._places: dict[str, Place] = {}
        self._series: dict[tuple[str, str, int], int] = {("-", "", 0): 0}  # what reaches no endpoint
        self._serial = 0
        self._draining = False

    @property
    def over(self) -> bool:
        """Drained, and nothing of it lives any more."""
        return self._draining and not any(seat.child for seat in self._seats())

    def start(self) -> None:
        self._publish()

    def desire(self, targets: Sequence[Target]) -> None:
        """Take the whole desired state; what is new begins to load, what is not in it is drained."""
        if self._draining:
            return
        places: dict[str, Place] = {}
        for target in targets:
            group = next((one for one in self._groups.values() if one.serves(target)), None) or self._hire(target)
            before = self._places.get(target.endpoint)
            if before is None or before.target != target or before.coming is not group:
                before = Place(target, group, before.live, before.revision) if before is not None else Place(target, group)
            if group.complete:
                before.arrive()
            places[target.endpoint] = before
        self._places = places
        self._publish()

    def drain(self) -> None:
        """Gateways answer what they have and end; then workers are stopped."""
        self._draining = True
        for seat in self._gateways:
            if seat.listener is not None:
                seat.listener.close()  # the port is free when the gateways have closed theirs
            if seat.child is not None:
                self._send(seat, Drain())

    def kill(self) -> None:
        """End everything now."""
        for seat in self._seats():
            if seat.child is not None:
                self._unwatch(seat.child)
                seat.child.kill()
                seat.child.reap()
                seat.child = None

    def tend(self, now: float) -> float:
        """Start what is due, stop what is no longer held; returns the seconds until the next look."""
        for seat in self._seats():
            if seat.child is None and seat.due <= now and not self._draining:
                if isinstance(seat, GatewaySeat):
                    self._start_gateway(seat)
                elif isinstance(seat, WorkerSeat) and not self._group_of(seat).stopping:
                    self._start_worker(self._group_of(seat), seat)
            if isinstance(seat, WorkerSeat) and seat.child is not None and seat.kill_at is not None and seat.kill_at <= now:
                seat.child.kill()
            if seat.child is not None and seat.child.channel.waiting:
                self._flush(seat)
        self._release()
        if self._draining and not any(seat.child for seat in self._gateways):
            for group in list(self._groups.values()):
                self._stop(group)
        return 0.02 if self._draining else 0.1

    # ---- groups of workers

    def _hire(self, target: Target) -> Workers:
        number = next(_NUMBERS)
        names = (f"worker {index} of {target.model}@{target.version}" for index in range(self._plan.workers))
        seats = [WorkerSeat(name, self._free.pop() if len(self._free) > 1 else self._free[0]) for name in names]
        group = self._groups[number] = Workers(number, target, seats, self._number(("", target.model, target.version)))
        return group

    def _start_worker(self, group: Workers, seat: WorkerSeat) -> None:
        seat.path = f"{self._plan.folder}/{group.number}.{next(_SPAWNED)}"
        path, limits, spec = seat.path, self._plan.limits, group.target.worker
        series = self._board.series(seat.slot, group.series)

        def life(end: socket.socket) -> int:
            return worker.run(spec, path, Channel(end, Stop), limits.batch, series)

        seat.child = fork(seat.name, life, FromWorker, self._forget)
        self._watch(seat.child, lambda: self._worker_says(group, seat), lambda: self._worker_ended(group, seat))

    def _worker_says(self, group: Workers, seat: WorkerSeat) -> None:
        for message in self._heard(seat):
            if isinstance(message, Loaded):
                seat.ready, group.signature, group.batch = True, message.signature, message.batch
                logger.info("%s is ready", seat.name)
                if not group.complete and all(one.ready for one in group.seats):
                    group.complete = True
                    for place in self._places.values():
                        if place.coming is group:
                            place.arrive()
                if group.complete:
                    self._publish()
            elif isinstance(message, Broken):
                for place in self._places.values():
                    if place.coming is group and place.live is not group:
                        self._observe(place, live=False, reason=message.cause)

    def _worker_ended(self, group: Workers, seat: WorkerSeat) -> None:
        was_ready, seat.ready = seat.ready, False
        self._ended(seat, worked=was_ready)
        seat.kill_at = None
        for left in (seat.path, seat.path + ".new"):
            if os.path.exists(left):
                os.unlink(left)
        if group.stopping:
            if not any(one.child for one in group.seats):
                self._dismiss(group)
        elif was_ready:
            self._publish()

    def _release(self) -> None:
        """Stop the groups that no endpoint needs and no gateway holds."""
        needed = {group.number for place in self._places.values() for group in (place.coming, place.live) if group is not None}
        for group in list(self._groups.values()):
            if group.number not in needed and not group.stopping and not any(self._holds(seat, group) for seat in self._gateways):
                logger.info("%s@%s is released", group.target.model, group.target.version)
                self._stop(group)

    def _holds(self, seat: GatewaySeat, group: Workers) -> bool:
        if seat.child is None:
            return False
        return seat.holding is None or seat.holding.serial < self._serial or group.number in seat.holding.groups

    def _stop(self, group: Workers) -> None:
        if group.stopping:
            return
        group.stopping = True
        for seat in group.seats:
            if seat.child is not None:
                seat.kill_at = time.monotonic() + STOPPED
                if seat.ready:
                    self._send(seat, Stop())
                else:  # it is still loading, and listens to nobody
                    seat.child.kill()
        if not any(seat.child for seat in group.seats):
            self._dismiss(group)

    def _dismiss(self, group: Workers) -> None:
        del self._groups[group.number]
        self._free += [seat.slot for seat in group.seats if seat.slot not in self._free]

    def _group_of(self, seat: WorkerSeat) -> Workers:
        return next(group for group in self._groups.values() if seat in group.seats)

    # ---- gateways

    def _start_gateway(self, seat: GatewaySeat) -> None:
        listener, plan, board = seat.listener, self._plan, self._board
        assert listener is not None
        board.settle(seat.slot)

        def life(end: socket.socket) -> int:
            return gateway.run(listener, Channel(end, ToGateway), plan.access, plan.limits, board, seat.slot)

        seat.holding = None
        seat.child = fork(seat.name, life, FromGateway, lambda: self._forget(keep=listener))
        self._watch(seat.child, lambda: self._gateway_says(seat), lambda: self._gateway_ended(seat))
        self._send(seat, self._state())

    def _gateway_says(self, seat: GatewaySeat) -> None:
        for message in self._heard(seat):
            if isinstance(message, Holding):
                seat.holding = message
            elif isinstance(message, Stuck):
                self._kill_stuck(message.socket)
        for place in self._places.values():
            everywhere = all(
                one.holding is not None and one.holding.revisions.get(place.target.endpoint) == place.target.revision
                for one in self._gateways
            )
            if everywhere and place.live is place.coming:
                self._observe(place, live=True)

    def _gateway_ended(self, seat: GatewaySeat) -> None:
        worked, seat.holding = seat.holding is not None, None
        self._ended(seat, worked=worked)

    def _kill_stuck(self, path: str) -> None:
        for group in self._groups.values():
            for seat in group.seats:
                if seat.path == path and seat.child is not None:
                    logger.warning("%s is stuck and is replaced", seat.name)
                    seat.child.kill()

    def _publish(self) -> None:
        """Tell every gateway the state it should have."""
        self._serial = next(_SERIALS)
        state = self._state()
        for seat in self._gateways:
            if seat.child is not None:
                self._send(seat, state)

    def _state(self) -> Live:
        endpoints, groups = [], {}
        for name, place in self._places.items():
            live = place.live
            label = (name, live.target.model, live.target.version) if live is not None else (name, "", 0)
            endpoints.append(Endpoint(name, place.revision, live.number if live is not None else None, self._number(label)))
            if live is not None:
                groups[live.number] = live
        told = tuple(
            Group(
                number=one.number,
                model=one.target.model,
                version=one.target.version,
                signature=one.signature,
                batch=one.batch,
                sockets=tuple(seat.path for seat in one.seats if seat.ready),
                expected=len(one.seats),
            )
            for one in groups.values()
        )
        return Live(self._serial, tuple(endpoints), told, tuple(self._series))

    def _number(self, label: tuple[str, str, int]) -> int:
        return self._series.setdefault(label, len(self._series))

    # ---- any process

    def _seats(self) -> list[Seat]:
        return [*self._gateways, *(seat for group in self._groups.values() for seat in group.seats)]

    def _heard(self, seat: Seat) -> list[Any]:
        if seat.child is None:
            return []
        try:
            return seat.child.channel.receive()
        except Closed:  # its end follows
            self._selector.unregister(seat.child.channel)
            return []

    def _watch(self, child: Child[Any], heard: Callable[[], None], ended: Callable[[], None]) -> None:
        self._selector.register(child.channel, selectors.EVENT_READ, heard)
        self._selector.register(child.ended, selectors.EVENT_READ, ended)

    def _unwatch(self, child: Child[Any]) -> None:
        for source in (child.channel, child.ended):
            with contextlib.suppress(KeyError):
                self._selector.unregister(source)

    def _ended(self, seat: Seat, *, worked: bool) -> None:
        child = seat.child
        if child is None:
            return
        self._unwatch(child)
        seat.child = None
        code = child.reap()
        lived = time.monotonic() - child.since
        wait = seat.backoff.delay(lived, worked)
        seat.due = time.monotonic() + wait
        if not self._draining and code != 0:
            logger.warning("%s ended with %s after %.1f s; the next one starts in %.1f s", seat.name, code, lived, wait)

    def _send(self, seat: Seat, message: Any) -> None:
        assert seat.child is not None
        try:
            seat.child.channel.send(message)
        except Closed:
            seat.child.kill()

    def _flush(self, seat: Seat) -> None:
        assert seat.child is not None
        try:
            seat.child.channel.flush()
        except Closed:
            seat.child.kill()

    def _observe(self, place: Place, *, live: bool, reason: str = "") -> None:
        told = (place.target.revision, live)
        if place.told != told:
            place.told = told
            self._tell(Observed(place.target.endpoint, place.target.revision, live, reason))

    def _forget(self, keep: socket.socket | None = None) -> None:
        """In a fork: close everything that belongs to the supervisor and to its other processes."""
        self._forget_parent()
        for seat in self._seats():
            if seat.child is not None:
                seat.child.forget()
            if isinstance(seat, GatewaySeat) and seat.listener is not None and seat.listener is not keep:
                seat.listener.close()
