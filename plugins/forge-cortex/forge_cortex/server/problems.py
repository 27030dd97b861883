"""What goes wrong with a request, as RFC 9457 problem documents."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import msgspec

CONTENT_TYPE = b"application/problem+json"
_ENCODER = msgspec.json.Encoder()
_TITLES = {**{int(status): status.phrase for status in HTTPStatus}, 499: "Client Closed Request"}


class Problem(Exception):
    """A request that is answered with `status`. `detail` and `members` are seen by the client: no secret, path or traceback."""

    def __init__(
        self, status: int, detail: str, *, retry_after: int | None = None, headers: Mapping[bytes, bytes] | None = None, **members: Any
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.members = members
        self.headers = dict(headers or {})
        if retry_after is not None:
            self.headers[b"retry-after"] = b"%d" % retry_after

    def document(self, request_id: str) -> bytes:
        """The JSON body; its members come after the standard ones."""
        return _ENCODER.encode(
            {
                "type": "about:blank",
                "title": _TITLES.get(self.status, "Error"),
                "status": self.status,
                "detail": self.detail,
                "request_id": request_id,
                **self.members,
            }
        )


def unfit(detail: str, *, field: str | None = None, row: int | None = None) -> Problem:
    """422: well-formed, but not what the signature says; names the column and the row (counted from 0)."""
    where: dict[str, Any] = {"field": field, "row": row}
    return Problem(422, detail, **{name: value for name, value in where.items() if value is not None})
