"""LightGBM by its native API: deterministic, the same model for the same data and seed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import lightgbm
import pyarrow as pa

from forge_core.faults import ConfigError
from forge_core.records import JSON, ModelSpec, TaskKind, TrainingContext
from forge_tabular.columns import Matrix
from forge_tabular.hyperparameters import canonical, choose, rounds, signs
from forge_tabular.trainers.trainer import Fit, Problem, Rounds, TabularTrainer, double

KNOWN: Mapping[str, tuple[str, ...]] = {
    "num_iterations": (
        "n_estimators", "num_iteration", "n_iter", "num_tree", "num_trees", "num_round", "num_rounds", "nrounds", "num_boost_round",
        "max_iter",
    ),
    "learning_rate": ("shrinkage_rate", "eta"),
    "num_leaves": ("num_leaf", "max_leaves", "max_leaf", "max_leaf_nodes"),
    "max_depth": (),
    "max_bin": ("max_bins",),
    "min_data_in_bin": (),
    "bin_construct_sample_cnt": ("subsample_for_bin",),
    "min_data_in_leaf": ("min_data_per_leaf", "min_data", "min_child_samples", "min_samples_leaf"),
    "min_sum_hessian_in_leaf": ("min_sum_hessian_per_leaf", "min_sum_hessian", "min_hessian", "min_child_weight"),
    "min_gain_to_split": ("min_split_gain",),
    "bagging_fraction": ("sub_row", "subsample", "bagging"),
    "bagging_freq": ("subsample_freq",),
    "pos_bagging_fraction": ("pos_sub_row", "pos_subsample", "pos_bagging"),
    "neg_bagging_fraction": ("neg_sub_row", "neg_subsample", "neg_bagging"),
    "feature_fraction": ("sub_feature", "colsample_bytree"),
    "feature_fraction_bynode": ("sub_feature_bynode", "colsample_bynode"),
    "data_sample_strategy": (),
    "top_rate": (),
    "other_rate": (),
    "lambda_l1": ("reg_alpha", "l1_regularization"),
    "lambda_l2": ("reg_lambda", "lambda", "l2_regularization"),
    "max_delta_step": ("max_tree_output", "max_leaf_output"),
    "path_smooth": (),
    "extra_trees": ("extra_tree",),
    "monotone_constraints": ("mc", "monotone_constraint", "monotonic_cst"),
    "is_unbalance": ("unbalance", "unbalanced_sets"),
    "scale_pos_weight": (),
    "boost_from_average": (),
    "objective": ("objective_type", "app", "application", "loss"),
    "boosting": ("boosting_type", "boost"),
    "drop_rate": ("rate_drop",),
    "max_drop": (),
    "skip_drop": (),
    "uniform_drop": (),
    "xgboost_dart_mode": (),
    "alpha": (),
    "fair_c": (),
    "poisson_max_delta_step": (),
    "tweedie_variance_power": (),
    "seed": ("random_seed", "random_state"),
    "num_threads": ("num_thread", "nthread", "nthreads", "n_jobs"),
}  # fmt: skip
OBJECTIVES: Mapping[TaskKind, tuple[str, ...]] = {
    "binary": ("binary",),
    "multiclass": ("multiclass",),
    "regression": ("regression", "regression_l1", "huber", "fair", "poisson", "quantile", "mape", "gamma", "tweedie"),
}
"""Objectives whose predictions are probabilities or amounts, the default first."""
BOOSTING = ("gbdt", "dart", "rf")


class LightGBMTrainer(TabularTrainer):
    """Boosted trees; nulls are missing values."""

    flavor: ClassVar[str] = "lightgbm"
    libraries: ClassVar[tuple[tuple[str, ...], ...]] = (("lightgbm",),)

    def check(self, spec: ModelSpec) -> None:
        self._parameters(spec, 0)

    def read(self, table: pa.Table, features: tuple[str, ...], spec: ModelSpec) -> Matrix:
        return double(table, features)

    def fit(self, spec: ModelSpec, problem: Problem, context: TrainingContext) -> Fit:
        given = self._parameters(spec, context.seed)
        parameters: dict[str, Any] = {**given, "verbosity": -1, "deterministic": True, "force_row_wise": True}
        total = parameters.pop("num_iterations")
        if "monotone_constraints" in given:
            parameters["monotone_constraints"] = signs(given["monotone_constraints"], problem.names)
        if problem.task == "multiclass":
            parameters["num_class"] = problem.classes
        reports = Rounds(context, total)
        try:
            data = lightgbm.Dataset(problem.features, problem.target, params=parameters)
            booster = lightgbm.train(parameters, data, total, callbacks=[_report(reports)])
        except (lightgbm.basic.LightGBMError, ValueError, TypeError) as error:
            raise ConfigError(f"LightGBM refuses: {said(error)}", "look at the model's hyperparameters and its target") from error
        return Fit(booster, given, reports.last)

    def _parameters(self, spec: ModelSpec, seed: int) -> dict[str, JSON]:
        made = canonical(spec.hyperparameters, KNOWN, "lightgbm")
        allowed = OBJECTIVES[spec.task or "binary"]
        made["objective"] = choose(made.get("objective", allowed[0]), allowed, f"the objective of a {spec.task} model")
        if "boosting" in made:
            choose(made["boosting"], BOOSTING, "boosting")
        made["num_iterations"] = rounds(made.get("num_iterations", 100), "n_estimators")
        made.setdefault("seed", seed)
        if self.threads is not None:
            made.setdefault("num_threads", self.threads)
        return made


def _report(reports: Rounds) -> Callable[[Any], None]:
    def after_iteration(state: Any) -> None:
        reports.after(state.iteration + 1, lambda: {f"train_{name}": float(value) for _, name, value, _ in state.model.eval_train()})

    return after_iteration


def said(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
