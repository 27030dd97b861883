"""A decoder made from a model's signature: scoring payloads in, rows out, or a problem that names the field.

Payloads are MLflow's: `dataframe_records`, `dataframe_split`, `instances` (objects, or arrays in the signature's order)
and `inputs` (columns, or the same as instances). Every column must be there; null is for nullable ones; others are ignored.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from datetime import date, datetime
from functools import lru_cache
from itertools import zip_longest
from operator import itemgetter
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType
from msgspec.structs import astuple

from forge_cortex.server.messages import Field
from forge_cortex.server.problems import Problem, unfit

Row = tuple[Any, ...]
FLOAT32_MAX = 3.4028234663852886e38
EXPLAINED = 1024 * 1024  # bytes of a malformed body that are worth searching for the field at fault
PAYLOADS = ("dataframe_records", "dataframe_split", "instances", "inputs")

_PATH = re.compile(r"(?:\.\w+)?(?P<column>\..+?)?(?:\[(?P<row>\d+)\])?(?:\[(?P<index>\d+)\]|\.(?P<name>.+))?$", re.DOTALL)


def annotation(field: Field) -> Any:
    """The Python type that JSON for this column must have; None where only an Arrow stream can carry it."""
    found = _plain(field.type)
    return found | None if found is not None and field.nullable else found


def _plain(text: str) -> Any:
    if nested := re.fullmatch(r"dictionary<values=(.+), indices=\w+, ordered=\d>", text):
        return _plain(nested[1])
    if whole := re.fullmatch(r"(u?)int(8|16|32|64)", text):
        bits = int(whole[2])
        if whole[1]:
            return Annotated[
                int, Meta(ge=0) if bits == 64 else Meta(ge=0, le=(1 << bits) - 1)
            ]  # msgspec compares with 64-bit signed bounds
        return Annotated[int, Meta(ge=-(1 << (bits - 1)), le=(1 << (bits - 1)) - 1)]
    if text.startswith("timestamp["):
        return Annotated[datetime, Meta(tz="tz=" in text)]
    return {
        "double": float,
        "float": Annotated[float, Meta(ge=-FLOAT32_MAX, le=FLOAT32_MAX)],
        "halffloat": Annotated[float, Meta(ge=-65504.0, le=65504.0)],
        "bool": bool,
        "string": str,
        "large_string": str,
        "string_view": str,
        "date32[day]": date,
        "date64[ms]": date,
    }.get(text)


def row_type(fields: Sequence[Field]) -> Any:
    """A row as a tuple in the signature's order."""
    return tuple[tuple(annotation(field) for field in fields)]  # type: ignore[misc]


class Signature:
    """Decodes the JSON payloads of one model version. Rows leave as msgpack, in the signature's order."""

    def __init__(self, fields: Sequence[Field]) -> None:
        self.fields = tuple(fields)
        self.names = tuple(field.name for field in fields)
        self._unsigned = [place for place, field in enumerate(fields) if field.type == "uint64"]
        self._unfit = next((field for field in fields if annotation(field) is None), None)
        if self._unfit is None:
            self._prepare()
        self._encode = msgspec.msgpack.Encoder().encode
        self._split_decoder = lru_cache(maxsize=64)(self._make_split_decoder)

    def _prepare(self) -> None:
        keys = [f"c{index}" for index in range(len(self.fields))]
        rename = dict(zip(keys, self.names, strict=True))
        kinds = [annotation(field) for field in self.fields]
        record = msgspec.defstruct("Record", list(zip(keys, kinds, strict=True)), rename=rename)
        columns = msgspec.defstruct("Columns", [(key, list[kind]) for key, kind in zip(keys, kinds, strict=True)], rename=rename)  # type: ignore[valid-type]
        either = list[record | row_type(self.fields)]  # type: ignore[misc, valid-type]
        payload = msgspec.defstruct(
            "Payload",
            [
                ("dataframe_records", list[record] | UnsetType, UNSET),  # type: ignore[valid-type]
                ("dataframe_split", _Split | UnsetType, UNSET),
                ("instances", either | UnsetType, UNSET),
                ("inputs", columns | either | UnsetType, UNSET),
            ],
        )
        self._columns = columns
        self._decode = msgspec.json.Decoder(payload).decode

    def rows(self, body: bytes) -> list[Row]:
        """The payload's rows, every value of its column's type; `Problem` 400 or 422 otherwise."""
        if self._unfit is not None:
            raise Problem(
                415,
                f"column {self._unfit.name!r} is {self._unfit.type}, which JSON does not carry: send an Arrow stream",
                field=self._unfit.name,
            )
        payload = self._guarded(self._decode, body)
        rows = self._rows_of(payload)
        if b"\\u0000" in body:
            self._refuse_nul(rows)
        for place in self._unsigned:
            self._refuse_large(rows, place)
        return rows

    def pack(self, rows: list[Row]) -> bytes:
        return self._encode(rows)

    def _rows_of(self, payload: Any) -> list[Row]:
        given = [name for name in PAYLOADS if getattr(payload, name) is not UNSET]
        if len(given) != 1:
            raise Problem(422, f"give exactly one of {', '.join(PAYLOADS)}" + (f", not {' and '.join(given)}" if given else ""))
        value = getattr(payload, given[0])
        if given[0] == "dataframe_split":
            return self._split(value)
        if isinstance(value, self._columns):
            return self._transposed(value)
        return [row if type(row) is tuple else astuple(row) for row in value]

    def _split(self, split: _Split) -> list[Row]:
        decode, reorder = self._split_decoder(tuple(split.columns))
        rows = self._guarded(decode, split.data, tuple(split.columns))
        return [reorder(row) for row in rows] if reorder else rows

    def _make_split_decoder(self, columns: tuple[str, ...]) -> tuple[Callable[[Any], list[Row]], Callable[[Row], Row] | None]:
        if len(columns) > len(self.names) + 1000:  # a decoder is kept per order of columns
            raise unfit(f"dataframe_split has {len(columns)} columns, the model takes {len(self.names)}")
        for name in self.names:
            if (times := columns.count(name)) != 1:
                raise unfit(
                    f"dataframe_split.columns has column {name!r} {times} times" if times else f"column {name!r} is missing", field=name
                )
        kinds = {field.name: annotation(field) for field in self.fields}
        decode = msgspec.json.Decoder(list[tuple[tuple(kinds.get(name, Any) for name in columns)]]).decode  # type: ignore[misc]
        if columns == self.names:
            return decode, None
        places = [columns.index(name) for name in self.names]
        return decode, itemgetter(*places) if len(places) > 1 else lambda row: (row[places[0]],)

    def _transposed(self, value: Any) -> list[Row]:
        columns = astuple(value)
        for name, column in zip(self.names, columns, strict=True):
            if len(column) != len(columns[0]):
                raise unfit(f"column {name!r} has {len(column)} values, {self.names[0]!r} has {len(columns[0])}", field=name)
        return list(zip(*columns, strict=True))

    def _guarded(self, decode: Callable[[Any], Any], body: Any, columns: tuple[str, ...] | None = None) -> Any:
        try:
            return decode(body)
        except msgspec.ValidationError as error:
            raise self._explained(str(error), columns) from None
        except RecursionError:
            raise Problem(400, "the JSON is nested too deeply") from None
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise self._malformed(bytes(body)) from None

    def _explained(self, message: str, columns: tuple[str, ...] | None) -> Problem:
        """msgspec's message with the column and row its path leads to: `$.instances[0][3]`, `$.dataframe_records[0].carrier`."""
        text, _, path = message.removesuffix("`").partition(" - at `$")
        missing = re.match(r"Object missing required field `(.*?)`?$", text, re.DOTALL)
        place = _PATH.match(path)
        field, row = (missing[1] if missing else None), None
        if place is not None:
            row = int(place["row"]) if place["row"] else None
            order = columns or self.names
            if place["index"] and int(place["index"]) < len(order):
                field = order[int(place["index"])]
            elif (name := place["name"] or (place["column"] or "")[1:]) in self.names:
                field = name
        at = f"column {field!r}" if field is not None else path.partition("[")[0][1:]
        where = ", ".join(part for part in (at, f"row {row}" if row is not None else "") if part)
        return unfit(f"{where}: {text}" if where else text, field=field, row=row)

    def _malformed(self, body: bytes) -> Problem:
        """Name the field of a NaN or of a control character, which are no JSON; the slow path of a request that fails anyway."""
        if not body:
            return Problem(400, "the body is empty")
        if len(body) > EXPLAINED:
            return Problem(400, "the body is not JSON")
        try:
            document = json.loads(body, parse_constant=_Foreign, strict=False)
        except (ValueError, RecursionError):
            return Problem(400, "the body is not JSON")
        found = self._find(document)
        if found is None:
            return Problem(400, "the body is not JSON")
        field, row, value = found
        what = f"{value.text} is not a JSON number: write null" if isinstance(value, _Foreign) else "a control character stands in the text"
        return unfit(f"column {field!r}, row {row}: {what}", field=field, row=row)

    def _find(self, document: Any) -> tuple[str, int, Any] | None:
        for payload in document.values() if isinstance(document, dict) else (document,):
            names: Sequence[str] = self.names
            rows = payload
            if isinstance(payload, dict) and isinstance(payload.get("data"), list):
                names, rows = payload.get("columns") or (), payload["data"]
            elif isinstance(payload, dict):
                lists = {name: values for name, values in payload.items() if isinstance(values, list)}
                rows = [dict(zip(lists, values, strict=True)) for values in zip_longest(*lists.values())]
            for index, row in enumerate(rows if isinstance(rows, list) else ()):
                for name, value in row.items() if isinstance(row, dict) else zip(names, row if isinstance(row, list) else (), strict=False):
                    if isinstance(value, _Foreign) or (isinstance(value, str) and any(ord(letter) < 32 for letter in value)):
                        return str(name), index, value
        return None

    def _refuse_large(self, rows: list[Row], place: int) -> None:
        for index, row in enumerate(rows):
            if (row[place] or 0) >= 1 << 64:
                name = self.names[place]
                raise unfit(f"column {name!r}, row {index}: Expected `int` <= {(1 << 64) - 1}", field=name, row=index)

    def _refuse_nul(self, rows: list[Row]) -> None:
        for index, row in enumerate(rows):
            for name, value in zip(self.names, row, strict=True):
                if isinstance(value, str) and "\x00" in value:
                    raise unfit(f"column {name!r}, row {index}: the text holds a NUL", field=name, row=index)


class _Split(Struct):
    columns: list[str]
    data: Raw


class _Foreign:
    """NaN, Infinity or -Infinity, where it stood."""

    def __init__(self, text: str) -> None:
        self.text = text
