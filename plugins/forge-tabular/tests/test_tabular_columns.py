from __future__ import annotations

import datetime
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest

from forge_core.faults import InvalidInput
from forge_tabular.columns import column_of, matrix, table_of, vector


def test_numbers_of_every_type_become_one_matrix_with_nan_for_null():
    table = pa.table(
        {
            "whole": pa.array([1, None], pa.int16()),
            "large": pa.array([2**40, 1], pa.uint64()),
            "real": pa.array([0.5, None], pa.float32()),
            "half": pa.array(np.array([0.5, 1.5], np.float16)),
            "truth": [True, None],
            "exact": [Decimal("1.25"), None],
            "nothing": pa.nulls(2),
        }
    )
    found = matrix(table, table.column_names, np.float64)
    nan = np.nan
    np.testing.assert_array_equal(found, [[1, 2**40, 0.5, 0.5, 1, 1.25, nan], [nan, 1, nan, 1.5, nan, nan, nan]])
    assert found.flags.c_contiguous
    assert matrix(table, ["whole"], np.float32).dtype == np.float32


def test_columns_come_in_the_order_asked_for_and_chunks_do_not_matter():
    table = pa.concat_tables([pa.table({"a": [1], "b": [2]}), pa.table({"a": [3], "b": [4]})])
    assert matrix(table, ["b", "a"], np.float64).tolist() == [[2, 1], [4, 3]]


@pytest.mark.parametrize(
    ("values", "transform"),
    [
        (["x"], "one_hot"),
        ([datetime.date(2013, 1, 1)], "date_parts"),
        ([datetime.datetime(2013, 1, 1)], "date_parts"),
        ([[1]], "leave the column out"),
    ],
)
def test_a_column_that_is_no_number_is_refused_with_what_helps(values, transform):
    with pytest.raises(InvalidInput, match="'odd' is not numeric") as caught:
        matrix(pa.table({"odd": values}), ["odd"], np.float64)
    assert transform in caught.value.remedy


def test_infinite_values_are_refused_by_name_and_nulls_where_none_are_taken():
    table = pa.table({"a": [1.0, 2.0], "b": [1.0, float("inf")], "c": [None, 1.0]})
    with pytest.raises(InvalidInput, match="'b' has infinite"):
        matrix(table, ["a", "b"], np.float64)
    with pytest.raises(InvalidInput, match="'c' has nulls"):
        matrix(table, ["a", "c"], np.float64, nulls=False)
    with pytest.raises(InvalidInput, match="'d' has infinite values, or too large ones for float32"), np.errstate(over="ignore"):
        matrix(pa.table({"d": [1e300]}), ["d"], np.float32)


def test_a_missing_column_is_refused_with_the_nearest():
    table = pa.table({"dep_delay": [1], "distance": [2]})
    with pytest.raises(InvalidInput, match="'dep_dely' is missing") as caught:
        vector(table, "dep_dely")
    assert "'dep_delay'" in caught.value.remedy


def test_a_column_that_is_there_twice_is_refused():
    with pytest.raises(InvalidInput, match="more than once"):
        column_of(pa.Table.from_arrays([pa.array([1]), pa.array([2])], ["a", "a"]), "a")


def test_tables_batches_and_streams_are_all_tables():
    table = pa.table({"a": [1, 2]})
    assert table_of(table) is table
    assert table_of(table.to_batches()[0]) == table
    assert table_of(table.to_reader()) == table
