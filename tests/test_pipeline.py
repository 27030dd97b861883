"""The builder and the file are two spellings of one pipeline."""

from __future__ import annotations

import functools
import json.decoder
import os.path

import pytest

from forge_core import Pipeline, step
from forge_core.faults import ConfigError
from forge_core.pipeline import imported, steps, target_of
from forge_core.records import DatasetSpec, PipelineConfig, PipelineStage, RetryPolicy, Step, TransformSpec
from forge_core.serialize import digest, from_json, to_json

YAML = """
project: {name: p}
datasets: [{name: rows, path: data/rows, target: y, partitions: [year]}]
feature_engineering: {transformations: [{type: standard_scaler}, {type: pca, config: {n: 2}}]}
models:
  - name: churn
    type: xgboost
    hyperparameters: {max_depth: 5}
    training: {split_ratio: 0.7, validation_strategy: k_fold, n_splits: 3}
    evaluation: {metrics: [f1], require: {f1: 0.8}, threshold_optimization: true}
deployment: {automatic: true, strategy: canary, endpoints: [{name: front, model: churn}]}
pipeline: {timeout: 60, retry_policy: {max_attempts: 2}, notifications: [console], parameters: {a: 1}}
"""


def built():
    return (
        Pipeline("churn")
        .with_dataset("rows", path="data/rows", target="y", partitions=["year"])
        .with_feature_engineering(["standard_scaler", {"type": "pca", "config": {"n": 2}}])
        .with_training("xgboost", {"max_depth": 5}, split_ratio=0.7, validation_strategy="k_fold", n_splits=3)
        .with_evaluation(["f1"], {"f1": 0.8}, threshold_optimization=True)
        .with_deployment("canary", "front")
        .with_options(timeout=60.0, retry_policy=RetryPolicy(2), notifications=["console"], parameters={"a": 1})
    )


def test_the_builder_and_the_file_give_one_digest(open_kernel):
    config = open_kernel(YAML).pipeline()
    assert built().build() == config
    assert digest(built().build()) == digest(config)


def test_a_pipeline_survives_json_without_loss():
    config = built().build()
    assert from_json(to_json(config), PipelineConfig) == config


def test_a_pipeline_can_be_built_from_records():
    made = (
        Pipeline("churn")
        .with_dataset(DatasetSpec("rows"), version="3")
        .with_feature_engineering([TransformSpec("pca")])
        .with_training("t")
        .build()
    )
    assert (made.datasets[0].version, made.transforms) == ("3", (TransformSpec("pca"),))


def test_the_standard_stages_are_there_and_deployment_only_where_it_is_asked_for():
    names = [one.name for one in steps(built().build())]
    assert names == ["prepare", "train", "validate", "deploy"]
    assert [one.name for one in steps(Pipeline("m").with_dataset("d").with_training("t").build())] == ["prepare", "train", "validate"]


def test_a_step_of_ones_own_comes_after_its_stage_but_before_what_publishes():
    made = built().with_step(os.path.join, "TRAINING").with_step(os.path.basename, PipelineStage.VALIDATION, p="x")
    ordered = {one.name: one for one in steps(made.build())}
    assert list(ordered) == ["prepare", "train", "join", "basename", "validate", "deploy"]
    assert ordered["validate"].needs == ("prepare", "train", "join", "basename")
    assert ordered["deploy"].needs == ("prepare", "train", "join", "basename", "validate")
    assert ordered["basename"].parameters == {"p": "x"}


def test_what_another_process_cannot_import_is_refused():
    def inner(): ...

    for function in (lambda: None, inner, functools.partial(print)):
        with pytest.raises(ConfigError, match="cannot be imported by another process"):
            Pipeline("p").with_step(function, "TRAINING")


def test_a_target_names_a_function_and_finds_it_again():
    assert imported(target_of(json.decoder.JSONDecoder.decode)) is json.decoder.JSONDecoder.decode
    for target in ("no_such_module:x", "json:no_such_name", "json"):
        with pytest.raises(ConfigError, match=f"{target} cannot be imported"):
            imported(target)


def own(*made: Step) -> PipelineConfig:
    return PipelineConfig("p", stages=made)


@pytest.mark.parametrize(
    ("config", "cause"),
    [
        (own(Step("a", "COOKING", "m:a")), "step 'a' is of an unknown stage 'COOKING'"),
        (own(Step("a", "TRAINING", "m:a"), Step("a", "VALIDATION", "m:b")), "two steps are called 'a'"),
        (own(Step("a", "TRAINING", "m:a", needs=("z",))), "step 'a' needs 'z', which is no step"),
        (own(Step("a", "TRAINING", "m:a", needs=("b",)), Step("b", "VALIDATION", "m:b")), "step 'a' needs 'b', which comes after it"),
        (own(Step("a", "TRAINING", "m:a", needs=("a",))), "step 'a' needs 'a', which comes after it"),
    ],
)
def test_steps_that_cannot_be_ordered_are_refused(config, cause):
    with pytest.raises(ConfigError) as caught:
        steps(config)
    assert caught.value.cause == cause
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("build", "cause"),
    [
        (lambda: Pipeline("p").with_training("t").build(), "model 'p' has no data set"),
        (lambda: Pipeline("p").with_dataset("d", colour="red"), "a data set has no 'colour'"),
        (lambda: Pipeline("p").with_feature_engineering([{"typ": "pca"}]), "a transformation has the keys type and config, not typ"),
        (lambda: Pipeline("p").with_feature_engineering([{}]), "a transformation has the keys type and config"),
        (lambda: Pipeline("p").with_training(object()), "object is not a registered model"),
    ],
)
def test_what_the_builder_cannot_mean_is_a_configuration_error(build, cause):
    with pytest.raises(ConfigError, match=cause):
        build()


def test_a_marked_step_has_its_name_and_its_time():
    @step("load", timeout=3)
    def function(): ...

    assert function.__forge_step__ == {"name": "load", "timeout": 3}
