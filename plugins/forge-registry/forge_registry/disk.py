"""Blobs on a disk: written beside, synced, renamed into place, their folder synced."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from forge_core.identifiers import new_id
from forge_registry.blobs import CHUNK, Blob, Blobs, Staging, Stored, Swept, sha256_of
from forge_registry.names import tenant_folder

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class DiskBlobs(Blobs):
    def __init__(self, root: Path) -> None:
        self._root = root.absolute()
        self._rooted: set[str] = set()

    @contextmanager
    def staging(self, tenant: str) -> Iterator[Staging]:
        mine = self._root / tenant_folder(tenant)
        if tenant not in self._rooted:
            make_folders(mine / "staging")
            make_folders(mine / "blobs" / "sha256")
            self._rooted.add(tenant)
        folder = mine / "staging" / new_id("up")
        folder.mkdir(mode=0o700)
        staging = _DiskStaging(folder, mine / "blobs" / "sha256")
        try:
            yield staging
        finally:
            staging.clear()

    def holds(self, tenant: str, blob: Blob) -> bool:
        try:
            found = os.stat(self._path(tenant, blob.sha256), follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            return False
        return stat.S_ISREG(found.st_mode) and found.st_size == blob.size

    def open(self, tenant: str, sha256: str) -> BinaryIO:
        return open_file(self._path(tenant, sha256))

    def stored(self, tenant: str) -> Iterator[Stored]:
        mine = self._root / tenant_folder(tenant)
        for path in sorted(mine.glob("blobs/sha256/*/*")):
            yield from _listed(path, [path], path.name)
        for folder in sorted(mine.glob("staging/*")):
            yield from _listed(folder, [folder, *folder.iterdir()], None)

    def remove(self, keys: Iterable[str]) -> None:
        for key in keys:
            if Path(key).parent.name == "staging":
                shutil.rmtree(key, ignore_errors=True)
            else:
                Path(key).unlink(missing_ok=True)

    def _path(self, tenant: str, sha256: str) -> Path:
        return self._root / tenant_folder(tenant) / "blobs" / "sha256" / sha256[:2] / sha256


class _DiskStaging(Staging):
    def __init__(self, folder: Path, target: Path) -> None:
        self._folder, self._target = folder, target
        self._added: dict[Blob, Path] = {}

    def add(self, source: BinaryIO) -> Blob:
        path = self._folder / str(len(self._added))
        try:
            blob = copy_durably(source, path)
        except FileNotFoundError as error:
            raise Swept from error  # the folder it is written into
        if blob in self._added:
            path.unlink()
        else:
            self._added[blob] = path
        return blob

    def publish(self) -> None:
        touched = {self._target}
        for blob, path in self._added.items():
            target = self._target / blob.sha256[:2] / blob.sha256
            target.parent.mkdir(exist_ok=True)
            touched.add(target.parent)
            if not _is_sound(target, blob):
                try:
                    os.rename(path, target)
                except FileNotFoundError as error:
                    raise Swept from error
        for folder in sorted(touched):  # of reused blobs and folders too: whoever made them may not have come this far
            sync_folder(folder)

    def clear(self) -> None:
        try:
            for name in os.listdir(self._folder):
                os.unlink(self._folder / name)
            self._folder.rmdir()
        except OSError:
            return  # what stays is garbage, and swept as such


def copy_durably(source: BinaryIO, path: Path) -> Blob:
    """Copy into a new, read-only file, hash on the way, and sync it."""
    sha, size = hashlib.sha256(), 0
    with os.fdopen(os.open(path, _WRITE, 0o444), "wb", buffering=0) as file:
        while chunk := source.read(CHUNK):
            sha.update(chunk)
            size += len(chunk)
            left = memoryview(chunk)
            while left:
                left = left[file.write(left) :]
        os.fsync(file.fileno())
    return Blob(sha.hexdigest(), size)


def open_file(path: Path) -> BinaryIO:
    """A regular file by its own name; a link, a pipe or a folder in its place is `FileNotFoundError`."""
    try:
        descriptor = os.open(path, _READ)
    except OSError as error:
        if error.errno in {errno.ELOOP, errno.ENXIO, errno.ENOTDIR}:
            raise FileNotFoundError(errno.ENOENT, "not a regular file") from error
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise FileNotFoundError(errno.ENOENT, "not a regular file")
    return os.fdopen(descriptor, "rb", buffering=0)


def make_folders(folder: Path) -> None:
    """Make a folder and those above it, each durable in the one above; as far as they are missing, and the last one in any case."""
    if not folder.parent.is_dir():
        make_folders(folder.parent)
    folder.mkdir(exist_ok=True)
    sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _listed(key: Path, paths: Iterable[Path], sha256: str | None) -> Iterator[Stored]:
    """These paths as one; nothing where they are gone already."""
    try:
        found = [path.stat(follow_symlinks=False) for path in paths]
    except FileNotFoundError:
        return
    size = sum(status.st_size for status in found if stat.S_ISREG(status.st_mode))
    yield Stored(str(key), size, datetime.fromtimestamp(max(status.st_mtime for status in found), UTC), sha256)


def _is_sound(path: Path, blob: Blob) -> bool:
    try:
        with open_file(path) as file:
            return sha256_of(file) == blob
    except FileNotFoundError:
        return False
