"""A model version as a gateway sees it: the bounded queue of requests, and links to the workers that answer them.

At most one batch is outstanding on a link: a larger window would be lost with the worker. What arrives within one tick of the
event loop leaves in one write.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import deque
from collections.abc import Callable
from typing import cast

from forge_cortex.server import frames
from forge_cortex.server.messages import Group, Limits
from forge_cortex.server.problems import Problem
from forge_cortex.server.signature import Signature

logger = logging.getLogger(__name__)
STUCK = 2.0  # seconds after the deadline of everything it has, a worker counts as stuck
_NUMBERS = itertools.count(1)


class Ticket:
    """A request on its way: what to send, until when, and where the reply goes."""

    __slots__ = ("body", "client", "deadline", "future", "kind")

    def __init__(self, kind: int, body: bytes, deadline: float, future: asyncio.Future[frames.Reply], client: object) -> None:
        self.kind, self.body, self.deadline, self.future, self.client = kind, body, deadline, future, client

    @property
    def wanted(self) -> bool:
        """Not answered yet, and its client still there (uvicorn's request cycle knows)."""
        return not self.future.done() and not getattr(self.client, "disconnected", False)


class Link(asyncio.Protocol):
    """The connection to one worker."""

    def __init__(self, lane: Lane, path: str) -> None:
        self.path = path
        self.outstanding: dict[int, Ticket] = {}
        self.reported = False
        self._lane = lane
        self._replies = frames.Replies()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass
        self._lane.connected(self)

    def send(self, tickets: list[Ticket]) -> None:
        parts = []
        for ticket in tickets:
            number = next(_NUMBERS)
            self.outstanding[number] = ticket
            parts.append(frames.request(number, ticket.deadline, ticket.kind, ticket.body))
        assert self._transport is not None
        self._transport.write(b"".join(parts))

    def data_received(self, data: bytes) -> None:
        try:
            replies = self._replies.feed(data)
        except frames.BrokenStream:
            self.close()
            return
        for reply in replies:
            ticket = self.outstanding.pop(reply.number, None)
            if ticket is not None and not ticket.future.done():
                ticket.future.set_result(reply)
        if not self.outstanding:
            self.reported = False
            self._lane.rested(self)

    def connection_lost(self, _error: Exception | None) -> None:
        lost, self.outstanding = self.outstanding, {}
        for ticket in lost.values():
            if not ticket.future.done():
                ticket.future.set_exception(Problem(503, "the worker that had this request ended; nothing was answered", retry_after=1))
        self._lane.lost(self)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


class Lane:
    """The queue of one group of workers. `ended` is called once when a closing lane has answered all it had."""

    def __init__(self, group: Group, limits: Limits, loop: asyncio.AbstractEventLoop, ended: Callable[[Lane], None]) -> None:
        self.group = group
        self.signature = Signature(group.signature) if group.signature is not None else None
        self.links: dict[str, Link] = {}
        self.waiting: deque[Ticket] = deque()
        self._idle: deque[Link] = deque()
        self._limits, self._loop, self._ended = limits, loop, ended
        self._planned = False
        self._connecting: dict[str, asyncio.Task[None]] = {}
        self._closing = False

    @property
    def full_strength(self) -> bool:
        return len(self.links) >= self.group.expected

    def update(self, group: Group, changed: Callable[[], None]) -> None:
        """Connect to workers that are new; those that ended have closed their links themselves."""
        self.group, self._closing = group, False
        for path in group.sockets:
            if path not in self.links and path not in self._connecting:
                self._connecting[path] = self._loop.create_task(self._connect(path, changed))

    async def _connect(self, path: str, changed: Callable[[], None]) -> None:
        try:
            await self._loop.create_unix_connection(lambda: Link(self, path), path)
            changed()
        except OSError as error:  # it ended in between; the supervisor will name its successor
            logger.warning("cannot reach a worker of %s@%s: %s", self.group.model, self.group.version, error.strerror)
        finally:
            self._connecting.pop(path, None)

    def connected(self, link: Link) -> None:
        self.links[link.path] = link
        self.rested(link)

    def lost(self, link: Link) -> None:
        self.links.pop(link.path, None)
        if link in self._idle:
            self._idle.remove(link)
        if not self.links:
            self._fail_all()
        self._end_if_done()

    def rested(self, link: Link) -> None:
        if link.path in self.links and link not in self._idle:
            self._idle.append(link)
        if self.waiting:
            self._dispatch()
        elif self._closing:
            self._end_if_done()

    def submit(self, ticket: Ticket) -> None:
        """Admit a request. Raises `Problem` 503 where no worker is there, 429 where the queue is full."""
        if not self.links:
            raise Problem(503, "no worker of this version is ready", retry_after=1)
        if len(self.waiting) >= self._limits.queue:
            raise Problem(429, "the queue of this endpoint is full", retry_after=1)
        self.waiting.append(ticket)
        if self._idle and not self._planned:
            self._planned = True
            self._loop.call_soon(self._dispatch)

    def _dispatch(self) -> None:
        """Share what is waiting among the idle workers."""
        self._planned = False
        while self.waiting and self._idle:
            share = min(self.group.batch, -(-len(self.waiting) // len(self._idle)))
            tickets: list[Ticket] = []
            while self.waiting and len(tickets) < share:
                ticket = self.waiting.popleft()
                if ticket.wanted:
                    tickets.append(ticket)
                elif not ticket.future.done():
                    ticket.future.set_exception(Problem(499, "the client went away"))
            if tickets:
                self._idle.popleft().send(tickets)

    def expire(self, now: float) -> list[str]:
        """Answer 504 to what is late; returns the sockets of workers that are stuck."""
        for ticket in self.waiting:
            if ticket.deadline > now:
                break  # all wait equally long
            _late(ticket)
        while self.waiting and self.waiting[0].future.done():
            self.waiting.popleft()
        stuck = []
        for link in self.links.values():
            for ticket in link.outstanding.values():
                if ticket.deadline <= now:
                    _late(ticket)
            if link.outstanding and not link.reported and all(ticket.deadline + STUCK <= now for ticket in link.outstanding.values()):
                link.reported = True
                stuck.append(link.path)
        return stuck

    def close(self) -> None:
        """Take no more; let go of the workers when everything admitted is answered."""
        self._closing = True
        self._end_if_done()

    def _end_if_done(self) -> None:
        if self._closing and not self.waiting and not any(link.outstanding for link in self.links.values()):
            self._closing = False
            for task in list(self._connecting.values()):
                task.cancel()
            for link in list(self.links.values()):
                link.close()
            self._ended(self)

    def _fail_all(self) -> None:
        while self.waiting:
            ticket = self.waiting.popleft()
            if not ticket.future.done():
                ticket.future.set_exception(Problem(503, "no worker of this version is ready", retry_after=1))


def _late(ticket: Ticket) -> None:
    if not ticket.future.done():
        ticket.future.set_exception(Problem(504, "the model did not answer in time"))
