"""Which rows are learnt from: every row once, classes in their shares, and never the future."""

from __future__ import annotations

import random

import pyarrow as pa
import pytest
from attrs import evolve

from forge_core.faults import ConfigError, InvalidInput
from forge_core.pipeline import check_training
from forge_core.records import Evaluation, ModelSpec, Training
from forge_core.splits import folds, split

SEEDS = random.Random(7).sample(range(1000), 5)


def table(rows: int = 103) -> pa.Table:
    chance = random.Random(rows)
    times = list(range(rows))
    chance.shuffle(times)
    return pa.table({"id": list(range(rows)), "time": times, "y": [int(number % 10 == 0) for number in range(rows)]})


def spec(**training) -> ModelSpec:
    return ModelSpec("m", "t", target="y", training=Training(**training))


@pytest.mark.parametrize("rows", [2, 3, 10, 103])
@pytest.mark.parametrize("ratio", [0.01, 0.5, 0.8, 0.99])
@pytest.mark.parametrize("strategy", ["holdout", "time_series_split"])
def test_both_parts_together_are_all_rows_once_and_neither_is_empty(rows, ratio, strategy):
    train, test = split(table(rows), Training(split_ratio=ratio, validation_strategy=strategy))
    assert sorted([*train["id"].to_pylist(), *test["id"].to_pylist()]) == list(range(rows))
    assert train.num_rows
    assert test.num_rows


def test_the_training_part_has_its_ratio():
    assert split(table(1000), Training(split_ratio=0.8))[0].num_rows == 800


@pytest.mark.parametrize("seed", SEEDS)
def test_a_seed_always_gives_the_same_rows_and_another_others(seed):
    drawn = [split(table(), Training(seed=one))[1]["id"].to_pylist() for one in (seed, seed, seed + 1)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_rows_are_drawn_by_chance():
    _train, test = split(table(1000), Training())
    assert test["id"].to_pylist() != list(range(800, 1000))
    assert 300 < sum(test["id"].to_pylist()) / 200 < 700


def test_with_order_by_the_last_rows_are_held_out():
    train, test = split(table(), Training(order_by="time"))
    assert max(train["time"].to_pylist()) < min(test["time"].to_pylist())
    assert train["time"].to_pylist() == sorted(train["time"].to_pylist())


def test_a_split_in_time_without_order_by_keeps_the_order_of_the_data():
    train, test = split(table(), Training(validation_strategy="time_series_split"))
    assert train["id"].to_pylist() + test["id"].to_pylist() == list(range(103))


def test_order_by_a_column_that_is_absent_or_null_is_an_error():
    with pytest.raises(ConfigError, match="order_by names 'when'") as caught:
        split(table(), Training(order_by="when"))
    assert caught.value.remedy == "columns: id, time, y"
    with pytest.raises(InvalidInput, match="'t' is null in 1 rows"):
        split(pa.table({"t": [1, None, 3]}), Training(order_by="t"))


@pytest.mark.parametrize("how", [{"split_ratio": 0.0}, {"split_ratio": 1.0}, {"n_splits": 1}, {"validation_strategy": "kfold"}])
def test_what_makes_no_sense_is_a_configuration_error(how):
    with pytest.raises(ConfigError) as caught:
        check_training(Training(**how))
    assert caught.value.remedy


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("strategy", ["k_fold", "stratified_k_fold"])
@pytest.mark.parametrize("rows", [6, 100, 103])
def test_folds_test_every_row_once_and_train_on_all_the_others(seed, strategy, rows):
    made = folds(table(rows), spec(validation_strategy=strategy, n_splits=5, seed=seed))
    assert len(made) == 5
    assert sorted(row for fold in made for row in fold.test.to_pylist()) == list(range(rows))
    for fold in made:
        assert sorted([*fold.train.to_pylist(), *fold.test.to_pylist()]) == list(range(rows))
        assert abs(len(fold.test) - rows / 5) <= 1


@pytest.mark.parametrize("seed", SEEDS)
def test_stratified_folds_have_each_classs_share(seed):
    data = table(1000)
    for fold in folds(data, spec(validation_strategy="stratified_k_fold", n_splits=5, seed=seed)):
        assert sum(data["y"].take(fold.test).to_pylist()) == 20


def test_stratified_folds_take_text_and_rare_classes():
    data = pa.table({"y": ["a"] * 50 + ["b"] * 3 + ["c"]})
    made = folds(data, spec(validation_strategy="stratified_k_fold", n_splits=3))
    assert [data["y"].take(fold.test).to_pylist().count("b") for fold in made] == [1, 1, 1]


@pytest.mark.parametrize("rows", [6, 11, 100, 103])
@pytest.mark.parametrize("n_splits", [2, 5])
def test_folds_in_time_never_train_on_the_future_and_reach_the_end(rows, n_splits):
    made = folds(table(rows), spec(validation_strategy="time_series_split", n_splits=n_splits))
    assert len(made) == n_splits
    for fold in made:
        assert len(fold.train)
        assert max(fold.train.to_pylist()) < min(fold.test.to_pylist())
    tested = [row for fold in made for row in fold.test.to_pylist()]
    assert tested == list(range(tested[0], rows))


@pytest.mark.parametrize("strategy", ["k_fold", "stratified_k_fold"])
def test_folds_are_the_same_for_the_same_seed(strategy):
    made = [folds(table(), spec(validation_strategy=strategy, seed=seed))[0].test.to_pylist() for seed in (1, 1, 2)]
    assert made[0] == made[1] != made[2]


def test_holdout_has_no_folds_unless_a_threshold_is_wanted():
    assert folds(table(), spec()) == ()
    (fold,) = folds(table(), evolve(spec(), evaluation=Evaluation(threshold_optimization=True)))
    assert fold.train.to_pylist() + fold.test.to_pylist() == list(range(103))


@pytest.mark.parametrize("strategy", ["k_fold", "stratified_k_fold", "time_series_split"])
def test_too_few_rows_are_an_error(strategy):
    with pytest.raises(InvalidInput, match="5 rows cannot be split 5 times"):
        folds(table(5), spec(validation_strategy=strategy, n_splits=5))
