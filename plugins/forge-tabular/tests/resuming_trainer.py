"""A trainer that saves checkpoints, as none of this distribution does: the rules about them are proved on it."""

from __future__ import annotations

from pathlib import Path

from forge_core.faults import ConfigError
from forge_core.records import ModelSpec, TrainingContext
from forge_tabular.library import xgboost
from forge_tabular.trainers.trainer import Fit, Problem
from forge_tabular.trainers.xgboost import XGBoostTrainer

ROUNDS, TOTAL = 5, 20


class ResumingTrainer(XGBoostTrainer):
    """Twenty trees for two classes, with a checkpoint after each five."""

    def check(self, spec: ModelSpec) -> None:
        super().check(spec)
        if spec.task != "binary":
            raise ConfigError(f"it trains no {spec.task} model", "choose another trainer")

    def fit(self, spec: ModelSpec, problem: Problem, context: TrainingContext) -> Fit:
        data = xgboost.QuantileDMatrix(problem.features, problem.target)
        booster = _kept(context.checkpoint)
        done = booster.num_boosted_rounds() if booster is not None else 0
        parameters = {"objective": "binary:logistic", "max_depth": 3, "seed": context.seed, "nthread": 1, "verbosity": 0}
        while done < TOTAL:
            booster = xgboost.train(parameters, data, ROUNDS, xgb_model=booster)
            done += ROUNDS
            context.save_checkpoint(lambda folder, made=booster: made.save_model(folder / "booster.json"))
            context.progress(done / TOTAL)
        return Fit(booster, parameters)


def _kept(checkpoint: Path | None) -> xgboost.Booster | None:
    if checkpoint is None:
        return None
    try:
        return xgboost.Booster({"nthread": 1}, model_file=checkpoint / "booster.json")
    except xgboost.core.XGBoostError:
        return None
