"""A gateway: HTTP on one side, a lane of workers per model version on the other.

The supervisor tells it the state it should have; it connects to what is new, moves endpoints when every worker of their new
version is connected, and lets go of the old ones when what they had is answered.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import socket
import time
from collections.abc import Iterator, Sequence
from typing import Any

import uvicorn
import uvloop

from forge_cortex.server.access import Remembered
from forge_cortex.server.app import Application, Route
from forge_cortex.server.channel import Channel, Closed
from forge_cortex.server.lane import Lane
from forge_cortex.server.listeners import deafen
from forge_cortex.server.messages import Drain, Endpoint, Group, Holding, Limits, Live, Stuck, ToGateway, WorkerSpec
from forge_cortex.server.metrics import Board
from forge_cortex.server.pages import pages
from forge_cortex.server.worker import made

logger = logging.getLogger(__name__)
TICK = 0.05  # seconds between looks at the deadlines
QUIET = 0.1  # seconds in which whoever has connected already is accepted and heard


def run(listener: socket.socket, channel: Channel[ToGateway], access: WorkerSpec, limits: Limits, board: Board, slot: int) -> int:
    """The life of a gateway; returns its exit code."""
    asked = Remembered(made(access))
    return uvloop.run(_serve(listener, channel, asked, limits, board, slot))


async def _serve(listener: socket.socket, channel: Channel[ToGateway], access: Remembered, limits: Limits, board: Board, slot: int) -> int:
    gateway = Gateway(channel, access, limits, board, slot)
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    await gateway.serve(listener)
    return 0


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are the supervisor's."""
        yield


class Gateway:
    def __init__(self, channel: Channel[ToGateway], access: Remembered, limits: Limits, board: Board, slot: int) -> None:
        self._channel, self._limits = channel, limits
        self._loop = asyncio.get_running_loop()
        process = f"{time.time_ns() // 1_000_000:012x}{os.getpid() & 0xFFFF:04x}"
        self.application = Application(access, limits, board, slot, process)
        self.application.pages = pages(self)
        self._live = Live(0, (), (), ())
        self._lanes: dict[int, Lane] = {}
        self._server: _Server | None = None
        self._listener: socket.socket | None = None
        self._ending: asyncio.Task[None] | None = None

    @property
    def labels(self) -> Sequence[tuple[str, str, int]]:
        return self._live.series

    @property
    def queued(self) -> int:
        return sum(len(lane.waiting) for lane in self._lanes.values())

    @property
    def workers(self) -> int:
        return sum(len(lane.links) for lane in self._lanes.values())

    async def serve(self, listener: socket.socket) -> None:
        self._listener = listener
        config = uvicorn.Config(
            self.application,
            loop="uvloop",
            http="httptools",
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=30,
            timeout_graceful_shutdown=int(self._limits.timeout) + 5,
        )
        self._server = _Server(config)
        self._loop.add_reader(self._channel.fileno(), self._told)
        self._loop.call_later(TICK, self._tick)
        self._told()
        await self._server.serve([listener])

    def readiness(self) -> tuple[bool, dict[str, dict[str, Any]]]:
        """Whether every endpoint has every worker of the version it routes to, and what each has."""
        report: dict[str, dict[str, Any]] = {}
        for endpoint in self._live.endpoints:
            route = self.application.routes.get(endpoint.name)
            lane = route.lane if route is not None else None
            report[endpoint.name] = {
                "ready": lane is not None and lane.full_strength,
                "revision": route.revision if route is not None and lane is not None else None,
                "model": lane.group.model if lane is not None else None,
                "version": lane.group.version if lane is not None else None,
                "workers": len(lane.links) if lane is not None else 0,
                "expected": lane.group.expected if lane is not None else None,
            }
        return bool(report) and all(one["ready"] for one in report.values()) and not self.application.draining, report

    def described(self) -> list[tuple[Endpoint, Group | None]]:
        found = []
        for endpoint in self._live.endpoints:
            route = self.application.routes.get(endpoint.name)
            found.append((endpoint, route.lane.group if route is not None and route.lane is not None else None))
        return found

    def _told(self) -> None:
        try:
            for message in self._channel.receive():
                if isinstance(message, Live):
                    self._take(message)
                elif isinstance(message, Drain):
                    self._drain()
        except Closed:  # the supervisor is gone: nobody would restart a worker
            self._loop.remove_reader(self._channel.fileno())
            self._drain()

    def _take(self, live: Live) -> None:
        self._live = live
        for group in live.groups:
            lane = self._lanes.get(group.number)
            if lane is None:
                lane = self._lanes[group.number] = Lane(group, self._limits, self._loop, self._ended)
            lane.update(group, self._settle)
        self._settle()

    def _settle(self) -> None:
        """Move endpoints to lanes that are complete; close lanes that nothing needs any more; tell the supervisor."""
        application, old = self.application, self.application.routes
        routes: dict[str, Route] = {}
        for endpoint in self._live.endpoints:
            before, lane = old.get(endpoint.name), self._lanes.get(endpoint.group or 0)
            if lane is not None and (lane.full_strength or (before is not None and before.lane is lane)):
                same = before is not None and before.lane is lane and before.revision == endpoint.revision
                routes[endpoint.name] = before if same and before is not None else self._route(endpoint, lane)
            else:
                routes[endpoint.name] = before or self._route(endpoint, None)
        application.routes = routes
        application.first = self._live.endpoints[0].name if self._live.endpoints else None
        used = {route.lane.group.number for route in routes.values() if route.lane is not None}
        wanted = used | {group.number for group in self._live.groups}
        for number in [number for number in self._lanes if number not in wanted]:
            self._lanes[number].close()
        self._report()

    def _route(self, endpoint: Endpoint, lane: Lane | None) -> Route:
        return Route(endpoint.name, endpoint.revision, lane, self.application.series(endpoint.series), self.application.process)

    def _ended(self, lane: Lane) -> None:
        self._lanes.pop(lane.group.number, None)
        self._report()

    def _report(self) -> None:
        revisions = {name: route.revision for name, route in self.application.routes.items() if route.lane is not None}
        self._tell(Holding(self._live.serial, revisions, tuple(self._lanes)))

    def _tick(self) -> None:
        self._loop.call_later(TICK, self._tick)
        now = time.monotonic()
        for lane in list(self._lanes.values()):
            for path in lane.expire(now):
                self._tell(Stuck(path))
        if self._channel.waiting:
            with contextlib.suppress(Closed):
                self._channel.flush()

    def _tell(self, message: Holding | Stuck) -> None:
        with contextlib.suppress(Closed):
            self._channel.send(message)

    def _drain(self) -> None:
        """Not ready first, so that a balancer looks elsewhere; then no new connections; then the end."""
        if not self.application.draining:
            self.application.draining = True
            self._ending = self._loop.create_task(self._end())

    async def _end(self) -> None:
        await asyncio.sleep(self._limits.notice)
        if self._listener is not None and self._server is not None:
            deafen(self._listener)
            await asyncio.sleep(QUIET)
            self._server.should_exit = True
