from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from attrs import evolve

from forge_core.faults import ConfigError, ForgeError, InvalidInput, UnsafeFormat
from forge_core.records import DatasetVersion, Evaluation, ModelSpec, Query, TrainedModel, TrainingData
from forge_stranger.flavor import FILE, CentroidsFlavor
from forge_stranger.trainer import NearestCentroidTrainer

SPEC = ModelSpec("m", "nearest_centroid", target="kind")
ROWS = pa.table({"x": [0.0, 1.0, 9.0, 10.0, 20.0, 21.0], "y": [1, 0, 1, 0, 1, 0], "kind": ["a", "a", "b", "b", "c", "c"]})


class Context:
    run_id, seed, checkpoint = "run", 0, None

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def progress(self, fraction: float, message: str = "") -> None: ...
    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None: ...
    def save_checkpoint(self, write: Callable[[Path], None]) -> None: ...


def train(table: pa.Table, folder: Path, **hyperparameters: Any) -> TrainedModel:
    data = TrainingData(DatasetVersion("d", "1", ""), Query("d"), (), lambda: table)
    return NearestCentroidTrainer().train(evolve(SPEC, hyperparameters=hyperparameters), data, Context(folder))


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    folder = tmp_path / "flavor"
    folder.mkdir()
    CentroidsFlavor().save(train(ROWS, tmp_path), folder, ROWS.drop_columns(["kind"]))
    return folder


def test_a_row_belongs_to_the_class_whose_mean_is_nearest(saved: Path) -> None:
    told = pa.table(CentroidsFlavor().load(saved).predict(pa.table({"y": [0, 1, 1], "x": [4.0, 11.0, 16.0], "more": ["", "", ""]})))
    assert told["prediction"].to_pylist() == ["a", "b", "c"]
    np.testing.assert_allclose([sum(row) for row in told["probabilities"].to_pylist()], 1)


@pytest.mark.parametrize("labels", [["a", "a", "b", "b", "c", "c"], [1, 1, 2, 2, 2, 2], [True, True, True, False, False, False]])
def test_labels_come_back_as_they_were(labels: list[Any], tmp_path: Path) -> None:
    trained = train(ROWS.set_column(2, "kind", pa.array(labels)), tmp_path)
    (tmp_path / "flavor").mkdir()
    CentroidsFlavor().save(trained, tmp_path / "flavor", ROWS)
    told = pa.table(CentroidsFlavor().load(tmp_path / "flavor").predict(ROWS))
    assert trained.task == ("binary" if len(set(labels)) == 2 else "multiclass")
    assert {type(one) for one in told["prediction"].to_pylist()} == {type(labels[0])}


def test_a_higher_temperature_makes_it_less_sure(tmp_path: Path) -> None:
    row = np.array([[4.0, 0.5]])
    cold, warm = (train(ROWS, tmp_path, temperature=t).model.probabilities(row).max() for t in (1, 100))  # type: ignore[attr-defined]
    assert warm < cold


def test_metrics_are_those_that_were_asked_for(saved: Path) -> None:
    predictor, trainer = CentroidsFlavor().load(saved), NearestCentroidTrainer()
    spoilt = ROWS.set_column(2, "kind", pa.array(["a", "a", "b", "b", "c", "b"]))
    assert trainer.evaluate(SPEC, predictor, spoilt) == pytest.approx({"accuracy": 5 / 6, "balanced_accuracy": (1 + 2 / 3 + 1) / 3})
    asked = evolve(SPEC, evaluation=Evaluation(("accuracy",)))
    assert list(trainer.evaluate(asked, predictor, ROWS)) == ["accuracy"]
    with pytest.raises(ConfigError, match="rmse"):
        trainer.evaluate(evolve(SPEC, evaluation=Evaluation(("rmse",))), predictor, ROWS)


def test_a_misspelt_hyperparameter_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        train(ROWS, tmp_path, temprature=2)
    assert "temperature" in caught.value.remedy


@pytest.mark.parametrize("wrong", [0, -1, True, "hot", float("inf"), float("nan")])
def test_a_temperature_that_is_no_positive_number_is_refused(wrong: object, tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        train(ROWS, tmp_path, temperature=wrong)


def test_columns_it_cannot_take_are_named(tmp_path: Path, saved: Path) -> None:
    for values in (pa.array([1.0, None, 3, 4, 5, 6]), pa.array(list("uvwxyz"))):
        with pytest.raises(InvalidInput, match="'x'"):
            train(ROWS.set_column(0, "x", values), tmp_path)
    with pytest.raises(InvalidInput, match="'y'"):
        CentroidsFlavor().load(saved).predict(ROWS.select(["x"]))


@pytest.mark.parametrize(
    "change",
    [
        {"loader": "os"}, {"means": [[1, 2]]}, {"means": [["1", "2"]] * 3}, {"spread": [0, 1]}, {"spread": [1]}, {"temperature": None},
        {"classes": ["a", "b", 1]}, {"classes": ["a"]}, {"classes": [{}, {}, {}]}, {"features": [1, 2]}, {"temperature": [1]},
    ],
)  # fmt: skip
def test_a_file_that_save_did_not_write_is_refused(saved: Path, change: dict[str, object]) -> None:
    file = saved / FILE
    file.write_text(json.dumps({**json.loads(file.read_bytes()), **change}), encoding="utf-8")
    with pytest.raises(ForgeError):
        CentroidsFlavor().load(saved)


@pytest.mark.parametrize("content", [b"", b"{", b"[" * 100_000, b"null", b"\x80\x04pickle", b'{"temperature": NaN}'])
def test_bytes_that_are_no_model_are_refused(saved: Path, content: bytes) -> None:
    (saved / FILE).write_bytes(content)
    with pytest.raises(InvalidInput):
        CentroidsFlavor().load(saved)


def test_other_files_and_links_are_refused(saved: Path, tmp_path: Path) -> None:
    (saved / "more.py").write_text("", encoding="utf-8")
    with pytest.raises(UnsafeFormat, match=r"more\.py"):
        CentroidsFlavor().load(saved)
    (saved / "more.py").unlink()
    (saved / FILE).rename(tmp_path / "elsewhere.json")
    (saved / FILE).symlink_to(tmp_path / "elsewhere.json")
    with pytest.raises(UnsafeFormat):
        CentroidsFlavor().load(saved)
