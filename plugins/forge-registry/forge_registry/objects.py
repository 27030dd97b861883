"""Blobs in any filesystem of fsspec (S3, memory, ...): put under a temporary key, then copied to the digest's key."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, BinaryIO

import fsspec
from fsspec.core import url_to_fs

from forge_core.faults import ConfigError, ForgeError
from forge_core.identifiers import new_id
from forge_core.records import Storage
from forge_registry.blobs import CHUNK, Blob, Blobs, Staging, Stored, Swept, sha256_of
from forge_registry.names import tenant_folder


class ObjectBlobs(Blobs):
    def __init__(self, storage: Storage) -> None:
        protocol = storage.url.partition("://")[0]
        try:
            self._files, root = url_to_fs(storage.url, **storage.options)
        except (ImportError, ValueError) as error:
            remedy = "pip install 'forge-registry[s3]'" if protocol == "s3" else "pip install the fsspec filesystem of that name"
            raise ConfigError(f"nothing is installed that reads {protocol}://", remedy) from error
        self._root = root.rstrip("/")

    @contextmanager
    def staging(self, tenant: str) -> Iterator[Staging]:
        mine = f"{self._root}/{tenant_folder(tenant)}"
        staging = _ObjectStaging(self._files, f"{mine}/staging/{new_id('up')}", f"{mine}/blobs/sha256")
        try:
            yield staging
        finally:
            staging.clear()

    def holds(self, tenant: str, blob: Blob) -> bool:
        with _reached():
            self._files.invalidate_cache()
            try:
                return bool(self._files.info(self._key(tenant, blob.sha256))["size"] == blob.size)
            except FileNotFoundError:
                return False

    @contextmanager
    def open(self, tenant: str, sha256: str) -> Iterator[BinaryIO]:
        with _reached(), self._files.open(self._key(tenant, sha256), "rb") as file:
            yield file

    def stored(self, tenant: str) -> Iterator[Stored]:
        mine = f"{self._root}/{tenant_folder(tenant)}"
        for area in ("blobs", "staging"):
            with _reached():
                self._files.invalidate_cache()
                found = self._files.find(f"{mine}/{area}", detail=True)
            for key, info in found.items():
                if info["type"] != "file":
                    continue  # some S3 servers list folders among keys
                yield Stored(key, info["size"], self._modified(key, info), key.rpartition("/")[2] if area == "blobs" else None)

    def remove(self, keys: Iterable[str]) -> None:
        for key in keys:
            with _reached():
                try:
                    self._files.rm_file(key)
                except FileNotFoundError:
                    continue

    def _key(self, tenant: str, sha256: str) -> str:
        return f"{self._root}/{tenant_folder(tenant)}/blobs/sha256/{sha256[:2]}/{sha256}"

    def _modified(self, key: str, info: dict[str, Any]) -> datetime:
        listed = info.get("LastModified")  # S3 lists it; elsewhere it is one more request
        with _reached():
            at: datetime = listed if isinstance(listed, datetime) else self._files.modified(key)
        return at if at.tzinfo else at.replace(tzinfo=UTC)


class _ObjectStaging(Staging):
    def __init__(self, files: fsspec.AbstractFileSystem, folder: str, target: str) -> None:
        self._files, self._folder, self._target = files, folder, target
        self._added: dict[Blob, str] = {}
        self._written: list[str] = []

    def add(self, source: BinaryIO) -> Blob:
        key = f"{self._folder}/{len(self._written)}"
        sha, size = hashlib.sha256(), 0
        with _reached():
            self._written.append(key)
            with self._files.open(key, "wb") as out:
                while chunk := source.read(CHUNK):
                    sha.update(chunk)
                    size += len(chunk)
                    out.write(chunk)
        blob = Blob(sha.hexdigest(), size)
        self._added.setdefault(blob, key)
        return blob

    def publish(self) -> None:
        for blob, key in self._added.items():
            target = f"{self._target}/{blob.sha256[:2]}/{blob.sha256}"
            with _reached():
                if self._is_sound(target, blob):
                    continue
                try:
                    self._files.cp_file(key, target)
                except FileNotFoundError as error:
                    raise Swept from error

    def clear(self) -> None:
        for key in self._written:
            try:
                with _reached():
                    self._files.rm_file(key)
            except OSError:
                continue  # it is garbage, and swept as such

    def _is_sound(self, key: str, blob: Blob) -> bool:
        self._files.invalidate_cache()
        try:
            if self._files.info(key)["size"] != blob.size:
                return False
            with self._files.open(key, "rb") as file:
                return sha256_of(file) == blob
        except FileNotFoundError:
            return False


@contextmanager
def _reached() -> Iterator[None]:
    """Every filesystem has exceptions of its own; here they are all `OSError`."""
    try:
        yield
    except (OSError, ForgeError, Swept):
        raise
    except Exception as error:
        raise OSError(None, type(error).__name__) from error
