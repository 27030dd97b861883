"""One query over one snapshot, read again and again: conditions, then sample, order and limit, then masks.

All of it happens as batches stream by; only `order_by` holds the rows it sorts in memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from attrs import field, frozen

from forge_core.faults import InvalidInput
from forge_core.records.data import Column, Query
from forge_lake.conditions import column_of, expression
from forge_lake.masks import hashed, require_hashable
from forge_lake.snapshot import Snapshot

_SEEDS = 1 << 128
_DRAWS = 1 << 64


@frozen
class Scan:
    """`open` starts a pass. It ends in `Conflict` where the files are not, or are no longer, those of the snapshot."""

    snapshot: Snapshot
    query: Query
    schema: pa.Schema
    limit: int | None
    batch_rows: int
    mask_key: bytes = field(repr=False)

    @property
    def columns(self) -> tuple[Column, ...]:
        return columns_of(self.schema)

    def open(self) -> pa.RecordBatchReader:
        self.snapshot.verify()
        return pa.RecordBatchReader.from_batches(self.schema, self._pass())

    def _pass(self) -> Iterator[pa.RecordBatch]:
        try:
            for batch in self._limited(self._ordered(self._sampled(self._scanned()))):
                yield self._masked(batch)
        except (pa.ArrowException, OSError) as error:
            self.snapshot.verify()  # a file that changed explains it better
            lines = str(error).replace(self.snapshot.files.key, "").splitlines()
            raise InvalidInput(
                f"the data set {self.query.dataset!r} cannot be read: {lines[0] if lines else type(error).__name__}",
                f"forge data validate {self.query.dataset}",
            ) from error
        self.snapshot.verify()

    def _scanned(self) -> Iterable[pa.RecordBatch]:
        # a column masked to null is never read
        read = [name for name in self.schema.names if self.query.masked.get(name) != "null"]
        scanner = self.snapshot.dataset.scanner(
            columns={name: pc.field(name) for name in dict.fromkeys((*read, *self.query.order_by))},
            filter=expression(self.query.where, self.snapshot.schema, self.snapshot.views),
            batch_size=self.batch_rows,
            **self._ahead(),
        )
        return (batch for batch in scanner.to_batches() if batch.num_rows)

    def _ahead(self) -> dict[str, int]:
        """How many batches and files Arrow decodes before they are asked for. Its own default holds millions of rows in memory."""
        if self.limit is not None and not self.query.order_by:
            return {"batch_readahead": 1, "fragment_readahead": 1}  # the rest is likely not wanted
        small = all(facts.rows is not None and facts.rows <= self.batch_rows for facts in self.snapshot.facts.values())
        return {"batch_readahead": 2, "fragment_readahead": 4 if small else 1}

    def _sampled(self, batches: Iterable[pa.RecordBatch]) -> Iterable[pa.RecordBatch]:
        """The n-th row that meets the conditions is taken by the n-th draw, however the rows are cut into batches."""
        if self.query.sample is None or self.query.sample == 1:
            return batches
        draws = np.random.Philox(key=self.query.seed % _SEEDS)  # its raw stream is the same in every release of numpy
        threshold = np.uint64(self.query.sample * _DRAWS)
        return map(partial(_drawn, draws=draws, threshold=threshold), batches)

    def _ordered(self, batches: Iterable[pa.RecordBatch]) -> Iterable[pa.RecordBatch]:
        """Rows that are equal in all of `order_by` keep the order of the files; nulls come last."""
        if not self.query.order_by:
            return batches
        held = list(batches)
        if not held:
            return held
        table = pa.Table.from_batches(held)
        del held
        rows = pc.sort_indices(table, [(name, "ascending") for name in self.query.order_by])
        return (
            batch
            for start in range(0, len(rows), self.batch_rows)
            for batch in table.take(rows.slice(start, self.batch_rows)).combine_chunks().to_batches()
        )

    def _limited(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        left = self.limit
        if left == 0:
            return
        for batch in batches:
            if left is None:
                yield batch
                continue
            yield batch.slice(0, left)
            left -= batch.num_rows
            if left <= 0:
                return

    def _masked(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        def values(column: pa.Field) -> pa.Array:
            match self.query.masked.get(column.name):
                case "null":
                    return pa.nulls(batch.num_rows, column.type)
                case "hash":
                    return hashed(batch.column(column.name), self.mask_key)
                case _:
                    return batch.column(column.name)

        return pa.RecordBatch.from_arrays([values(column) for column in self.schema], schema=self.schema)


def prepare(snapshot: Snapshot, query: Query, limit: int | None, batch_rows: int, mask_key: bytes) -> Scan:
    """Check a query against what lies there. `InvalidInput` names the column, and the nearest one where it is unknown."""
    known = snapshot.schema
    if query.sample is not None and not 0 < query.sample <= 1:
        raise InvalidInput(f"sample is {query.sample}, which is no part of the rows", "give a number above 0 and up to 1")
    if limit is not None and limit < 0:
        raise InvalidInput(f"limit is {limit}", "give 0 or more, or none")
    names = known.names if query.columns is None else query.columns
    if not names or len(set(names)) < len(names):
        raise InvalidInput("columns must name at least one column, and each once", "leave columns out to read them all")
    for condition in query.where:
        if condition.column in query.masked:
            raise InvalidInput(f"column {condition.column!r} is masked and may not stand in a condition", "drop the condition")
    expression(query.where, known, snapshot.views)
    _require_sortable(query, known)
    return Scan(snapshot, query, pa.schema([_seen(column_of(name, known), query) for name in names]), limit, batch_rows, mask_key)


def columns_of(schema: pa.Schema) -> tuple[Column, ...]:
    return tuple(Column(one.name, str(one.type), one.nullable) for one in schema)


def _seen(column: pa.Field, query: Query) -> pa.Field:
    match query.masked.get(column.name):
        case None:
            return column.remove_metadata()
        case "null":
            return pa.field(column.name, column.type)
        case "hash":
            require_hashable(column)
            return pa.field(column.name, pa.string())
        case unknown:
            raise InvalidInput(f"column {column.name!r} has the mask {unknown!r}", "a mask is null or hash")


def _require_sortable(query: Query, known: pa.Schema) -> None:
    for name in query.order_by:
        column = column_of(name, known)
        if name in query.masked:
            raise InvalidInput(f"column {name!r} is masked and may not be ordered by", "order by another column")
        try:
            pc.sort_indices(pa.table({name: pa.nulls(0, column.type)}), [(name, "ascending")])
        except pa.ArrowException:
            raise InvalidInput(f"column {name!r} of type {column.type} has no order", "order by another column") from None


def _drawn(batch: pa.RecordBatch, draws: np.random.Philox, threshold: np.uint64) -> pa.RecordBatch:
    return batch.filter(pa.array(draws.random_raw(batch.num_rows) < threshold))
