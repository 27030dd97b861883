"""Binary frames between a gateway and a worker, both on one machine.

A request is length, id, deadline (`time.monotonic`, which all processes of a machine share), kind and body; a reply is
length, id, status, kind and body. The length counts what follows it.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import NamedTuple

LARGEST = 64 * 1024 * 1024  # a length beyond this is a stream out of step
_LENGTH = struct.Struct("<I")
_REQUEST = struct.Struct("<IQdB")
_REPLY = struct.Struct("<IQHB")


class Kind(IntEnum):
    """What a body is. A reply to ARROW is ARROW; all others are answered in JSON."""

    JSON = 0  # as the client sent it, for an API without a signature
    ROWS = 1  # validated rows in msgpack
    STREAM = 2  # an Arrow IPC stream, answered in JSON
    ARROW = 3  # an Arrow IPC stream, answered as one


class Request(NamedTuple):
    number: int
    deadline: float
    kind: int
    body: bytes


class Reply(NamedTuple):
    number: int
    status: int
    kind: int
    body: bytes


class BrokenStream(Exception):
    """The bytes are no frames."""


def request(number: int, deadline: float, kind: int, body: bytes) -> bytes:
    return _REQUEST.pack(17 + len(body), number, deadline, kind) + body


def reply(number: int, status: int, kind: int, body: bytes) -> bytes:
    return _REPLY.pack(11 + len(body), number, status, kind) + body


class Requests:
    """Bytes in, whole requests out."""

    def __init__(self) -> None:
        self._chunks = _Chunks()

    def feed(self, data: bytes) -> list[Request]:
        found = []
        for whole, start, end in self._chunks.spans(data):
            _length, number, deadline, kind = _REQUEST.unpack_from(whole, start)
            found.append(Request(number, deadline, kind, whole[start + _REQUEST.size : end]))
        return found


class Replies:
    """Bytes in, whole replies out."""

    def __init__(self) -> None:
        self._chunks = _Chunks()

    def feed(self, data: bytes) -> list[Reply]:
        found = []
        for whole, start, end in self._chunks.spans(data):
            _length, number, status, kind = _REPLY.unpack_from(whole, start)
            found.append(Reply(number, status, kind, whole[start + _REPLY.size : end]))
        return found


class _Chunks:
    """What has come of an unfinished frame; joined only when the frame is complete, so that a large one is copied once."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._have = 0
        self._need = 4

    def spans(self, data: bytes) -> list[tuple[bytes, int, int]]:
        self._have += len(data)
        if self._have < self._need:
            self._parts.append(data)
            return []
        whole = b"".join((*self._parts, data)) if self._parts else data
        found, at, total = [], 0, len(whole)
        self._need = 4
        while at + 4 <= total:
            (length,) = _LENGTH.unpack_from(whole, at)
            if not 11 <= length <= LARGEST:
                raise BrokenStream
            if at + 4 + length > total:
                self._need = 4 + length
                break
            found.append((whole, at, at + 4 + length))
            at += 4 + length
        rest = whole[at:]
        self._parts, self._have = [rest] if rest else [], len(rest)
        return found
