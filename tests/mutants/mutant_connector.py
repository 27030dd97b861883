"""Wrong connectors: versions, limits, conditions, masks, samples, orders and names."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence, Set
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from attrs import evolve
from mutant_swap import swap

from forge_core.records.data import Condition, DatasetVersion, Query, TrainingData
from forge_lake import conditions, connector, names, places, scan, snapshot
from forge_lake.conditions import expression
from forge_lake.connector import LakeServiceConnector
from forge_lake.facts import Facts
from forge_lake.files import Entry, Files, LocalFiles
from forge_lake.formats import Format
from forge_lake.scan import Scan, prepare
from forge_lake.snapshot import Snapshot


class DigestOfSizes(LakeServiceConnector):
    """A data set's digest is over the names and sizes of its files, so that another value of equal size is not seen."""

    suite: ClassVar[str] = "forge_lake.testing:TestLake"

    def open(self) -> None:
        swap(snapshot, "_facts", _facts_of_sizes)


_right_facts = snapshot._facts


def _facts_of_sizes(files: Files, file_format: Format, entry: Entry) -> Facts:
    named = hashlib.sha256(f"{entry.path} {entry.size}".encode()).hexdigest()
    return evolve(_right_facts(files, file_format, entry), sha256=named)


class SecondsOfChange(LakeServiceConnector):
    """A file of the same size that was changed within the same second counts as unchanged."""

    suite: ClassVar[str] = "forge_lake.testing:TestLake"

    def open(self) -> None:
        swap(Facts, "hold_for", _hold_for)


def _hold_for(self: Facts, entry: Entry) -> bool:
    same = (entry.path, entry.size) == (self.entry.path, self.entry.size)
    return same and (entry.changed or 0) // 10**9 == (self.entry.changed or 0) // 10**9


class ChangeUnseen(LakeServiceConnector):
    """A pass reads what lies there, whether it is the version that was resolved or not."""

    suite: ClassVar[str] = "forge_lake.testing:TestLake"

    def open(self) -> None:
        swap(Snapshot, "verify", lambda self: None)


class ResolveRemembers(LakeServiceConnector):
    """Resolving a query writes down what was found."""

    suite: ClassVar[str] = "forge_lake.testing:TestLake"

    def resolve(self, query: Query) -> DatasetVersion:
        return self._version(query, self._snapshot(self._place(query.dataset), query.dataset, keep=True))


class LimitBeforeWhere(LakeServiceConnector):
    """A limit counts the rows that are read, before `where` leaves some of them out."""

    suite: ClassVar[str] = "forge_lake.testing:TestLake"

    def fetch_training_data(self, query: Query, limit: int | None = None) -> TrainingData:
        right = super().fetch_training_data(query, limit)
        if limit is None or not query.where:
            return right
        everything = super().fetch_training_data(evolve(query, where=(), columns=None), limit)

        def opened() -> pa.Table:
            table = pa.table(everything)
            found = table.filter(expression(query.where, table.schema))
            return found.select([column.name for column in right.columns])

        return evolve(right, open=opened)


class LimitAfterAll(LakeServiceConnector):
    """A limit is applied when all rows have been read into memory."""

    suite: ClassVar[str] = "forge_lake.testing:TestLake"

    def open(self) -> None:
        swap(scan, "Scan", _Hoarding)


class _Hoarding(Scan):
    def _limited(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        return super()._limited(list(batches))


class OrderOfBatches(LakeServiceConnector):
    """`order_by` puts the rows of each batch in order."""

    suite: ClassVar[str] = "forge_lake.testing:TestLake"

    def open(self) -> None:
        swap(scan, "Scan", _Piecewise)


class _Piecewise(Scan):
    def _ordered(self, batches: Iterable[pa.RecordBatch]) -> Iterable[pa.RecordBatch]:
        if not self.query.order_by:
            return batches
        return (batch.sort_by([(name, "ascending") for name in self.query.order_by]) for batch in batches)


class SampleDrawnAnew(LakeServiceConnector):
    """A sample is drawn anew in each pass, whatever the seed."""

    suite: ClassVar[str] = "forge_lake.testing:TestLake"

    def open(self) -> None:
        swap(scan, "Scan", _Unseeded)


class _Unseeded(Scan):
    def _sampled(self, batches: Iterable[pa.RecordBatch]) -> Iterable[pa.RecordBatch]:
        if self.query.sample is None:
            return batches
        chance = np.random.default_rng()
        return (batch.filter(pa.array(chance.random(batch.num_rows) < self.query.sample)) for batch in batches)


class NullIsUnequal(LakeServiceConnector):
    """A null meets `!=` and `not_in`, as it does in pandas."""

    suite: ClassVar[str] = "forge_lake.testing:TestLake"

    def open(self) -> None:
        swap(conditions, "_bound", _bound)


_right_bound = conditions._bound


def _bound(condition: Condition, schema: pa.Schema, views: Set[str]) -> pc.Expression:
    made = _right_bound(condition, schema, views)
    return made | pc.field(condition.column).is_null() if condition.operator in {"!=", "not_in"} else made


class MaskWithoutKey(LakeServiceConnector):
    """A masked column is hashed without a key, so that whoever knows a value knows its hash."""

    suite: ClassVar[str] = "forge_lake.testing:TestLake"

    def open(self) -> None:
        swap(scan, "hashed", _hashed)


def _hashed(values: pa.Array, key: bytes) -> pa.Array:
    texts = pc.cast(values, pa.string()).to_pylist()
    return pa.array([None if text is None else hashlib.sha256(text.encode()).hexdigest() for text in texts], pa.string())


class MaskedCondition(LakeServiceConnector):
    """A masked column may stand in a condition, which tells its values by and by."""

    suite: ClassVar[str] = "forge_lake.testing:TestLake"

    def open(self) -> None:
        swap(connector, "prepare", _prepare)


def _prepare(found: Snapshot, query: Query, limit: int | None, batch_rows: int, mask_key: bytes) -> Scan:
    expression(query.where, found.schema, found.views)
    return evolve(prepare(found, evolve(query, where=()), limit, batch_rows, mask_key), query=query)


class AnyName(LakeServiceConnector):
    """A data set's name may lead out of the root."""

    suite: ClassVar[str] = "forge_lake.testing:TestLake"

    def open(self) -> None:
        for module in (connector, places):
            swap(module, "dataset_name", str)
        swap(places, "relative_path", str)
        swap(LocalFiles, "_require_inside", _require_nothing)


def _require_nothing(self: LocalFiles, path: Path, shown: str = "") -> None:
    return


class NoNearest(LakeServiceConnector):
    """An unknown column is told without the nearest one."""

    suite: ClassVar[str] = "forge_lake.testing:TestLake"

    def open(self) -> None:
        swap(conditions, "hint", _no_hint)


def _no_hint(name: str, known: Iterable[str], otherwise: str) -> str:
    return names.hint(name, (), "look at the data set's schema")


class EmptyOfEverything(LakeServiceConnector):
    """Where no row meets the conditions, the answer has no columns either."""

    suite: ClassVar[str] = "forge_lake.testing:TestLake"

    def open(self) -> None:
        swap(scan, "Scan", _FromBatches)


class _FromBatches(Scan):
    def open(self) -> Any:
        self.snapshot.verify()
        passing = self._pass()
        first: Sequence[pa.RecordBatch] = [batch for batch in [next(passing, None)] if batch is not None]
        schema = first[0].schema if first else pa.schema([])
        return pa.RecordBatchReader.from_batches(schema, _chained(first, passing))


def _chained(first: Iterable[pa.RecordBatch], others: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    yield from first
    yield from others
