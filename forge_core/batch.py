"""Batch prediction from file to file, batch by batch. Needs the extra `arrow`."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.csv
import pyarrow.dataset as ds
import pyarrow.json
import pyarrow.parquet as pq

from forge_core.faults import InvalidInput
from forge_core.records.data import JSON, ArrowStream

if TYPE_CHECKING:
    from forge_core.kernel import Kernel

ROWS = 65_536  # of a batch
FORMATS = {".parquet": "parquet", ".csv": "csv", ".jsonl": "json", ".json": "json"}


def predict(kernel: Kernel, name: str, source: Path, output: Path | None) -> dict[str, JSON]:
    """Predict every row of `source`; the output has its predictions, one row each, in order, or does not exist."""
    apply = _predictor(kernel, name)
    rows = 0
    if output is None:
        lines: list[str] = []
        for table in _predicted(source, apply):
            lines.extend(json.dumps(row, default=str) for row in table.to_pylist())
        return {"rows": len(lines), "lines": "\n".join(lines)}
    beside = output.with_name(f".{output.name}.{secrets.token_hex(4)}")
    sink = _Sink(beside, _format(output))
    try:
        for table in _predicted(source, apply):
            sink.write(table)
            rows += table.num_rows
        sink.close()
        os.replace(beside, output)
    finally:
        with suppress(FileNotFoundError):
            beside.unlink()
    return {"rows": rows, "output": str(output)}


def _predictor(kernel: Kernel, name: str) -> Callable[[ArrowStream], ArrowStream]:
    if "@" not in name and name in kernel.deployer.endpoints():
        return lambda data: kernel.deployer.predict(name, data)
    return kernel.load_model(name).predict


def _predicted(source: Path, apply: Callable[[ArrowStream], ArrowStream]) -> Iterator[pa.Table]:
    for batch in _batches(source):
        yield pa.table(apply(pa.Table.from_batches([batch])))


def _batches(source: Path) -> Iterator[pa.RecordBatch]:
    if not source.exists():
        raise InvalidInput(f"there is no {source.name}", "look at --input")
    try:
        for batch in ds.dataset(source, format=_format(source)).scanner(batch_size=ROWS).to_batches():
            if batch.num_rows:
                yield batch
    except (pa.ArrowInvalid, pa.ArrowTypeError, OSError) as error:
        raise InvalidInput(f"{source.name} cannot be read: {str(error).splitlines()[0]}", "Parquet, CSV or JSON lines") from None


def _format(path: Path) -> str:
    found = FORMATS.get(path.suffix.lower(), "parquet" if path.is_dir() else "")
    if not found:
        raise InvalidInput(f"{path.name} is none of {', '.join(FORMATS)}", "rename or convert it")
    return found


class _Sink:
    """Parquet, CSV or JSON lines, written as batches come."""

    def __init__(self, path: Path, kind: str) -> None:
        self._path, self._kind = path, kind
        self._parquet: pq.ParquetWriter | None = None
        self._file = path.open("wb")

    def write(self, table: pa.Table) -> None:
        if self._kind == "parquet":
            if self._parquet is None:
                self._parquet = pq.ParquetWriter(self._file, table.schema)
            self._parquet.write_table(table)
        elif self._kind == "csv":
            first = self._file.tell() == 0
            flat = table.drop_columns([one.name for one in table.schema if pa.types.is_nested(one.type)])
            pa.csv.write_csv(flat, self._file, pa.csv.WriteOptions(include_header=first))
        else:
            self._file.writelines(json.dumps(row, default=str).encode() + b"\n" for row in table.to_pylist())

    def close(self) -> None:
        if self._parquet is not None:
            self._parquet.close()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
