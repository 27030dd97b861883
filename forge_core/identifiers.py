"""Sortable, prefixed identifiers: `run_`, `mdl_`, `dep_`, `evt_`, `req_`."""

from __future__ import annotations

import secrets
import time


def new_id(prefix: str) -> str:
    """Milliseconds since 1970 in twelve hexadecimal digits, then forty random bits."""
    return f"{prefix}_{time.time_ns() // 1_000_000:012x}{secrets.token_hex(5)}"
