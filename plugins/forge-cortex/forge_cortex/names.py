"""Names of endpoints: they stand in URLs, permissions, metrics and request ids, so they are plain."""

from __future__ import annotations

import re

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
