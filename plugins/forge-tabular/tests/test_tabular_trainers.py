from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from attrs import evolve

from forge_core.faults import Cancelled, ConfigError, InvalidInput
from forge_core.records import Column, Compute, DatasetVersion, Evaluation, Query, TrainingData
from forge_tabular.estimators import ESTIMATORS, fits
from forge_tabular.flavors.skops import SkopsFlavor
from forge_tabular.trainers import lightgbm as lightgbm_trainer
from forge_tabular.trainers.lightgbm import LightGBMTrainer
from forge_tabular.trainers.sklearn import SklearnTrainer
from forge_tabular.trainers.xgboost import XGBoostTrainer


def test_a_model_beats_a_constant_one(name, task, drivers, rows, spec, trained, folder):
    predictor = drivers[name][1]().load(folder(name, task))
    found = drivers[name][0]().evaluate(spec(name), predictor, rows(task, 400, seed=1))
    metric, least = {"binary": ("auc_roc", 0.85), "multiclass": ("f1_macro", 0.6), "regression": ("r2", 0.6)}[task]
    assert found[metric] > least


def test_what_is_known_of_a_model_says_what_it_was_made_with(name, task, trained):
    model = trained(name, task)
    assert model.task == task
    assert model.classes == {"binary": ("late", "on time"), "multiclass": (0, 10, 20), "regression": ()}[task]
    assert model.threshold is None
    library = {"sklearn": "scikit-learn==", "lightgbm": "lightgbm==", "xgboost": "xgboost"}[name]
    assert model.dependencies[0].startswith(library)
    assert all("==" in pin for pin in model.dependencies)
    assert 15 in model.parameters.values()
    assert 7 in model.parameters.values()  # the seed of the run


def test_training_data_can_be_any_arrow_stream(name, drivers, rows, spec, context):
    table = rows("binary")
    columns = tuple(Column(field.name, str(field.type), field.nullable) for field in table.schema)
    data = TrainingData(
        DatasetVersion("d", "1", "x"), Query("d"), columns, lambda: pa.RecordBatchReader.from_batches(table.schema, table.to_batches(100))
    )
    assert drivers[name][0]().train(spec(name), data, context).classes == ("late", "on time")


def test_a_run_hears_how_far_training_is(name, drivers, rows, spec, context):
    drivers[name][0]().train(spec(name), rows("regression"), context)
    assert context.reports == sorted(context.reports)
    assert (context.reports[0], context.reports[-1]) == (0.0, 1.0)
    assert len(context.reports) > 5


@pytest.mark.parametrize("name", ["lightgbm", "xgboost"])
def test_boosting_logs_a_falling_loss(name, drivers, rows, spec, context):
    model = drivers[name][0]().train(spec(name), rows("regression"), context)
    steps, values = zip(*((step, next(iter(metrics.values()))) for step, metrics in context.logged), strict=True)
    assert steps == tuple(range(1, 16))
    assert values[-1] < values[0] / 2
    assert model.metrics == context.logged[-1][1]


def test_long_boosting_reports_a_hundred_times_and_measures_twenty_times(rows, spec, context):
    LightGBMTrainer().train(spec("lightgbm", n_estimators=450, max_depth=1), rows("regression", 60), context)
    assert 90 < len(context.reports) < 130
    assert 18 < len(context.logged) < 25
    assert context.logged[-1][0] == 450


def test_a_cancelled_run_stops(name, drivers, rows, spec, context):
    context.stop_after = 4
    with pytest.raises(Cancelled):
        drivers[name][0]().train(spec(name), rows("binary"), context)
    assert len(context.reports) == 4


def test_a_forest_grown_in_parts_is_the_forest_grown_at_once(rows, spec, context):
    table = rows("binary")
    grown = SklearnTrainer().train(spec("sklearn", n_estimators=13, estimator="ExtraTreesClassifier"), table, context).model
    values = SklearnTrainer().read(table, grown.features, evolve(spec("sklearn"), task="binary"))
    codes = pa.compute.equal(table["y"], "on time").cast(pa.int64()).to_numpy()
    at_once = ESTIMATORS["ExtraTreesClassifier"](n_estimators=13, max_depth=3, random_state=7).fit(values, codes)
    pairs = list(zip(grown.model.estimators_, at_once.estimators_, strict=True))
    assert len(pairs) == 13
    assert all((one.predict_proba(values) == other.predict_proba(values)).all() for one, other in pairs)
    assert grown.model.warm_start is False


def test_threads_come_from_the_project(name, drivers, rows, spec, context):
    model = drivers[name][0](compute=Compute(threads=1)).train(spec(name, n_jobs=None), rows("binary"), context)
    assert any(model.parameters.get(key) == 1 for key in ("n_jobs", "nthread", "num_threads"))


@pytest.mark.parametrize(
    ("name", "wrong", "nearest"),
    [
        ("xgboost", "max_deph", "max_depth"),
        ("xgboost", "num_leaves", "max_leaves"),
        ("lightgbm", "learning_rat", "learning_rate"),
        ("lightgbm", "min_child_sample", "min_child_samples"),
        ("sklearn", "min_sample_leaf", "min_samples_leaf"),
    ],
)
def test_an_unknown_hyperparameter_is_refused_with_the_nearest(name, wrong, nearest, drivers, rows, spec, context):
    with pytest.raises(ConfigError, match=wrong) as caught:
        drivers[name][0]().train(spec(name, **{wrong: 3}), rows("binary"), context)
    assert repr(nearest) in caught.value.remedy
    assert not context.reports


@pytest.mark.parametrize("name", ["lightgbm", "xgboost"])
@pytest.mark.parametrize(
    "wrong", [{"learning_rate": -1.0}, {"learning_rate": "fast"}, {"max_depth": "deep"}, {"n_estimators": 0}, {"n_estimators": 2.5}]
)
def test_a_wrong_value_is_refused(name, wrong, drivers, rows, spec, context):
    with pytest.raises(ConfigError) as caught:
        drivers[name][0]().train(spec(name, **wrong), rows("binary"), context)
    assert ".cc" not in caught.value.cause
    assert "\n" not in caught.value.cause


def test_a_wrong_value_of_scikit_learn_is_refused(rows, spec, context):
    with pytest.raises(ConfigError, match="max_depth"):
        SklearnTrainer().train(spec("sklearn", max_depth="deep"), rows("binary"), context)
    with pytest.raises(ConfigError, match="n_estimators"):
        SklearnTrainer().train(spec("sklearn", n_estimators=0), rows("binary"), context)


@pytest.mark.parametrize(("name", "alias"), [("xgboost", "eta"), ("lightgbm", "shrinkage_rate")])
def test_names_of_one_meaning_are_one_hyperparameter(name, alias, drivers, rows, spec, context):
    table = rows("regression")
    by_name, by_alias = (drivers[name][0]().train(spec(name, **{key: 0.05}), table, context) for key in ("learning_rate", alias))
    assert by_name.parameters == by_alias.parameters
    with pytest.raises(ConfigError, match="one hyperparameter"):
        drivers[name][0]().train(spec(name, learning_rate=0.1, **{alias: 0.1}), table, context)


def test_lightgbm_s_aliases_are_those_of_the_library():
    """And no hyperparameter that Forge lets through reads or writes a file."""
    from lightgbm.basic import _ConfigAliases

    theirs = _ConfigAliases._get_all_param_aliases()
    for known, aliases in lightgbm_trainer.KNOWN.items():
        assert set(aliases) == set(theirs[known]) - {known}
        assert "file" not in known


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("xgboost", {"objective": "multi:softmax"}),
        ("xgboost", {"booster": "gblinear"}),
        ("xgboost", {"tree_method": "exact"}),
        ("lightgbm", {"objective": "lambdarank"}),
        ("lightgbm", {"boosting": "goss2"}),
        ("sklearn", {"estimator": "RandomForestRegressor"}),
        ("sklearn", {"estimator": "SVC"}),
        ("sklearn", {"estimator": "os.system"}),
    ],
)
def test_what_gives_no_probabilities_for_the_task_is_refused(name, wrong, drivers, rows, spec, context):
    with pytest.raises(ConfigError):
        drivers[name][0]().train(spec(name, **wrong), rows("binary"), context)


def test_a_loss_without_probabilities_is_refused(rows, spec, context):
    with pytest.raises(ConfigError, match="no probabilities"):
        SklearnTrainer().train(spec("sklearn", estimator="SGDClassifier", n_estimators=None, max_depth=None), rows("binary"), context)


@pytest.mark.parametrize("estimator", sorted(ESTIMATORS))
def test_every_estimator_that_can_be_named_is_trained_saved_and_asked(estimator, rows, spec, context, tmp_path):
    task = "binary" if fits(ESTIMATORS[estimator], "binary") else "regression"
    table = rows(task, 120).drop_columns(["whole"])
    if estimator in ("GammaRegressor", "PoissonRegressor"):
        table = table.set_column(table.num_columns - 1, "y", pa.compute.add(pa.compute.abs(table["y"]), 0.1))
    few = {"n_estimators": 3} if "n_estimators" in ESTIMATORS[estimator]().get_params() else {"n_estimators": None}
    more = (
        {"loss": "log_loss"}
        if estimator == "SGDClassifier"
        else {"max_iter": 60}
        if "max_iter" in ESTIMATORS[estimator]().get_params()
        else {}
    )
    given = spec("sklearn", estimator=estimator, max_depth=None, **few, **more)
    model = SklearnTrainer().train(given, table, context)
    SkopsFlavor().save(model, tmp_path, table)
    answer = SkopsFlavor().load(tmp_path).predict(table)
    values = SklearnTrainer().read(table, model.model.features, evolve(given, task=task))
    expected = model.model.model.predict(values)
    assert answer["prediction"].to_pylist() == pytest.approx([model.classes[code] for code in expected] if task == "binary" else expected)


@pytest.mark.parametrize(
    "objective",
    ["reg:absoluteerror", "reg:pseudohubererror", "reg:quantileerror", "reg:squaredlogerror", "reg:gamma", "reg:tweedie", "count:poisson"],
)
def test_xgboost_s_objectives_can_be_saved_and_asked(objective, rows, spec, context, tmp_path, drivers):
    _round_trip(
        "xgboost",
        {"objective": objective, "quantile_alpha": 0.3 if "quantile" in objective else None},
        rows,
        spec,
        context,
        tmp_path,
        drivers,
    )


@pytest.mark.parametrize("objective", ["regression_l1", "huber", "fair", "poisson", "quantile", "mape", "gamma", "tweedie"])
def test_lightgbm_s_objectives_can_be_saved_and_asked(objective, rows, spec, context, tmp_path, drivers):
    _round_trip("lightgbm", {"objective": objective}, rows, spec, context, tmp_path, drivers)


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("xgboost", {"booster": "dart", "rate_drop": 0.3}),
        ("xgboost", {"num_parallel_tree": 3, "subsample": 0.5}),
        ("xgboost", {"gamma": 5.0, "grow_policy": "lossguide", "max_leaves": 6}),
        ("xgboost", {"monotone_constraints": {"x0": 1, "whole": -1}}),
        ("lightgbm", {"boosting": "dart"}),
        ("lightgbm", {"boosting": "rf", "bagging_fraction": 0.5, "bagging_freq": 1}),
        ("lightgbm", {"data_sample_strategy": "goss", "extra_trees": True}),
        ("lightgbm", {"monotone_constraints": {"x0": 1, "whole": -1}}),
        ("lightgbm", {"min_child_samples": 10_000}),  # no tree has a split
    ],
)
def test_kinds_of_boosting_can_be_saved_and_asked(name, more, rows, spec, context, tmp_path, drivers):
    _round_trip(name, more, rows, spec, context, tmp_path, drivers)


def _round_trip(name, more, rows, spec, context, tmp_path, drivers):
    table = rows("regression", 120)
    table = table.set_column(table.num_columns - 1, "y", pa.compute.add(pa.compute.abs(table["y"]), 0.1))
    model = drivers[name][0]().train(spec(name, **more), table, context)
    drivers[name][1]().save(model, tmp_path, table)
    answer = drivers[name][1]().load(tmp_path).predict(table)["prediction"].to_numpy()
    booster, values = model.model.model, drivers[name][0]().read(table, model.model.features, spec(name))
    expected = booster.inplace_predict(values) if name == "xgboost" else booster.predict(values)
    assert answer == pytest.approx(expected, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("name", ["lightgbm", "xgboost"])
def test_constraints_hold_for_the_column_they_name(name, rows, spec, context, drivers):
    model = (
        drivers[name][0]().train(spec(name, monotone_constraints={"x1": -1}), rows("regression"), context).model.model
    )  # y rises with x1
    grid = np.zeros((50, 6), np.float32)
    grid[:, 1] = np.linspace(-3, 3, 50)
    answer = model.inplace_predict(grid) if name == "xgboost" else model.predict(grid)
    assert (np.diff(answer) <= 0).all()


@pytest.mark.parametrize("name", ["lightgbm", "xgboost"])
@pytest.mark.parametrize("wrong", [{"x9": 1}, {"x1": 2}, [1, 0, 0, 0, 0, 0], "(1,0)"])
def test_wrong_constraints_are_refused(name, wrong, rows, spec, context, drivers):
    with pytest.raises(ConfigError, match="monotone_constraints"):
        drivers[name][0]().train(spec(name, monotone_constraints=wrong), rows("regression"), context)


def test_wrong_metrics_are_refused_before_training(name, drivers, rows, spec, context):
    asked = evolve(spec(name), evaluation=Evaluation(metrics=("acuracy",)))
    with pytest.raises(ConfigError) as caught:
        drivers[name][0]().train(asked, rows("binary"), context)
    assert "'accuracy'" in caught.value.remedy
    assert not context.reports


def test_a_text_column_is_refused_by_name_with_the_transform_that_helps(name, drivers, rows, spec, context):
    table = rows("binary").append_column("carrier", pa.array(["AA"] * 240))
    with pytest.raises(InvalidInput, match="'carrier'") as caught:
        drivers[name][0]().train(spec(name), table, context)
    assert "one_hot" in caught.value.remedy


def test_nulls_are_refused_by_name_where_the_model_takes_none(rows, spec, context):
    given = spec("sklearn", estimator="LogisticRegression", n_estimators=None, max_depth=None)
    with pytest.raises(InvalidInput, match="'whole' has nulls"):
        SklearnTrainer().train(given, rows("binary"), context)


def test_a_table_of_nothing_but_the_target_is_refused(rows, spec, context):
    with pytest.raises(InvalidInput, match="beside the target"):
        XGBoostTrainer().train(spec("xgboost"), rows("binary").select(["y"]), context)


def test_what_the_library_refuses_in_the_target_is_said_in_one_line(name, drivers, rows, spec, context):
    objective = {"xgboost": "reg:gamma", "lightgbm": "gamma", "sklearn": None}[name]
    more = {"objective": objective} if objective else {"estimator": "GammaRegressor", "n_estimators": None, "max_depth": None}
    with pytest.raises((ConfigError, InvalidInput)) as caught:
        drivers[name][0]().train(spec(name, **more), rows("regression").drop_columns(["whole"]), context)  # which is below zero in places
    assert "\n" not in caught.value.cause
    assert caught.value.remedy
