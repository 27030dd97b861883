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
TASKS = ("binary", "multiclass", "regression")


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


def rows(task: str, count: int = 240, seed: int = 0) -> pa.Table:
    """Six features, two of them with nulls or truth values, and a target `y` that they decide but for noise."""
    random = np.random.default_rng(seed)
    values = random.normal(size=(count, 4))
    score = values[:, 0] + values[:, 1] * 2 + random.normal(scale=0.5, size=count)
    target = {
        "binary": pa.array(np.where(score > 0, "late", "on time")),
        "multiclass": pa.array(np.digitize(score, [-1.5, 1.5]) * 10),
        "regression": pa.array(score),
    }[task]
    columns = {f"x{number}": pa.array(values[:, number]) for number in range(4)}
    columns["whole"] = pa.array(random.integers(0, 9, count), pa.int32(), mask=random.random(count) < 0.1)
    columns["flag"] = pa.array(random.random(count) < 0.5)
    return pa.table({**columns, "y": target})


def features(table: pa.Table) -> pa.Table:
    return table.drop_columns(["y"])


def spec(trainer: str, task: str, **hyperparameters: JSON) -> ModelSpec:
    """Fifteen small trees, unless told otherwise."""
    return ModelSpec(name="model", type=trainer, target="y", hyperparameters={"n_estimators": 15, "max_depth": 3, **hyperparameters})


@pytest.fixture
def context(tmp_path: Path) -> Listening:
    return Listening(tmp_path)


@pytest.fixture(params=sorted(TRAINERS))
def trainer_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=TASKS)
def task(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], TrainedModel]:
    """A small model of each trainer and task, trained once."""
    made: dict[tuple[str, str], TrainedModel] = {}

    def get(trainer: str, task: str) -> TrainedModel:
        if (trainer, task) not in made:
            made[trainer, task] = TRAINERS[trainer][0]().train(spec(trainer, task), rows(task), Listening(tmp_path_factory.mktemp("run")))
        return made[trainer, task]

    return get


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory, trained: Callable[[str, str], TrainedModel]) -> Callable[[str, str], Path]:
    """The folder of each of them; not to be changed."""
    made: dict[tuple[str, str], Path] = {}

    def get(trainer: str, task: str) -> Path:
        if (trainer, task) not in made:
            made[trainer, task] = tmp_path_factory.mktemp("flavor")
            TRAINERS[trainer][1]().save(trained(trainer, task), made[trainer, task], features(rows(task)).slice(0, 5))
        return made[trainer, task]

    return get
