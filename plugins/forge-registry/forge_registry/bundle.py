"""A model's folder, read as if a stranger had written it, and the digest over its files."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from attrs import frozen

from forge_core.faults import InvalidInput, UnsafeFormat
from forge_core.serialize import digest_of
from forge_registry.blobs import Blob
from forge_registry.names import file_path

MANIFEST = "forge.json"
_MOST_FILES = 10_000
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # no link is followed, no pipe waited for


@frozen
class BundleFile:
    """A file of a version, as its manifest lists it. `path` is relative, with `/`; `size` is in bytes."""

    path: str
    size: int
    sha256: str


@frozen
class Found:
    """A file as it lies in a folder; `parent` is the open folder that holds it, valid until the next one is asked for."""

    path: str
    status: os.stat_result
    parent: int

    def open(self) -> BinaryIO:
        """Its bytes, if it is still the file that was found."""
        descriptor = os.open(self.path.rpartition("/")[2], _FLAGS, dir_fd=self.parent)
        file = os.fdopen(descriptor, "rb", buffering=0)
        if not os.path.samestat(os.fstat(descriptor), self.status):
            file.close()
            raise UnsafeFormat(f"{self.path} was exchanged while it was read", "leave a model's folder alone while it is used")
        return file


def digest_of_files(files: Iterable[BundleFile]) -> str:
    """SHA-256 over the sorted (path, size, sha256) of every file."""
    return digest_of([[file.path, file.size, file.sha256] for file in sorted(files, key=lambda file: file.path)])


def survey(folder: Path) -> Iterator[Found]:
    """Every file below a folder. Whatever is neither a file nor a folder is `UnsafeFormat`, a strange name `InvalidInput`."""
    for where, folders, names, parent in os.fwalk(folder, onerror=_raise):
        inside = Path(where).relative_to(folder).as_posix()
        prefix = "" if inside == "." else f"{inside}/"
        for name in sorted(folders):  # os.fwalk lists a link to a folder among folders, and does not follow it
            file_path(prefix + name)
            if not stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
                raise UnsafeFormat(f"{prefix}{name} is a link", "copy what it points at into the folder")
        for name in sorted(names):
            path = file_path(prefix + name)
            status = os.stat(name, dir_fd=parent, follow_symlinks=False)
            if not stat.S_ISREG(status.st_mode):
                raise UnsafeFormat(f"{path} is a link or a device, not a file", "copy what it points at into the folder")
            yield Found(path, status, parent)


def copy_bundle(folder: Path, keep: Callable[[BinaryIO], Blob]) -> tuple[BundleFile, ...]:
    """Give every file of a model's folder to `keep`, once all of them have been found harmless; sorted by path."""
    try:
        if folder.is_symlink() or not folder.is_dir():
            raise InvalidInput("a model is a folder, and this is none", "name the folder that has forge.json in it")
        _inspect(folder)
        files = []
        for found in survey(folder):
            with found.open() as source:
                blob = keep(source)
            files.append(BundleFile(found.path, blob.size, blob.sha256))
    except FileNotFoundError as error:
        raise InvalidInput("the model's folder changed while it was read", "write it whole before it is registered") from error
    return tuple(sorted(files, key=lambda file: file.path))


def _inspect(folder: Path) -> None:
    links: Counter[tuple[int, int]] = Counter()
    linked: dict[tuple[int, int], tuple[int, str]] = {}
    paths = set()
    for found in survey(folder):
        paths.add(found.path)
        if len(paths) > _MOST_FILES:
            raise InvalidInput(f"a model has at most {_MOST_FILES} files", "pack them")
        inode = (found.status.st_dev, found.status.st_ino)
        links[inode] += 1
        linked[inode] = (found.status.st_nlink, found.path)
    for inode, (known, path) in linked.items():
        if known > links[inode]:
            raise UnsafeFormat(f"{path} is a hard link to a file outside the folder", "copy the file into the folder")
    if MANIFEST not in paths:
        raise InvalidInput(f"a model's folder has a {MANIFEST}, and this one has none", "save it with a flavor")


def _raise(error: OSError) -> None:
    raise error
