"""Records to JSON and back without loss; a digest changes with what is said, not with how."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from attrs import evolve

from forge_core.records import (
    Condition,
    DatasetSpec,
    DatasetVersion,
    Evaluation,
    ModelMetadata,
    ModelSpec,
    ModelStatus,
    PipelineConfig,
    Plan,
    Planned,
    Principal,
    Project,
    Query,
    RetryPolicy,
    RunRecord,
    Session,
    Step,
    StepRecord,
    Storage,
    Task,
    TrainedModel,
    Training,
    TransformSpec,
)  # fmt: skip
from forge_core.serialize import canonical, digest, digest_of, from_json, to_json

NOW = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)
PIPELINE = PipelineConfig(
    "p", ModelSpec("m", "xgboost", "d", "y", ("a",), "binary", {"n": 1}, Training(0.7), Evaluation(("f1",), {"f1": 0.5}, True)),
    (DatasetSpec("d", "data", partitions=("y",)),), (TransformSpec("pca", {"n": 2}),), stages=(Step("s", "TRAINING", "m:f", {"x": [1, {"y": None}]}),),
    retry_policy=RetryPolicy(3), timeout=5.0,
)  # fmt: skip
RECORDS = [
    PIPELINE,
    Plan(PIPELINE, (DatasetVersion("d", "1", "x", 5),), (Planned(PIPELINE.stages[0], "f", True, "why"),)),
    Query("d", where=(Condition("a", "in", [1, 2]),), masked={"b": "hash"}),
    Session(Principal("ann", ("a", "b"), "acme"), "req_1", NOW),
    Task("run_1", PIPELINE.stages[0], {"a": {"n": 1}}, Path("/x"), Session(Principal("ann"), "r")),
    RunRecord("run_1", "p", "done", NOW, (StepRecord("s", "TRAINING", "done", "f", 1, False, {"n": 1}, NOW, NOW),), "default", NOW),
    ModelMetadata(
        name="m", flavor="f", run_id="r", metrics={"f1": 0.5}, parameters={}, training_data_hash="h", signature=(), status=ModelStatus.DEPLOYED,
        model_id="mdl", version=1, digest="d", created_at=NOW, updated_at=NOW, tenant="t",
    ),
    Project("p", Path("/x"), datasets=(DatasetSpec("d"),)),
]  # fmt: skip


@pytest.mark.parametrize("record", RECORDS, ids=lambda one: type(one).__name__)
def test_a_record_comes_back_from_json_as_it_was(record):
    assert from_json(json.loads(json.dumps(to_json(record))), type(record)) == record


def test_keys_are_the_attributes_names_and_defaults_are_there():
    assert set(to_json(Query("d"))) == {"dataset", "version", "columns", "where", "sample", "seed", "order_by", "masked"}


def test_times_are_written_in_utc():
    elsewhere = NOW.astimezone(timezone(timedelta(hours=5)))
    assert to_json(Session(Principal("a"), "r", elsewhere))["deadline"] == "2026-01-02T03:04:05.000006+00:00"


def test_live_objects_and_secrets_are_not_written():
    assert "model" not in to_json(TrainedModel(object(), "f"))
    assert "hunter2" not in json.dumps(to_json(Storage("s3://b", {"key": "hunter2"}))) + repr(Storage("s3://b", {"key": "hunter2"}))


def test_a_digest_is_over_what_differs_from_the_defaults():
    assert digest(PIPELINE) == digest(from_json(to_json(PIPELINE), PipelineConfig))
    assert digest(evolve(PIPELINE, retry_policy=RetryPolicy(3, initial_delay=1.0))) == digest(PIPELINE)
    assert digest(evolve(PIPELINE, timeout=6.0)) != digest(PIPELINE)


def test_the_order_of_keys_does_not_change_a_digest():
    assert digest_of({"a": 1, "b": [1, 2]}) == digest_of({"b": [1, 2], "a": 1}) != digest_of({"a": 1, "b": [2, 1]})


def test_what_is_no_number_has_no_canonical_form_and_yet_a_digest():
    with pytest.raises(ValueError, match="JSON compliant"):
        canonical(float("nan"))
    assert len({digest_of(float(text)) for text in ("nan", "inf", "-inf")}) == 3
