"""Listening sockets, made before forking so that no gateway's end closes the port."""

from __future__ import annotations

import contextlib
import ctypes
import socket
import struct
from collections.abc import Sequence

BACKLOG = 2048
SO_ATTACH_FILTER = 26  # Linux; the socket module does not name it


class InUse(Exception):
    """The address cannot be listened on; the text says why."""


def listen(host: str, port: int, count: int) -> Sequence[socket.socket]:
    """`count` sockets on one address; several share it by SO_REUSEPORT, and the kernel spreads connections over them."""
    first = _bound(host, port, shared=False)
    if count == 1:
        first.listen(BACKLOG)
        return [first]
    port = first.getsockname()[1]  # it is free: nobody else's server is joined by mistake
    first.close()
    listeners = [_bound(host, port, shared=True) for _ in range(count)]
    for listener in listeners:
        listener.listen(BACKLOG)
    return listeners


def deafen(listener: socket.socket) -> None:
    """Let nobody connect any more, while those who have are still accepted: closing alone would reset whoever is in the backlog.

    A filter that drops every packet; who connects now tries again a second later, and is refused when the socket is closed.
    """
    drop = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))  # BPF_RET | BPF_K, 0
    program = struct.pack("HxxxxxxP", 1, ctypes.addressof(drop))
    with contextlib.suppress(OSError):  # a sandbox may not have it: then the backlog is reset
        listener.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program)


def _bound(host: str, port: int, *, shared: bool) -> socket.socket:
    try:
        family, _kind, _protocol, _name, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        made = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # without it asyncio leaves Nagle's algorithm on
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        made.bind(address)
    except OSError as error:
        raise InUse(f"cannot listen on {host}:{port}: {error.strerror or error}") from None
    made.setblocking(False)
    return made
