"""Universal Binary JSON, as far as XGBoost writes it (https://ubjson.org/type-reference/).

Strict: lengths are never believed beyond the bytes that are there, a key may stand once, and nothing may follow the document.
"""

from __future__ import annotations

import struct
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

UBJ: TypeAlias = dict[str, "UBJ"] | list["UBJ"] | NDArray[np.generic] | str | int | float | bool | None
_NUMBERS = {b"i": "b", b"U": "B", b"I": "h", b"l": "i", b"L": "q", b"d": "f", b"D": "d"}
_DEEPEST = 32


def read(data: bytes) -> UBJ:
    """The document; arrays of numbers are numpy's. Anything malformed is a `ValueError`."""
    reader = _Reader(data)
    found = reader.value(reader.take(1), 0)
    if reader.at != len(data):
        raise ValueError("bytes follow the document")
    return found


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data, self.at = data, 0

    def take(self, count: int) -> bytes:
        if count < 0 or self.at + count > len(self._data):
            raise ValueError("it ends too early")
        self.at += count
        return self._data[self.at - count : self.at]

    def number(self, marker: bytes) -> int | float:
        if marker not in _NUMBERS:
            raise ValueError(f"unknown marker {marker!r}")
        kind = _NUMBERS[marker]
        found: int | float = struct.unpack(f">{kind}", self.take(struct.calcsize(kind)))[0]
        return found

    def length(self) -> int:
        found = self.number(self.take(1))
        if not isinstance(found, int) or found < 0:
            raise ValueError("a length is no whole number")
        return found

    def text(self) -> str:
        return self.take(self.length()).decode()

    def value(self, marker: bytes, depth: int) -> UBJ:
        if depth > _DEEPEST:
            raise ValueError("it is nested too deeply")
        if marker == b"{":
            return self._object(depth)
        if marker == b"[":
            return self._array(depth)
        if marker == b"S":
            return self.text()
        return {b"T": True, b"F": False, b"Z": None}[marker] if marker in (b"T", b"F", b"Z") else self.number(marker)

    def _object(self, depth: int) -> dict[str, UBJ]:
        made: dict[str, UBJ] = {}
        while self._data[self.at : self.at + 1] != b"}":
            key = self.text()
            if key in made:
                raise ValueError(f"the key {key[:40]!r} stands twice")
            made[key] = self.value(self.take(1), depth + 1)
        self.at += 1
        return made

    def _array(self, depth: int) -> UBJ:
        """`[$<type>#<length>` is an array of numbers, `[#<length>` one of values; XGBoost writes no other."""
        marker = self.take(1)
        kind = self.take(1) if marker == b"$" else b""
        if (self.take(1) if kind else marker) != b"#":
            raise ValueError("an array has no length")
        count = self.length()
        if not kind:
            if count > len(self._data) - self.at:
                raise ValueError("an array is longer than the file")
            return [self.value(self.take(1), depth + 1) for _ in range(count)]
        if kind not in _NUMBERS:
            raise ValueError(f"unknown marker {kind!r}")
        dtype = np.dtype(f">{_NUMBERS[kind]}")
        return np.frombuffer(self.take(count * dtype.itemsize), dtype)
