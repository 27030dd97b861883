"""Other processes with the same driver: to race writers, and to kill one.

What runs there is a module-level function of the driver. One that yields acknowledges: each value is sent, as JSON, before the
next one is asked for, so that a test knows what was acknowledged when it killed the process.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from forge_core.records.data import JSON
from forge_core.testing.contract import Subject


def run(subject: Subject, act: Callable[..., Any], *arguments: JSON, timeout: float = 60) -> list[Any]:
    """What `act(driver, *arguments)` acknowledged in a process of its own, to its end. What it raised is raised here."""
    return race(subject, act, [arguments], timeout)[0]


def race(subject: Subject, act: Callable[..., Any], arguments: Sequence[Sequence[JSON]], timeout: float = 120) -> list[list[Any]]:
    """A process for each of `arguments`, all let go at once; what each acknowledged."""
    with _child(subject, act, arguments) as child:
        try:
            said, told = child.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{act.__name__} did not end within {timeout:g} s in {len(arguments)} processes") from None
    acknowledged: list[list[Any]] = [[] for _ in arguments]
    for line in said.splitlines():
        number, value = json.loads(line)
        acknowledged[number].append(value)
    if child.returncode:
        raise AssertionError(f"{act.__name__} failed in another process:\n{told.decode(errors='replace')[-4000:]}")
    return acknowledged


def killed(
    subject: Subject, act: Callable[..., Any], *arguments: JSON, after: float = 0.0, acknowledged: int = 1, timeout: float = 60
) -> list[Any]:
    """What was acknowledged by a process that got SIGKILL `after` so many seconds from its acknowledgement number `acknowledged`."""
    values: list[Any] = []
    with _child(subject, act, [arguments]) as child:
        assert child.stdout is not None
        ends = time.monotonic() + timeout
        for line in child.stdout:
            values.append(json.loads(line)[1])
            if len(values) == acknowledged:
                break
            assert time.monotonic() < ends, f"{act.__name__} acknowledged {len(values)} times in {timeout:g} s"
        time.sleep(after)
        os.killpg(child.pid, signal.SIGKILL)
        said, told = child.communicate()
        whole = said[: said.rfind(b"\n") + 1]
        values.extend(json.loads(line)[1] for line in whole.splitlines())
    if len(values) < acknowledged:
        raise AssertionError(f"{act.__name__} ended before it was killed:\n{told.decode(errors='replace')[-4000:]}")
    return values


@contextmanager
def _child(subject: Subject, act: Callable[..., Any], arguments: Sequence[Sequence[JSON]]) -> Iterator[subprocess.Popen[bytes]]:
    task = {
        "root": str(subject.root), "target": subject.target, "settings": dict(subject.settings),
        "act": f"{act.__module__}:{act.__qualname__}", "arguments": [list(one) for one in arguments],
    }  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-P", "-m", "forge_core.testing.child", json.dumps(task)]
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, start_new_session=True
    ) as child:
        try:
            yield child
        finally:
            if child.poll() is None:
                os.killpg(child.pid, signal.SIGKILL)
