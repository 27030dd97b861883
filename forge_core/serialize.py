"""Records to JSON and back, and their digests."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import attrs
import cattrs
from cattrs.gen import make_dict_unstructure_fn

from forge_core.records.data import JSON

R = TypeVar("R")


def _times(converter: cattrs.Converter) -> cattrs.Converter:
    converter.register_unstructure_hook(datetime, lambda value: value.astimezone(UTC).isoformat())
    converter.register_structure_hook(datetime, lambda value, _: value if isinstance(value, datetime) else datetime.fromisoformat(value))
    converter.register_unstructure_hook(Path, str)
    converter.register_structure_hook(Path, lambda value, _: Path(value))
    converter.register_structure_hook_func(lambda kind: kind is Any or kind is object, lambda value, _: value)
    return converter


_WHOLE = _times(cattrs.Converter(detailed_validation=False))
_BRIEF = _times(cattrs.Converter(omit_if_default=True))


def _public(kind: type) -> Callable[[Any], dict[str, Any]]:
    """Fields marked `repr=False` are live objects or secrets: they are not written."""
    hidden = {a.name: cattrs.override(omit=True) for a in attrs.fields(kind) if a.repr is False}
    return make_dict_unstructure_fn(kind, _WHOLE, **hidden)  # type: ignore[arg-type]


_WHOLE.register_unstructure_hook_factory(attrs.has, _public)


def to_json(record: object) -> JSON:
    """A record, or a list or mapping of records, as JSON; defaults included, keys are the attributes' names."""
    return _WHOLE.unstructure(record)


def from_json(data: JSON, cls: type[R]) -> R:
    """The record that `to_json` wrote."""
    return _WHOLE.structure(data, cls)


def canonical(data: JSON) -> bytes:
    return json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def digest_of(data: JSON) -> str:
    """SHA-256 over canonical JSON, as hexadecimal; unlike what is kept, what is only compared may hold NaN and infinities."""
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def digest(record: object) -> str:
    """Of what differs from the defaults, so that a new field with a default changes no digest."""
    return digest_of(_BRIEF.unstructure(record))
