"""JSON lines over a socket that never blocks: how the processes of a server talk about themselves."""

from __future__ import annotations

import socket
from typing import Any, Generic, TypeVar

import msgspec

M = TypeVar("M")
LARGEST = 16 * 1024 * 1024
_ENCODER = msgspec.json.Encoder()


class Closed(Exception):
    """The other end is gone."""


class Channel(Generic[M]):
    """One end. `accepts` is the union of messages that come from the other; what cannot be written at once is kept."""

    def __init__(self, end: socket.socket, accepts: Any) -> None:
        end.setblocking(False)
        self.socket = end
        self._decoder: msgspec.json.Decoder[M] = msgspec.json.Decoder(accepts)
        self._in = b""
        self._out = b""

    def fileno(self) -> int:
        return self.socket.fileno()

    @property
    def waiting(self) -> bool:
        """There is something left to write."""
        return bool(self._out)

    def send(self, message: msgspec.Struct) -> None:
        if len(self._out) > LARGEST:
            raise Closed  # the other end has not read for a long time
        self._out += _ENCODER.encode(message) + b"\n"
        self.flush()

    def flush(self) -> None:
        try:
            while self._out:
                self._out = self._out[self.socket.send(self._out) :]
        except BlockingIOError:
            return
        except OSError as error:
            raise Closed from error

    def receive(self) -> list[M]:
        """Every whole message that is there. `Closed` at the end of the stream."""
        try:
            data = self.socket.recv(1 << 20)
        except BlockingIOError:
            return []
        except OSError as error:
            raise Closed from error
        if not data or len(self._in) > LARGEST:
            raise Closed
        *lines, self._in = (self._in + data).split(b"\n")
        return [self._decoder.decode(line) for line in lines]

    def close(self) -> None:
        self.socket.close()
