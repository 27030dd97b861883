"""XGBoost by its native API: histograms on the CPU, the same model for the same data and seed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import pyarrow as pa

from forge_core.faults import ConfigError
from forge_core.records import JSON, ModelSpec, TrainingContext
from forge_tabular.columns import Matrix
from forge_tabular.flavors.xgboost import OBJECTIVES
from forge_tabular.hyperparameters import canonical, choose, rounds, signs
from forge_tabular.library import xgboost
from forge_tabular.trainers.trainer import Fit, Problem, Rounds, TabularTrainer, single

KNOWN: Mapping[str, tuple[str, ...]] = {
    "num_boost_round": ("n_estimators", "num_round", "n_iter", "iterations"),
    "learning_rate": ("eta",),
    "max_depth": (),
    "max_leaves": (),
    "max_bin": (),
    "grow_policy": (),
    "min_child_weight": (),
    "min_split_loss": ("gamma",),
    "max_delta_step": (),
    "subsample": (),
    "sampling_method": (),
    "colsample_bytree": (),
    "colsample_bylevel": (),
    "colsample_bynode": (),
    "reg_lambda": ("lambda",),
    "reg_alpha": ("alpha",),
    "scale_pos_weight": (),
    "base_score": (),
    "num_parallel_tree": (),
    "monotone_constraints": (),
    "objective": (),
    "booster": (),
    "tree_method": (),
    "rate_drop": (),
    "skip_drop": (),
    "one_drop": (),
    "sample_type": (),
    "normalize_type": (),
    "tweedie_variance_power": (),
    "huber_slope": (),
    "quantile_alpha": (),
    "seed": ("random_state",),
    "nthread": ("n_jobs",),
}
CHOICES: Mapping[str, tuple[str, ...]] = {"booster": ("gbtree", "dart"), "tree_method": ("hist", "auto")}


class XGBoostTrainer(TabularTrainer):
    """Boosted trees; nulls are missing values, and numbers are kept as float32."""

    flavor: ClassVar[str] = "xgboost"
    libraries: ClassVar[tuple[tuple[str, ...], ...]] = (("xgboost", "xgboost-cpu"),)

    def check(self, spec: ModelSpec) -> None:
        self._parameters(spec, 0)

    def read(self, table: pa.Table, features: tuple[str, ...], spec: ModelSpec) -> Matrix:
        return single(table, features)

    def fit(self, spec: ModelSpec, problem: Problem, context: TrainingContext) -> Fit:
        given = self._parameters(spec, context.seed)
        parameters: dict[str, Any] = {**given, "verbosity": 0, "validate_parameters": True}
        total = parameters.pop("num_boost_round")
        if "monotone_constraints" in given:
            parameters["monotone_constraints"] = signs(given["monotone_constraints"], problem.names)
        if problem.task == "multiclass":
            parameters["num_class"] = problem.classes
        try:
            data = xgboost.QuantileDMatrix(
                problem.features, problem.target, max_bin=int(parameters.get("max_bin", 256)), nthread=parameters.get("nthread")
            )
            reports = Rounds(context, total)
            booster = xgboost.train(parameters, data, total, callbacks=[_Report(reports, data)])
        except (xgboost.core.XGBoostError, ValueError, TypeError) as error:
            raise ConfigError(f"XGBoost refuses: {said(error)}", "look at the model's hyperparameters and its target") from error
        return Fit(booster, given, reports.last)

    def _parameters(self, spec: ModelSpec, seed: int) -> dict[str, JSON]:
        made = canonical(spec.hyperparameters, KNOWN, "xgboost")
        allowed = OBJECTIVES[spec.task or "binary"]
        made["objective"] = choose(made.get("objective", allowed[0]), allowed, f"the objective of a {spec.task} model")
        for name, values in CHOICES.items():
            if name in made:
                choose(made[name], values, name)
        made["num_boost_round"] = rounds(made.get("num_boost_round", 100), "n_estimators")
        made.setdefault("seed", seed)
        if self.threads is not None:
            made.setdefault("nthread", self.threads)
        return made


class _Report(xgboost.callback.TrainingCallback):
    def __init__(self, rounds: Rounds, data: Any) -> None:
        super().__init__()
        self._rounds, self._data = rounds, data

    def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
        self._rounds.after(epoch + 1, lambda: _loss(model.eval(self._data, "train")))
        return False


def _loss(told: str) -> dict[str, float]:
    """`[0]\ttrain-logloss:0.53` as numbers."""
    pairs = [pair.rpartition(":") for pair in told.split("\t")[1:]]
    return {name.replace("-", "_", 1): float(value) for name, _, value in pairs}


def said(error: BaseException) -> str:
    """The first line of what XGBoost says, without the time and the place in its sources."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    first = lines[0] if lines else type(error).__name__
    return first.rpartition("] ")[2].partition(": ")[2] if first.startswith("[") and ".cc:" in first else first
