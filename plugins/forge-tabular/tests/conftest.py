"""Rows of every task, a run that only listens, and each trainer with its flavor."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from attrs import define, field

from forge_core.contracts import Flavor, Trainer
from forge_core.faults import Cancelled
from forge_core.records import JSON, ModelSpec, TrainedModel
from forge_tabular.flavors.lightgbm import LightGBMFlavor
from forge_tabular.flavors.skops import SkopsFlavor
from forge_tabular.flavors.xgboost import XGBoostFlavor
from forge_tabular.trainers.lightgbm import LightGBMTrainer
from forge_tabular.trainers.sklearn import SklearnTrainer
from forge_tabular.trainers.xgboost import XGBoostTrainer

TRAINERS: Mapping[str, tuple[type[Trainer], type[Flavor]]] = {
    "lightgbm": (LightGBMTrainer, LightGBMFlavor),
    "sklearn": (SklearnTrainer, SkopsFlavor),
    "xgboost": (XGBoostTrainer, XGBoostFlavor),
}


@define
class Listening:
    """A TrainingContext that keeps what it is told; `stop_after` cancels the run at that many reports."""

    folder: Path
    run_id: str = "run_test"
    seed: int = 7
    checkpoint: Path | None = None
    stop_after: int | None = None
    reports: list[float] = field(factory=list)
    logged: list[tuple[int, Mapping[str, float]]] = field(factory=list)

    def progress(self, fraction: float, message: str = "") -> None:
        self.reports.append(fraction)
        if self.stop_after is not None and len(self.reports) >= self.stop_after:
            raise Cancelled("the run was cancelled")

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        self.logged.append((step, dict(metrics)))

    def save_checkpoint(self, write: Callable[[Path], None]) -> None:
        raise AssertionError("no trainer of this distribution keeps checkpoints")


def make_rows(task: str, count: int = 240, seed: int = 0) -> pa.Table:
    """Six features, one with nulls and one of truth values, and a target `y` that they decide but for noise."""
    random = np.random.default_rng(seed)
    values = random.normal(size=(count, 4))
    score = values[:, 0] + values[:, 1] * 2 + random.normal(scale=0.5, size=count)
    target = {
        "binary": pa.array(np.where(score > 0, "on time", "late")),
        "multiclass": pa.array(np.digitize(score, [-1.5, 1.5]) * 10),
        "regression": pa.array(score),
    }[task]
    columns = {f"x{number}": pa.array(values[:, number]) for number in range(4)}
    columns["whole"] = pa.array(random.integers(0, 9, count), pa.int32(), mask=random.random(count) < 0.1)
    columns["flag"] = pa.array(random.random(count) < 0.5)
    return pa.table({**columns, "y": target})


def make_spec(trainer: str, **hyperparameters: JSON) -> ModelSpec:
    """Fifteen small trees in one thread, unless told otherwise; the task is left to be inferred."""
    given = {"n_estimators": 15, "max_depth": 3, **({} if trainer == "sklearn" else {"n_jobs": 1}), **hyperparameters}
    return ModelSpec(
        name="model", type=trainer, target="y", hyperparameters={name: value for name, value in given.items() if value is not None}
    )


@pytest.fixture(scope="session")
def rows() -> Callable[..., pa.Table]:
    return make_rows


@pytest.fixture(scope="session")
def spec() -> Callable[..., ModelSpec]:
    return make_spec


@pytest.fixture(scope="session")
def drivers() -> Mapping[str, tuple[type[Trainer], type[Flavor]]]:
    return TRAINERS


@pytest.fixture
def context(tmp_path: Path) -> Listening:
    return Listening(tmp_path)


@pytest.fixture(params=sorted(TRAINERS))
def name(request: pytest.FixtureRequest) -> str:
    """Of a trainer."""
    return str(request.param)


@pytest.fixture(params=["binary", "multiclass", "regression"])
def task(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], TrainedModel]:
    """A small model of a trainer and a task, trained once."""
    made: dict[tuple[str, str], TrainedModel] = {}

    def get(name: str, task: str) -> TrainedModel:
        if (name, task) not in made:
            made[name, task] = TRAINERS[name][0]().train(make_spec(name), make_rows(task), Listening(tmp_path_factory.mktemp("run")))
        return made[name, task]

    return get


@pytest.fixture
def folder(tmp_path: Path, trained: Callable[[str, str], TrainedModel]) -> Callable[[str, str], Path]:
    """A model's folder, as its flavor has written it."""

    def write(name: str, task: str) -> Path:
        made = tmp_path / f"{name}-{task}"
        made.mkdir()
        TRAINERS[name][1]().save(trained(name, task), made, make_rows(task, 5))
        return made

    return write
