"""The key that API keys are hashed with, kept apart from the database: a copy of the one proves nothing without the other."""

from __future__ import annotations

import hmac
import os
import secrets
import stat
from pathlib import Path

from forge_core.faults import Refused

HEXADECIMAL_DIGITS = 64  # 256 bits


def read(path: Path) -> bytes | None:
    """The key in `path`, or None where there is no such file. `Refused` where it is damaged, or open to other users."""
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        text = path.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise Refused(f"the server key .forge/{path.name} cannot be read: {type(error).__name__}", "restore it from a backup") from None
    if mode & 0o077:
        raise Refused(f"the server key .forge/{path.name} is open to other users (mode {mode:o})", f"chmod 600 .forge/{path.name}")
    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b""
    if len(text) != HEXADECIMAL_DIGITS or len(key) * 2 != HEXADECIMAL_DIGITS:
        raise Refused(f"the server key .forge/{path.name} is damaged", "restore it from a backup")
    return key


def create(path: Path) -> bytes:
    """Write a new key: whole or not at all, and never over one that is there. The loser of a race gets the winner's."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(secrets.token_hex(HEXADECIMAL_DIGITS // 2) + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.link(beside, path)  # unlike a rename, this fails where the name is taken
    except FileExistsError:
        pass
    finally:
        beside.unlink()
    _sync_folder(path.parent)
    key = read(path)
    if key is None:
        raise Refused(f"the server key .forge/{path.name} vanished while it was made", "try again")
    return key


def digest(key: bytes, text: str) -> str:
    """HMAC-SHA256, hexadecimal."""
    return hmac.digest(key, text.encode(), "sha256").hex()


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
