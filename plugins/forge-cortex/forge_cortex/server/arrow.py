"""Between Arrow and what travels: packed rows and IPC streams in, one table per batch; predictions out."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from forge_core.faults import InvalidInput
from forge_cortex.server.messages import Field
from forge_cortex.server.signature import Row, annotation, row_type

_SHORT = {"halffloat": "float16", "float": "float32", "double": "float64"}


def data_type(text: str) -> pa.DataType:
    """The Arrow type that prints as `text`; `InvalidInput` where this server does not know it."""
    if nested := re.fullmatch(r"dictionary<values=(.+), indices=(\w+), ordered=(\d)>", text):
        return pa.dictionary(data_type(nested[2]), data_type(nested[1]), nested[3] == "1")
    if zoned := re.fullmatch(r"timestamp\[(\w+), tz=(.+)\]", text):
        return pa.timestamp(zoned[1], tz=zoned[2])
    if listed := re.fullmatch(r"(large_)?list<\w+: (.+?)(?: not null)?>", text):
        return (pa.large_list if listed[1] else pa.list_)(data_type(listed[2]))
    if decimal := re.fullmatch(r"decimal128\((\d+), (-?\d+)\)", text):
        return pa.decimal128(int(decimal[1]), int(decimal[2]))
    try:
        return pa.type_for_alias(_SHORT.get(text, text))
    except ValueError:
        raise InvalidInput(f"no request can carry a column of type {text}", "train on columns of simpler types") from None


class Reader:
    """Makes tables of the signature's schema, from either form of a request."""

    def __init__(self, fields: Sequence[Field]) -> None:
        self.schema = pa.schema([pa.field(field.name, data_type(field.type), field.nullable) for field in fields])
        self._decode: Callable[[bytes], list[Row]] | None = None  # where only an Arrow stream carries a column, no rows come
        if all(annotation(field) is not None for field in fields):
            self._decode = msgspec.msgpack.Decoder(list[row_type(fields)]).decode  # type: ignore[misc]

    def unpack(self, body: bytes) -> list[Row]:
        if self._decode is None:
            raise InvalidInput("this model takes Arrow streams only", "send application/vnd.apache.arrow.stream")
        return self._decode(body)

    def table(self, rows: Sequence[Row]) -> pa.Table:
        """Columns of the signature's types; a value that does not fit is `InvalidInput` naming its column."""
        columns: Sequence[Sequence[Any]] = list(zip(*rows, strict=True)) or [()] * len(self.schema)
        arrays = []
        for field, values in zip(self.schema, columns, strict=True):
            try:
                arrays.append(_array(values, field.type))
            except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError, ValueError) as error:
                raise InvalidInput(f"column {field.name!r}: {_first(error)}", f"send {field.type}") from None
        return pa.Table.from_arrays(arrays, schema=self.schema)

    def stream(self, body: bytes) -> pa.Table:
        """The table of an IPC stream, cast to the schema without loss; NaN and infinities are refused as they are in JSON."""
        try:
            with pa.ipc.open_stream(body) as opened:
                table = opened.read_all()
            table.validate(full=True)
        except (pa.ArrowException, OSError, ValueError):
            raise InvalidInput("the body is not an Arrow IPC stream", "send application/vnd.apache.arrow.stream") from None
        columns = [self._column(table, field) for field in self.schema]
        return pa.Table.from_arrays(columns, schema=self.schema)

    def _column(self, table: pa.Table, field: pa.Field) -> pa.ChunkedArray:
        if (times := table.schema.names.count(field.name)) != 1:
            raise InvalidInput(f"column {field.name!r} " + (f"comes {times} times" if times else "is missing"), f"send {field.name!r} once")
        try:
            column = table.column(field.name).cast(field.type)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise InvalidInput(f"column {field.name!r}: {_first(error)}", f"send {field.type}") from None
        if column.null_count and not field.nullable:
            raise InvalidInput(f"column {field.name!r} holds nulls", "fill them in")
        if pa.types.is_floating(field.type) and not pc.all(pc.is_finite(column), skip_nulls=True, min_count=0).as_py():
            raise InvalidInput(f"column {field.name!r} holds NaN or an infinity", "send null for what is not known")
        return column

    def example(self) -> pa.Table:
        """One row to warm up with: zeros, empty texts, 1970."""
        return pa.Table.from_arrays([_example(field) for field in self.schema], schema=self.schema)


def _array(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    if pa.types.is_dictionary(kind):
        return pa.array(values, type=kind.value_type).dictionary_encode().cast(kind)
    return pa.array(values, type=kind)


def _example(field: pa.Field) -> pa.Array:
    kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return _array([""], field.type)
    if pa.types.is_temporal(kind) or pa.types.is_decimal(kind):
        return pa.array([0], pa.int32() if kind.bit_width == 32 else pa.int64()).cast(kind)
    return _array([False if pa.types.is_boolean(kind) else [] if pa.types.is_nested(kind) else 0], field.type)


def _first(error: Exception) -> str:
    return str(error).partition("\n")[0][:200]


def to_stream(table: pa.Table) -> bytes:
    """The table as an IPC stream."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    whole: bytes = sink.getvalue().to_pybytes()
    return whole
