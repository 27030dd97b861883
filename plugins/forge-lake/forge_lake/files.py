"""The files of one data set, on a disk or behind an fsspec URL: listing them, opening them, handing them to Arrow.

What is here was written by others: no link leads out of the data set's bounds, and only regular files are opened.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from datetime import datetime
from io import BufferedIOBase
from pathlib import Path
from typing import Any, Protocol

import pyarrow.fs
from attrs import frozen

from forge_core.faults import ForgeError, InvalidInput, NotFound, Transient, UnsafeFormat

HIDDEN = (".", "_")
_BLOCK = 8 << 20  # bytes that are fetched at once; s3fs would hold fifty million for each file


@frozen
class Entry:
    """A file as it was listed. `stamp` changes whenever its content may have, and is empty where nothing tells.

    `changed` is when that was, in ns since 1970; None where `stamp` cannot miss a change.
    """

    path: str
    size: int
    stamp: str
    changed: int | None


class Files(Protocol):
    """The files under one base; an entry's path is relative to it, and is the file's name where the base is a file."""

    name: str
    key: str
    arrow: pyarrow.fs.FileSystem

    def entries(self) -> Sequence[Entry]:
        """Sorted by path. `NotFound` where nothing lies there."""

    def open(self, entry: Entry) -> BufferedIOBase: ...

    def address(self, entry: Entry) -> str:
        """Where `arrow` finds the file."""


class LocalFiles:
    """Links are followed where they end in one of the `bounds`, folders that are resolved already."""

    def __init__(self, name: str, base: Path, bounds: Sequence[Path], suffixes: tuple[str, ...]) -> None:
        self.name = name
        self.key = os.fspath(base)
        self.arrow = pyarrow.fs.LocalFileSystem()
        self._base = base
        self._bounds = tuple(bounds)
        self._suffixes = suffixes
        self._single = False

    def entries(self) -> Sequence[Entry]:
        try:
            self._require_inside(self._base)
            found = self._base.stat()
            self._single = stat.S_ISREG(found.st_mode)
            if self._single:
                return (_entry(self._base.name, found),)
            if not stat.S_ISDIR(found.st_mode):
                raise UnsafeFormat(f"the data set {self.name!r} is neither a file nor a folder", "give another path")
            return tuple(sorted(self._walk(found), key=lambda entry: entry.path))
        except (FileNotFoundError, NotADirectoryError):
            raise NotFound(f"the data set {self.name!r} is not where it should be", "look at its path") from None
        except OSError as error:
            raise ForgeError(
                f"the data set {self.name!r} cannot be listed: {error.strerror}", "look at its path and its permissions"
            ) from error

    def _walk(self, base: os.stat_result) -> Iterator[Entry]:
        folders = [(self._base, "", frozenset({_identity(base)}))]
        while folders:
            folder, prefix, above = folders.pop()
            with os.scandir(folder) as listing:
                for item in listing:
                    if item.name.startswith(HIDDEN):
                        continue
                    path = self._text(prefix + item.name)
                    is_folder = item.is_dir()
                    if not is_folder and not item.name.lower().endswith(self._suffixes):
                        continue
                    if item.is_symlink():
                        self._require_inside(Path(item.path), path)
                    found = item.stat()
                    if is_folder:
                        if _identity(found) in above:
                            raise UnsafeFormat(f"in {self.name!r} the link {path!r} leads back to a folder above it", "remove the link")
                        folders.append((Path(item.path), path + "/", above | {_identity(found)}))
                    elif stat.S_ISREG(found.st_mode):
                        yield _entry(path, found)
                    else:
                        raise UnsafeFormat(f"in {self.name!r} {path!r} is not a regular file", "remove it")

    def _require_inside(self, path: Path, shown: str = "") -> None:
        resolved = real(path)
        if not any(resolved.is_relative_to(bound) for bound in self._bounds):
            raise UnsafeFormat(
                f"the data set {self.name!r} is or holds a link that leaves its folder{shown and f': {shown}'}",
                "put the file itself there, or list the folder where it lies in forge.yaml",
            )

    def _text(self, path: str) -> str:
        try:
            path.encode()
        except UnicodeEncodeError:
            raise InvalidInput(f"in {self.name!r} the file name {path!a} is not UTF-8", "rename the file") from None
        return path

    def open(self, entry: Entry) -> BufferedIOBase:
        """The file that was listed: one that took its place since is `Transient`, and is never read."""
        try:
            number = os.open(self.address(entry), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a FIFO would block for ever
        except FileNotFoundError:
            raise Transient(f"{entry.path} of {self.name!r} was removed while it was read", "try again") from None
        except OSError as error:
            raise ForgeError(f"{entry.path} of {self.name!r} cannot be opened: {error.strerror}", "look at its permissions") from error
        file = os.fdopen(number, "rb")
        if _entry(entry.path, os.fstat(number)) != entry:
            file.close()
            raise Transient(f"{entry.path} of {self.name!r} was replaced while it was read", "try again")
        return file

    def address(self, entry: Entry) -> str:
        return os.fspath(self._base if self._single else self._base / entry.path)


class RemoteFiles:
    """Files behind any fsspec filesystem; what it raises is told by its kind, since its text may hold a signed URL."""

    def __init__(self, name: str, filesystem: Any, base: str, suffixes: tuple[str, ...]) -> None:
        self.name = name
        self.key = f"{type(filesystem).__name__}:{base}"
        self.arrow = pyarrow.fs.PyFileSystem(pyarrow.fs.FSSpecHandler(filesystem))
        self._filesystem = filesystem
        self._base = base.rstrip("/")
        self._suffixes = suffixes
        self._single = False

    def entries(self) -> Sequence[Entry]:
        try:
            self._filesystem.invalidate_cache()  # s3fs remembers listings
            found: dict[str, dict[str, Any]] = self._filesystem.find(self._base, detail=True)
        except FileNotFoundError:
            found = {}
        except Exception as error:  # every filesystem raises its own library's errors
            raise unreachable(f"the store of {self.name!r}", error) from error
        if not found:
            raise NotFound(f"nothing lies at the URL of the data set {self.name!r}", "look at its path")
        self._single = list(found) == [self._base]
        if self._single:
            return (_remote_entry(self._base.rsplit("/", 1)[-1], found[self._base]),)
        entries = (_remote_entry(_below(self._base, path), info) for path, info in found.items() if path.lower().endswith(self._suffixes))
        return tuple(sorted((entry for entry in entries if _visible(entry.path)), key=lambda entry: entry.path))

    def open(self, entry: Entry) -> BufferedIOBase:
        try:
            opened: BufferedIOBase = self._filesystem.open(self.address(entry), "rb", block_size=_BLOCK)
        except Exception as error:  # as above
            raise unreachable(f"the store of {self.name!r}", error) from error
        return opened

    def address(self, entry: Entry) -> str:
        return self._base if self._single else f"{self._base}/{entry.path}"


def real(path: Path) -> Path:
    """Where a path leads, links followed; unlike `Path.resolve`, links in a circle are left as they are."""
    return Path(os.path.realpath(path))


def _entry(path: str, found: os.stat_result) -> Entry:
    """ctime beside mtime: it cannot be set back, so a change that restores mtime is seen."""
    return Entry(path, found.st_size, f"{found.st_mtime_ns}:{found.st_ctime_ns}:{found.st_dev}:{found.st_ino}", found.st_ctime_ns)


def _identity(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino


def _remote_entry(path: str, info: dict[str, Any]) -> Entry:
    size = int(info.get("size") or 0)
    for key in ("ETag", "etag", "md5", "md5Hash", "content_md5", "generation", "version_id"):
        if info.get(key):
            return Entry(path, size, f"{key}:{info[key]}", None)
    for key in ("LastModified", "last_modified", "mtime", "modified", "updated", "created"):
        at = info.get(key)
        if isinstance(at, datetime):
            return Entry(path, size, f"{key}:{at.isoformat()}", int(at.timestamp() * 1e9))
        if isinstance(at, int | float):
            return Entry(path, size, f"{key}:{at}", int(at * 1e9))
    return Entry(path, size, "", 0)


def _below(base: str, path: str) -> str:
    relative = path[len(base) :].lstrip("/") if path.startswith(base) else ""
    if not relative or ".." in relative.split("/") or "\0" in relative:
        raise UnsafeFormat("a listed file lies outside the data set's URL", "look at the store")
    return relative


def _visible(path: str) -> bool:
    return not any(part.startswith(HIDDEN) for part in path.split("/"))


def unreachable(what: str, error: Exception) -> ForgeError:
    """What a filesystem of fsspec raised, as an error that shows none of its text."""
    kind = type(error).__name__
    if isinstance(error, PermissionError) or "Credentials" in kind:
        return ForgeError(f"{what} refuses access ({kind})", "look at storage_options and at the store's permissions")
    return Transient(f"{what} cannot be reached ({kind})", "try again; look at the URL and at storage_options")
