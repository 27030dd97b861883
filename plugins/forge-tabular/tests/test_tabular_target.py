from __future__ import annotations

from decimal import Decimal

import pyarrow as pa
import pytest

from forge_core.faults import ConfigError, InvalidInput
from forge_tabular.target import read_target


def target(values, task=None, kind=None):
    return read_target(pa.table({"y": pa.array(values, kind)}), "y", task)


@pytest.mark.parametrize(
    ("values", "kind", "task", "classes"),
    [
        (["b", "a", "b"], pa.string(), "binary", ("a", "b")),
        (["b", "a", "c"], pa.large_string(), "multiclass", ("a", "b", "c")),
        ([True, False], pa.bool_(), "binary", (False, True)),
        ([1, 0, 1], pa.int8(), "binary", (0, 1)),
        ([3, 1, 2], pa.int64(), "multiclass", (1, 2, 3)),
        (list(range(20)), pa.int64(), "multiclass", tuple(range(20))),
        (list(range(21)), pa.int64(), "regression", ()),
        ([0.0, 1.0], pa.float32(), "regression", ()),
        ([Decimal("1.5"), Decimal("2.5")], pa.decimal128(5, 2), "regression", ()),
    ],
)
def test_the_task_is_inferred_from_the_target(values, kind, task, classes):
    found = target(values, kind=kind)
    assert (found.task, found.classes) == (task, classes)
    assert [classes[code] for code in found.values] == values if classes else list(found.values) == [float(value) for value in values]


def test_a_dictionary_of_labels_is_labels():
    found = read_target(pa.table({"y": pa.array(["b", "a", "b"]).dictionary_encode()}), "y", None)
    assert (found.classes, found.values.tolist()) == (("a", "b"), [1, 0, 1])


def test_a_named_task_wins():
    assert target([1, 2, 3], "regression").values.tolist() == [1.0, 2.0, 3.0]
    assert target([0.0, 1.0], "binary").classes == (0.0, 1.0)
    assert target(["a", "b"], "multiclass").task == "multiclass"
    assert target(list(range(30)), "multiclass").classes == tuple(range(30))


@pytest.mark.parametrize(
    ("values", "task", "kind", "said"),
    [
        (["a", "b", "c"], "binary", None, "3 labels"),
        (["a", "a"], None, None, "in every row"),
        ([1, None], None, None, "null in 1 of 2"),
        ([1.0, float("nan")], "regression", None, "not finite"),
        ([1.0, float("inf")], "binary", None, "not finite"),
        (["a", "b"], "regression", None, "needs numbers"),
        ([True, False], "regression", None, "needs numbers"),
        ([0, 1], None, pa.timestamp("us"), "timestamp"),
        ([f"id {number}" for number in range(1001)], None, None, "1001 labels"),
        ([], None, pa.string(), "no rows"),
    ],
)
def test_a_target_that_fits_no_task_is_refused(values, task, kind, said):
    with pytest.raises(InvalidInput, match=said) as caught:
        target(values, task, kind)
    assert caught.value.remedy


def test_a_model_without_a_target_is_refused():
    with pytest.raises(ConfigError, match="no target"):
        read_target(pa.table({"y": [1]}), "", None)
    with pytest.raises(InvalidInput, match="'z' is missing"):
        read_target(pa.table({"y": [1]}), "z", None)
