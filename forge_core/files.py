"""Bytes that stay: fsync of files and folders, atomic writing, digests of trees."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from pathlib import Path


def sync(path: Path) -> None:
    """fsync a file or a folder."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_tree(folder: Path) -> None:
    """fsync every file below a folder, then every folder, then the folder's parent."""
    for here, _folders, files in os.walk(folder, topdown=False):
        for name in files:
            sync(Path(here, name))
        sync(Path(here))
    sync(folder.parent)


def write_atomically(path: Path, data: bytes, mode: int = 0o644) -> None:
    """The file has the old bytes or the new ones, also after a crash."""
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    sync(path.parent)


def folder_name(name: str) -> str:
    """A tenant's name, or anybody's, as one folder's: itself where it is plain and lower-case, else a digest of it."""
    return name if re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,63}", name) else "~" + hashlib.sha256(name.encode()).hexdigest()[:40]


def file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
