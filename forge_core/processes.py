"""Processes as owners of work: who am I, is that one alive, end it with all its children."""

from __future__ import annotations

import ctypes
import os
import secrets
import signal
import subprocess
import sys
import time
from functools import cache
from pathlib import Path

PR_SET_PDEATHSIG = 1


@cache
def _machine() -> str:
    """This boot of this machine, and this process namespace of it: where a process id means something."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{Path('/proc/self/ns/pid').stat().st_ino}"
    except OSError:
        return os.uname().nodename


def _started(pid: int) -> str:
    """A process's start time in clock ticks, so that a reused id is told apart; empty where it does not live."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] == "Z" else fields[19]


def me() -> str:
    """An owner's name: machine, process and a token, so that two owners in one process differ."""
    pid = os.getpid()
    return f"{_machine()}:{pid}:{_started(pid)}:{secrets.token_hex(8)}"


def known_dead(owner: str) -> bool:
    """True where the owner ran on this machine and does not any more; another machine's is judged by its lease."""
    machine, _, rest = owner.partition(":")
    pid, _, rest = rest.partition(":")
    started = rest.partition(":")[0]
    if machine != _machine() or not pid.isdecimal():
        return False
    return _started(int(pid)) != started


def die_with_parent(die: bool = True) -> None:
    """Ask the kernel to kill this process when its parent's thread ends (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL if die else 0)


def end_group(process: subprocess.Popen[bytes], grace: float = 0.5) -> None:
    """SIGTERM to the process's group, SIGKILL after `grace` seconds, and reap it."""
    for number, wait in ((signal.SIGTERM, grace), (signal.SIGKILL, 5.0)):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            break
        ends = time.monotonic() + wait
        while time.monotonic() < ends and process.poll() is None:
            time.sleep(0.01)
    if process.poll() is not None:
        try:
            os.killpg(process.pid, signal.SIGKILL)  # what the leader left behind
        except (ProcessLookupError, PermissionError):
            return
