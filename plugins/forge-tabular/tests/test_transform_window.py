from __future__ import annotations

import statistics

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forge_core.faults import ConfigError, InvalidInput
from forge_core.wiring import build
from forge_tabular.transforms.window import Window

FUNCTIONS = ["lag", "rolling_mean", "rolling_sum", "rolling_min", "rolling_max", "rolling_count", "rolling_std"]


def window(table, *windows, order_by="t", partition_by=()):
    made = build(Window, {"order_by": order_by, "partition_by": list(partition_by), "windows": list(windows)}, lambda *_: None)
    assert made.fit(table) == {}
    return made.apply(table, {})


def by_hand(rows, place, function, size):
    """Over the rows of the same group at an earlier moment, in order of moment and of appearance."""
    group, moment, _ = rows[place]
    before = [value for _, (g, t, value) in sorted(enumerate(rows), key=lambda pair: (pair[1][1], pair[0])) if g == group and t < moment]
    if function == "lag":
        return before[-size] if len(before) >= size else None
    known = [value for value in before[-size:] if value is not None]
    if function == "rolling_count":
        return len(known)
    if function == "rolling_std":
        return statistics.stdev(known) if len(known) > 1 else None
    figure = {"rolling_mean": statistics.fmean, "rolling_sum": sum, "rolling_min": min, "rolling_max": max}[function]
    return figure(known) if known else None


@pytest.mark.parametrize("function", FUNCTIONS)
@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(st.tuples(st.sampled_from(["a", "b", None]), st.integers(0, 6), st.none() | st.integers(-50, 50)), max_size=25),
    size=st.integers(1, 4),
)
def test_only_earlier_moments_of_the_group_are_seen(function, rows, size):
    table = pa.table(
        {
            "g": pa.array([g for g, _, _ in rows], pa.string()),
            "t": pa.array([t for _, t, _ in rows], pa.int64()),
            "v": pa.array([v for _, _, v in rows], pa.int64()),
        }
    )
    made = window(table, {"column": "v", "function": function, "size": size}, partition_by=["g"])
    assert made.drop_columns([f"v_{function}_{size}"]) == table  # rows keep their order
    for place, value in enumerate(made[f"v_{function}_{size}"].to_pylist()):
        expected = by_hand(rows, place, function, size)
        assert value == (None if expected is None else pytest.approx(expected, abs=1e-9))


@given(st.integers(0, 9), st.integers(-1000, 1000))
def test_what_happens_now_or_later_changes_nothing(place, value):
    before = pa.table({"t": list(range(10)), "v": list(range(10))})
    after = before.set_column(1, "v", pa.array([value if row >= place else row for row in range(10)]))
    asked = [{"column": "v", "function": function, "size": 3} for function in FUNCTIONS]
    assert window(before, *asked).slice(0, place + 1).drop_columns(["v"]) == window(after, *asked).slice(0, place + 1).drop_columns(["v"])


def test_groups_can_be_of_several_columns_and_orders_of_any_kind():
    table = pa.table(
        {
            "g": ["a", "a", "b", "a"],
            "h": [1, 2, 1, 1],
            "t": ["2013-01-02", "2013-01-01", "2013-01-01", "2013-01-01"],
            "v": ["w", "x", "y", "z"],
        }
    )
    made = window(table, {"column": "v", "function": "lag"}, partition_by=["g", "h"])
    assert made["v_lag_1"].to_pylist() == ["z", None, None, None]
    assert made.schema.field("v_lag_1").type == pa.string()


def test_windows_can_be_named():
    assert window(pa.table({"t": [1, 2], "v": [5, 6]}), {"column": "v", "function": "lag", "name": "last"}).column_names == [
        "t",
        "v",
        "last",
    ]


def test_large_values_do_not_drown_small_ones():
    table = pa.table({"t": [1, 2, 3, 4, 5], "v": [1e16, 0.25, 0.5, 0.75, 0.0]})
    asked = [{"column": "v", "function": function, "size": 3} for function in ("rolling_sum", "rolling_std")]
    last = window(table, *asked).slice(4, 1).to_pydict()
    assert (last["v_rolling_sum_3"], last["v_rolling_std_3"]) == ([1.5], [0.25])


def test_no_rows_and_chunks_are_rows_too():
    table = pa.table({"t": [1, 2, 3], "g": ["a", "b", "a"], "v": [1, 2, 3]})
    asked = [{"column": "v", "function": function} for function in FUNCTIONS]
    whole = window(table, *asked, partition_by=["g"])
    assert window(table.slice(0, 0), *asked, partition_by=["g"]).schema == whole.schema
    assert window(pa.concat_tables([table.slice(0, 1), table.slice(1)]), *asked, partition_by=["g"]) == whole


def test_a_row_without_a_place_in_the_order_is_refused():
    with pytest.raises(InvalidInput, match="'t' is null in 1 rows"):
        window(pa.table({"t": [1, None], "v": [1, 2]}), {"column": "v", "function": "lag"})
    with pytest.raises(InvalidInput, match="which has no order"):
        window(pa.table({"t": [[1], [2]], "v": [1, 2]}), {"column": "v", "function": "lag"})


def test_text_rolls_not():
    with pytest.raises(InvalidInput, match="'v' is not numeric"):
        window(pa.table({"t": [1], "v": ["x"]}), {"column": "v", "function": "rolling_mean"})


def test_a_missing_column_is_refused_with_the_nearest():
    table = pa.table({"time": [1], "tailnum": ["x"], "delay": [1]})
    good = {"column": "delay", "function": "lag"}
    for asked, config in (
        (good, {"order_by": "tim"}),
        (good, {"order_by": "time", "partition_by": ["tailnumb"]}),
        ({**good, "column": "dely"}, {"order_by": "time"}),
    ):
        with pytest.raises(InvalidInput, match="is missing") as caught:
            window(table, asked, **config)
        assert "did you mean" in caught.value.remedy


def test_names_that_are_taken_are_refused():
    table = pa.table({"t": [1], "v": [1]})
    with pytest.raises(ConfigError, match="one name"):
        window(table, {"column": "v", "function": "lag"}, {"column": "v", "function": "lag"})
    with pytest.raises(ConfigError, match="'t' is there already"):
        window(table, {"column": "v", "function": "lag", "name": "t"})


@pytest.mark.parametrize("wrong", [{"size": 0}, {"size": 1.5}, {"function": "ewm"}, {"columns": ["v"]}, {"size": 20_000}])
def test_settings_are_strict(wrong):
    with pytest.raises(ConfigError):
        window(pa.table({"t": [1], "v": [1]}), {"column": "v", "function": "lag", **wrong})
