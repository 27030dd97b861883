"""Forked processes: a channel to each, a descriptor that tells its end, and the delay before its successor."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import time
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from forge_core.processes import die_with_parent
from forge_cortex.server.channel import Channel, Closed

M = TypeVar("M")
logger = logging.getLogger(__name__)
STEADY = 5.0  # seconds after which a process that ends is not counted as failing at its start
SLOWEST = 10.0  # seconds between two attempts, at most


class Child(Generic[M]):
    """A live process. `accepts` is what it sends."""

    def __init__(self, name: str, pid: int, end: socket.socket, accepts: Any) -> None:
        self.name, self.pid = name, pid
        self.channel: Channel[M] = Channel(end, accepts)
        self.ended = os.pidfd_open(pid)
        self.since = time.monotonic()

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.ended, signal.SIGKILL)

    def reap(self) -> int:
        """Its exit code, negative for a signal; closes everything that was held of it."""
        _pid, status = os.waitpid(self.pid, 0)
        self.channel.close()
        os.close(self.ended)
        return os.waitstatus_to_exitcode(status)

    def forget(self) -> None:
        """In a fork: let go of a sibling."""
        self.channel.close()
        os.close(self.ended)


def fork(name: str, life: Callable[[socket.socket], int], accepts: Any, forget: Callable[[], None]) -> Child[Any]:
    """A process that runs `life(its end of the channel)` and exits with the answer. `forget` closes what is the parent's."""
    ours, theirs = socket.socketpair()
    parent = os.getpid()
    pid = os.fork()
    if pid:
        theirs.close()
        return Child(name, pid, ours, accepts)
    code = 1
    try:
        for number in (signal.SIGTERM, signal.SIGINT):  # they stop when the supervisor says so, or ends
            signal.signal(number, signal.SIG_IGN)
        signal.set_wakeup_fd(-1)
        die_with_parent()
        if os.getppid() != parent:
            os._exit(1)
        ours.close()
        forget()
        code = life(theirs)
    except Closed:
        code = 0
    except BaseException:
        logger.exception("%s ended", name)
    finally:
        os._exit(code)


class Backoff:
    """How long to wait before a successor: not at all after a steady life, doubling after failures."""

    def __init__(self) -> None:
        self._failures = 0

    def delay(self, lived: float, worked: bool) -> float:
        if worked and lived >= STEADY:
            self._failures = 0
            return 0.0
        self._failures += 1
        if worked and self._failures == 1:
            return 0.0
        return float(min(SLOWEST, 0.1 * 2**self._failures))
