"""A client for the HTTP server: standard library, one connection kept alive, errors as the kernel's own classes.

Example::

    with CortexClient("http://127.0.0.1:8000") as client:
        client.predict("churn", [{"amount": 12.5, "carrier": "AA"}]).predictions
"""

from __future__ import annotations

import http.client
import io
import json
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any
from urllib.parse import quote, urlsplit

import pyarrow as pa
from attrs import frozen

from forge_core.faults import ConfigError, Conflict, ForgeError, InvalidInput, NotFound, Refused, Transient
from forge_core.records.data import JSON, ArrowStream

ARROW = "application/vnd.apache.arrow.stream"
_ERRORS: Mapping[int, type[ForgeError]] = {
    400: InvalidInput,
    401: Refused,
    403: Refused,
    404: NotFound,
    408: Transient,
    409: Conflict,
    413: InvalidInput,
    415: InvalidInput,
    422: InvalidInput,
    429: Transient,
    502: Transient,
    503: Transient,
    504: Transient,
}


@frozen
class Answer:
    """One prediction a row, in order; `probabilities` for classifiers."""

    predictions: Sequence[JSON]
    model: str
    version: int
    request_id: str
    probabilities: Sequence[Sequence[float]] | None = None


class CortexClient:
    """Not to be shared between threads. `token` is sent as `Authorization: Bearer`; `timeout` is in seconds."""

    def __init__(self, url: str = "http://127.0.0.1:8000", *, token: str | None = None, timeout: float = 30.0) -> None:
        place = urlsplit(url)
        if place.scheme not in ("http", "https") or place.hostname is None:
            raise ConfigError(f"{url!r} is not the address of a server", "http://127.0.0.1:8000, for instance")
        kind = http.client.HTTPSConnection if place.scheme == "https" else http.client.HTTPConnection
        self._connection = kind(place.hostname, place.port, timeout=timeout)
        self._headers = {"authorization": f"Bearer {token}"} if token else {}
        self._path = place.path.rstrip("/")

    def __enter__(self) -> CortexClient:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._connection.close()

    def predict(self, endpoint: str, rows: Sequence[Mapping[str, JSON]] | ArrowStream) -> Answer:
        """Rows as mappings of JSON values, or anything that speaks Arrow's C stream interface."""
        path = f"/predict/{quote(endpoint, safe='')}"
        if hasattr(rows, "__arrow_c_stream__"):
            said = self._json("POST", path, _stream(rows), ARROW)
        else:
            said = self._json("POST", path, json.dumps({"dataframe_records": list(rows)}, allow_nan=False).encode(), "application/json")
        return Answer(said["predictions"], said["model"], said["version"], said["request_id"], said.get("probabilities"))

    def predict_arrow(self, endpoint: str, rows: ArrowStream) -> pa.Table:
        """The same, Arrow both ways."""
        _status, body = self._request(
            "POST", f"/predict/{quote(endpoint, safe='')}", _stream(rows), {"content-type": ARROW, "accept": ARROW}
        )
        return pa.ipc.open_stream(io.BytesIO(body)).read_all()

    def ready(self) -> bool:
        """Every endpoint has all its workers."""
        return self._request("GET", "/readyz", None, {}, (200, 503))[0] == 200

    def health(self) -> Mapping[str, JSON]:
        """What `/readyz` says of each endpoint, ready or not."""
        said: Mapping[str, JSON] = json.loads(self._request("GET", "/readyz", None, {}, (200, 503))[1])
        return said

    def _json(self, method: str, path: str, body: bytes, content_type: str) -> Any:
        return json.loads(self._request(method, path, body, {"content-type": content_type})[1])

    def _request(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str], fine: Sequence[int] = (200,)
    ) -> tuple[int, bytes]:
        kept = self._connection.sock is not None
        try:
            response, answer = self._once(method, path, body, headers)
        except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError) as error:
            self.close()
            if not kept:  # else the server only closed a connection that was idle: predictions may be asked twice
                raise Transient(f"the server closed the connection: {error}", "is it being stopped?") from None
            return self._again(method, path, body, headers, fine)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise _unreachable(error) from None
        if response.status not in fine:
            raise _error(response, answer)
        return response.status, answer

    def _again(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str], fine: Sequence[int]) -> tuple[int, bytes]:
        try:
            response, answer = self._once(method, path, body, headers)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise _unreachable(error) from None
        if response.status not in fine:
            raise _error(response, answer)
        return response.status, answer

    def _once(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> tuple[http.client.HTTPResponse, bytes]:
        self._connection.request(method, self._path + path, body, {**self._headers, **headers})
        response = self._connection.getresponse()
        return response, response.read()


def _stream(rows: Any) -> bytes:
    table = pa.table(rows)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    whole: bytes = sink.getvalue().to_pybytes()
    return whole


def _unreachable(error: Exception) -> ForgeError:
    if isinstance(error, TimeoutError):
        return Transient("the server did not answer in time", "try again, or give a longer timeout")
    return Transient(f"the server cannot be reached: {error}", "is forge serve running?")


def _error(response: http.client.HTTPResponse, body: bytes) -> ForgeError:
    """The problem document as a typed error; `Retry-After` stands in its remedy."""
    try:
        said = json.loads(body)
        cause = f"{said['detail']} ({said['request_id']})"
    except (ValueError, KeyError, TypeError):
        cause = f"the server answered {response.status}"
    wait = response.getheader("retry-after")
    return _ERRORS.get(response.status, ForgeError)(cause, f"try again in {wait} s" if wait else "")
