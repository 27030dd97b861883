"""Everything that is not a prediction: health, readiness, metrics, the OpenAPI document. Answered by starlette."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from importlib.metadata import version
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from forge_cortex.server import metrics, openapi, problems
from forge_cortex.server.problems import Problem

if TYPE_CHECKING:
    from forge_cortex.server.gateway import Gateway

VERSION = version("forge-cortex")
_DOCS = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Forge endpoints</title>
<style>body{font:16px/1.5 system-ui,sans-serif;max-width:50rem;margin:2rem auto;padding:0 1rem}code,pre{background:#f3f3f3}</style>
<h1>Forge endpoints</h1><p>The whole surface as <a href="/openapi.json">OpenAPI</a>.</p>%s</html>"""


def pages(gateway: Gateway) -> Starlette:
    """The application; every page has its policy here: open to all, or for whoever may `server:read`."""

    async def healthz(_request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def readyz(_request: Request) -> Response:
        ready, endpoints = gateway.readiness()
        status = "ready" if ready else "draining" if gateway.application.draining else "not ready"
        return JSONResponse({"status": status, "endpoints": endpoints}, 200 if ready else 503)

    async def ping(_request: Request) -> Response:
        ready, _endpoints = gateway.readiness()
        return PlainTextResponse("\n", 200 if ready else 503)

    async def told_version(_request: Request) -> Response:
        return PlainTextResponse(VERSION)

    async def numbers(_request: Request) -> Response:
        ready, _endpoints = gateway.readiness()
        gauges = (
            ("forge_ready", "Whether this gateway is ready.", float(ready)),
            ("forge_queue_depth", "Requests that wait for a worker, in this gateway.", float(gateway.queued)),
            ("forge_workers_ready", "Workers this gateway is connected to.", float(gateway.workers)),
        )
        return Response(metrics.exposition(gateway.application.board, gateway.labels, gauges), media_type=metrics.CONTENT_TYPE.decode())

    async def document(_request: Request) -> Response:
        return JSONResponse(openapi.document(gateway.described(), VERSION))

    async def docs(_request: Request) -> Response:
        return HTMLResponse(_DOCS % openapi.html(gateway.described()))

    def closed(page: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
        async def guarded(request: Request) -> Response:
            header = request.headers.get("authorization")
            await gateway.application.access.require(header.encode("latin-1") if header is not None else None, "server:read", "server")
            return await page(request)

        return guarded

    open_to_all = {"/healthz": healthz, "/readyz": readyz, "/ping": ping, "/version": told_version}
    for_readers = {"/metrics": numbers, "/openapi.json": document, "/docs": docs}
    routes = [Route(path, page) for path, page in open_to_all.items()] + [Route(path, closed(page)) for path, page in for_readers.items()]

    async def problem(_request: Request, error: Exception) -> Response:
        assert isinstance(error, Problem)
        return _answer(gateway, error)

    async def other(_request: Request, error: Exception) -> Response:
        status = getattr(error, "status_code", 500)
        return _answer(gateway, Problem(status, "there is no such page" if status == 404 else "this page cannot be had that way"))

    return Starlette(routes=routes, exception_handlers={Problem: problem, 404: other, 405: other})


def _answer(gateway: Gateway, error: Problem) -> Response:
    request_id = gateway.application.next_id()
    headers = {name.decode(): value.decode() for name, value in error.headers.items()} | {"x-request-id": request_id}
    return Response(error.document(request_id), error.status, headers, media_type=problems.CONTENT_TYPE.decode())
