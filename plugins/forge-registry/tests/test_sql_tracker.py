"""What the tracker promises, over SQLite and PostgreSQL alike."""

from __future__ import annotations

import math
import os
from datetime import UTC, datetime, timedelta

import pytest

from forge_core.faults import DigestMismatch, InvalidInput, NotFound
from forge_registry.tables import ARTIFACTS, METRICS, RUNS

START = datetime(2026, 1, 31, 12, tzinfo=UTC)


def test_starting_a_run_again_changes_nothing(world):
    tracker = world.tracker()
    tracker.start("flights", "run_1", {"depth": 3, "nested": {"a": [1, None, "x"]}})
    tracker.log_metrics("run_1", [("loss", 0.5, 1, START)])
    before = tracker.run("run_1")
    world.tracker().start("other", "run_1", {"depth": 4})
    assert tracker.run("run_1") == before
    assert before.parameters == {"depth": 3, "nested": {"a": [1, None, "x"]}}
    assert (before.experiment, before.state, before.ended_at) == ("flights", "running", None)
    assert len(tracker.metrics("run_1")) == 1


def test_metrics_come_back_by_name_step_and_time(world):
    tracker = world.tracker()
    tracker.start("flights", "run_1", {})
    later = START + timedelta(microseconds=1)
    told = [
        ("val/loss", 1.0, 2, START), ("Loss", 3.0, 1, START), ("val/loss", 2.0, 1, later), ("val/loss", 3.0, 1, START),
        ("loss", -1e308, 10, START), ("loss", 1e-300, 9, START), ("Äuc", 0.1, 0, START), ("_", 0.3, -1, START),
    ]  # fmt: skip
    tracker.log_metrics("run_1", told[:3])
    tracker.log_metrics("run_1", told[3:])
    assert tracker.metrics("run_1") == sorted(told, key=lambda metric: (metric[0].encode(), metric[2], metric[3]))


def test_a_metric_that_is_no_number_is_kept_as_such(world):
    tracker = world.tracker()
    tracker.start("flights", "run_1", {})
    tracker.log_metrics("run_1", [("a", math.nan, 1, START), ("b", math.inf, 1, START), ("c", -math.inf, 1, START)])
    values = [value for _name, value, _step, _at in tracker.metrics("run_1")]
    assert math.isnan(values[0])
    assert values[1:] == [math.inf, -math.inf]


def test_a_batch_is_written_whole(world):
    tracker = world.tracker()
    tracker.start("flights", "run_1", {})
    with pytest.raises(InvalidInput):
        tracker.log_metrics("run_1", [("a", 1.0, 1, START), ("b\x00", 1.0, 1, START)])
    assert tracker.metrics("run_1") == []
    tracker.log_metrics("run_1", [])
    tracker.log_metrics("run_1", [("a", float(step), step, START) for step in range(12_000)])
    assert [step for _name, _value, step, _at in tracker.metrics("run_1")] == list(range(12_000))


def test_a_run_that_was_not_started_is_not_found(world, tmp_path):
    tracker = world.tracker()
    (tmp_path / "file").write_bytes(b"x")
    for ask in (
        lambda: tracker.log_metrics("run_9", [("a", 1.0, 1, START)]),
        lambda: tracker.log_artifact("run_9", tmp_path / "file", "file"),
        lambda: tracker.end("run_9", "done"),
        lambda: tracker.metrics("run_9"),
        lambda: tracker.run("run_9"),
    ):
        with pytest.raises(NotFound, match="run_9"):
            ask()
    assert world.count(METRICS) == world.count(ARTIFACTS) == world.count(RUNS) == 0


def test_a_run_that_ended_says_how_and_when(world):
    tracker = world.tracker()
    tracker.start("flights", "run_1", {})
    tracker.end("run_1", "failed")
    run = tracker.run("run_1")
    assert run.state == "failed"
    assert run.ended_at >= run.started_at


def test_runs_are_listed_newest_first_by_experiment(world):
    tracker = world.tracker()
    for number in range(4):
        tracker.start("ab"[number % 2], f"run_{number}", {})
    assert [run.run_id for run in tracker.runs()] == ["run_3", "run_2", "run_1", "run_0"]
    assert [run.run_id for run in tracker.runs("a", limit=1)] == ["run_2"]
    with pytest.raises(InvalidInput):
        tracker.runs(limit=0)


def test_an_artifact_comes_back_as_it_was(stored, tmp_path):
    tracker = stored.tracker()
    tracker.start("flights", "run_1", {})
    data = os.urandom(100_000)
    (tmp_path / "report").write_bytes(data)
    tracker.log_artifact("run_1", tmp_path / "report", "plots/report.html")
    tracker.fetch_artifact("run_1", "plots/report.html", tmp_path / "fetched")
    assert (tmp_path / "fetched").read_bytes() == data
    assert tracker.run("run_1").artifacts == {"plots/report.html": 100_000}
    (tmp_path / "report").write_bytes(b"newer")
    tracker.log_artifact("run_1", tmp_path / "report", "plots/report.html")
    assert tracker.run("run_1").artifacts == {"plots/report.html": 5}
    for name, target in (("plots/report.html", tmp_path / "fetched"), ("plots/report.html", tmp_path / "no" / "where")):
        with pytest.raises(InvalidInput):
            tracker.fetch_artifact("run_1", name, target)
    with pytest.raises(NotFound):
        tracker.fetch_artifact("run_1", "other", tmp_path / "x")


def test_the_registry_s_sweep_leaves_artifacts_and_takes_replaced_ones(world, tmp_path):
    tracker, registry = world.tracker(), world.registry()
    tracker.start("flights", "run_1", {})
    for data in (b"old", b"newer"):
        (tmp_path / "report").write_bytes(data)
        tracker.log_artifact("run_1", tmp_path / "report", "report")
    assert registry.collect_garbage(timedelta(0)) == 3
    tracker.fetch_artifact("run_1", "report", tmp_path / "fetched")
    assert (tmp_path / "fetched").read_bytes() == b"newer"


@pytest.mark.faults
def test_A8_a_damaged_artifact_is_not_handed_out(local, tmp_path):
    tracker = local.tracker()
    tracker.start("flights", "run_1", {})
    (tmp_path / "report").write_bytes(b"report")
    tracker.log_artifact("run_1", tmp_path / "report", "report")
    (blob,) = local.blobs()
    blob.chmod(0o600)
    for damage in (lambda: blob.write_bytes(b"repast"), blob.unlink):
        damage()
        with pytest.raises(DigestMismatch):
            tracker.fetch_artifact("run_1", "report", tmp_path / "fetched")
        assert not (tmp_path / "fetched").exists()


@pytest.mark.faults
def test_A1_an_artifact_is_a_file_and_no_link(local, tmp_path):
    tracker = local.tracker()
    tracker.start("flights", "run_1", {})
    (tmp_path / "secret").write_bytes(b"x")
    (tmp_path / "link").symlink_to(tmp_path / "secret")
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "pipe", "nowhere", "."):
        with pytest.raises(InvalidInput):
            tracker.log_artifact("run_1", tmp_path / name, "artifact")
    assert local.blobs() == local.leftovers() == []
    assert tracker.run("run_1").artifacts == {}


def test_another_tenant_s_run_does_not_exist(world, tenant, tmp_path):
    tracker = world.tracker()
    (tmp_path / "file").write_bytes(b"x")
    for name in ("a", "ab", "A", "a/"):
        with tenant(name):
            tracker.start(f"of {name}", "run_1", {"name": name})
            tracker.log_metrics("run_1", [("m", 1.0, 1, START)])
            tracker.log_artifact("run_1", tmp_path / "file", "file")
    for name in ("a", "ab", "A", "a/"):
        with tenant(name):
            assert tracker.run("run_1").parameters == {"name": name}
            assert len(tracker.runs()) == len(tracker.metrics("run_1")) == 1
            assert tracker.runs("of nobody") == []
    with tenant("b"):
        for ask in (tracker.metrics, tracker.run, lambda run: tracker.end(run, "done")):
            with pytest.raises(NotFound):
                ask("run_1")


def test_parameters_that_json_cannot_say_are_refused(world):
    for value in (math.nan, object(), {1, 2}, "\ud800"):
        with pytest.raises(InvalidInput, match="not JSON"):
            world.tracker().start("flights", "run_1", {"x": value})
    assert world.count(RUNS) == 0
