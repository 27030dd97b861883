"""Models' files in a local folder: one read-only folder for each digest, made beside its place and renamed into it."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import stat
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from forge_core.faults import ForgeError, InvalidInput, Transient
from forge_core.files import folder_name, sync, sync_tree
from forge_core.serialize import digest_of

_PIECE = 1 << 20


class Bundles:
    """`digest` is over sorted paths, sizes and SHA-256 of the files."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def place(self, tenant: str, digest: str) -> Path:
        return self._root / folder_name(tenant) / digest

    @contextmanager
    def staged(self, tenant: str, folder: Path) -> Iterator[tuple[str, Path]]:
        """(digest, a durable copy of `folder`), which `publish` takes; what it did not take is removed."""
        staging = self._root / folder_name(tenant) / f".staging-{secrets.token_hex(8)}"
        try:
            staging.mkdir(parents=True)
            digest = digest_of(list(_copied(folder, staging)))
            sync_tree(staging)
            yield digest, staging
        except OSError as error:
            raise ForgeError(f"the model's files cannot be stored: {error.strerror}", "look at the storage") from None
        finally:
            _remove(staging)

    def publish(self, tenant: str, digest: str, staging: Path) -> None:
        """Give the copy its place, where nothing has it already. Call it where nobody sweeps meanwhile."""
        place = self.place(tenant, digest)
        if place.exists():
            return
        _forbid_writing(staging)
        try:
            os.rename(staging, place)
        except FileNotFoundError:
            raise Transient("the model's files were swept away while they were stored", "try again") from None
        sync(place.parent)

    def wrong(self, tenant: str, digest: str) -> str | None:
        """What is wrong with a stored folder; every byte is read."""
        place = self.place(tenant, digest)
        try:
            found = digest_of([[path, size, _hash(place / path)] for path, size in _listed(place)])
        except FileNotFoundError:
            return "files are missing"
        except (InvalidInput, OSError):
            return "something else lies among its files"
        return None if found == digest else "its files are not those that were published"

    def sweep(self, tenant: str, named: Collection[str], older_than: float) -> int:
        """Remove what has no name and was not touched for so many seconds; the bytes freed."""
        freed, before = 0, time.time() - older_than
        try:
            found = list((self._root / folder_name(tenant)).iterdir())
        except FileNotFoundError:
            return 0
        for place in found:
            if place.name not in named and place.lstat().st_mtime <= before:
                freed += sum(path.lstat().st_size for path in (place, *place.rglob("*")) if not path.is_dir())
                _remove(place)
        return freed


def _listed(folder: Path, inside: str = "") -> Iterator[tuple[str, int]]:
    """(path, size) of the files, sorted; anything but plain files and folders is refused."""
    with os.scandir(folder) as entries:
        found = sorted(entries, key=lambda entry: entry.name)
    for entry in found:
        seen = entry.stat(follow_symlinks=False)
        if stat.S_ISDIR(seen.st_mode):
            yield from _listed(Path(entry.path), f"{inside}{entry.name}/")
        elif stat.S_ISREG(seen.st_mode) and seen.st_nlink == 1:
            yield f"{inside}{entry.name}", seen.st_size
        else:
            raise InvalidInput(f"{entry.name!r} is a link, or no file", "a model is made of plain files")


def _copied(folder: Path, target: Path) -> Iterator[list[object]]:
    if folder.is_symlink() or not folder.is_dir():
        raise InvalidInput(f"{folder.name!r} is no folder", "name the folder that a run has made")
    for path, _size in list(_listed(folder)):
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        digest, size = hashlib.sha256(), 0
        handle = os.open(folder / path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(handle, "rb") as source, (target / path).open("xb") as copy:
            while piece := source.read(_PIECE):
                copy.write(piece)
                digest.update(piece)
                size += len(piece)
        yield [path, size, digest.hexdigest()]


def _hash(file: Path) -> str:
    with os.fdopen(os.open(file, os.O_RDONLY | os.O_NOFOLLOW), "rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()


def _forbid_writing(folder: Path) -> None:
    for path in (*folder.rglob("*"), folder):
        path.chmod(0o555 if path.is_dir() else 0o444)


def _remove(place: Path) -> None:
    if place.is_dir() and not place.is_symlink():
        for path in (place, *place.rglob("*")):
            if path.is_dir() and not path.is_symlink():
                path.chmod(0o755)
        shutil.rmtree(place, ignore_errors=True)
    else:
        place.unlink(missing_ok=True)
