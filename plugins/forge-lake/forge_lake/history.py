"""Registered data sets and their versions, in the project's database.

The same content is the same version, whoever registers it and however often. A version's number comes from its table's
key; whoever adds one holds the data set's row meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime

import sqlalchemy as sa
from attrs import asdict, frozen

from forge_core.database import Database
from forge_core.faults import Conflict
from forge_core.operations import current, describe
from forge_core.serialize import to_json
from forge_lake.records import RegisteredVersion
from forge_lake.snapshot import Snapshot

METADATA = sa.MetaData()
DATASETS = sa.Table(
    "lake_datasets",
    METADATA,
    sa.Column("tenant", sa.String(100), primary_key=True),
    sa.Column("name", sa.String(200), primary_key=True),
    sa.Column("path", sa.Text, nullable=False),  # empty: where forge.yaml or the name says
    sa.Column("format", sa.String(40), nullable=False),
)
VERSIONS = sa.Table(
    "lake_versions",
    METADATA,
    sa.Column("tenant", sa.String(100), primary_key=True),
    sa.Column("name", sa.String(200), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("digest", sa.String(64), nullable=False),
    sa.Column("label", sa.String(100)),
    sa.Column("rows", sa.BigInteger),
    sa.Column("files", sa.Integer, nullable=False),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("registered_at", sa.String(40), nullable=False),
    sa.Column("registered_by", sa.Text, nullable=False),
    sa.UniqueConstraint("tenant", "name", "digest"),
    sa.UniqueConstraint("tenant", "name", "label"),
    sa.ForeignKeyConstraint(["tenant", "name"], ["lake_datasets.tenant", "lake_datasets.name"]),
)


@frozen
class Registered:
    """Where a registered data set lies, as somebody said it."""

    name: str
    path: str
    format: str


class History:
    """Of the acting tenant alone."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._there = False

    def datasets(self) -> Sequence[Registered]:
        return self._datasets(sa.true())

    def dataset(self, name: str) -> Registered | None:
        return next(iter(self._datasets(DATASETS.c.name == name)), None)

    def versions(self, name: str) -> Sequence[RegisteredVersion]:
        """Oldest first."""
        with self._read() as connection:
            return _versions(connection, name) if connection is not None else ()

    def register(self, snapshot: Snapshot, label: str | None, where: Registered | None) -> None:
        """Record what a snapshot holds; `where` is None for a data set of forge.yaml, which may move.

        `Conflict` where the name is registered elsewhere, or a label would have to move. Nothing is written where the
        same content is registered already.
        """
        name = snapshot.name
        if _is_settled(self.dataset(name), self.versions(name), snapshot, label, where):
            return
        self._database.prepare("forge-lake", METADATA, version=1)
        with self._database.transaction() as connection:
            place = _held(connection, where or Registered(name, "", snapshot.format.name))
            found = _versions(connection, name)
            if _is_settled(place, found, snapshot, label, where):
                return  # by somebody else, just now
            before = _same(found, snapshot)
            if before is None:
                number = 1 + max((one.number for one in found), default=0)  # the row of the data set is held, the key guards
                connection.execute(VERSIONS.insert().values(_row(number, snapshot, label)))
            else:
                connection.execute(VERSIONS.update().where(*_of(VERSIONS, name), VERSIONS.c.number == before.number).values(label=label))
            after = _same(_versions(connection, name), snapshot)
            describe(before=to_json(before) if before is not None else None, after=to_json(after))

    def _datasets(self, where: sa.ColumnElement[bool]) -> Sequence[Registered]:
        with self._read() as connection:
            if connection is None:
                return ()
            query = sa.select(DATASETS.c.name, DATASETS.c.path, DATASETS.c.format)
            rows = connection.execute(query.where(DATASETS.c.tenant == _tenant(), where).order_by(DATASETS.c.name))
            return tuple(Registered(*row) for row in rows)

    @contextmanager
    def _read(self) -> Iterator[sa.Connection | None]:
        """None where nothing was registered in this project yet, and so no table was made: reading makes none."""
        if not self._database.exists:
            yield None
            return
        with self._database.read() as connection:
            self._there = self._there or sa.inspect(connection).has_table(VERSIONS.name)
            yield connection if self._there else None


def _is_settled(
    place: Registered | None, found: Sequence[RegisteredVersion], snapshot: Snapshot, label: str | None, where: Registered | None
) -> bool:
    """Whether this content is registered already as it is asked for. `Conflict` where something else stands in the way."""
    if place is None:
        return False
    if where is not None and place != where:
        raise Conflict(
            f"the data set {place.name!r} is registered already, with the path {place.path!r} and as {place.format}",
            "register the other one under another name, or list it in forge.yaml",
        )
    same = _same(found, snapshot)
    owner = next((one for one in found if label is not None and one.label == label), None)
    if owner is not None and owner is not same:
        raise Conflict(f"the label {label!r} is version {owner.number} of {place.name!r}, which has other content", "choose another label")
    if same is not None and label is not None and same.label not in {None, label}:
        raise Conflict(f"version {same.number} of {place.name!r} is labelled {same.label!r}", "keep that label: labels do not move")
    return same is not None and label in {None, same.label}


def _same(found: Sequence[RegisteredVersion], snapshot: Snapshot) -> RegisteredVersion | None:
    return next((one for one in found if one.digest == snapshot.digest), None)


def _held(connection: sa.Connection, wanted: Registered) -> Registered:
    """The data set's row, made where it is missing; locked until the transaction ends where the database locks rows."""
    exists = sa.select(DATASETS.c.name).where(*_of(DATASETS, wanted.name))
    if connection.execute(exists).first() is None:
        with suppress(sa.exc.IntegrityError), connection.begin_nested():  # somebody else may make it just now
            connection.execute(DATASETS.insert().values(tenant=_tenant(), **asdict(wanted)))
    found = sa.select(DATASETS.c.name, DATASETS.c.path, DATASETS.c.format).where(*_of(DATASETS, wanted.name)).with_for_update()
    return Registered(*connection.execute(found).one())


def _versions(connection: sa.Connection, name: str) -> tuple[RegisteredVersion, ...]:
    rows = connection.execute(sa.select(VERSIONS).where(*_of(VERSIONS, name)).order_by(VERSIONS.c.number)).mappings()
    return tuple(
        RegisteredVersion(
            dataset=row["name"],
            number=row["number"],
            digest=row["digest"],
            label=row["label"],
            rows=row["rows"],
            files=row["files"],
            size=row["size"],
            registered_at=datetime.fromisoformat(row["registered_at"]),
            registered_by=row["registered_by"],
        )
        for row in rows
    )


def _row(number: int, snapshot: Snapshot, label: str | None) -> dict[str, object]:
    return {
        "tenant": _tenant(),
        "name": snapshot.name,
        "number": number,
        "digest": snapshot.digest,
        "label": label,
        "rows": snapshot.rows,
        "files": len(snapshot.facts),
        "size": snapshot.size,
        "registered_at": datetime.now(UTC).isoformat(),
        "registered_by": current().principal.name,
    }


def _of(table: sa.Table, name: str) -> tuple[sa.ColumnElement[bool], sa.ColumnElement[bool]]:
    return table.c.tenant == _tenant(), table.c.name == name


def _tenant() -> str:
    return current().principal.tenant
