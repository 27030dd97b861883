from __future__ import annotations

import itertools
import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pytest
from attrs import evolve
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.svm import SVC

from forge_core.faults import InvalidInput
from forge_core.records import Compute, TrainedModel
from forge_tabular.flavors.skops import BLOCK, SkopsFlavor


def test_a_loaded_model_answers_as_the_trained_one(name, task, drivers, trained, rows, spec, folder):
    model, table = trained(name, task), rows(task, 50, seed=2)
    answer = drivers[name][1]().load(folder(name, task)).predict(table)
    values = drivers[name][0]().read(table, model.model.features, evolve(spec(name), task=task))
    inner = model.model.model
    expected = {
        "lightgbm": lambda: inner.predict(values),
        "xgboost": lambda: inner.inplace_predict(values),
        "sklearn": lambda: inner.predict(values) if task == "regression" else inner.predict_proba(values),
    }[name]()
    if task == "regression":
        assert answer["prediction"].to_pylist() == pytest.approx(expected, rel=1e-12)
        assert answer.column_names == ["prediction"]
        return
    expected = np.column_stack([1 - expected, expected]) if expected.ndim == 1 else expected
    found = np.array(answer["probabilities"].to_pylist())
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(found.sum(axis=1), 1.0, rtol=1e-12)
    assert answer["prediction"].to_pylist() == [model.classes[code] for code in found.argmax(axis=1)]


@pytest.mark.parametrize("name", ["lightgbm", "xgboost", "sklearn"])
def test_the_same_data_and_seed_give_the_same_bytes(name, task, drivers, rows, spec, context, tmp_path):
    table = rows(task)
    more = {"sklearn": {"random_state": None}}.get(name, {"subsample": 0.7, "colsample_bytree": 0.7})
    written = []
    for attempt in ("one", "two"):
        folder = tmp_path / attempt
        folder.mkdir()
        drivers[name][1]().save(drivers[name][0]().train(spec(name, **more), table, context), folder, table.slice(0, 3))
        written.append({path.name: path.read_bytes() for path in sorted(folder.iterdir())})
    assert written[0] == written[1]
    context.seed = 8
    other = drivers[name][0]().train(spec(name, **more), table, context)
    (tmp_path / "three").mkdir()
    drivers[name][1]().save(other, tmp_path / "three", table.slice(0, 3))
    assert any((tmp_path / "three" / file).read_bytes() != data for file, data in written[0].items())


@pytest.mark.parametrize("name", ["lightgbm", "xgboost"])
def test_the_number_of_threads_is_not_in_the_file(name, drivers, rows, spec, context, tmp_path):
    files = set()
    for threads in (1, 2):
        folder = tmp_path / str(threads)
        folder.mkdir()
        model = drivers[name][0](compute=Compute(threads=threads)).train(spec(name, n_jobs=None), rows("binary"), context)
        drivers[name][1]().save(model, folder, rows("binary", 3))
        files.add((folder / drivers[name][1].file).read_bytes())
    assert len(files) == 1


def test_columns_are_found_by_name_whatever_else_is_there(name, drivers, rows, folder):
    predictor = drivers[name][1]().load(folder(name, "binary"))
    table = rows("binary", 20)
    shuffled = table.select(["flag", "y", "x3", "x0", "whole", "x2", "x1"]).append_column("note", pa.array(["?"] * 20))
    assert predictor.predict(shuffled) == predictor.predict(table)


def test_a_missing_column_is_refused_by_name(name, drivers, rows, folder):
    predictor = drivers[name][1]().load(folder(name, "binary"))
    with pytest.raises(InvalidInput, match="'x2' is missing"):
        predictor.predict(rows("binary", 20).drop_columns(["x2"]))


def test_a_value_that_is_no_number_is_refused_by_name(name, drivers, rows, folder):
    predictor = drivers[name][1]().load(folder(name, "binary"))
    table = rows("binary", 2)
    with pytest.raises(InvalidInput, match="'x1'"):
        predictor.predict(table.set_column(1, "x1", pa.array(["1.0", "2.0"])))
    with pytest.raises(InvalidInput, match="'x1'"):
        predictor.predict(table.set_column(1, "x1", pa.array([float("inf"), 2.0])))


def test_a_null_where_training_had_none_is_answered_or_refused(name, drivers, rows, folder):
    table = rows("binary", 2).set_column(0, "x0", pa.array([None, 1.0]))
    assert len(drivers[name][1]().load(folder(name, "binary")).predict(table)) == 2


def test_a_model_that_takes_no_nulls_refuses_them_by_name(drivers, rows, spec, context, tmp_path):
    table = rows("binary").drop_columns(["whole"])
    model = drivers["sklearn"][0]().train(
        spec("sklearn", estimator="LogisticRegression", n_estimators=None, max_depth=None), table, context
    )
    SkopsFlavor().save(model, tmp_path, table)
    with pytest.raises(InvalidInput, match="'x0' has nulls"):
        SkopsFlavor().load(tmp_path).predict(table.slice(0, 2).set_column(0, "x0", pa.array([None, 1.0])))


def test_no_rows_give_no_rows_of_the_same_types(name, task, drivers, rows, folder):
    predictor = drivers[name][1]().load(folder(name, task))
    full, empty = predictor.predict(rows(task, 3)), predictor.predict(rows(task, 3).slice(0, 0))
    assert len(empty) == 0
    assert empty.schema.equals(full.schema, check_metadata=True)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.integers(0, 60), max_size=4))
def test_a_row_s_answer_does_not_depend_on_its_neighbours(cuts, name, drivers, rows, trained, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    table = rows("multiclass", 60)
    drivers[name][1]().save(trained(name, "multiclass"), folder, table)
    predictor = drivers[name][1]().load(folder)
    edges = [0, *sorted(cuts), 60]
    parts = [predictor.predict(table.slice(start, end - start)) for start, end in itertools.pairwise(edges)]
    assert pa.concat_tables(parts) == predictor.predict(table)


def test_a_predictor_can_be_asked_by_many_threads_at_once(name, drivers, rows, folder):
    predictor = drivers[name][1]().load(folder(name, "multiclass"))
    parts = [rows("multiclass", 30, seed) for seed in range(8)]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(predictor.predict, parts)) == [predictor.predict(part) for part in parts]


def test_a_forest_answers_many_rows_in_parts(drivers, rows, folder):
    predictor = SkopsFlavor().load(folder("sklearn", "binary"))
    table = rows("binary", BLOCK + 10)
    assert predictor.predict(table).slice(BLOCK - 3, 7) == predictor.predict(table.slice(BLOCK - 3, 7))


@pytest.mark.parametrize("threshold", [None, 0.2, 0.8])
def test_the_threshold_cuts_the_second_class_s_probability(threshold, name, drivers, trained, rows, tmp_path):
    drivers[name][1]().save(evolve(trained(name, "binary"), threshold=threshold), tmp_path, rows("binary", 3))
    answer = drivers[name][1]().load(tmp_path).predict(rows("binary"))
    cut = 0.5 if threshold is None else threshold
    assert answer["prediction"].to_pylist() == ["on time" if second >= cut else "late" for _, second in answer["probabilities"].to_pylist()]


@pytest.mark.parametrize("labels", [(False, True), (0, 1), (3, 7), (0.5, 2.0), ("a", "b"), ("ja", 'nein "x" ü')])
def test_labels_keep_their_type(labels, drivers, rows, spec, context, tmp_path):
    table = rows("binary")
    target = pa.array([labels[value == "on time"] for value in table["y"].to_pylist()])
    model = drivers["lightgbm"][0]().train(evolve(spec("lightgbm"), task="binary"), table.set_column(6, "y", target), context)
    drivers["lightgbm"][1]().save(model, tmp_path, table)
    answer = drivers["lightgbm"][1]().load(tmp_path).predict(table)["prediction"].to_pylist()
    assert set(answer) == set(labels)
    assert {type(label) for label in answer} == {type(labels[0])}


def test_the_answer_tells_its_classes(name, drivers, rows, folder):
    answer = drivers[name][1]().load(folder(name, "multiclass")).predict(rows("multiclass", 2))
    assert json.loads(answer.schema.field("probabilities").metadata[b"classes"]) == [0, 10, 20]


def test_names_of_columns_can_be_anything(name, drivers, rows, spec, context, tmp_path):
    strange = ["[a]<b>", 'größe {x}: "y"', " ", "a,b", "Column_1", "Column_0"]
    table = rows("binary").rename_columns([*strange, "y"])
    drivers[name][1]().save(drivers[name][0]().train(spec(name), table, context), tmp_path, table)
    assert len(drivers[name][1]().load(tmp_path).predict(table.slice(0, 4))) == 4


def test_a_bare_estimator_of_a_project_s_own_can_be_saved(rows, tmp_path):
    table = rows("binary").drop_columns(["whole", "flag"])
    frame = table.drop_columns(["y"]).to_pandas()[["x3", "x0", "x1", "x2"]]
    estimator = LogisticRegression().fit(frame, table["y"].to_pylist())
    SkopsFlavor().save(TrainedModel(estimator, "skops", "binary", tuple(estimator.classes_.tolist())), tmp_path, table.drop_columns(["y"]))
    assert SkopsFlavor().load(tmp_path).predict(table)["prediction"].to_pylist() == estimator.predict(frame).tolist()


def test_what_a_format_cannot_hold_is_refused_when_it_is_saved(drivers, rows, trained, tmp_path):
    for name, (_, flavor) in drivers.items():
        folder = tmp_path / name
        folder.mkdir()
        with pytest.raises(InvalidInput, match="cannot hold a SVC"):
            flavor().save(TrainedModel(SVC(), name, "binary", (0, 1)), folder, rows("binary", 3))
