"""XGBoost models in its own UBJ format, whose every index is checked before XGBoost sees it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from forge_core.faults import InvalidInput, UnsafeFormat
from forge_core.records import TaskKind
from forge_tabular.columns import Matrix
from forge_tabular.flavors import ubj
from forge_tabular.flavors.flavor import Loaded, TabularFlavor, damaged, require
from forge_tabular.flavors.sidecar import Sidecar
from forge_tabular.flavors.sniff import read_magic
from forge_tabular.flavors.trees import check_features, check_links
from forge_tabular.library import xgboost

OBJECTIVES: Mapping[TaskKind, tuple[str, ...]] = {
    "binary": ("binary:logistic",),
    "multiclass": ("multi:softprob",),
    "regression": (
        "reg:squarederror",
        "reg:absoluteerror",
        "reg:pseudohubererror",
        "reg:squaredlogerror",
        "reg:quantileerror",
        "reg:gamma",
        "reg:tweedie",
        "count:poisson",
    ),
}
"""Objectives whose predictions are probabilities or amounts, the usual one first."""
_PER_NODE = (
    "base_weights", "default_left", "left_children", "loss_changes", "parents", "right_children", "split_conditions", "split_indices",
    "split_type", "sum_hessian",
)  # fmt: skip
_CATEGORIES = ("categories", "categories_nodes", "categories_segments", "categories_sizes")
_LEAF = -1
_NO_PARENT = 2**31 - 1
FEW = 1_024
"""Rows up to which one thread is asked: waking others takes longer than the trees."""


class XGBoostFlavor(TabularFlavor):
    """Boosters of trees (`gbtree`, `dart`) over numbers."""

    file: ClassVar[str] = "model.ubj"

    def write(self, model: object, path: Path) -> None:
        if not isinstance(model, xgboost.Booster):
            raise InvalidInput(f"the xgboost flavor cannot hold a {type(model).__name__}", "it holds an xgboost.Booster")
        path.write_bytes(model.save_raw("ubj"))

    def read(self, path: Path, sidecar: Sidecar) -> Loaded:
        data = read_magic(path, b"{L", "an XGBoost model in UBJ")
        try:
            document: Any = ubj.read(data)
        except (ValueError, RecursionError) as error:
            raise damaged(f"as UBJ, {error}") from error
        _check(document, sidecar)
        try:
            one, all_cores = (_load(data, threads) for threads in (1, 0))
        except xgboost.core.XGBoostError as error:
            raise damaged("XGBoost cannot load it") from error
        rounds = one.num_boosted_rounds()

        def score(values: Matrix) -> NDArray[np.floating]:
            booster = one if len(values) <= FEW else all_cores
            found = booster.inplace_predict(values, iteration_range=(0, rounds), validate_features=False)
            exact: NDArray[np.float64] = np.asarray(found, np.float64)
            if sidecar.task == "binary":
                return np.column_stack([1 - exact, exact])
            return exact / exact.sum(axis=1, keepdims=True) if sidecar.task == "multiclass" else exact

        return Loaded(score, np.float32)


def _load(data: bytes, threads: int) -> Any:
    booster = xgboost.Booster({"nthread": threads, "verbosity": 0})
    booster.load_model(bytearray(data))
    return booster


def _check(document: Any, sidecar: Sidecar) -> None:
    """Refuse a document with a part that is unknown, or an index that leads out of its array."""
    try:
        learner = _keys(document, "learner", "version")["learner"]
        _keys(learner, "attributes", "feature_names", "feature_types", "gradient_booster", "learner_model_param", "objective")
        outputs = _check_learner(learner, sidecar)
        booster = learner["gradient_booster"]
        dart = booster["name"] == "dart"
        inner = _keys(booster, "gbtree", "name", "weight_drop")["gbtree"] if dart else booster
        model = _keys(inner, "model", "name")["model"]
        require(inner["name"] == "gbtree", "it is no booster of trees")
        trees = _check_forest(model, outputs)
        require(not dart or len(booster["weight_drop"]) == trees, "it has not a weight for each tree")
        for tree in model["trees"]:
            _check_tree(tree, len(sidecar.features))
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise damaged("a part of it is missing or of another kind") from error


def _keys(found: Any, *known: str) -> Any:
    if isinstance(found, dict) and (strange := sorted(found.keys() - set(known))):
        raise UnsafeFormat(
            f"the XGBoost model has an unknown part {strange[0][:40]!r}",
            "publish the model again, with a version of XGBoost that Forge knows",
        )
    return found


def _check_learner(learner: Any, sidecar: Sidecar) -> int:
    """How many groups of trees there are: one, or one per class."""
    parameters = learner["learner_model_param"]
    _keys(parameters, "base_score", "boost_from_average", "num_class", "num_feature", "num_target")
    outputs = len(sidecar.classes) if sidecar.task == "multiclass" else 1
    objective = learner["objective"]
    require(objective["name"] in OBJECTIVES[sidecar.task], f"its objective is not that of a {sidecar.task} model")
    require(parameters["num_feature"] == str(len(sidecar.features)), "it has another number of features")
    require(parameters["num_class"] == ("0" if outputs == 1 else str(outputs)), "it has another number of classes")
    require(parameters.get("num_target", "1") == "1", "it has more than one target")
    require(len(parameters["base_score"].strip("[]").split(",")) in (1, outputs), "it has another number of base scores")
    require(all(re.fullmatch(r"[-+\w.,\[\]]{1,10000}", value) for value in parameters.values()), "a parameter is no number")
    if "softmax_multiclass_param" in objective:
        require(objective["softmax_multiclass_param"]["num_class"] == str(outputs), "it has another number of classes")
    for name in ("feature_names", "feature_types"):
        require(len(learner[name]) in (0, len(sidecar.features)), "it has another number of features")
    require(not len(learner["feature_types"]) or set(learner["feature_types"]) <= {"float", "int", "i", "q"}, "it has categorical features")
    return outputs


def _check_forest(model: Any, outputs: int) -> int:
    _keys(model, "cats", "gbtree_model_param", "iteration_indptr", "tree_info", "trees")
    trees = len(model["trees"])
    groups, starts = np.asarray(model["tree_info"], np.int64), np.asarray(model["iteration_indptr"], np.int64)
    parameters = _keys(model["gbtree_model_param"], "num_parallel_tree", "num_trees", "size_leaf_vector")
    require(parameters["num_trees"] == str(trees) and parameters["num_parallel_tree"].isdecimal(), "it has not the trees that it claims")
    require(len(groups) == trees and (not trees or (groups.min() >= 0 and groups.max() < outputs)), "a tree belongs to no class")
    require(len(starts) > 0 and starts[0] == 0 and starts[-1] == trees and (np.diff(starts) >= 0).all(), "its rounds are not in order")
    if "cats" in model:
        require(not any(len(part) for part in _keys(model["cats"], "enc", "feature_segments", "sorted_idx").values()), "it has categories")
    return trees


def _check_tree(tree: Any, features: int) -> None:
    _keys(tree, *_PER_NODE, *_CATEGORIES, "id", "tree_param")
    parameters = _keys(tree["tree_param"], "num_deleted", "num_feature", "num_nodes", "size_leaf_vector")
    nodes = len(tree["left_children"])
    require(parameters["num_nodes"] == str(nodes) and parameters["num_feature"] == str(features), "a tree has not the nodes that it claims")
    require(parameters.get("size_leaf_vector", "1") in ("0", "1") and parameters["num_deleted"].isdecimal(), "a tree has vectors as leaves")
    for name in _PER_NODE:
        require(isinstance(tree[name], np.ndarray) and len(tree[name]) == nodes, f"a tree has not the {name} that it claims")
    require(not any(len(tree[name]) for name in _CATEGORIES) and not tree["split_type"].any(), "a tree splits on categories")
    left, right = (tree[name].astype(np.int64) for name in ("left_children", "right_children"))
    inner = left != _LEAF
    require(((right == _LEAF) != inner).all(), "a tree has a node with one child")
    check_links(np.concatenate([left[inner], right[inner]]), nodes, "a tree")
    check_features(tree["split_indices"][inner], features, "a tree")
    parents, own = tree["parents"].astype(np.int64), np.flatnonzero(inner)
    require(
        parents[0] == _NO_PARENT and ((parents[1:] >= 0) & (parents[1:] < nodes)).all(), "a tree has a parent that is none of its nodes"
    )
    require((parents[left[inner]] == own).all() and (parents[right[inner]] == own).all(), "a tree has a node that does not know its parent")
