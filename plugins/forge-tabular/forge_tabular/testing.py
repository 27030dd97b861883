"""The drivers of this distribution, proved where it is installed: `forge plugins test forge-tabular`.

Nothing imports this at run time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TypeAlias

import pytest

from forge_core.records import JSON, TaskKind
from forge_core.testing import FlavorContract, TrainerContract, TransformationContract
from forge_core.testing.scores import SCORES
from forge_core.testing.transform import Example
from forge_tabular.flavors.lightgbm import LightGBMFlavor
from forge_tabular.flavors.skops import SkopsFlavor
from forge_tabular.flavors.xgboost import XGBoostFlavor
from forge_tabular.metrics import METRICS
from forge_tabular.trainers.lightgbm import LightGBMTrainer
from forge_tabular.trainers.sklearn import SklearnTrainer
from forge_tabular.trainers.xgboost import XGBoostTrainer
from forge_tabular.transforms.aggregate import Aggregate
from forge_tabular.transforms.date_parts import DateParts
from forge_tabular.transforms.one_hot import OneHot
from forge_tabular.transforms.pca import PCA
from forge_tabular.transforms.standard_scaler import StandardScaler
from forge_tabular.transforms.window import Window

Rows: TypeAlias = Mapping[str, Sequence[JSON]]


class Small:
    """Small models in one thread."""

    @pytest.fixture
    def hyperparameters(self) -> Mapping[str, JSON]:
        return {"n_estimators": 15, "max_depth": 4, "n_jobs": 1}


class Known(Small):
    """Every metric of this distribution is checked."""

    @pytest.fixture
    def metrics(self) -> Mapping[TaskKind, tuple[str, ...]]:
        return {task: tuple(name for name in known if name in SCORES[task]) for task, known in METRICS.items()}


class TestSklearn(Known, TrainerContract):
    driver_class = SklearnTrainer

    @pytest.fixture
    def drawing(self) -> Mapping[str, JSON]:
        return {"bootstrap": True}


class TestXGBoost(Known, TrainerContract):
    driver_class = XGBoostTrainer

    @pytest.fixture
    def drawing(self) -> Mapping[str, JSON]:
        return {"subsample": 0.5}


class TestLightGBM(Known, TrainerContract):
    driver_class = LightGBMTrainer

    @pytest.fixture
    def drawing(self) -> Mapping[str, JSON]:
        return {"bagging_fraction": 0.5, "bagging_freq": 1}


class TestSkopsFlavor(Small, FlavorContract):
    driver_class = SkopsFlavor
    trainer_class = SklearnTrainer


class TestXGBoostFlavor(Small, FlavorContract):
    driver_class = XGBoostFlavor
    trainer_class = XGBoostTrainer


class TestLightGBMFlavor(Small, FlavorContract):
    driver_class = LightGBMFlavor
    trainer_class = LightGBMTrainer


class TestAggregate(TransformationContract):
    driver_class = Aggregate

    @pytest.fixture
    def settings(self) -> Mapping[str, JSON]:
        functions = ["sum", "mean", "std", "var", "min", "max", "count", "count_distinct"]
        return {
            "group_by": ["customer"],
            "aggregations": [{"column": "amount", "functions": functions}, {"column": "carrier", "functions": ["count_distinct", "max"]}],
        }

    @pytest.fixture
    def examples(self) -> Sequence[Example]:
        functions = ["sum", "mean", "std", "var", "min", "max", "count", "count_distinct"]
        return (
            Example(
                {"group_by": ["k"], "aggregations": [{"column": "v", "functions": functions}], "target": "y"},
                {"k": ["b", "a", "b", "b", "b"], "v": [1.0, 5.0, 4.0, None, 4.0], "y": [1, 0, 1, 1, 1]},
                {
                    "k": ["b", "a"],
                    "v_sum": [9.0, 5.0],
                    "v_mean": [3.0, 5.0],
                    "v_std": [math.sqrt(3), None],
                    "v_var": [3.0, None],
                    "v_min": [1.0, 5.0],
                    "v_max": [4.0, 5.0],
                    "v_count": [3, 1],
                    "v_count_distinct": [2, 1],
                    "y": [1, 0],
                },
            ),
        )


class TestWindow(TransformationContract):
    driver_class = Window

    @pytest.fixture
    def settings(self) -> Mapping[str, JSON]:
        functions = ["lag", "rolling_mean", "rolling_sum", "rolling_min", "rolling_max", "rolling_count", "rolling_std"]
        windows = [{"column": "amount", "function": function, "size": 3} for function in functions]
        return {"order_by": "moment", "partition_by": ["customer"], "windows": windows}

    @pytest.fixture
    def examples(self) -> Sequence[Example]:
        functions = ["lag", "rolling_mean", "rolling_sum", "rolling_min", "rolling_max", "rolling_count", "rolling_std"]
        return (
            Example(
                {"order_by": "t", "partition_by": ["k"], "windows": [{"column": "v", "function": name, "size": 2} for name in functions]},
                {"t": [3, 1, 2, 1, 4], "k": ["a", "a", "a", "b", "a"], "v": [8.0, 2.0, 4.0, 7.0, 1.0]},
                {
                    "v": [8.0, 2.0, 4.0, 7.0, 1.0],
                    "v_lag_2": [2.0, None, None, None, 4.0],
                    "v_rolling_mean_2": [3.0, None, 2.0, None, 6.0],
                    "v_rolling_sum_2": [6.0, None, 2.0, None, 12.0],
                    "v_rolling_min_2": [2.0, None, 2.0, None, 4.0],
                    "v_rolling_max_2": [4.0, None, 2.0, None, 8.0],
                    "v_rolling_count_2": [2, 0, 1, 0, 2],
                    "v_rolling_std_2": [math.sqrt(2), None, None, None, math.sqrt(8)],
                },
            ),
            Example(  # rows of one moment do not see one another
                {"order_by": "t", "windows": [{"column": "v", "function": "rolling_sum", "size": 5, "name": "before"}]},
                {"t": [1, 2, 2, 3], "v": [1.0, 10.0, 100.0, None]},
                {"before": [None, 1.0, 1.0, 111.0]},
            ),
        )


class TestStandardScaler(TransformationContract):
    driver_class = StandardScaler

    @pytest.fixture
    def examples(self) -> Sequence[Example]:
        rows: Rows = {"a": [1.0, 3.0, None, 5.0], "same": [2, 2, 2, 2]}
        return (
            Example({}, rows, {"a": [-math.sqrt(1.5), 0.0, None, math.sqrt(1.5)], "same": [0.0] * 4}),
            Example({"columns": ["a"], "with_mean": False}, rows, {"a": [7.0 / math.sqrt(8 / 3)], "same": [9]}, {"a": [7], "same": [9]}),
            Example({"columns": ["a"], "with_std": False}, rows, {"a": [4.0]}, {"a": [7], "same": [9]}),
        )


class TestPca(TransformationContract):
    driver_class = PCA

    @pytest.fixture
    def examples(self) -> Sequence[Example]:
        rows: Rows = {"a": [-2.0, 0.0, 2.0, None], "b": [-2.0, 0.0, 2.0, 0.0], "c": ["x", "y", "z", "x"]}
        root = math.sqrt(2)
        return (
            Example({}, rows, {"c": rows["c"], "pca_0": [-2 * root, 0.0, 2 * root, 0.0], "pca_1": [0.0] * 4, "a": None}),
            Example(
                {"n_components": 1, "prefix": "p", "whiten": True, "keep": True},
                rows,
                {"a": [3.0], "p0": [3 / root / math.sqrt(16 / 3)]},
                {"a": [3.0], "b": [0.0]},
            ),
        )


class TestOneHot(TransformationContract):
    driver_class = OneHot

    @pytest.fixture
    def settings(self) -> Mapping[str, JSON]:
        return {"columns": ["carrier", "paid"], "max_categories": 3, "unknown": "other", "nulls": "column"}

    @pytest.fixture
    def examples(self) -> Sequence[Example]:
        rows: Rows = {"c": ["z", "b", "a", "b", None, "z"], "n": [1, 2, 3, 4, 5, 6]}
        more: Rows = {"c": ["b", "q", None, "z", "a"], "n": [1, 2, 3, 4, 5]}
        return (
            Example(
                {"columns": ["c"]},
                rows,
                {"n": more["n"], "c_a": [0, 0, 0, 0, 1], "c_b": [1, 0, 0, 0, 0], "c_z": [0, 0, 0, 1, 0], "c": None},
                more,
            ),
            Example(
                {"columns": ["c"], "max_categories": 2, "unknown": "other", "nulls": "column"},
                rows,
                {"c_b": [1, 0, 0, 0, 0], "c_z": [0, 0, 0, 1, 0], "c_other": [0, 1, 0, 0, 1], "c_null": [0, 0, 1, 0, 0], "c_a": None},
                more,
            ),
            Example({"columns": ["n"], "max_categories": 1}, {"n": [7, 7, 3, 3, 5]}, {"n_3": [0, 0, 1, 1, 0], "n_7": None}),
        )


class TestDateParts(TransformationContract):
    driver_class = DateParts

    @pytest.fixture
    def settings(self) -> Mapping[str, JSON]:
        return {"columns": ["moment"], "parts": ["month", "hour", "weekday"], "cyclic": True}

    @pytest.fixture
    def examples(self) -> Sequence[Example]:
        parts = ["year", "month", "day", "hour", "minute", "weekday", "yearday", "week"]
        rows: Rows = {"t": ["2012-12-31T23:59:00", None, "2013-03-03T06:00:00"]}
        told = ([2012, None, 2013], [12, None, 3], [31, None, 3], [23, None, 6], [59, None, 0], [0, None, 6], [366, None, 62], [1, None, 9])
        return (
            Example(
                {"columns": ["t"], "parts": parts},
                rows,
                {"t": None, **{f"t_{part}": list(one) for part, one in zip(parts, told, strict=True)}},
            ),
            Example(
                {"columns": ["t"], "parts": ["hour", "month"], "cyclic": True, "keep": True},
                rows,
                {
                    "t": rows["t"],
                    "t_hour_sin": [math.sin(2 * math.pi * 23 / 24), None, 1.0],
                    "t_hour_cos": [math.cos(2 * math.pi * 23 / 24), None, 0.0],
                    "t_month_sin": [math.sin(2 * math.pi * 11 / 12), None, math.sin(2 * math.pi * 2 / 12)],
                },
            ),
            Example({"columns": ["t"], "parts": ["hour", "year"]}, {"t": ["2013-01-31T05:15:00"]}, {"t_hour": [5], "t_year": [2013]}),
        )
