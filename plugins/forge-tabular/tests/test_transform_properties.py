"""What holds for every transform, whatever its configuration."""

from __future__ import annotations

import datetime
import json
import subprocess
import sys
from importlib.metadata import entry_points

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forge_core.contracts import Flavor, Trainer, Transformation
from forge_core.faults import InvalidInput
from forge_core.wiring import build

BY_ROW = {
    "standard_scaler": ({}, {"columns": ["a", "b"], "with_mean": False}),
    "pca": ({"n_components": 2}, {"columns": ["b", "a"], "n_components": 1, "whiten": True, "keep": True}),
    "one_hot": ({"columns": ["carrier"]}, {"columns": ["carrier", "flag"], "max_categories": 1, "unknown": "other", "nulls": "column"}),
    "date_parts": ({"columns": ["time"]}, {"columns": ["time"], "parts": ["month", "week"], "cyclic": True, "keep": True}),
}
CASES = [(name, config) for name, configs in BY_ROW.items() for config in configs]
KINDS = {"a": pa.float64(), "b": pa.int64(), "carrier": pa.string(), "flag": pa.bool_(), "time": pa.timestamp("s")}
ROWS = st.lists(
    st.tuples(
        st.none() | st.floats(-1e6, 1e6),
        st.none() | st.integers(-1000, 1000),
        st.none() | st.sampled_from(["AA", "UA", "DL", ""]),
        st.none() | st.booleans(),
        st.none()
        | st.datetimes(datetime.datetime(1970, 1, 1), datetime.datetime(2200, 1, 1)).map(lambda moment: moment.replace(microsecond=0)),
    ),
    min_size=2,
    max_size=25,
)


def table(rows):
    return pa.table({name: pa.array([row[position] for row in rows], kind) for position, (name, kind) in enumerate(KINDS.items())})


def transform(name, config):
    (entry,) = entry_points(group="forge.transforms", name=name)
    return build(entry.load(), config, lambda *_: None)


def same(one, other):
    assert one.schema == other.schema
    for field in one.schema:
        left, right = one[field.name], other[field.name]
        if pa.types.is_floating(field.type):
            np.testing.assert_allclose(left.to_numpy(), right.to_numpy(), rtol=1e-9, atol=1e-9)
        else:
            assert left.to_pylist() == right.to_pylist()


@pytest.mark.parametrize(("name", "config"), CASES)
@settings(max_examples=30, deadline=None)
@given(rows=ROWS, cut=st.integers(0, 25))
def test_rows_do_not_see_one_another(name, config, rows, cut):
    whole = table(rows)
    made = transform(name, config)
    state = json.loads(json.dumps(made.fit(whole), allow_nan=False))  # as it comes back from forge.json
    answer = made.apply(whole, state)
    same(answer, pa.concat_tables([made.apply(whole.slice(0, cut), state), made.apply(whole.slice(cut), state)]))
    same(answer.slice(0, 1), made.apply(whole.slice(0, 1), state))
    assert len(answer) == len(whole)


@pytest.mark.parametrize(("name", "config"), CASES)
@settings(max_examples=15, deadline=None)
@given(rows=ROWS)
def test_applying_is_pure_and_passes_other_columns_on(name, config, rows):
    whole = table(rows).append_column("other", pa.array([[1]] * len(rows)))
    before = whole.to_pydict()
    made = transform(name, config)
    state = made.fit(whole)
    told = json.dumps(state)
    first, second = made.apply(whole, state), made.apply(whole, state)
    same(first.drop_columns(["other"]), second.drop_columns(["other"]))
    assert first["other"].to_pylist() == before["other"]
    assert whole.to_pydict() == before
    assert json.dumps(state) == told


@pytest.mark.parametrize(("name", "config"), CASES)
def test_no_rows_have_the_same_columns(name, config):
    whole = table([(1.0, 1, "AA", True, None), (2.5, 3, None, False, datetime.datetime(2013, 1, 1))])
    made = transform(name, config)
    state = made.fit(whole)
    assert made.apply(whole.slice(0, 0), state).schema == made.apply(whole, state).schema
    if name != "date_parts":
        with pytest.raises(InvalidInput, match="no rows"):
            made.fit(whole.slice(0, 0))


@pytest.mark.parametrize(("name", "config"), CASES)
def test_a_missing_column_is_refused_with_the_nearest(name, config):
    whole = table([(1.0, 1, "AA", True, None), (2.5, 3, None, False, datetime.datetime(2013, 1, 1))])
    made = transform(name, config)
    state = made.fit(whole)
    used = {"standard_scaler": "a", "pca": "b", "one_hot": "carrier", "date_parts": "time"}[name]
    wrong = whole.rename_columns([f"{column}_x" if column == used else column for column in whole.column_names])
    with pytest.raises(InvalidInput, match=f"{used!r} is missing") as caught:
        made.apply(wrong, state)
    assert f"{used}_x" in caught.value.remedy


@pytest.mark.parametrize("name", ["standard_scaler", "pca", "one_hot"])
def test_a_state_that_fit_did_not_write_is_refused(name):
    whole = table([(1.0, 1, "AA", True, None), (2.5, 3, None, False, None)])
    made = transform(name, BY_ROW[name][0])
    state = made.fit(whole)
    for key in state:
        for wrong in (None, "x", [[1], [2, 3]], [float("inf")], {}):
            if key in ("variance", "explained") and name == "pca" and wrong is None:
                continue
            if key == "explained":  # for people
                continue
            with pytest.raises(InvalidInput):
                made.apply(whole, {**state, key: wrong})


def test_every_driver_is_found_by_its_entry_point_and_keeps_its_contract():
    for group, contract, names in (
        ("forge.transforms", Transformation, {"aggregate", "window", "standard_scaler", "pca", "one_hot", "date_parts"}),
        ("forge.trainers", Trainer, {"sklearn", "xgboost", "lightgbm"}),
        ("forge.flavors", Flavor, {"skops", "xgboost", "lightgbm"}),
    ):
        found = {entry.name: entry.load() for entry in entry_points(group=group) if entry.value.startswith("forge_tabular.")}
        assert found.keys() == names
        assert all(issubclass(driver, contract) for driver in found.values())
        assert not any(getattr(driver, "executes_code", False) for driver in found.values())


def imported(statement):
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; {statement}; print(*sys.modules)"], capture_output=True, text=True, check=True
    )
    return {module.partition(".")[0] for module in done.stdout.split()}


def test_the_plugin_module_imports_no_library():
    assert not imported("import forge_tabular.plugin") & {"numpy", "pyarrow", "sklearn", "xgboost", "lightgbm", "skops", "attrs", "attr"}


def test_transforms_need_no_trainer_s_library():
    modules = "import forge_tabular.transforms.one_hot, forge_tabular.transforms.pca, forge_tabular.transforms.window"
    assert not imported(modules) & {"sklearn", "xgboost", "lightgbm", "skops", "scipy", "pandas"}


def test_a_missing_xgboost_says_how_to_get_it():
    statement = (
        "import sys; sys.modules['xgboost'] = None\n"
        "try:\n import forge_tabular.trainers.xgboost\nexcept ModuleNotFoundError as error: print(error.name, error)"
    )
    done = subprocess.run([sys.executable, "-c", statement], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("xgboost XGBoost is not installed: pip install 'forge-tabular[xgboost-cpu]'")
