from __future__ import annotations

import math
import statistics

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forge_core.faults import ConfigError, InvalidInput
from forge_core.wiring import build
from forge_tabular.transforms.aggregate import Aggregate

ALL = ["sum", "mean", "std", "var", "min", "max", "count", "count_distinct"]


def aggregate(table, group_by=("g",), target=None, **functions):
    config = {"group_by": list(group_by), "aggregations": [{"column": name, "functions": list(asked)} for name, asked in functions.items()]}
    made = build(Aggregate, config | ({"target": target} if target else {}), lambda *_: None)
    assert made.fit(table) == {}
    return made.apply(table, {}).to_pydict()


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.none() | st.integers(-1000, 1000)), min_size=1, max_size=40))
def test_functions_are_over_the_known_values_of_each_group(pairs):
    found = aggregate(pa.table({"g": [key for key, _ in pairs], "v": pa.array([value for _, value in pairs], pa.int64())}), v=ALL)
    groups = list(dict.fromkeys(key for key, _ in pairs))  # in the order in which they first appear
    assert found["g"] == groups
    for position, group in enumerate(groups):
        known = [value for key, value in pairs if key == group and value is not None]
        expected = {
            "sum": sum(known) if known else None,
            "mean": statistics.mean(known) if known else None,
            "std": statistics.stdev(known) if len(known) > 1 else None,
            "var": statistics.variance(known) if len(known) > 1 else None,
            "min": min(known, default=None),
            "max": max(known, default=None),
            "count": len(known),
            "count_distinct": len(set(known)),
        }
        for name, value in expected.items():
            assert found[f"v_{name}"][position] == (None if value is None else pytest.approx(value))


def test_columns_are_named_after_their_function_and_others_are_dropped():
    table = pa.table({"g": [1, 1, 2], "v": [1.0, 2.0, 3.0], "w": [1, 2, 3], "note": ["x", "y", "z"]})
    assert aggregate(table, v=["sum", "count"], w=["max"]) == {"g": [1, 2], "v_sum": [3.0, 3.0], "v_count": [2, 1], "w_max": [2, 3]}


def test_not_a_number_is_left_out_as_null_is():
    assert aggregate(pa.table({"g": [1, 1], "v": [math.nan, 3.0]}), v=["mean", "count", "max"]) == {
        "g": [1],
        "v_mean": [3.0],
        "v_count": [1],
        "v_max": [3.0],
    }


def test_groups_can_be_of_several_columns_and_of_nulls():
    table = pa.table({"g": ["a", None, "a", None], "h": [1, 1, 2, 1], "v": [1, 2, 3, 4]})
    assert aggregate(table, ("g", "h"), v=["sum"]) == {"g": ["a", None, "a"], "h": [1, 1, 2], "v_sum": [1, 6, 3]}


def test_truth_values_are_summed_and_text_is_compared_and_counted():
    table = pa.table({"g": [1, 1], "f": [True, True], "s": ["x", "y"]})
    found = aggregate(table, f=["sum", "mean"], s=["min", "max", "count_distinct"])
    assert found == {"g": [1], "f_sum": [2], "f_mean": [1.0], "s_min": ["x"], "s_max": ["y"], "s_count_distinct": [2]}
    with pytest.raises(InvalidInput, match="'s' is string, which has no mean"):
        aggregate(table, s=["mean"])


@pytest.mark.parametrize("labels", [["yes", "yes", "no"], [1, 1, 0], [True, True, False], [None, None, "no"]])
def test_the_target_is_kept_where_it_is_constant(labels):
    table = pa.table({"g": ["a", "a", "b"], "v": [1, 2, 3], "churned": labels})
    assert aggregate(table, target="churned", v=["sum"])["churned"] == [labels[0], labels[2]]
    assert "churned" not in aggregate(table, v=["sum"])


@pytest.mark.parametrize("labels", [["yes", "no", "no"], ["yes", None, "no"]])
def test_the_target_is_refused_where_it_varies(labels):
    with pytest.raises(InvalidInput, match="'churned' is not constant where g = 'a'"):
        aggregate(pa.table({"g": ["a", "a", "b"], "v": [1, 2, 3], "churned": labels}), target="churned", v=["sum"])


def test_the_target_cannot_be_given_away():
    table = pa.table({"g": ["a"], "y": [1]})
    with pytest.raises(ConfigError, match="cannot be aggregated"):
        aggregate(table, target="y", y=["mean"])
    with pytest.raises(ConfigError, match="cannot be aggregated or grouped by"):
        aggregate(table, ("y",), target="y")


def test_no_rows_give_no_groups():
    table = pa.table({"g": pa.array([], pa.string()), "v": pa.array([], pa.int64()), "y": pa.array([], pa.int64())})
    assert aggregate(table, target="y", v=["sum", "std"]) == {"g": [], "v_sum": [], "v_std": [], "y": []}


def test_a_missing_column_is_refused_with_the_nearest():
    table = pa.table({"customer_id": [1], "amount": [1]})
    for wrong in (
        {"group_by": ("customer",)},
        {"group_by": ("customer_id",), "amont": ["sum"]},
        {"group_by": ("customer_id",), "target": "custmer_id"},
    ):
        with pytest.raises(InvalidInput, match="is missing") as caught:
            aggregate(table, **wrong)
        assert "did you mean" in caught.value.remedy


@pytest.mark.parametrize(
    "config",
    [
        {"group_by": []},
        {"group_by": ["g"], "aggregations": [{"column": "v", "functions": []}]},
        {"group_by": ["g"], "aggregations": [{"column": "v", "functions": ["median"]}]},
        {"group_by": ["g"], "aggregations": [{"column": "v", "functions": "sum"}]},
        {"group_by": ["g"], "aggregations": [{"columns": "v", "functions": ["sum"]}]},
    ],
)
def test_settings_are_strict(config):
    with pytest.raises(ConfigError):
        build(Aggregate, config, lambda *_: None)


def test_one_name_twice_is_refused():
    with pytest.raises(ConfigError, match="two columns 'v_sum'"):
        aggregate(pa.table({"g": [1], "v": [1]}), v=["sum", "sum"])
