"""`flavor.json`, beside the library's own file: what the predictor must know and the library's format does not say.

It is read strictly: an unknown field is refused, so that no file can name a module, a loader or a path.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from pathlib import Path

from attrs import asdict, frozen

from forge_core.faults import InvalidInput, UnsafeFormat
from forge_core.records import JSON, TaskKind
from forge_tabular.flavors.sniff import read_plain

NAME = "flavor.json"
FORMAT = 1
LARGEST = 16 * 1024 * 1024


@frozen
class Sidecar:
    """`features` in the order of training; `classes` in that of the probabilities, of two kinds none: bool, int, float or str."""

    features: tuple[str, ...]
    task: TaskKind
    classes: tuple[JSON, ...] = ()
    threshold: float | None = None


def write_sidecar(folder: Path, sidecar: Sidecar) -> None:
    (folder / NAME).write_text(json.dumps({"format": FORMAT, **asdict(sidecar)}, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read_sidecar(folder: Path) -> Sidecar:
    """What `write_sidecar` wrote; anything else is `InvalidInput`, or `UnsafeFormat` where a field is unknown."""
    data = read_plain(folder / NAME, LARGEST)
    try:
        found = json.loads(data, object_pairs_hook=_object, parse_constant=_constant)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{NAME} is not JSON", "publish the model again") from error
    known = {"format", "features", "task", "classes", "threshold"}
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise InvalidInput(f"{NAME} is not of format {FORMAT}", "upgrade forge-tabular, or publish the model again")
    if unknown := sorted(found.keys() - known):
        raise UnsafeFormat(f"{NAME} has the unknown field {unknown[0]!r}", "a model's files name no loader: publish the model again")
    if missing := sorted(known - found.keys()):
        raise InvalidInput(f"{NAME} lacks {missing[0]!r}", "publish the model again")
    return _checked(found["features"], found["task"], found["classes"], found["threshold"])


def _checked(features: JSON, task: JSON, classes: JSON, threshold: JSON) -> Sidecar:
    if not (isinstance(features, list) and features and all(isinstance(name, str) for name in features) and _distinct(features)):
        raise _wrong("features", "a list of distinct names")
    if task not in ("binary", "multiclass", "regression"):
        raise _wrong("task", "binary, multiclass or regression")
    kinds = {type(label) for label in classes} if isinstance(classes, list) else {list}
    if len(kinds) > 1 or kinds - {bool, int, float, str}:
        raise _wrong("classes", "a list of labels of one kind")
    fitting = {"binary": len(classes) == 2, "multiclass": len(classes) > 1, "regression": not classes}[task]
    if not fitting or not _distinct(classes):
        raise _wrong("classes", f"the distinct labels of a {task} model")
    if threshold is not None and (task != "binary" or isinstance(threshold, bool) or not isinstance(threshold, int | float)):
        raise _wrong("threshold", "a number, for a binary model")
    return Sidecar(tuple(features), task, tuple(classes), None if threshold is None else float(threshold))


def _distinct(values: Iterable[JSON]) -> bool:
    found = list(values)
    return len(set(found)) == len(found)


def _wrong(field: str, expected: str) -> InvalidInput:
    return InvalidInput(f"{field!r} of {NAME} is not {expected}", "publish the model again")


def _object(pairs: list[tuple[str, JSON]]) -> dict[str, JSON]:
    if len({key for key, _ in pairs}) != len(pairs):
        raise ValueError("a key stands twice")
    return dict(pairs)


def _constant(text: str) -> float:
    raise ValueError(f"{text} is no JSON number") if not math.isfinite(float(text)) else ValueError(text)
