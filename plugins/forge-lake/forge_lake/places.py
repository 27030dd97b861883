"""Where data sets lie: under the connector's root by name, or where the author of forge.yaml says."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import fsspec
from attrs import field, frozen
from fsspec.implementations.local import LocalFileSystem

from forge_core.faults import ConfigError, ForgeError, InvalidInput, NotFound
from forge_core.records.data import JSON
from forge_lake.files import HIDDEN, Files, LocalFiles, RemoteFiles, real, unreachable
from forge_lake.formats import FORMATS, Format, format_of
from forge_lake.names import dataset_name, relative_path

_SUFFIXES = tuple(suffix for one in FORMATS.values() for suffix in one.suffixes)
_SECRETS = re.compile(r"(?<=://)[^/@]*@|\?.*")  # of a URL: user and password, a signed query
_REMOTE = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*(://|::)")


@frozen
class Place:
    """The files of a data set and their format. `path` is as it was written."""

    path: str = field(repr=False)
    format: Format
    files: Files

    @property
    def shown(self) -> str:
        """The path without what a URL may hold of secrets."""
        return _SECRETS.sub("", self.path) if _is_remote(self.path) else self.path


class Root:
    """A folder, or an fsspec URL, that holds data sets."""

    def __init__(self, root: str, project: Path, options: Mapping[str, JSON]) -> None:
        self._remote = root.rstrip("/") if _is_remote(root) else ""
        self._folder = (project / root).absolute()
        self._options = dict(options)
        if self._remote.lower().startswith(("file://", "local://")):
            self._folder, self._remote = Path(_opened(self._remote, {})[1]), ""

    def written(self, name: str, path: str, format_name: str) -> Place:
        """What forge.yaml lists: relative to the root, absolute, or a URL of its own."""
        if "\0" in path:
            raise ConfigError("the path of a data set holds a NUL", "look at datasets in forge.yaml")
        if _is_remote(path) or (self._remote and not path.startswith("/")):
            return self._at_url(name, path if _is_remote(path) else f"{self._remote}/{path}", path, format_name)
        base = self._folder / path
        chosen = _chosen(base, path, format_name)
        # the author chose the base, wherever a link of that name leads
        return Place(path, chosen, LocalFiles(name, base, (real(base), real(self._folder)), chosen.suffixes))

    def inside(self, name: str, path: str, format_name: str) -> Place:
        """What somebody else names: it may not leave the root."""
        relative_path(path)
        if self._remote:
            return self._at_url(name, f"{self._remote}/{path}", path, format_name)
        base = self._folder / path
        chosen = _chosen(base, path, format_name)
        return Place(path, chosen, LocalFiles(name, base, (real(self._folder),), chosen.suffixes))

    def named(self, name: str, format_name: str) -> Place:
        """The folder `<name>` or the file `<name>.<format>` under the root. `NotFound` where there is neither."""
        dataset_name(name)
        for one in _formats(format_name):
            for path in (name, *(name + suffix for suffix in one.suffixes)):
                place = self.inside(name, path, one.name)
                with suppress(NotFound):
                    if place.files.entries():
                        return place
        raise NotFound(f"there is no data set {name!r}", "forge data list")

    def names(self) -> Iterator[str]:
        """Names that `named` finds: files of a known format, and folders that hold some, in hive partitions or not."""
        try:
            if self._remote:
                yield from _names_at(*_opened(self._remote, self._options))
            else:
                yield from _names_in(self._folder)
        except FileNotFoundError:
            return
        except OSError as error:
            raise ForgeError(f"the connector's root cannot be listed: {error.strerror}", "look at its permissions") from error

    def _at_url(self, name: str, url: str, path: str, format_name: str) -> Place:
        filesystem, base = _opened(url, self._options)
        chosen = format_of(base, format_name)
        if isinstance(filesystem, LocalFileSystem):
            local = Path(base)
            chosen = _chosen(local, base, format_name)
            return Place(path, chosen, LocalFiles(name, local, (real(local),), chosen.suffixes))
        return Place(path, chosen, RemoteFiles(name, filesystem, base, chosen.suffixes))


def _is_remote(path: str) -> bool:
    return _REMOTE.match(path) is not None


def _chosen(base: Path, path: str, format_name: str) -> Format:
    """A folder called `x.csv` may hold anything, a file called so does not."""
    try:
        return format_of("" if base.is_dir() else path, format_name)
    except OSError as error:
        raise InvalidInput(f"a path cannot be used: {error.strerror}", "look at its length and its parts") from None


def _opened(url: str, options: Mapping[str, JSON]) -> tuple[fsspec.AbstractFileSystem, str]:
    scheme = url.split("://", 1)[0]
    try:
        filesystem, base = fsspec.core.url_to_fs(url, **options)
    except ImportError as error:
        raise ConfigError(
            f"the lake cannot read {scheme}:// here: {error}",
            f"pip install 'forge-lake[{scheme}]'" if scheme == "s3" else "install what it names",
        ) from None
    except (ValueError, TypeError) as error:
        raise ConfigError(
            f"the lake cannot open a {scheme}:// URL ({type(error).__name__})", "look at the URL and at storage_options"
        ) from error
    return filesystem, base


def _formats(first: str) -> tuple[Format, ...]:
    return tuple(sorted(FORMATS.values(), key=lambda one: one.name != first))


def _stem(name: str) -> str | None:
    return next((name[: -len(suffix)] for suffix in _SUFFIXES if name.lower().endswith(suffix)), None)


def _names_in(folder: Path) -> Iterator[str]:
    with os.scandir(folder) as listing:
        for item in listing:
            if item.name.startswith(HIDDEN) or item.is_symlink():
                continue
            if item.is_dir():
                if _holds(Path(item.path)):
                    yield item.name
            elif stem := _stem(item.name):
                yield stem


def _holds(folder: Path) -> bool:
    """Whether a data set begins here; only partitions are looked into, a project's root may be large."""
    try:
        with os.scandir(folder) as listing:
            items = [item for item in listing if not item.name.startswith(HIDDEN)]
    except OSError:
        return False
    if any(_stem(item.name) and item.is_file() for item in items):
        return True
    return any("=" in item.name and item.is_dir(follow_symlinks=False) and _holds(Path(item.path)) for item in items)


def _names_at(filesystem: fsspec.AbstractFileSystem, base: str) -> Iterator[str]:
    """One listing of everything below, since a store has no folders."""
    try:
        found = filesystem.find(base)
    except FileNotFoundError:
        return
    except Exception as error:  # every filesystem raises its own library's errors
        raise unreachable("the store of the connector's root", error) from error
    for path in found:
        first, *rest = path[len(base.rstrip("/")) :].lstrip("/").split("/")
        if first.startswith(HIDDEN):
            continue
        if not rest and (stem := _stem(first)):
            yield stem
        elif rest and _stem(rest[-1]) and all("=" in part for part in rest[:-1]):
            yield first
