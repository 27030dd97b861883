"""`forge data validate`: a whole data set read once, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from forge_core.records.data import DatasetVersion
from forge_lake import partitions
from forge_lake.facts import Facts
from forge_lake.records import DatasetInfo, Validation
from forge_lake.snapshot import Snapshot

_MOST_PROBLEMS = 20


def validate(snapshot: Snapshot, info: DatasetInfo, version: DatasetVersion) -> Validation:
    """One schema in all files, every row readable, at least one row, and the columns that forge.yaml declares."""
    rows, unreadable = _read(snapshot)
    problems = [*_schemas(snapshot), *_declared(snapshot, info), *unreadable]
    if not rows and not unreadable:
        problems.append("it has no rows")
    return Validation(version, len(snapshot.facts), rows, tuple(problems[:_MOST_PROBLEMS]))


def _schemas(snapshot: Snapshot) -> Iterator[str]:
    first, *others = snapshot.facts.values()
    for other in others:
        if (differs := _difference(first, other)) is not None:
            yield differs


def _difference(first: Facts, other: Facts) -> str | None:
    ours, theirs = first.schema, other.schema
    for name in ours.names:
        if name not in theirs.names:
            return f"{other.entry.path} lacks the column {name!r}"
        if ours.field(name).type != theirs.field(name).type:
            return f"column {name!r} is {ours.field(name).type} in {first.entry.path} and {theirs.field(name).type} in {other.entry.path}"
    more = [name for name in theirs.names if name not in ours.names]
    return f"{other.entry.path} has a column {more[0]!r} that {first.entry.path} lacks" if more else None


def _declared(snapshot: Snapshot, info: DatasetInfo) -> Iterator[str]:
    found = partitions.columns(list(snapshot.facts))
    for name in info.partitions:
        if name not in found and name not in snapshot.schema.names:
            yield f"the partition column {name!r} is neither in the folders' names nor in the files"
    for name, count in found.items():
        if count < len(snapshot.facts):
            yield f"{len(snapshot.facts) - count} of {len(snapshot.facts)} files do not lie in a folder {name}="
    if info.target is not None and info.target not in snapshot.schema.names:
        yield f"the target column {info.target!r} is not there"


def _read(snapshot: Snapshot) -> tuple[int, list[str]]:
    rows, problems = 0, []
    fragments = zip(snapshot.facts, snapshot.dataset.get_fragments(), strict=True)
    for path, fragment in fragments:
        try:
            for batch in fragment.scanner(schema=snapshot.schema).to_batches():
                batch.validate(full=True)
                rows += batch.num_rows
        except (pa.ArrowException, OSError) as error:
            lines = str(error).replace(snapshot.files.key, "").splitlines()
            problems.append(f"{path} cannot be read: {lines[0] if lines else type(error).__name__}")
    return rows, problems
