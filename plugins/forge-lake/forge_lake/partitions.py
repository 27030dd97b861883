"""Hive partitions: `month=1/part-0.parquet` gives every row of the file a column `month` of value 1."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import reduce
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc

from forge_core.faults import InvalidInput

_WHOLE = re.compile(r"-?[0-9]{1,18}")
_NULL = "__HIVE_DEFAULT_PARTITION__"
_INT32 = 1 << 31


def values_in(path: str) -> dict[str, str | None]:
    """The partition columns of one file, as its path spells them."""
    pairs = (unquote(part).partition("=") for part in path.split("/")[:-1] if "=" in part)
    return {key: None if value == _NULL else value for key, _, value in pairs if key}


def fields(paths: Sequence[str], physical: pa.Schema) -> pa.Schema:
    """The partition columns of a data set: whole numbers where all values are, else text.

    A column that is in the files too keeps its type there, and takes its values from the folders' names.
    """
    seen: dict[str, list[str]] = {}
    for path in paths:
        for key, value in values_in(path).items():
            seen.setdefault(key, []).extend([] if value is None else [value])
    return pa.schema([physical.field(key) if key in physical.names else pa.field(key, _type(values)) for key, values in seen.items()])


def _type(values: Sequence[str]) -> pa.DataType:
    if not values or not all(_WHOLE.fullmatch(value) for value in values):
        return pa.string()
    return pa.int32() if all(-_INT32 <= int(value) < _INT32 for value in values) else pa.int64()


def guarantee(path: str, partitions: pa.Schema) -> pc.Expression:
    """What holds for every row of a file, which Arrow prunes by and fills columns from."""
    return reduce(
        lambda left, right: left & right, (_holds(key, value, partitions) for key, value in values_in(path).items()), pc.scalar(True)
    )


def _holds(key: str, value: str | None, partitions: pa.Schema) -> pc.Expression:
    if value is None:
        return pc.field(key).is_null()
    kind = partitions.field(key).type
    try:
        return pc.field(key) == pa.scalar(value).cast(kind)
    except pa.ArrowException:
        raise InvalidInput(
            f"the folder {key}={value} does not fit column {key!r} of type {kind}", "rename the folder or the column"
        ) from None


def columns(paths: Sequence[str]) -> Mapping[str, int]:
    """Each partition column, with how many files have it."""
    count: dict[str, int] = {}
    for path in paths:
        for key in values_in(path):
            count[key] = count.get(key, 0) + 1
    return count
