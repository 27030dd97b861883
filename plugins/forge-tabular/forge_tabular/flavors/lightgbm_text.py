"""LightGBM's text format: a header, a block per tree, `end of trees`. What follows there (importances, the parameters of the
training) no prediction needs: it is not kept, so that the bytes do not depend on the number of threads."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from forge_core.faults import UnsafeFormat
from forge_tabular.flavors.flavor import require
from forge_tabular.flavors.sidecar import Sidecar
from forge_tabular.flavors.trees import check_features, check_links

END = "end of trees\n"
_NUMBER = r"-?(?:\d{1,40}(?:\.\d{1,40})?(?:e[-+]\d{1,3})?|inf|nan)"
_NUMBERS = re.compile(rf"(?:{_NUMBER}(?: {_NUMBER})*)?")
_WHOLE = re.compile(r"(?:-?\d{1,9}(?: -?\d{1,9})*)?")
_OBJECTIVES = {
    "binary": re.compile(rf"binary sigmoid:{_NUMBER}"),
    "multiclass": re.compile(r"multiclass num_class:\d{1,4}"),
    "regression": re.compile(
        rf"(?:regression|regression_l1|huber|fair|poisson|quantile|mape|gamma|tweedie)(?: (?:sqrt|[a-z_]{{1,30}}:{_NUMBER}))*"
    ),
}
_HEADER = {
    "version", "num_class", "num_tree_per_iteration", "label_index", "max_feature_idx", "objective", "feature_names", "feature_infos",
    "monotone_constraints", "tree_sizes",
}  # fmt: skip
_PER_SPLIT = (
    "split_feature",
    "split_gain",
    "threshold",
    "decision_type",
    "left_child",
    "right_child",
    "internal_value",
    "internal_weight",
    "internal_count",
)
_PER_LEAF = ("leaf_value", "leaf_weight", "leaf_count")
_INDICES = ("split_feature", "decision_type", "left_child", "right_child")


def trees_only(text: str) -> str:
    return text[: text.index(END) + len(END)]


def check(text: str, sidecar: Sidecar) -> None:
    """Refuse a text that LightGBM would not have written, or whose indices lead out of their arrays."""
    require(text.endswith(END) and text.count(END) == 1, "it does not end with its trees")
    head, _, body = text.partition("\n\n")
    header = _header(head)
    outputs = len(sidecar.classes) if sidecar.task == "multiclass" else 1
    require(header.get("version") == "v4", "it is of another version of the format")
    require(header.get("num_class") == header.get("num_tree_per_iteration") == str(outputs), "it has another number of classes")
    require(
        header.get("max_feature_idx") == str(len(sidecar.features) - 1) and header.get("label_index") == "0",
        "it has another number of features",
    )
    objective = header.get("objective", "")
    require(_OBJECTIVES[sidecar.task].fullmatch(objective), f"its objective is not that of a {sidecar.task} model")
    require(sidecar.task != "multiclass" or objective.endswith(f":{outputs}"), "it has another number of classes")
    _check_features(header, len(sidecar.features))
    _check_trees(body, header.get("tree_sizes", ""), outputs, len(sidecar.features))


def _header(head: str) -> dict[str, str]:
    first, *lines = head.split("\n")
    require(first == "tree", "it does not begin with its header")
    return _pairs([line for line in lines if line != "average_output"], _HEADER)


def _pairs(lines: list[str], known: set[str]) -> dict[str, str]:
    made: dict[str, str] = {}
    for line in lines:
        name, sign, value = line.partition("=")
        require(sign and name not in made, "a line of it is no name and value")
        if name not in known:
            raise UnsafeFormat(
                f"the LightGBM model has an unknown part {name[:40]!r}",
                "publish the model again, with a version of LightGBM that Forge knows",
            )
        made[name] = value
    return made


def _check_features(header: Mapping[str, str], features: int) -> None:
    names, infos = header.get("feature_names", "").split(" "), header.get("feature_infos", "").split(" ")
    require(len(names) == features and all(re.fullmatch(r"[\w.-]{1,1000}", name) for name in names), "it has another number of features")
    require(len(infos) == features and all(re.fullmatch(rf"none|\[{_NUMBER}:{_NUMBER}\]", info) for info in infos), "it has categories")
    constraints = header.get("monotone_constraints")
    require(constraints is None or len(_whole(constraints)) == features, "it has another number of constraints")


def _check_trees(body: str, sizes: str, outputs: int, features: int) -> None:
    """LightGBM jumps by `tree_sizes`: each must lead to the next tree."""
    at = 0
    lengths = _whole(sizes)
    require(len(lengths) % outputs == 0, "a round has not a tree for each class")
    for number, size in enumerate(lengths.tolist()):
        block = body[at : at + size]
        at += size
        title, _, rest = block.partition("\n")
        require(size > 0 and title == f"Tree={number}" and rest.endswith("\n\n\n"), "a tree is not where it should be")
        _check_tree(rest[:-3].split("\n"), features)
    require(body[at:] == END, "bytes follow its trees")


def _check_tree(lines: list[str], features: int) -> None:
    known = {*_PER_SPLIT, *_PER_LEAF, "num_leaves", "num_cat", "is_linear", "shrinkage"}
    tree = _pairs(lines, known)
    require(tree.get("num_cat") == "0" and tree.get("is_linear", "0") == "0", "a tree splits on categories, or has models as leaves")
    require(
        re.fullmatch(r"[1-9]\d{0,8}", tree.get("num_leaves", "")) and re.fullmatch(_NUMBER, tree.get("shrinkage", "")),
        "a tree has no leaves",
    )
    leaves = int(tree["num_leaves"])
    for name, count in [*((name, leaves - 1) for name in _PER_SPLIT), *((name, leaves) for name in _PER_LEAF)]:
        value = tree.get(name, "")
        if leaves > 1 or name == "leaf_value":  # a tree of one leaf has nothing else
            require(
                (_WHOLE if name in _INDICES else _NUMBERS).fullmatch(value) and value.count(" ") == count - 1 and value,
                f"a tree has not the {name} that it claims",
            )
        else:
            require(_NUMBERS.fullmatch(value), f"a tree has not the {name} that it claims")
    if leaves > 1:
        _check_indices({name: _whole(tree[name]) for name in _INDICES}, leaves, features)


def _check_indices(tree: Mapping[str, NDArray[np.int64]], leaves: int, features: int) -> None:
    """A child below zero is a leaf, counted from -1 down."""
    children = np.concatenate([tree["left_child"], tree["right_child"]])
    check_links(children[children >= 0], leaves - 1, "a tree")
    ends = ~children[children < 0]
    require(ends.size == leaves and np.array_equal(np.sort(ends), np.arange(leaves)), "a tree has a child that is none of its leaves")
    check_features(tree["split_feature"], features, "a tree")
    kinds = tree["decision_type"]
    require(
        ((kinds & 1) == 0).all() and (kinds >= 0).all() and (kinds < 16).all() and ((kinds >> 2) < 3).all(), "a tree splits on categories"
    )


def _whole(value: str) -> NDArray[np.int64]:
    require(_WHOLE.fullmatch(value), "a list of whole numbers is damaged")
    return np.array(value.split(" ") if value else [], np.int64)
