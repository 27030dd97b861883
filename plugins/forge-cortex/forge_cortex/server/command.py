"""The process that was typed: starts the supervisor, tells it what is desired, hears what became of it."""

from __future__ import annotations

import contextlib
import logging
import os
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from typing import TypeAlias

from msgspec import structs

from forge_core.faults import ConfigError, ForgeError
from forge_cortex.server.channel import Channel, Closed
from forge_cortex.server.messages import Desired, Fatal, Listening, Observed, ServerPlan, Stop, Target, ToCommand

logger = logging.getLogger(__name__)
POLL = 0.25  # seconds between looks at the desired state
Desire: TypeAlias = Callable[[], tuple[Target, ...]]
Observe: TypeAlias = Callable[[Observed], None]


class Interrupted:
    """Set by SIGTERM or SIGINT while `watching`."""

    def __init__(self) -> None:
        self.count = 0
        self.wakes, self._wakeup = socket.socketpair()
        for end in (self.wakes, self._wakeup):
            end.setblocking(False)

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        def hear(_number: int, _frame: object) -> None:
            self.count += 1

        signals = (signal.SIGTERM, signal.SIGINT)
        before = {number: signal.signal(number, hear) for number in signals}
        wakeup = signal.set_wakeup_fd(self._wakeup.fileno())
        try:
            yield
        finally:
            signal.set_wakeup_fd(wakeup)
            for number, handler in before.items():
                signal.signal(number, handler)
            self.wakes.close()
            self._wakeup.close()


def serve(plan: ServerPlan, desired: Desire, observed: Observe) -> None:
    """Serve until interrupted, then drain. `desired` is read again and again; where it fails, what is live stays."""
    if threading.current_thread() is not threading.main_thread():
        raise ForgeError("a server is started from the main thread, which hears the signals that end it", "run forge serve")
    with tempfile.TemporaryDirectory(prefix="forge-cortex-", ignore_cleanup_errors=True) as folder:  # 0700
        _serve(structs.replace(plan, folder=folder), desired, observed)


def _serve(plan: ServerPlan, desired: Desire, observed: Observe) -> None:
    ours, theirs = socket.socketpair()
    interrupted = Interrupted()
    with interrupted.watching():
        process = _started(plan, theirs)
        theirs.close()
        channel: Channel[ToCommand] = Channel(ours, ToCommand)
        channel.send(plan)
        try:
            _tend(channel, interrupted, desired, observed)
        finally:
            channel.close()  # a supervisor that still lives drains and ends
            code = process.wait()
    if code != 0 and not interrupted.count:
        raise ForgeError("the server ended unexpectedly", "look at its last lines on stderr")


def _started(plan: ServerPlan, end: socket.socket) -> subprocess.Popen[bytes]:
    threads = {name: str(plan.limits.threads) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "forge_cortex.server.supervisor", str(end.fileno())],
        pass_fds=(end.fileno(),),
        stdin=subprocess.DEVNULL,
        stdout=2,  # stdout is the command's own, for one JSON document
        env={"OMP_WAIT_POLICY": "PASSIVE", **threads, **os.environ},  # threads that wait leave the cores to the gateway
    )


def _tend(channel: Channel[ToCommand], interrupted: Interrupted, desired: Desire, observed: Observe) -> None:
    selector = selectors.DefaultSelector()
    selector.register(channel, selectors.EVENT_READ)
    selector.register(interrupted.wakes, selectors.EVENT_READ)
    reader = _Reader(channel, desired)
    due, told = 0.0, 0
    while True:
        if not told and time.monotonic() >= due:
            reader.read()
            due = time.monotonic() + POLL
        selector.select(None if told else max(0.0, due - time.monotonic()))
        with contextlib.suppress(BlockingIOError):
            interrupted.wakes.recv(64)
        try:
            if interrupted.count > told:
                told = interrupted.count
                channel.send(Stop())
            messages = channel.receive()
        except Closed:
            return
        for message in messages:
            _heard(message, observed)


class _Reader:
    """Tells the supervisor what is desired when it has changed, and a person, once, when it cannot be read."""

    def __init__(self, channel: Channel[ToCommand], desired: Desire) -> None:
        self._channel, self._desired = channel, desired
        self._last: tuple[Target, ...] | None = None
        self._failing = False

    def read(self) -> None:
        try:
            now = self._desired()
        except Exception as error:  # whatever a database does, what is live stays live
            if not self._failing:
                logger.warning("the desired state cannot be read, what is live stays: %s", _said(error))
            self._failing = True
            return
        self._failing = False
        if now != self._last:
            with contextlib.suppress(Closed):  # seen where messages are read
                self._channel.send(Desired(now))
            self._last = now


def _heard(message: ToCommand, observed: Callable[[Observed], None]) -> None:
    if isinstance(message, Fatal):
        raise ConfigError(message.cause, message.remedy)
    if isinstance(message, Listening):
        host = f"[{message.host}]" if ":" in message.host else message.host
        print(f"serving on http://{host}:{message.port}", file=sys.stderr, flush=True)  # noqa: T201 - the one line a person waits for
    elif isinstance(message, Observed):
        try:
            observed(message)
        except Exception as error:  # the same
            logger.warning("what became of %s revision %s cannot be written: %s", message.endpoint, message.revision, _said(error))


def _said(error: Exception) -> str:
    return error.cause if isinstance(error, ForgeError) else type(error).__name__
