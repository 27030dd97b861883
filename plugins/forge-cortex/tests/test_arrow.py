from __future__ import annotations

import json

import pyarrow as pa
import pytest

from forge_core.faults import InvalidInput
from forge_cortex.server import arrow
from forge_cortex.server.messages import Field
from forge_cortex.server.signature import Signature

SCHEMA = pa.schema(
    [
        pa.field("f", pa.float64(), False), pa.field("g", pa.float32()), pa.field("h", pa.float16()), pa.field("i", pa.int16()), pa.field("u", pa.uint64()),
        pa.field("s", pa.string()), pa.field("d", pa.dictionary(pa.int32(), pa.string())), pa.field("b", pa.bool_()), pa.field("t", pa.timestamp("us")),
        pa.field("z", pa.timestamp("ns", tz="Europe/Berlin")), pa.field("day", pa.date32()),
    ]
)  # fmt: skip
FIELDS = [Field(one.name, str(one.type), one.nullable) for one in SCHEMA]


def test_every_type_is_found_again_from_its_text():
    kinds = [*SCHEMA.types, pa.list_(pa.float32()), pa.decimal128(10, 2), pa.large_string(), pa.date64(), pa.time64("us"), pa.binary()]
    assert [arrow.data_type(str(kind)) for kind in kinds] == kinds


def test_json_rows_arrive_as_columns_of_the_signature():
    row = {
        "f": 1, "g": 0.5, "h": 2.0, "i": -3, "u": 2**64 - 1, "s": "x", "d": "AA", "b": True, "t": "2013-01-01T05:00:00",
        "z": "2013-01-01T05:00:00+01:00", "day": "2013-01-02",
    }  # fmt: skip
    empty = {**dict.fromkeys(row), "f": 2}
    signature, reader = Signature(FIELDS), arrow.Reader(FIELDS)
    packed = signature.pack(signature.rows(json.dumps({"dataframe_records": [row, empty]}).encode()))
    table = reader.table(reader.unpack(packed))
    assert table.schema == SCHEMA
    assert table.column("u").to_pylist() == [2**64 - 1, None]
    assert table.column("d").to_pylist() == ["AA", None]
    assert str(table.column("z")[0]) == "2013-01-01 05:00:00+01:00"


def test_a_stream_is_cast_without_loss():
    table = arrow.Reader([Field("x", "double", False), Field("n", "int8", True)]).stream(
        arrow.to_stream(pa.table({"n": pa.array([1, None], pa.int64()), "x": pa.array([1, 2], pa.int32()), "more": ["a", "b"]}))
    )
    assert table.to_pylist() == [{"x": 1.0, "n": 1}, {"x": 2.0, "n": None}]


@pytest.mark.parametrize(
    "table",
    [
        pa.table({"y": [1.0]}),
        pa.table({"x": ["a"]}),
        pa.table({"x": pa.array([None], pa.float64())}),
        pa.table({"x": [float("nan")]}),
        pa.table({"x": [float("inf")]}),
        pa.table([[1.0], [2.0]], names=["x", "x"]),
    ],
    ids=["missing", "type", "null", "nan", "inf", "twice"],
)
def test_v5_a_stream_that_does_not_fit_is_refused_by_name(table):
    with pytest.raises(InvalidInput, match="'x'"):
        arrow.Reader([Field("x", "double", False)]).stream(arrow.to_stream(table))


@pytest.mark.parametrize("body", [b"", b"ARROW1", b"\xff" * 64, arrow.to_stream(pa.table({"x": [1.0] * 100}))[:-300]])
def test_v5_bytes_that_are_no_stream_are_refused(body):
    with pytest.raises(InvalidInput):
        arrow.Reader([Field("x", "double", False)]).stream(body)


def test_an_example_fits_any_signature():
    strict = [Field(one.name, one.type, False) for one in FIELDS]
    assert arrow.Reader(strict).example().num_rows == 1
    assert arrow.Reader(FIELDS).example().num_rows == 1
