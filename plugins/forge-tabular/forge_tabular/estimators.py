"""scikit-learn's estimators that Forge trains, and how each takes its features.

Each of them can be written without pickle and checked before use. Nearest neighbours and support vector machines
are not among them: their native code trusts indices of the file.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from sklearn.base import BaseEstimator, is_classifier
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis, QuadraticDiscriminantAnalysis
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.ensemble import (
    AdaBoostClassifier,
    AdaBoostRegressor,
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.linear_model import (
    BayesianRidge,
    ElasticNet,
    GammaRegressor,
    HuberRegressor,
    Lasso,
    LinearRegression,
    LogisticRegression,
    PoissonRegressor,
    QuantileRegressor,
    Ridge,
    SGDClassifier,
    SGDRegressor,
    TweedieRegressor,
)
from sklearn.naive_bayes import BernoulliNB, GaussianNB
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from forge_core.records import TaskKind

FORESTS = (ExtraTreesClassifier, ExtraTreesRegressor, RandomForestClassifier, RandomForestRegressor)
TREES = (*FORESTS, DecisionTreeClassifier, DecisionTreeRegressor, GradientBoostingClassifier, GradientBoostingRegressor)
"""Those that compare in float32, and would make such a copy themselves."""

ESTIMATORS: Mapping[str, type[BaseEstimator]] = {
    estimator.__name__: estimator
    for estimator in (
        *TREES,
        AdaBoostClassifier,
        AdaBoostRegressor,
        BayesianRidge,
        BernoulliNB,
        DummyClassifier,
        DummyRegressor,
        ElasticNet,
        GammaRegressor,
        GaussianNB,
        HistGradientBoostingClassifier,
        HistGradientBoostingRegressor,
        HuberRegressor,
        Lasso,
        LinearDiscriminantAnalysis,
        LinearRegression,
        LogisticRegression,
        MLPClassifier,
        MLPRegressor,
        PoissonRegressor,
        QuadraticDiscriminantAnalysis,
        QuantileRegressor,
        Ridge,
        SGDClassifier,
        SGDRegressor,
        TweedieRegressor,
    )
}


def default(task: TaskKind) -> str:
    return "RandomForestRegressor" if task == "regression" else "RandomForestClassifier"


def fits(estimator: type[BaseEstimator], task: TaskKind) -> bool:
    return bool(is_classifier(estimator())) == (task != "regression")


def dtype_of(estimator: BaseEstimator) -> type[np.floating]:
    return np.float32 if isinstance(estimator, TREES) else np.float64


def takes_nulls(estimator: BaseEstimator) -> bool:
    return bool(estimator.__sklearn_tags__().input_tags.allow_nan)
