"""Local, read-only copies of versions, keyed by digest: built beside, renamed into place, verified before each use.

Below the project's `.forge/models/<tenant>/<digest>`. A copy whose every file and folder is just as it was when it was
last hashed by this process (inode, size, times) is not hashed again.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeAlias

from forge_core.faults import DigestMismatch, InvalidInput, UnsafeFormat
from forge_core.identifiers import new_id
from forge_registry.blobs import Blob, Blobs, sha256_of
from forge_registry.bundle import BundleFile, survey
from forge_registry.disk import copy_durably, make_folders, sync_folder
from forge_registry.names import file_path, tenant_folder

Signature: TypeAlias = tuple[tuple[str, int, int, int, int], ...]
_BUILDING = ".building"
_TICK_NS = 50_000_000  # file times have the kernel's tick: what changed this recently may change again within it, unseen


class Checkouts:
    def __init__(self, root: Path, blobs: Blobs) -> None:
        self._root, self._blobs = root, blobs
        self._verified: dict[Path, Signature] = {}

    def take(self, tenant: str, digest: str, files: Sequence[BundleFile]) -> Path:
        """The folder with exactly these files. `DigestMismatch` where the stored bytes or the copy are not those that were published."""
        folder = self._folder(tenant, digest)
        if not os.path.lexists(folder):
            self._build(tenant, folder, files)
        self.check(tenant, digest, files)
        return folder

    def has(self, tenant: str, digest: str) -> bool:
        return os.path.lexists(self._folder(tenant, digest))

    def check(self, tenant: str, digest: str, files: Sequence[BundleFile]) -> None:
        """`DigestMismatch` where the copy has a byte or a file too few, too many or other than published."""
        folder = self._folder(tenant, digest)
        try:
            signature = _signature(folder)
            if self._verified.get(folder) == signature:
                return
            _compare(folder, files)
        except (InvalidInput, UnsafeFormat, FileNotFoundError) as error:  # a link, a device, a name that no version has
            raise DigestMismatch("the local copy has something in it that was not published", "") from error
        if max(entry[4] for entry in signature) < time.time_ns() - _TICK_NS:
            self._verified[folder] = signature

    def drop(self, tenant: str, digest: str) -> None:
        """Remove a copy; the next `take` builds it anew."""
        folder = self._folder(tenant, digest)
        self._verified.pop(folder, None)
        if folder.is_symlink() or folder.is_file():
            folder.unlink()
        else:
            _remove(folder)

    def sweep(self, tenant: str, before: datetime) -> int:
        """Remove what builders left behind that were killed; returns the bytes freed."""
        freed = 0
        for folder in sorted(self._root.joinpath(tenant_folder(tenant)).glob(f"{_BUILDING}_*")):
            if datetime.fromtimestamp(folder.stat().st_mtime, UTC) <= before:
                freed += sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
                _remove(folder)
        return freed

    def _folder(self, tenant: str, digest: str) -> Path:
        return self._root / tenant_folder(tenant) / digest

    def _build(self, tenant: str, folder: Path, files: Sequence[BundleFile]) -> None:
        make_folders(folder.parent)
        work = folder.parent / new_id(_BUILDING)
        work.mkdir(mode=0o700)
        try:
            for file in files:
                path = work / file_path(file.path)
                path.parent.mkdir(parents=True, exist_ok=True)
                try:
                    with self._blobs.open(tenant, file.sha256) as source:
                        found = copy_durably(source, path)
                except FileNotFoundError as error:
                    raise DigestMismatch(f"the stored bytes of {file.path} are missing", "") from error
                if found != Blob(file.sha256, file.size):
                    raise DigestMismatch(f"the stored bytes of {file.path} are not those that were published", "")
            for where, _folders, _names in os.walk(work, topdown=False):
                os.chmod(where, 0o555)  # noqa: S103 - to be read, and not to be changed
                sync_folder(Path(where))
            try:
                os.rename(work, folder)
            except OSError:
                if not folder.is_dir():
                    raise
                return  # another process was faster; its copy is verified like any other
            sync_folder(folder.parent)
        finally:
            _remove(work)


def _compare(folder: Path, files: Iterable[BundleFile]) -> None:
    left = {file.path: Blob(file.sha256, file.size) for file in files}
    for found in survey(folder):
        expected = left.pop(found.path, None)
        if expected is None:
            raise DigestMismatch(f"the local copy has a file that was not published: {found.path}", "")
        with found.open() as source:
            if found.status.st_size != expected.size or sha256_of(source) != expected:
                raise DigestMismatch(f"the local copy of {found.path} is not what was published", "")
    if left:
        raise DigestMismatch(f"the local copy lacks {min(left)}", "")


def _signature(folder: Path) -> Signature:
    """(path, inode, size, modified, changed) of every file and folder, times in nanoseconds."""

    def entries() -> Iterator[tuple[str, int, int, int, int]]:
        for where, folders, names, parent in os.fwalk(folder):
            own = os.fstat(parent)
            yield where, own.st_ino, 0, own.st_mtime_ns, own.st_ctime_ns
            for name in (*folders, *names):
                status = os.stat(name, dir_fd=parent, follow_symlinks=False)
                yield f"{where}/{name}", status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns

    found = tuple(sorted(entries()))
    if not found:
        raise DigestMismatch("the local copy is not a folder", "")
    return found


def _remove(folder: Path) -> None:
    for where, _folders, _names in os.walk(folder):
        os.chmod(where, 0o700)  # a folder that may not be written keeps its files
    shutil.rmtree(folder, ignore_errors=True)
