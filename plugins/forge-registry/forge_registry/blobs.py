"""Where bytes lie, addressed by their SHA-256 below their tenant: `<tenant>/blobs/sha256/ab/<digest>`.

A blob appears whole or not at all, and is never changed. One that no row names is garbage.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from datetime import datetime
from typing import BinaryIO

from attrs import frozen

CHUNK = 1 << 20


@frozen
class Blob:
    sha256: str
    size: int


@frozen
class Stored:
    """Something that lies in the store: a blob, or what is left of an upload, which has no digest."""

    key: str
    size: int
    modified: datetime
    sha256: str | None


def sha256_of(source: BinaryIO) -> Blob:
    """Size and digest of what is left of a file, in bounded memory."""
    sha, size = hashlib.sha256(), 0
    while chunk := source.read(CHUNK):
        sha.update(chunk)
        size += len(chunk)
    return Blob(sha.hexdigest(), size)


class Swept(Exception):
    """What was to be published was removed by a sweep in the meantime."""


class Staging(ABC):
    """An upload under way. Nothing of it is visible before `publish`, nothing is left of it afterwards."""

    @abstractmethod
    def add(self, source: BinaryIO) -> Blob:
        """Copy what can be read, hashing it on the way; durable on return."""

    @abstractmethod
    def publish(self) -> None:
        """Every added blob under its digest, durably. One that is there is read, and replaced where it is damaged. May raise `Swept`."""


class Blobs(ABC):
    """A store of blobs. `OSError` means that it cannot be used now, `FileNotFoundError` that the blob is not there."""

    @abstractmethod
    def staging(self, tenant: str) -> AbstractContextManager[Staging]: ...

    @abstractmethod
    def holds(self, tenant: str, blob: Blob) -> bool:
        """Whether it is there with its size; the bytes are not read."""

    @abstractmethod
    def open(self, tenant: str, sha256: str) -> AbstractContextManager[BinaryIO]: ...

    @abstractmethod
    def stored(self, tenant: str) -> Iterator[Stored]:
        """Everything that lies there for a tenant, leftovers of uploads included."""

    @abstractmethod
    def remove(self, keys: Iterable[str]) -> None:
        """Remove what `stored` listed; what is gone already is no error."""
