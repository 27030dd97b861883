"""scikit-learn estimators as `.skops`: no pickle, a short list of types, and trees whose indices are checked."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.ensemble import GradientBoostingClassifier, GradientBoostingRegressor
from sklearn.ensemble._hist_gradient_boosting.predictor import TreePredictor
from sklearn.tree._tree import Tree
from skops.io import loads

from forge_core.faults import ForgeError, InvalidInput, UnsafeFormat
from forge_tabular.columns import Matrix
from forge_tabular.estimators import ESTIMATORS, FORESTS, dtype_of, fits, takes_nulls
from forge_tabular.flavors import skops_file
from forge_tabular.flavors.flavor import Loaded, Scores, TabularFlavor, damaged, require
from forge_tabular.flavors.sidecar import Sidecar
from forge_tabular.flavors.sniff import read_magic
from forge_tabular.flavors.trees import check_features, check_links

BLOCK = 8_192
"""Rows that a forest answers in one thread; more are split."""


class SkopsFlavor(TabularFlavor):
    """The estimators of `forge_tabular.estimators`."""

    file: ClassVar[str] = "model.skops"

    def write(self, model: object, path: Path) -> None:
        if type(model) not in ESTIMATORS.values():
            raise InvalidInput(f"the skops flavor cannot hold a {type(model).__name__}", f"it holds {', '.join(sorted(ESTIMATORS))}")
        path.write_bytes(skops_file.write(model))

    def read(self, path: Path, sidecar: Sidecar) -> Loaded:
        data = read_magic(path, b"PK\x03\x04", "a .skops file")
        skops_file.check(data)
        try:
            return _load(data, sidecar)
        except ForgeError:
            raise
        except Exception as error:  # attributes of a crafted file can be anything
            raise damaged(f"skops cannot load it: {type(error).__name__}") from error


def _load(data: bytes, sidecar: Sidecar) -> Loaded:
    model = loads(data, trusted=skops_file.TRUSTED)
    if type(model) not in ESTIMATORS.values() or not fits(type(model), sidecar.task):
        raise UnsafeFormat(f"the .skops file holds a {type(model).__name__}, which is no {sidecar.task} model", "publish the model again")
    vars(model).pop("feature_names_in_", None)  # features are found by name before; scikit-learn would warn of a bare matrix
    _check_shape(model, sidecar)
    for part in _parts(model):
        _check_part(part, len(sidecar.features))
    return Loaded(_score(model, sidecar), dtype_of(model), takes_nulls(model))


def _score(model: Any, sidecar: Sidecar) -> Scores:
    if isinstance(model, FORESTS):
        return _forest([one.tree_ for one in model.estimators_], sidecar)
    if sidecar.task == "regression":
        return lambda values: np.asarray(model.predict(values), np.float64)
    return lambda values: np.asarray(model.predict_proba(values), np.float64)


def _forest(trees: list[Tree], sidecar: Sidecar) -> Scores:
    """The mean over the trees, as scikit-learn computes it, without the ten times longer way through joblib to it."""

    def mean(values: Matrix) -> NDArray[np.floating]:
        total: NDArray[np.float64] = trees[0].predict(values)
        for tree in trees[1:]:
            total += tree.predict(values)
        total /= len(trees)
        return total[:, 0] if sidecar.task == "regression" else total

    def score(values: Matrix) -> NDArray[np.floating]:
        if len(values) <= BLOCK:
            return mean(values)
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:  # the trees are walked without the interpreter's lock
            return np.concatenate(list(pool.map(mean, np.array_split(values, -(-len(values) // BLOCK)))))

    return score


def _check_shape(model: Any, sidecar: Sidecar) -> None:
    require(getattr(model, "n_features_in_", None) == len(sidecar.features), "it has another number of features")
    if sidecar.task != "regression":
        require(len(getattr(model, "classes_", ())) == len(sidecar.classes), "it has another number of classes")
    if isinstance(model, FORESTS):
        width = max(1, len(sidecar.classes))
        trees = [getattr(one, "tree_", None) for one in getattr(model, "estimators_", ())]
        require(trees and all(isinstance(tree, Tree) and tree.max_n_classes == width for tree in trees), "it is no forest of such trees")
    if isinstance(model, GradientBoostingClassifier | GradientBoostingRegressor):  # its native code writes one column per tree of a stage
        width = len(sidecar.classes) if len(sidecar.classes) > 2 else 1
        stages = getattr(model, "estimators_", None)
        fit = isinstance(stages, np.ndarray) and stages.ndim == 2 and stages.shape[1] == width and model.n_trees_per_iteration_ == width
        require(fit, "it has another number of trees in a stage")


def _parts(model: object) -> Iterator[Tree | TreePredictor]:
    """Every native tree that an object leads to."""
    stack: list[object] = [model]
    seen: set[int] = set()
    while stack:
        found = stack.pop()
        if id(found) in seen:
            continue
        seen.add(id(found))
        if isinstance(found, Tree | TreePredictor):
            yield found
        elif isinstance(found, dict):
            stack.extend(found.values())
        elif isinstance(found, list | tuple):
            stack.extend(found)
        elif isinstance(found, np.ndarray) and found.dtype == object:
            stack.extend(found.ravel().tolist())
        elif isinstance(found, BaseEstimator):
            stack.extend(vars(found).values())


def _check_part(part: Tree | TreePredictor, features: int) -> None:
    if isinstance(part, Tree):
        require(0 < part.node_count <= part.capacity and part.n_outputs == 1, "a tree has not the nodes that it claims")
        left, right, split = part.children_left, part.children_right, part.feature
        inner = left != -1
        nodes = part.node_count
    else:
        require(isinstance(part.nodes, np.ndarray) and part.nodes.ndim == 1 and part.nodes.dtype.names is not None, "a tree has no nodes")
        left, right, split = (part.nodes[name].astype(np.int64) for name in ("left", "right", "feature_idx"))
        require(not part.nodes["is_categorical"].any(), "a tree splits on categories")
        inner = part.nodes["is_leaf"] == 0
        nodes = len(part.nodes)
    check_links(np.concatenate([left[inner], right[inner]]), nodes, "a tree")
    check_features(split[inner], features, "a tree")
