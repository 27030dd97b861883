"""What the benchmarks share: whole processes timed in turn, peers in environments of their own, a table at the end."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BIN = ROOT / ".venv" / "bin"


@dataclass
class Sample:
    """Seconds: by the clock, and of CPU (user and system, of the process itself)."""

    wall: float
    cpu: float


def process(command: Sequence[str | Path], environment: Mapping[str, str] | None = None) -> Sample:
    """One run of a command."""
    kept = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    began = time.perf_counter()
    with subprocess.Popen([str(part) for part in command], env={**kept, **(environment or {})}, stdout=subprocess.DEVNULL) as child:
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        wall, used = time.perf_counter() - began, time.clock_gettime((~child.pid << 3) | 2)  # its CPU clock; rusage counts in 10 ms here
    if child.returncode:
        raise subprocess.CalledProcessError(child.returncode, command)
    return Sample(wall, used)


def in_turn(runs: int, *commands: Callable[[], Sample]) -> list[list[Sample]]:
    """Each in turn, so that a machine that changes its speed changes it for all; the first round is not counted."""
    samples: list[list[Sample]] = [[] for _ in commands]
    for number in range(runs + 1):
        for found, command in zip(samples, commands, strict=True):
            sample = command()
            if number:
                found.append(sample)
    return samples


def ratio(first: Sequence[Sample], second: Sequence[Sample], what: str = "wall") -> tuple[float, float, float]:
    """Median of the pairs' ratios, with its 90 % interval by order statistics."""
    return interval([getattr(a, what) / getattr(b, what) for a, b in zip(first, second, strict=True)])


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    ordered, count = sorted(values), len(values)
    reach = round(0.822 * count**0.5)  # 1.645 / 2 * sqrt(n) ranks either side of the median
    return statistics.median(ordered), ordered[max(0, count // 2 - reach)], ordered[min(count - 1, count // 2 + reach)]


def peer(name: str, *requirements: str) -> Path:
    """The `bin` of a peer's own environment, made at first use."""
    folder = ROOT / ".tox" / f"peer-{name}"
    if not (folder / "ready").exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        subprocess.run([str(folder / "bin" / "pip"), "install", "-q", "--disable-pip-version-check", *requirements], check=True)
        (folder / "ready").touch()
    return folder / "bin"


def verdict(name: str, value: float, bar: float, unit: str = "x", detail: str = "") -> bool:
    """One line; whether the bar is reached."""
    reached = value <= bar
    print(f"{'ok  ' if reached else 'MISS'} {name:68} {value:8.3g} {unit:4} (bar {bar:g}) {detail}", flush=True)
    return reached
