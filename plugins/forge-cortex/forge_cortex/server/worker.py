"""An inference worker: one model version behind a Unix socket. Connectable means loaded and warm.

It reads whatever all gateways have sent, drops what has expired, predicts what is there as one batch and sends each gateway
one write of replies. There is no timer that a lone request would wait for.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import selectors
import socket
import time
from collections import deque
from importlib import import_module
from typing import Any

from forge_core.faults import ForgeError
from forge_cortex.server import frames
from forge_cortex.server.channel import Channel, Closed
from forge_cortex.server.hooks import Ended, Hooks
from forge_cortex.server.messages import Broken, Loaded, Stop, WorkerSpec
from forge_cortex.server.metrics import Series

logger = logging.getLogger(__name__)


def made(spec: WorkerSpec) -> Any:
    """Call the factory that a spec names."""
    module, _, function = spec.factory.partition(":")
    return getattr(import_module(module), function)(**spec.arguments)


def run(spec: WorkerSpec, path: str, channel: Channel[Stop], batch: int, series: Series) -> int:
    """The life of a worker; returns its exit code."""
    try:
        hooks = Hooks(made(spec))
        hooks.warm_up()
    except Exception as error:
        cause = error.cause if isinstance(error, ForgeError) else f"{type(error).__name__} while loading the model"
        logger.error("cannot set up: %s", cause, exc_info=None if isinstance(error, ForgeError) else error)
        with contextlib.suppress(Closed):
            channel.send(Broken(cause))
        return 1
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    batch = min(batch, hooks.limit)
    worker = Worker(hooks, path, channel, batch, series)
    channel.send(Loaded(hooks.signature, batch))
    return worker.serve()


class Peer:
    """A connected gateway."""

    def __init__(self, end: socket.socket) -> None:
        end.setblocking(False)
        self.socket = end
        self.requests = frames.Requests()
        self.out = b""
        self.open = True


class Worker:
    """The loop: read, predict, reply."""

    def __init__(self, hooks: Hooks, path: str, channel: Channel[Stop], batch: int, series: Series) -> None:
        self._hooks, self._channel, self._batch, self._series = hooks, channel, batch, series
        self._waiting: deque[tuple[Peer, frames.Request]] = deque()
        self._stopping = False
        self._peers: set[Peer] = set()
        self._path = path
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.setblocking(False)
        self._listener.bind(path + ".new")
        self._listener.listen(64)
        os.rename(path + ".new", path)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
        self._selector.register(channel, selectors.EVENT_READ, self._told)

    def serve(self) -> int:
        while not (self._stopping and not self._waiting and not any(peer.out for peer in self._peers)):
            for key, mask in self._selector.select(0 if self._waiting else None):
                key.data(key.fileobj, mask)
            if self._waiting and not self._predict():
                return 1
        return 0

    def _accept(self, listener: socket.socket, _mask: int) -> None:
        try:
            end, _address = listener.accept()
        except OSError:
            return  # it went away again
        peer = Peer(end)
        self._peers.add(peer)
        self._selector.register(end, selectors.EVENT_READ, lambda _end, mask: self._ready(peer, mask))

    def _told(self, channel: Channel[Stop], _mask: int) -> None:
        try:
            self._stopping = self._stopping or bool(channel.receive())
        except Closed:  # the supervisor is gone
            self._selector.unregister(channel)
            self._stopping = True

    def _ready(self, peer: Peer, mask: int) -> None:
        try:
            if mask & selectors.EVENT_WRITE:
                self._flush(peer)
            if mask & selectors.EVENT_READ:
                data = peer.socket.recv(1 << 18)
                if not data:
                    self._forget(peer)
                    return
                self._waiting.extend((peer, request) for request in peer.requests.feed(data))
        except BlockingIOError:
            pass
        except (OSError, frames.BrokenStream):  # a killed gateway must not take its workers along
            self._forget(peer)

    def _forget(self, peer: Peer) -> None:
        if peer.open:
            peer.open, peer.out = False, b""
            self._peers.discard(peer)
            self._selector.unregister(peer.socket)
            peer.socket.close()

    def _predict(self) -> bool:
        """One batch; false where the model has ended its process."""
        batch: list[tuple[Peer, frames.Request]] = []
        out: dict[Peer, list[bytes]] = {}
        now = time.monotonic()
        while self._waiting and len(batch) < self._batch:
            peer, request = self._waiting.popleft()
            if request.deadline >= now:
                batch.append((peer, request))
            else:  # its gateway has answered already, and waits for the place only
                out.setdefault(peer, []).append(frames.reply(request.number, 504, frames.Kind.JSON, b""))
        sound = True
        if batch:
            try:
                replies = self._hooks.answer([request for _peer, request in batch])
            except Ended as ended:
                replies, sound = ended.replies, False
            self._series.batch(len(batch), time.monotonic() - now)
            for (peer, _request), reply in zip(batch, replies, strict=True):
                out.setdefault(peer, []).append(frames.reply(*reply))
        for peer, parts in out.items():
            self._write(peer, b"".join(parts))
        return sound

    def _write(self, peer: Peer, data: bytes) -> None:
        if peer.open:
            peer.out += data
            try:
                self._flush(peer)
            except OSError:
                self._forget(peer)

    def _flush(self, peer: Peer) -> None:
        """Send what can be sent now: a stopped gateway must not hold up the others."""
        try:
            while peer.out:
                peer.out = peer.out[peer.socket.send(peer.out) :]
        except BlockingIOError:
            pass
        mask = selectors.EVENT_READ | (selectors.EVENT_WRITE if peer.out else 0)
        if self._selector.get_key(peer.socket).events != mask:
            self._selector.modify(peer.socket, mask, self._selector.get_key(peer.socket).data)
