"""The exact content of a data set: its files, each with its hash, and the digest over all of them."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property

import pyarrow as pa
import pyarrow.dataset
from attrs import define, field

from forge_core.faults import Conflict, InvalidInput, NotFound, Transient
from forge_core.serialize import digest_of
from forge_lake import partitions
from forge_lake.facts import Facts
from forge_lake.files import Entry, Files
from forge_lake.formats import Format, inspect

_PLAIN = {pa.string_view(): pa.string(), pa.binary_view(): pa.binary()}
_MOST_ROUNDS = 3
_THREADS = 4  # hashing leaves the interpreter's lock


@define(slots=False)
class Snapshot:
    """The files of a data set with what was found in each, by path. It stays true: `verify` raises where the files do not."""

    name: str
    files: Files
    format: Format
    facts: Mapping[str, Facts] = field(repr=False)

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the sorted (path, size, sha256) of the files; where they lie does not matter."""
        return digest_of([[facts.entry.path, facts.entry.size, facts.sha256] for facts in self.facts.values()])

    @property
    def rows(self) -> int | None:
        counts = [facts.rows for facts in self.facts.values()]
        return None if None in counts else sum(count for count in counts if count is not None)

    @property
    def size(self) -> int:
        """In bytes."""
        return sum(facts.entry.size for facts in self.facts.values())

    @cached_property
    def schema(self) -> pa.Schema:
        """Of all files together, then the partition columns. A column that a file lacks is null there."""
        physical = _united(self.facts.values())
        inside = partitions.fields(list(self.facts), physical)
        return pa.schema([*physical, *(one for one in inside if one.name not in physical.names)])

    @cached_property
    def views(self) -> frozenset[str]:
        """Columns that a file keeps as views: Arrow can neither filter those nor compare them with its statistics."""
        return frozenset(one.name for facts in self.facts.values() for one in facts.schema if one.type in _PLAIN)

    @cached_property
    def dataset(self) -> pyarrow.dataset.Dataset:
        inside = partitions.fields(list(self.facts), self.schema)
        fragments = [
            self.format.arrow.make_fragment(
                self.files.address(facts.entry),
                filesystem=self.files.arrow,
                partition_expression=partitions.guarantee(path, inside),
                file_size=facts.entry.size,
            )
            for path, facts in self.facts.items()
        ]
        return pyarrow.dataset.FileSystemDataset(fragments, self.schema, self.format.arrow, self.files.arrow)

    def verify(self) -> None:
        """Look at every file again, and read anew those that leave a doubt. `Conflict` names the first that is another one."""
        try:
            now = take(self.name, self.files, self.format, self.facts)
        except NotFound:
            difference = "it is gone"
        except InvalidInput as error:
            difference = error.cause
        else:
            if now.digest == self.digest:
                self.facts = now.facts  # stamps may be newer, the content is the same
                return
            difference = self._difference(now)
        raise Conflict(
            f"the data set {self.name!r} changed while it was used: {difference}",
            "start again, and it is read as it is now; write new files beside the old ones and move them in between runs",
        )

    def _difference(self, now: Snapshot) -> str:
        gone, come = self.facts.keys() - now.facts.keys(), now.facts.keys() - self.facts.keys()
        if gone or come:
            return f"{min(gone)} is gone" if gone else f"{min(come)} is new"
        return f"{next(path for path, facts in self.facts.items() if facts.sha256 != now.facts[path].sha256)} has other bytes"


def take(name: str, files: Files, file_format: Format, known: Mapping[str, Facts]) -> Snapshot:
    """The content now. Only files that `known` does not vouch for are read; `Transient` where they change all the while."""
    facts = dict(known)
    for _ in range(_MOST_ROUNDS):
        entries = files.entries()
        if not entries:
            raise NotFound(
                f"the data set {name!r} has no {file_format.name} files",
                f"files are known by {' '.join(file_format.suffixes)}; another format is said by `format` in forge.yaml",
            )
        unknown = [entry for entry in entries if entry.path not in facts or not facts[entry.path].hold_for(entry)]
        if not unknown:
            return Snapshot(name, files, file_format, {entry.path: facts[entry.path] for entry in entries})
        facts.update((found.entry.path, found) for found in _read(files, file_format, unknown))
        if files.entries() == entries:
            return Snapshot(name, files, file_format, {entry.path: facts[entry.path] for entry in entries})
    raise Transient(f"the files of {name!r} change while they are read", "wait until they are written")


def _read(files: Files, file_format: Format, entries: Sequence[Entry]) -> Iterable[Facts]:
    if len(entries) == 1:
        return [_facts(files, file_format, entries[0])]
    with ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(lambda entry: _facts(files, file_format, entry), entries))


def _facts(files: Files, file_format: Format, entry: Entry) -> Facts:
    read_at = time.time_ns()  # before the read, so that a change during it leaves a doubt
    with files.open(entry) as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    schema, rows = inspect(file_format, files.arrow, files.address(entry), entry.path)
    return Facts(entry, sha256, rows, schema, read_at)


def _united(facts: Iterable[Facts]) -> pa.Schema:
    """Numbers widen and missing columns are null; anything else that differs is `InvalidInput` naming the column and two files."""
    distinct: dict[pa.Schema, str] = {}
    for one in facts:
        distinct.setdefault(pa.schema([column.with_type(_PLAIN.get(column.type, column.type)) for column in one.schema]), one.entry.path)
    (united, first), *others = distinct.items()
    for schema, path in others:
        try:
            merged = pa.unify_schemas([united, schema], promote_options="permissive")
        except pa.ArrowException:
            column = next(name for name in united.names if name in schema.names and not _fit(united.field(name), schema.field(name)))
            kinds = f"{united.field(column).type} in {first} and {schema.field(column).type} in {path}"
            raise InvalidInput(f"column {column!r} is {kinds}", "write both files with one type") from None
        partial = set(united.names) ^ set(schema.names)
        united = pa.schema([one.with_nullable(True) if one.name in partial else one for one in merged])
    return united


def _fit(left: pa.Field, right: pa.Field) -> bool:
    try:
        pa.unify_schemas([pa.schema([left]), pa.schema([right])], promote_options="permissive")
    except pa.ArrowException:
        return False
    return True
