"""The HTTP application: a plain ASGI callable that answers predictions itself and leaves the rest to `pages`."""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import msgspec

from forge_cortex.names import valid_endpoint
from forge_cortex.server import problems
from forge_cortex.server.access import Remembered
from forge_cortex.server.frames import Kind, Reply
from forge_cortex.server.lane import Lane, Ticket
from forge_cortex.server.messages import Limits
from forge_cortex.server.metrics import Board, Series
from forge_cortex.server.problems import Problem

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
ASGI = Callable[[Scope, Receive, Send], Awaitable[None]]

JSON = b"application/json"
ARROW = b"application/vnd.apache.arrow.stream"
PREDICT = "/predict/"
_COUNT = itertools.count(1)
logger = logging.getLogger(__name__)


class Route:
    """Where an endpoint's requests go now. A request id tells endpoint, revision and route, then the process and a count."""

    __slots__ = ("ids", "lane", "name", "resource", "revision", "series", "tail", "version")

    def __init__(self, name: str, revision: int, lane: Lane | None, series: Series, process: str) -> None:
        self.name, self.revision, self.lane, self.series = name, revision, lane, series
        self.resource = f"endpoint:{name}"
        self.ids = f"req_{name}.{revision}.0.{process}."
        if lane is not None:
            self.version = str(lane.group.version).encode()
            self.tail = b',"model":%s,"version":%s,"request_id":"' % (msgspec.json.encode(lane.group.model), self.version)


class Request:
    """The headers of one request that matter here."""

    __slots__ = ("accept", "authorization", "content_type", "length")

    def __init__(self, headers: list[tuple[bytes, bytes]]) -> None:
        self.accept = self.authorization = self.content_type = None
        self.length = -1
        for name, value in headers:
            if name == b"content-type":
                self.content_type = value
            elif name == b"content-length":
                self.length = int(value) if value.isdigit() and len(value) < 20 else -1
            elif name == b"authorization":
                self.authorization = value
            elif name == b"accept":
                self.accept = value


class Application:
    """What a gateway serves. `routes` and `first` are replaced as a whole when the state changes."""

    def __init__(self, access: Remembered, limits: Limits, board: Board, slot: int, process: str) -> None:
        self.access, self.limits, self.board, self.process = access, limits, board, process
        self.routes: dict[str, Route] = {}
        self.first: str | None = None
        self.draining = False
        self.pages: ASGI | None = None
        self._slot = slot
        self._ids = f"req_.0.0.{process}."  # of requests that reach no endpoint
        self._unrouted = self.series(0)
        self._loop = asyncio.get_running_loop()

    def series(self, number: int) -> Series:
        return self.board.series(self._slot, number)

    def next_id(self, ids: str | None = None) -> str:
        """A request id; `ids` is a route's beginning of them."""
        return f"{ids or self._ids}{next(_COUNT):x}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path: str = scope["path"]
        if path.startswith(PREDICT):
            await self._predict(path[len(PREDICT) :], scope, receive, send)
        elif path == "/invocations":
            await self._predict(self.first or "", scope, receive, send)
        elif self.pages is not None:
            await self.pages(scope, receive, send)

    async def _predict(self, name: str, scope: Scope, receive: Receive, send: Send) -> None:
        started = time.monotonic()
        route = self.routes.get(name)
        series = route.series if route is not None else self._unrouted
        request_id = self.next_id(route.ids if route is not None else None)
        status, extra = 500, None
        series.started()
        try:
            try:
                request = Request(scope["headers"])
                if not self.access.knows(
                    request.authorization, "endpoint:predict", f"endpoint:{name}" if route is None else route.resource, started
                ):
                    await self._admit(name, request)
                if scope["method"] != "POST":
                    raise Problem(405, "send a POST", headers={b"allow": b"POST"})
                if route is None or route.lane is None:
                    raise _nowhere(name, route)
                reply = await self._answered(route, route.lane, request, receive, started)
                status = reply.status
                if status != 200:
                    raise Problem(status, reply.body.decode())
                if reply.kind == Kind.ARROW:
                    content_type, body = ARROW, reply.body
                    extra = [(b"x-forge-model", route.lane.group.model.encode()), (b"x-forge-version", route.version)]
                else:
                    content_type, body = JSON, b'%s%s%s"}' % (reply.body[:-1], route.tail, request_id.encode())
            except Problem as problem:
                status, content_type, body = problem.status, problems.CONTENT_TYPE, problem.document(request_id)
                extra = list(problem.headers.items())
            except Exception as error:
                logger.error("a request failed in the gateway: %s", type(error).__name__, exc_info=error)
                status, content_type, body = 500, problems.CONTENT_TYPE, Problem(500, "the gateway failed").document(request_id)
            headers = [(b"content-type", content_type), (b"content-length", b"%d" % len(body)), (b"x-request-id", request_id.encode())]
            if extra:
                headers += extra
            if self.draining or status == 413:  # what is left of a body that is too large is not read
                headers.append((b"connection", b"close"))
            await send({"type": "http.response.start", "status": status, "headers": headers})
            await send({"type": "http.response.body", "body": body})
        finally:
            series.finished(status, time.monotonic() - started)

    async def _admit(self, name: str, request: Request) -> None:
        if not valid_endpoint(name):
            raise Problem(404, "there is no such endpoint")
        await self.access.require(request.authorization, "endpoint:predict", f"endpoint:{name}")

    async def _answered(self, route: Route, lane: Lane, request: Request, receive: Receive, started: float) -> Reply:
        kind = _kind(request)
        body = await self._body(request, receive)
        if lane.signature is None:
            if kind != Kind.JSON:
                raise Problem(415, "this model takes application/json")
        elif kind == Kind.JSON:
            rows = lane.signature.rows(body)
            if not rows:
                return Reply(0, 200, Kind.JSON, b'{"predictions":[]}')
            kind, body = Kind.ROWS, lane.signature.pack(rows)
        future: asyncio.Future[Reply] = self._loop.create_future()
        lane.submit(Ticket(kind, body, started + self.limits.timeout, future, getattr(receive, "__self__", None)))
        return await future

    async def _body(self, request: Request, receive: Receive) -> bytes:
        message = await receive()
        body: bytes = message.get("body", b"")
        if message.get("more_body"):
            try:
                async with asyncio.timeout(self.limits.timeout):
                    body = await self._rest(body, receive)
            except TimeoutError:
                raise Problem(408, "the body did not arrive in time") from None
        if message["type"] == "http.disconnect":
            raise Problem(499, "the client went away")
        if len(body) > self.limits.body:
            raise _too_large(self.limits)
        if not body:
            raise Problem(400, "the body is empty")
        return body

    async def _rest(self, body: bytes, receive: Receive) -> bytes:
        """The whole body. What is too large is read on and thrown away, within reason: a client that still sends reads no answer."""
        parts, size, more = [body], len(body), True
        while more and size <= 4 * self.limits.body:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise Problem(499, "the client went away")
            part = message.get("body", b"")
            size += len(part)
            if size <= self.limits.body:
                parts.append(part)
            else:
                parts.clear()
            more = message.get("more_body", False)
        if size > self.limits.body:
            raise _too_large(self.limits)
        return b"".join(parts)


def _kind(request: Request) -> Kind:
    content_type = request.content_type
    if content_type == JSON:
        return Kind.JSON
    plain = (content_type or b"").partition(b";")[0].strip().lower()
    if plain == JSON:
        return Kind.JSON
    if plain == ARROW:
        return Kind.ARROW if request.accept is not None and ARROW in request.accept else Kind.STREAM
    raise Problem(415, "send application/json or application/vnd.apache.arrow.stream", headers={b"accept-post": JSON + b", " + ARROW})


def _nowhere(name: str, route: Route | None) -> Problem:
    if route is None:
        return Problem(404, f"there is no endpoint {name!r}" if name else "no endpoint is served here")
    return Problem(503, f"the first version of endpoint {name!r} is being loaded", retry_after=1)


def _too_large(limits: Limits) -> Problem:
    return Problem(413, f"the body is larger than {limits.body} bytes")
