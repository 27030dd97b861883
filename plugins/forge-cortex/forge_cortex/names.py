"""Names of endpoints, which stand in URLs, permissions, metrics and request ids, so they are plain; reasons; and what a request id says."""

from __future__ import annotations

import re

from attrs import frozen

from forge_core.faults import InvalidInput

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}", re.ASCII)


def valid_endpoint(name: str) -> bool:
    """Lower-case letters, digits, `-` and `_`; at most 63 of them; a letter or digit first."""
    return _NAME.fullmatch(name) is not None


def endpoint_name(name: str) -> str:
    """The name itself; `InvalidInput` where it is not one."""
    if not isinstance(name, str) or not valid_endpoint(name):
        raise InvalidInput(
            f"{str(name)[:80]!r} cannot name an endpoint", "use at most 63 lower-case letters, digits, - and _, a letter or digit first"
        )
    return name


_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")  # no text column keeps NUL, no UTF-8 a lone surrogate


def plain_reason(reason: str) -> str:
    """The reason itself, if a database can keep it; `InvalidInput` where it is too long or not printable."""
    if len(reason) > 5000 or _UNPRINTABLE.search(reason):
        raise InvalidInput("a reason is at most 5000 printable characters", "say it shorter, or leave it out")
    return reason


_REQUEST = re.compile(r"req_([a-z0-9][a-z0-9_-]{0,62})\.(\d{1,9})\.(\d{1,3})\.[0-9a-f]+\.\d+", re.ASCII)


@frozen
class Traced:
    """`route` counts an endpoint's routes from 0, in the order of its revision."""

    endpoint: str
    revision: int
    route: int


def traced(request_id: str) -> Traced:
    """What an id that this gateway gave says; `InvalidInput` for any other."""
    match = _REQUEST.fullmatch(request_id)
    if match is None:
        raise InvalidInput(f"{request_id[:80]!r} is no request id of an endpoint", "take `request_id` from an answer")
    return Traced(match[1], int(match[2]), int(match[3]))
