"""The inside of a `.skops` file: a zip of one `schema.json` and numpy arrays.

It is written in one canonical form, so that the same model gives the same bytes: no addresses, no times, members numbered in
order. It is checked before skops sees it, by a list of (loader, type) pairs that is much shorter than the one skops trusts.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from skops.io import dumps

from forge_core.faults import ForgeError, UnsafeFormat
from forge_tabular.estimators import ESTIMATORS
from forge_tabular.flavors.flavor import damaged, require
from forge_tabular.flavors.sniff import looks_like

SCHEMA = "schema.json"
_EPOCH = (1980, 1, 1, 0, 0, 0)
_LOSSES = (
    "AbsoluteError", "ExponentialLoss", "HalfBinomialLoss", "HalfGammaLoss", "HalfMultinomialLoss", "HalfPoissonLoss", "HalfSquaredError",
    "HalfTweedieLoss", "HalfTweedieLossIdentity", "HuberLoss", "PinballLoss",
)  # fmt: skip
_LINKS = ("HalfLogitLink", "IdentityLink", "Interval", "LogLink", "LogitLink", "MultinomialLogit")
_PARTS = (
    "sklearn.tree._classes.ExtraTreeClassifier",
    "sklearn.tree._classes.ExtraTreeRegressor",
    "sklearn.preprocessing._label.LabelBinarizer",
    "sklearn.preprocessing._label.LabelEncoder",
    "sklearn.ensemble._hist_gradient_boosting.binning._BinMapper",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    *(f"sklearn._loss.loss.{name}" for name in _LOSSES),
    *(f"sklearn._loss.link.{name}" for name in _LINKS),
)
TREE = "sklearn.tree._tree.Tree"
ALLOWED: Mapping[str, frozenset[str]] = {
    "DictNode": frozenset({"builtins.dict"}),
    "ListNode": frozenset({"builtins.list"}),
    "TupleNode": frozenset({"builtins.tuple"}),
    "JsonNode": frozenset({"builtins.str"}),
    "TypeNode": frozenset({"builtins.str", "builtins.int"}),
    "NdArrayNode": frozenset(
        {"numpy.ndarray", *(f"numpy.{name}" for name in ("bool", "float32", "float64", "int32", "int64", "uint8", "uint32", "uint64"))}
    ),
    "ObjectNode": frozenset({*(f"{cls.__module__}.{cls.__name__}" for cls in ESTIMATORS.values()), *_PARTS}),
    "LossNode": frozenset(f"sklearn._loss._loss.Cy{name}" for name in _LOSSES),
    "TreeNode": frozenset({TREE}),
}
"""What may stand in a file: each of skops' loaders with the types that it may make."""
TRUSTED = sorted(ALLOWED["ObjectNode"] | ALLOWED["TreeNode"])
_TRAINING_ONLY = frozenset({"RandomState", "Generator", "AdamOptimizer", "SGDOptimizer"})
_NOTHING = {"__class__": "str", "__module__": "builtins", "__loader__": "JsonNode", "content": "null", "is_json": True}


def write(model: BaseEstimator) -> bytes:
    """The canonical file of a fitted estimator; generators and optimizers, which only training needs, are left out."""
    target = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(dumps(model))) as source, zipfile.ZipFile(target, "w") as made:
        schema = json.loads(source.read(SCHEMA))
        for old, new in _simplify(schema).items():
            made.writestr(zipfile.ZipInfo(new, _EPOCH), source.read(old))
        made.writestr(zipfile.ZipInfo(SCHEMA, _EPOCH), json.dumps(schema, separators=(",", ":")))
    return target.getvalue()


def _simplify(schema: Any) -> dict[str, str]:
    """Drop addresses and what only training needs, in place, and number the arrays in order: old name to new."""
    names: dict[str, str] = {}
    for node in _nodes(schema):
        if node.get("__class__") in _TRAINING_ONLY:
            node.clear()
            node.update(_NOTHING)
        node.pop("__id__", None)
        if "file" in node:
            node["file"] = names.setdefault(node["file"], f"{len(names)}.npy")
    return names


def _nodes(value: Any) -> Iterator[dict[str, Any]]:
    """Every object of a JSON document, before those in it; an explicit stack against deep ones."""
    stack = [value]
    while stack:
        found = stack.pop()
        if isinstance(found, dict):
            yield found
            stack.extend(reversed(found.values()))
        elif isinstance(found, list):
            stack.extend(reversed(found))


def check(data: bytes) -> None:
    """Refuse a file that `write` would not have written: `UnsafeFormat`, or `InvalidInput` where it is damaged."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            shapes = _check_members(archive)
            schema = json.loads(archive.read(SCHEMA))
    except ForgeError:
        raise
    except Exception as error:  # zipfile, json and numpy's header each fail in ways of their own
        raise damaged("it is no complete .skops file") from error
    for node in _nodes(schema):
        if "__loader__" in node or "__class__" in node:
            _check_node(node, shapes)


def _check_members(archive: zipfile.ZipFile) -> dict[str, tuple[int, ...]]:
    """The shape of each array. Members are stored, not compressed, so that none can be larger than the file."""
    shapes: dict[str, tuple[int, ...]] = {}
    members = archive.infolist()
    require(len({member.filename for member in members}) == len(members), "a member stands in it twice")
    for member in members:
        if member.filename == SCHEMA and member.compress_type == zipfile.ZIP_STORED:
            continue
        if (
            not member.filename.removesuffix(".npy").isdecimal()
            or not member.filename.endswith(".npy")
            or member.compress_type != zipfile.ZIP_STORED
        ):
            raise UnsafeFormat("the .skops file has a member that Forge never writes", "publish the model again")
        with archive.open(member) as stream:
            shapes[member.filename] = _check_array(stream.read(), member.file_size)
    return shapes


def _check_array(data: bytes, size: int) -> tuple[int, ...]:
    if not data.startswith(b"\x93NUMPY"):
        raise UnsafeFormat(f"the .skops file holds an array that is {looks_like(data)}", "publish the model again")
    stream = io.BytesIO(data)
    require(np.lib.format.read_magic(stream) == (1, 0), "an array is of another version of numpy's format")
    shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
    if dtype.hasobject:
        raise UnsafeFormat("the .skops file holds an array of pickled objects", "publish the model again")
    require(int(np.prod(shape, dtype=object)) * dtype.itemsize == size - stream.tell(), "an array has not the size that it claims")
    return tuple(shape)


def _check_node(node: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> None:
    loader, kind = node.get("__loader__"), f"{node.get('__module__')}.{node.get('__class__')}"
    if not isinstance(loader, str) or kind not in ALLOWED.get(loader, frozenset()):
        raise UnsafeFormat(
            f"the .skops file holds a {str(kind)[:80]!r} ({str(loader)[:40]}), which Forge does not load", "publish the model again"
        )
    if "__id__" in node:  # skops would take another node of that id for this one
        raise UnsafeFormat("the .skops file refers to addresses", "publish the model again")
    if loader == "TreeNode":
        _check_tree(node, shapes)


def _check_tree(node: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Tree's constructor reads as many numbers of classes as it is told outputs: here always one."""
    try:
        features, classes, outputs = node["__reduce__"]["args"]["content"]
        told = int(features["content"]), shapes[classes["file"]], int(outputs["content"])
    except (KeyError, TypeError, ValueError) as error:
        raise damaged("a tree is incomplete") from error
    require(told[0] > 0 and told[1] == (1,) and told[2] == 1, "a tree has more than one output")
