"""The store behind a project's storage URL, and its failures in one line."""

from __future__ import annotations

import errno
import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit

from forge_core.faults import ForgeError, Transient
from forge_core.records import Storage
from forge_registry.blobs import Blobs
from forge_registry.disk import DiskBlobs

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def open_blobs(storage: Storage) -> Blobs:
    """On a disk for `file://` and plain paths, by fsspec for any other URL."""
    url = urlsplit(storage.url)
    if "://" not in storage.url:
        return DiskBlobs(Path(storage.url))
    if url.scheme in {"file", "local"}:
        return DiskBlobs(Path(unquote(url.path)))
    # fsspec takes 70 ms to import, which nobody pays who keeps models on a disk.
    made: Blobs = importlib.import_module("forge_registry.objects").ObjectBlobs(storage)
    return made


@contextmanager
def reached(doing: str) -> Iterator[None]:
    """An `OSError` of the store as an error that tells what to do; no path is in it."""
    try:
        yield
    except OSError as error:
        why = error.strerror or type(error).__name__
        if error.errno in _FULL:
            raise ForgeError(f"{doing}: {why}", "free space in infrastructure.storage, then try again") from error
        raise Transient(f"{doing}: {why}", "look at infrastructure.storage, then try again") from error
