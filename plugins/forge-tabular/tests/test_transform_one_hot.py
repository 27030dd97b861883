from __future__ import annotations

import datetime

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge_core.faults import ConfigError, InvalidInput
from forge_core.wiring import build
from forge_tabular.transforms.one_hot import OneHot


def one_hot(**config):
    return build(OneHot, config, lambda *_: None)


def learned(values, applied=None, kind=None, **config):
    made = one_hot(columns=["c"], **config)
    state = made.fit(pa.table({"c": pa.array(values, kind)}))
    return made.apply(pa.table({"c": pa.array(values if applied is None else applied, kind)}), state).to_pydict()


def test_each_category_is_a_column_of_zeros_and_ones():
    assert learned(["b", "a", "b"]) == {"c_a": [0, 1, 0], "c_b": [1, 0, 1]}
    assert learned([True, False]) == {"c_false": [0, 1], "c_true": [1, 0]}
    assert learned([10, 9, 10], kind=pa.int16()) == {"c_9": [0, 1, 0], "c_10": [1, 0, 1]}


@given(st.permutations(["a", "b", "b", "c", "c", "c", "d", None]))
def test_the_columns_do_not_depend_on_the_order_of_the_rows(values):
    assert list(learned(values)) == ["c_a", "c_b", "c_c", "c_d"]
    assert list(learned(values, max_categories=2)) == ["c_b", "c_c"]
    assert list(learned(values, max_categories=3, unknown="other", nulls="column")) == ["c_a", "c_b", "c_c", "c_other", "c_null"]


def test_a_category_that_was_not_learned_is_all_zeros_or_other():
    assert learned(["a", "b"], ["a", "z", None]) == {"c_a": [1, 0, 0], "c_b": [0, 0, 0]}
    assert learned(["a", "b"], ["a", "z", None], unknown="other") == {"c_a": [1, 0, 0], "c_b": [0, 0, 0], "c_other": [0, 1, 0]}
    assert learned(["a", "a", "b"], unknown="other", max_categories=1) == {"c_a": [1, 1, 0], "c_other": [0, 0, 1]}


def test_a_null_is_all_zeros_or_a_column():
    assert learned(["a", None]) == {"c_a": [1, 0]}
    assert learned(["a", None], nulls="column") == {"c_a": [1, 0], "c_null": [0, 1]}
    assert learned([None, None], nulls="column", unknown="other") == {"c_other": [0, 0], "c_null": [1, 1]}


def test_the_type_at_serving_may_be_a_wider_one():
    made = one_hot(columns=["c"])
    state = made.fit(pa.table({"c": pa.array([1, 2], pa.int8())}))
    assert made.apply(pa.table({"c": pa.array([2], pa.int64())}), state).to_pydict() == {"c_1": [0], "c_2": [1]}
    text = made.fit(pa.table({"c": pa.array(["a", "b"]).dictionary_encode()}))
    assert made.apply(pa.table({"c": pa.array(["b"], pa.large_string())}), text).to_pydict() == {"c_a": [0], "c_b": [1]}
    with pytest.raises(InvalidInput, match="'c' is string, and its categories are int64"):
        made.apply(pa.table({"c": ["x"]}), state)


@pytest.mark.parametrize("values", [[1.5], [datetime.date(2013, 1, 1)], [[1]]])
def test_what_is_no_category_is_refused(values):
    with pytest.raises(InvalidInput, match="has no categories"):
        learned(values)


def test_columns_of_one_name_are_refused():
    with pytest.raises(InvalidInput, match="'c_other'"):
        learned(["other", "a"], unknown="other")
    with pytest.raises(InvalidInput, match="'a_b_c'"):
        one_hot(columns=["a", "a_b"]).fit(pa.table({"a": ["b_c"], "a_b": ["c"]}))
    made = one_hot(columns=["c"])
    with pytest.raises(InvalidInput, match="'c_a' is there already"):
        made.apply(pa.table({"c": ["a"], "c_a": [1]}), made.fit(pa.table({"c": ["a"]})))


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"columns": []},
        {"columns": "c"},
        {"columns": ["c"], "unknown": "drop"},
        {"columns": ["c"], "max_categories": 0},
        {"columns": ["c"], "column": 1},
    ],
)
def test_settings_are_strict(config):
    with pytest.raises(ConfigError):
        one_hot(**config)
