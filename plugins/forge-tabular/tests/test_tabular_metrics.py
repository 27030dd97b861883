from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest
from attrs import frozen
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from forge_core.contracts import Predictor
from forge_core.faults import ConfigError, InvalidInput
from forge_core.records import Evaluation, ModelSpec
from forge_tabular.metrics import METRICS, evaluate, higher_is_better
from forge_tabular.threshold import best_f1
from forge_tabular.trainers.sklearn import SklearnTrainer


@frozen
class Replay(Predictor):
    """A predictor of what was predicted before, as out-of-fold predictions are."""

    answer: pa.Table

    def predict(self, data):
        assert "y" not in pa.table(data).column_names  # nobody predicts with the target at hand
        return self.answer


def spec(metrics=(), require=None, threshold=False):
    return ModelSpec(name="m", type="sklearn", target="y", evaluation=Evaluation(tuple(metrics), require or {}, threshold))


def classified(classes, probabilities, truth, told=True, predicted=None):
    probabilities = np.asarray(probabilities, float)
    predicted = [classes[code] for code in probabilities.argmax(axis=1)] if predicted is None else predicted
    field = pa.field("probabilities", pa.list_(pa.float64()), metadata={"classes": json.dumps(classes)} if told else None)
    schema = pa.schema([pa.field("prediction", pa.array(classes).type), field])
    return Replay(pa.table([predicted, probabilities.tolist()], schema=schema)), pa.table({"x": np.zeros(len(truth)), "y": truth})


def case(task, seed=0, count=200):
    random = np.random.default_rng(seed)
    if task == "regression":
        truth = random.normal(size=count) + 3
        return Replay(pa.table({"prediction": truth + random.normal(size=count)})), pa.table({"x": truth, "y": truth})
    classes = ["a", "b"] if task == "binary" else ["a", "b", "c", "d"]
    probabilities = random.dirichlet(np.ones(len(classes)), count).round(2)
    probabilities[:, -1] = 1 - probabilities[:, :-1].sum(axis=1)
    return classified(classes, probabilities, random.choice(classes, count).tolist())


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_every_metric_is_scikit_learn_s(task):
    predictor, data = case(task)
    truth, said = data["y"].to_pylist(), predictor.answer["prediction"].to_pylist()
    if task == "regression":
        expected = {
            "rmse": sk.root_mean_squared_error(truth, said),
            "mae": sk.mean_absolute_error(truth, said),
            "mse": sk.mean_squared_error(truth, said),
            "r2": sk.r2_score(truth, said),
            "mape": sk.mean_absolute_percentage_error(truth, said),
            "median_absolute_error": sk.median_absolute_error(truth, said),
        }
    else:
        values = np.array(predictor.answer["probabilities"].to_pylist())
        average = {"average": "macro"} if task == "multiclass" else {"pos_label": "b"}
        tail = "_macro" if task == "multiclass" else ""
        expected = {
            "accuracy": sk.accuracy_score(truth, said),
            "balanced_accuracy": sk.balanced_accuracy_score(truth, said),
            f"precision{tail}": sk.precision_score(truth, said, **average),
            f"recall{tail}": sk.recall_score(truth, said, **average),
            f"f1{tail}": sk.f1_score(truth, said, **average),
            "log_loss": sk.log_loss(truth, values),
        }
        if task == "binary":
            expected["auc_roc"] = sk.roc_auc_score(truth, values[:, 1])
            expected["average_precision"] = sk.average_precision_score(truth, values[:, 1], pos_label="b")
            expected["brier"] = sk.brier_score_loss(truth, values[:, 1], pos_label="b")
        else:
            expected["auc_roc"] = sk.roc_auc_score(truth, values, multi_class="ovr")
    assert expected.keys() == METRICS[task].keys()
    assert evaluate(spec(expected), predictor, data) == pytest.approx(expected)


def test_the_usual_metrics_are_given_where_none_is_named():
    assert set(evaluate(spec(), *case("binary"))) == {"accuracy", "precision", "recall", "f1", "auc_roc", "log_loss"}
    assert set(evaluate(spec(), *case("multiclass"))) == {"accuracy", "precision_macro", "recall_macro", "f1_macro", "auc_roc", "log_loss"}
    assert set(evaluate(spec(), *case("regression"))) == {"rmse", "mae", "r2"}


def test_metrics_that_are_required_are_given_too():
    assert list(evaluate(spec(["f1"], {"brier": 0.3}), *case("binary"))) == ["f1", "brier"]
    assert set(evaluate(spec([], {"mse": 0.3}), *case("regression"))) == {"rmse", "mae", "r2", "mse"}


def test_values_are_plain_numbers():
    for task in METRICS:
        assert all(type(value) is float for value in evaluate(spec(METRICS[task]), *case(task)).values())


@pytest.mark.parametrize(
    ("task", "wrong", "said"),
    [
        ("binary", "acuracy", "'accuracy'"),
        ("binary", "rmse", "regression"),
        ("multiclass", "f1", "'f1_macro'"),
        ("regression", "auc_roc", "binary, multiclass"),
    ],
)
def test_an_unknown_metric_is_refused_with_the_nearest(task, wrong, said):
    for asked in (spec([wrong]), spec([], {wrong: 1.0})):
        with pytest.raises(ConfigError, match=wrong) as caught:
            evaluate(asked, *case(task))
        assert said in caught.value.cause + caught.value.remedy


def test_every_metric_has_a_direction():
    down = {"log_loss", "brier", "rmse", "mae", "mse", "mape", "median_absolute_error"}
    assert {name for table in METRICS.values() for name in table if not higher_is_better(name)} == down
    assert SklearnTrainer().higher_is_better("auc_roc")
    with pytest.raises(ConfigError) as caught:
        higher_is_better("auc")
    assert "auc_roc" in caught.value.remedy


def test_a_metric_that_is_undefined_is_left_out_or_refused_where_it_was_named():
    predictor, data = classified(["a", "b"], [[0.9, 0.1], [0.2, 0.8]], ["a", "a"])
    assert "auc_roc" not in evaluate(spec(), predictor, data)
    with pytest.raises(InvalidInput, match="auc_roc is undefined"):
        evaluate(spec(["auc_roc"]), predictor, data)
    with pytest.raises(InvalidInput, match="r2 is undefined"):
        evaluate(spec(["r2"]), Replay(pa.table({"prediction": [1.0]})), pa.table({"y": [1.0], "x": [1]}))


def test_classes_are_inferred_from_labels_where_the_answer_does_not_tell_them():
    for truth in (["a", "b", "b"], ["b", "b", "a"]):
        told, untold = (
            evaluate(spec(), *classified(["a", "b"], [[0.9, 0.1], [0.2, 0.8], [0.4, 0.6]], truth, told)) for told in (True, False)
        )
        assert told == untold
    for classes in ([False, True], [0, 1]):  # one of them may not occur
        predictor, data = classified(classes, [[0.9, 0.1], [0.8, 0.2]], classes[:1] * 2, told=False)
        assert evaluate(spec(["accuracy"]), predictor, data) == {"accuracy": 1.0}
    with pytest.raises(InvalidInput, match="2 probabilities, and these rows have 1 labels"):
        evaluate(spec(), *classified(["a", "b"], [[0.9, 0.1]], ["a"], told=False))


def test_a_label_that_a_multiclass_model_does_not_know_counts_as_wrong():
    predictor, data = classified(["a", "b", "c"], np.eye(3), ["a", "b", "z"])
    found = evaluate(spec(["accuracy", "log_loss"]), predictor, data)
    assert found["accuracy"] == pytest.approx(2 / 3)
    assert found["log_loss"] > 5
    with pytest.raises(InvalidInput, match="'z'"):
        evaluate(spec(), *classified(["a", "b"], [[0.9, 0.1], [0.2, 0.8]], ["a", "z"]))


@pytest.mark.parametrize(
    ("truth", "said"),
    [([1.5, 2.5], "knows only"), ([None, "a"], "null in 1"), ([], "no rows"), ([[1], [2]], "classifier"), (["a"], "2 rows for 1")],
)
def test_rows_that_do_not_fit_the_answer_are_refused(truth, said):
    predictor, _ = classified(["a", "b"], [[0.9, 0.1], [0.2, 0.8]], ["a", "b"])
    with pytest.raises(InvalidInput, match=said):
        evaluate(spec(), predictor, pa.table({"x": [0] * len(truth), "y": truth}))


def test_answers_of_models_that_know_other_classes_are_refused():
    predictor, data = classified(["a", "b"], [[0.9, 0.1], [0.2, 0.8]], ["a", "b"])
    ragged = predictor.answer.set_column(1, predictor.answer.schema.field(1), pa.array([[0.9, 0.1], [0.2, 0.3, 0.5]]))
    with pytest.raises(InvalidInput, match="different numbers of probabilities"):
        evaluate(spec(), Replay(ragged), data)


def test_a_threshold_is_found_only_where_it_is_asked_for_and_only_for_two_classes():
    predictor, data = case("binary")
    found = evaluate(spec(["f1"], threshold=True), predictor, data)
    assert list(found) == ["f1", "threshold"]
    for task in ("multiclass", "regression"):
        with pytest.raises(ConfigError, match="threshold"):
            evaluate(spec(threshold=True), *case(task))


def test_metrics_are_of_the_prediction_as_it_is_cut_already():
    predictor, data = classified(["a", "b"], [[0.7, 0.3], [0.9, 0.1]], ["b", "a"], predicted=["b", "a"])
    assert evaluate(spec(["accuracy"]), predictor, data) == {"accuracy": 1.0}


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.booleans(), st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.5000001, 0.75, 1.0]) | st.floats(0, 1)), min_size=1, max_size=40
    )
)
def test_the_threshold_is_the_best_of_all(pairs):
    positive, scores = np.array([flag for flag, _ in pairs]), np.array([score for _, score in pairs])
    if not positive.any():
        with pytest.raises(InvalidInput, match="no row has the positive class"):
            best_f1(positive, scores)
        return
    every = {cut: sk.f1_score(positive, scores >= cut, zero_division=0.0) for cut in scores}
    found = best_f1(positive, scores)
    assert every[found] == pytest.approx(max(every.values()))
    assert not any(cut > found and value > every[found] - 1e-12 for cut, value in every.items())


def test_a_million_scores_take_less_than_two_seconds():
    import time

    random = np.random.default_rng(0)
    scores = random.random(1_000_000)
    start = time.process_time()
    best_f1(random.random(1_000_000) < scores, scores)
    assert time.process_time() - start < 2
