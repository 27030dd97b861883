"""standard_scaler and pca."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from sklearn.decomposition import PCA as theirs
from sklearn.preprocessing import StandardScaler as Theirs

from forge_core.faults import ConfigError, InvalidInput
from forge_core.wiring import build
from forge_tabular.transforms.pca import PCA
from forge_tabular.transforms.standard_scaler import StandardScaler


def fitted(cls, table, **config):
    made = build(cls, config, lambda *_: None)
    return made.apply(table, made.fit(table))


def numbers(count=60, width=5):
    return np.random.default_rng(3).normal(size=(count, width)) @ np.random.default_rng(4).normal(size=(width, width)) + 7


def table(values):
    return pa.table({f"x{number}": values[:, number] for number in range(values.shape[1])})


def array(made):
    return np.column_stack([made[name].to_numpy() for name in made.column_names])


@pytest.mark.parametrize("options", [{}, {"with_mean": False}, {"with_std": False}])
def test_scaled_columns_are_scikit_learn_s(options):
    values = numbers()
    np.testing.assert_allclose(array(fitted(StandardScaler, table(values), **options)), Theirs(**options).fit_transform(values), atol=1e-12)


def test_scaling_leaves_nulls_null_and_text_and_truth_values_alone():
    made = fitted(
        StandardScaler, pa.table({"a": [1, None, 3], "s": ["x", "y", None], "f": [True, False, None], "n": pa.nulls(3, pa.float64())})
    )
    assert made.to_pydict() == {"a": [-1.0, None, 1.0], "s": ["x", "y", None], "f": [True, False, None], "n": [None] * 3}
    assert fitted(StandardScaler, pa.table({"a": [1.0, float("nan"), 3.0]}))["a"].to_pylist() == [-1.0, None, 1.0]


@pytest.mark.parametrize("value", [0.0, 0.1, 1e-8, 1e9 + 0.1])
def test_a_constant_column_becomes_zero(value):
    assert fitted(StandardScaler, pa.table({"a": [value] * 7}))["a"].to_pylist() == pytest.approx([0.0] * 7, abs=1e-6)


def test_a_column_that_varies_a_little_is_scaled_all_the_same():
    assert fitted(StandardScaler, pa.table({"a": [1e-9, 3e-9]}))["a"].to_pylist() == pytest.approx([-1.0, 1.0])


def test_scaling_keeps_places_and_takes_named_columns_only():
    made = fitted(StandardScaler, pa.table({"a": [1, 3], "b": [1, 3], "f": [True, False]}), columns=["f", "b"])
    assert made.to_pydict() == {"a": [1, 3], "b": [-1.0, 1.0], "f": [1.0, -1.0]}


@pytest.mark.parametrize(("cls", "config"), [(StandardScaler, {}), (PCA, {"n_components": 1})])
def test_infinite_and_text_columns_are_refused_by_name(cls, config):
    with pytest.raises(InvalidInput, match="'a' has infinite"):
        fitted(cls, pa.table({"a": [1.0, float("inf")]}), **config)
    with pytest.raises(InvalidInput, match="'s' is not numeric"):
        fitted(cls, pa.table({"s": ["x", "y"]}), columns=["s"], **config)


@pytest.mark.parametrize("whiten", [False, True])
def test_components_are_scikit_learn_s_but_for_their_sign(whiten):
    values = numbers()
    made = array(fitted(PCA, table(values), n_components=3, whiten=whiten))
    np.testing.assert_allclose(np.abs(made), np.abs(theirs(3, whiten=whiten).fit_transform(values)), rtol=1e-6, atol=1e-8)


def test_components_say_what_they_explain_and_have_a_fixed_sign():
    values = numbers()
    made = build(PCA, {"n_components": 5}, lambda *_: None)
    state, flipped = made.fit(table(values)), made.fit(table(-values))
    assert sum(state["explained"]) == pytest.approx(1.0)
    assert state["explained"] == sorted(state["explained"], reverse=True)
    assert all(max(weights, key=abs) > 0 for weights in state["components"])
    np.testing.assert_allclose(state["components"], flipped["components"], atol=1e-9)


def test_components_take_the_place_of_their_columns_unless_these_are_kept():
    data = pa.table({"s": ["x", "y", "z"], "a": [1, 2, 4], "b": [0, 1, 0]})
    assert fitted(PCA, data, n_components=1).column_names == ["s", "pca_0"]
    assert fitted(PCA, data, n_components=1, keep=True, prefix="c").column_names == ["s", "a", "b", "c0"]


def test_a_null_counts_as_the_mean_and_constant_columns_weigh_nothing():
    made = fitted(PCA, pa.table({"a": [1.0, None, 3.0], "n": pa.nulls(3, pa.float64()), "k": [5, 5, 5]}), n_components=3, whiten=True)
    assert made["pca_0"].to_pylist() == pytest.approx([-1.0, 0.0, 1.0])
    assert made["pca_2"].to_pylist() == pytest.approx([0.0] * 3)


def test_more_components_than_columns_or_rows_are_refused():
    for data in (table(numbers(60, 2)), table(numbers(2, 5))):
        with pytest.raises(ConfigError, match="n_components is 3"):
            fitted(PCA, data, n_components=3)
    with pytest.raises(ConfigError):
        fitted(PCA, table(numbers()), n_components=0)
