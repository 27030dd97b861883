"""Conditions pushed into the scan choose the rows that Python itself would choose."""

from __future__ import annotations

import itertools
import math
import operator
import tempfile
from collections.abc import Callable
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from forge_core.database import Database
from forge_core.faults import InvalidInput
from forge_core.records.data import Condition, Query
from forge_core.records.project import Project
from forge_lake import LakeServiceConnector
from forge_lake.conditions import expression

nan = math.nan
COMPARE = {"==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
WHOLE = [-(2**63), -3, -1, 0, 1, 2, 7, 2**53 + 1, 2**63 - 1]
MOMENTS = [datetime(2013, 1, 1, tzinfo=UTC), datetime(2013, 1, 1, 0, 0, 0, 1000, tzinfo=UTC), datetime(1969, 12, 31, 23, tzinfo=UTC)]
COLUMNS: dict[str, tuple[pa.DataType, list[Any], list[Any]]] = {  # type, values there, values asked for
    "whole": (pa.int64(), WHOLE, [*WHOLE, 1.5, -0.5, 2**70, -(2**70), math.inf, -math.inf, float(2**53)]),
    "small": (pa.int8(), [-128, -1, 0, 5, 127], [-129, -128, 0, 5, 5.5, 127, 128, 1e9]),
    "unsigned": (pa.uint64(), [0, 1, 2**64 - 1], [-1, 0, 0.5, 1, 2**64 - 1, 2**64, 1e30]),
    "real": (pa.float64(), [nan, -0.0, 0.0, 1.5, math.inf, -math.inf], [-0.0, 0.0, 0, 1.5, 2, math.inf, -math.inf]),
    "single": (pa.float32(), [nan, 0.0, 0.5, 0.10000000149011612], [0.0, 0.1, 0.5, 0.10000000149011612]),
    "text": (pa.string(), ["", "a", "b", "ä", "a'b"], ["", "a", "b", "zz", "a'b"]),
    "large": (pa.large_string(), ["a", "b"], ["a", "c"]),
    "category": (pa.dictionary(pa.int32(), pa.string()), ["a", "b", "c"], ["a", "c", "d"]),
    "coded": (pa.dictionary(pa.int8(), pa.int64()), [1, 2, 2**40], [1, 1.5, 2**70]),
    "truth": (pa.bool_(), [True, False], [True, False]),
    "money": (
        pa.decimal128(9, 2),
        [Decimal("-1.10"), Decimal("0.00"), Decimal("3.25")],
        [Decimal("3.25"), Decimal("3.255"), Decimal(0), Decimal("1e12")],
    ),
    "moment": (pa.timestamp("ms", "UTC"), MOMENTS, [*MOMENTS, datetime(2013, 1, 1, 0, 0, 0, 500, tzinfo=UTC)]),
    "day": (pa.date32(), [date(2013, 1, 1), date(1960, 2, 29)], [date(2013, 1, 1), date(1960, 2, 28)]),
    "clock": (pa.time64("us"), [time(0), time(14, 30)], [time(0), time(14, 30), time(23, 59, 59)]),
}


def meets(value: Any, sign: str, asked: Any) -> bool:
    if sign == "is_null":
        return value is None
    if value is None:
        return False
    if sign == "not_null":
        return True
    if sign in {"in", "not_in"}:
        return (value in asked) == (sign == "in") if value == value else sign == "not_in"
    return bool(COMPARE[sign](value, asked))


@st.composite
def conditions(draw: st.DrawFn) -> Condition:
    name = draw(st.sampled_from(sorted(COLUMNS)))
    asked = st.sampled_from(COLUMNS[name][2])
    sign = draw(st.sampled_from([*COMPARE, "in", "not_in", "is_null", "not_null"]))
    if sign in {"is_null", "not_null"}:
        return Condition(name, sign)
    return Condition(name, sign, draw(st.lists(asked, max_size=3)) if sign in {"in", "not_in"} else draw(asked))


@st.composite
def rows(draw: st.DrawFn) -> list[dict[str, Any]]:
    one = st.fixed_dictionaries({name: st.none() | st.sampled_from(values) for name, (_, values, _) in COLUMNS.items()})
    return draw(st.lists(one, min_size=1, max_size=12))


@settings(max_examples=80, deadline=None, phases=(Phase.explicit, Phase.reuse, Phase.generate))  # shrinking would take minutes
@given(rows(), st.lists(conditions(), min_size=1, max_size=3), st.integers(1, 4), st.integers(1, 3))
def test_a_pushed_down_condition_chooses_what_python_would(
    there: list[dict[str, Any]], where: list[Condition], group: int, files: int
) -> None:
    schema = pa.schema([("row", pa.int64()), *((name, kind) for name, (kind, _, _) in COLUMNS.items())])
    there = [{"row": number, **row} for number, row in enumerate(there)]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "rows").mkdir()
        size = -(-len(there) // files)
        for part, start in enumerate(range(0, len(there), size)):
            table = pa.Table.from_pylist(there[start : start + size], schema)
            pq.write_table(table, root / "rows" / f"{part}.parquet", row_group_size=group)
        lake = LakeServiceConnector(LakeServiceConnector.Settings(), project=Project("t", root), database=Database("sqlite://"))
        found = lake.fetch_training_data(Query("rows", columns=("row",), where=tuple(where))).open().read_all()
    expected = [row["row"] for row in there if all(meets(row[one.column], one.operator, one.value) for one in where)]
    assert found["row"].to_pylist() == expected


def test_every_operator_of_every_type_over_every_pair_of_values() -> None:
    for name, (kind, values, asked) in COLUMNS.items():
        table = pa.table({name: pa.array([*values, None], kind), "row": range(len(values) + 1)})
        for sign, value in itertools.product(COMPARE, asked):
            chosen = table.filter(expression([Condition(name, sign, value)], table.schema))["row"].to_pylist()
            assert chosen == [row for row, one in enumerate([*values, None]) if meets(one, sign, value)], (name, sign, value)


def test_a_null_category_is_found_where_a_row_group_has_nothing_else(lake: LakeServiceConnector, write: Callable[..., Path]) -> None:
    write("rows/a.parquet", pa.table({"x": pa.array(["a", None, None, "b"], pa.dictionary(pa.int32(), pa.string()))}), row_group_size=1)
    for sign, count in (("is_null", 2), ("not_null", 2)):
        assert lake.fetch_training_data(Query("rows", where=(Condition("x", sign),))).open().read_all().num_rows == count  # type: ignore[arg-type]


@pytest.mark.parametrize("condition", [Condition("x", "!=", 5.0), Condition("x", "not_in", [5.0])])
def test_not_a_number_is_unequal_where_statistics_say_all_is_equal(
    condition: Condition, lake: LakeServiceConnector, write: Callable[..., Path]
) -> None:
    write("rows/a.parquet", {"x": [5.0, nan, None]})
    assert [str(row) for row in lake.fetch_training_data(Query("rows", where=(condition,))).open().read_all()["x"]] == ["nan"]


TEXTS = [
    (pa.timestamp("us"), "2013-10-01", datetime(2013, 10, 1)),
    (pa.timestamp("us"), "2013-10-01T14:30:00", datetime(2013, 10, 1, 14, 30)),
    (pa.timestamp("ns", "Europe/Berlin"), "2013-10-01T14:30:00+02:00", datetime(2013, 10, 1, 12, 30, tzinfo=UTC)),
    (pa.timestamp("s", "UTC"), "2013-10-01T14:30:00", datetime(2013, 10, 1, 14, 30, tzinfo=UTC)),
    (pa.date32(), "2013-10-01", date(2013, 10, 1)),
    (pa.date64(), "2013-10-01", date(2013, 10, 1)),
    (pa.time32("s"), "14:30:00", time(14, 30)),
    (pa.decimal128(5, 2), "1.25", Decimal("1.25")),
    (pa.decimal128(5, 2), 1.25, Decimal("1.25")),
]


@pytest.mark.parametrize(("kind", "text", "value"), TEXTS)
def test_dates_times_and_decimals_are_given_as_text(kind: pa.DataType, text: object, value: object) -> None:
    table = pa.table({"x": pa.array([value, None], kind)})
    for sign, count in (("==", 1), ("!=", 0), ("<=", 1), ("<", 0)):
        assert table.filter(expression([Condition("x", sign, text)], table.schema)).num_rows == count


UNFIT = [
    (pa.int64(), "==", "1"), (pa.int64(), "<", True), (pa.int64(), "==", None), (pa.int64(), "==", nan), (pa.int64(), "in", 1), (pa.int64(), "in", "12"),
    (pa.float64(), ">", nan), (pa.float64(), ">", "x"), (pa.string(), "==", 1), (pa.string(), "in", ["a", None]), (pa.bool_(), "==", 1),
    (pa.date32(), "<", "yesterday"), (pa.date32(), "<", 3), (pa.timestamp("us"), "<", "2013-01-01T00:00:00Z"), (pa.timestamp("us"), "<", "2013-01-01T00:00:00.1234567"),
    (pa.time32("s"), "<", "25:00"), (pa.decimal128(5, 2), "==", "x"), (pa.list_(pa.int64()), "==", [1]), (pa.struct([("a", pa.int64())]), "<", 1),
    (pa.binary(), "==", "a"), (pa.duration("s"), "<", 1), (pa.int64(), "~", 1), (pa.int64(), "==", []), (pa.dictionary(pa.int8(), pa.string()), "==", 1),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "sign", "value"), UNFIT)
def test_a_condition_that_does_not_suit_its_column_names_it(kind: pa.DataType, sign: Any, value: object) -> None:
    with pytest.raises(InvalidInput, match="delay") as caught:
        expression([Condition("delay", sign, value)], pa.schema([("delay", kind)]))
    assert caught.value.remedy


@pytest.mark.parametrize("kind", [pa.list_(pa.int64()), pa.struct([("a", pa.int64())]), pa.duration("s"), pa.null(), pa.binary()])
def test_every_type_can_be_asked_for_null(kind: pa.DataType) -> None:
    table = pa.table({"x": pa.nulls(2, kind)})
    assert table.filter(expression([Condition("x", "is_null")], table.schema)).num_rows == 2
    assert table.filter(expression([Condition("x", "not_null")], table.schema)).num_rows == 0


def test_an_unknown_column_names_the_nearest() -> None:
    with pytest.raises(InvalidInput, match="dep_dely") as caught:
        expression([Condition("dep_dely", ">", 1)], pa.schema([("dep_delay", pa.int64()), ("carrier", pa.string())]))
    assert "dep_delay" in caught.value.remedy
