"""The process that keeps a server's other processes: forks them, respawns what ends, moves endpoints to versions that are ready.

Single-threaded, with no event loop and no model, so that a fork of it is a clean beginning. Started as
`python -m forge_cortex.server.supervisor FD`, where FD is a socket to the command; the first message there is the plan.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import selectors
import shutil
import signal
import socket
import sys
import time
from collections.abc import Sequence

import msgspec

from forge_cortex.server.channel import Channel, Closed
from forge_cortex.server.fleet import Fleet
from forge_cortex.server.listeners import InUse, listen
from forge_cortex.server.messages import Desired, Fatal, Listening, ServerPlan, Stop, ToSupervisor

logger = logging.getLogger("forge_cortex")
PATIENCE = 10.0  # seconds beyond a request's deadline that a drain may take


class Supervisor:
    """The loop: messages, ends of processes, timers, signals."""

    def __init__(self, command: Channel[ToSupervisor], plan: ServerPlan) -> None:
        self._command: Channel[ToSupervisor] | None = command
        self._selector = selectors.DefaultSelector()
        self._plan = plan
        self._draining_until: float | None = None
        self._signals = self._stops = 0
        self._wakes, wakes = socket.socketpair()
        for end in (self._wakes, wakes):
            end.setblocking(False)
        self._wakeup = wakes
        self._listeners = listen(plan.host, plan.port, plan.gateways)
        self.address = self._listeners[0].getsockname()[:2]
        self._fleet = Fleet(plan, self._listeners, self._selector, self._tell, self._forget)
        self._selector.register(command, selectors.EVENT_READ, self._commanded)
        self._selector.register(self._wakes, selectors.EVENT_READ, self._signalled)

    def run(self, already: Sequence[ToSupervisor]) -> int:
        """Until told to stop and drained: 0; 1 where something had to be killed."""
        signal.set_wakeup_fd(self._wakeup.fileno())
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda _number, _frame: None)
        self._tell(Listening(*self.address))
        self._fleet.start()
        self._take(already)
        while not self._fleet.over:
            now = time.monotonic()
            if self._draining_until is not None and now > self._draining_until:
                self._fleet.kill()
                return 1
            self._select(self._fleet.tend(now))
        return 0

    def _select(self, timeout: float) -> None:
        for key, _mask in self._selector.select(timeout):
            key.data()

    def _commanded(self) -> None:
        assert self._command is not None
        try:
            self._take(self._command.receive())
        except Closed:  # the command is gone
            self._selector.unregister(self._command)
            self._command = None
            self._drain()

    def _take(self, messages: Sequence[ToSupervisor]) -> None:
        for message in messages:
            if isinstance(message, Desired):
                self._fleet.desire(message.targets)
            elif isinstance(message, Stop):
                self._stops += 1
                self._drain(again=self._stops > 1)

    def _signalled(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._signals += len(self._wakes.recv(64))
        self._drain(again=self._signals > 1)

    def _drain(self, *, again: bool = False) -> None:
        """Being told twice means at once. The command and the supervisor may each hear of one Ctrl-C."""
        if again:
            self._draining_until = 0.0
        elif self._draining_until is None:
            limits = self._plan.limits
            self._draining_until = time.monotonic() + limits.notice + limits.timeout + PATIENCE
            self._fleet.drain()

    def _tell(self, message: msgspec.Struct) -> None:
        if self._command is not None:
            with contextlib.suppress(Closed):
                self._command.send(message)

    def _forget(self) -> None:
        """In a fork: nothing of the supervisor's own stays open."""
        self._selector.close()
        self._wakes.close()
        self._wakeup.close()
        if self._command is not None:
            self._command.close()


def main(descriptor: int) -> int:
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", level=logging.INFO, stream=sys.stderr)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    command: Channel[ToSupervisor] = Channel(socket.socket(fileno=descriptor), ToSupervisor)
    plan, already = _first(command)
    gc.freeze()
    try:
        supervisor = Supervisor(command, plan)
        return supervisor.run(already)
    except InUse as error:
        command.send(Fatal(str(error), "choose another with --port"))
        return 1
    finally:
        shutil.rmtree(plan.folder, ignore_errors=True)  # the command may be gone


def _first(command: Channel[ToSupervisor]) -> tuple[ServerPlan, list[ToSupervisor]]:
    """The plan, and what came with it."""
    selector = selectors.DefaultSelector()
    selector.register(command, selectors.EVENT_READ)
    while True:
        selector.select()
        messages = command.receive()
        if messages:
            plan = messages.pop(0)
            assert isinstance(plan, ServerPlan)
            return plan, messages


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
