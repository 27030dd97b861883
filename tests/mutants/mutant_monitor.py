"""Wrong monitors: I/O on the hot path, lost records, other windows, tenants and files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import ClassVar

from mutant_swap import swap

from forge_core.builtin import monitor
from forge_core.builtin.monitor import LogMonitor
from forge_core.records.data import JSON, ArrowStream


class WrittenAtOnce(LogMonitor):
    """What is recorded is written before the request goes on."""

    suite: ClassVar[str] = "forge_core.builtin.testing:TestLogMonitor"

    def record(self, endpoint: str, version: int, inputs: ArrowStream, outputs: ArrowStream, latency_ms: Sequence[float]) -> None:
        super().record(endpoint, version, inputs, outputs, latency_ms)
        self._flush()


class LostAtTheEnd(LogMonitor):
    """What was recorded within the last second is lost when the monitor is closed."""

    suite: ClassVar[str] = "forge_core.builtin.testing:TestLogMonitor"

    def close(self) -> None:
        timer = self._timer
        if timer is not None:
            timer.cancel()


class WindowIgnored(LogMonitor):
    """A report is of all time, whatever its window."""

    suite: ClassVar[str] = "forge_core.builtin.testing:TestLogMonitor"

    def report(self, endpoint: str, window: timedelta) -> Mapping[str, JSON]:
        return {**super().report(endpoint, timedelta(days=3650)), "window_s": window.total_seconds()}


class OneTenant(LogMonitor):
    """The figures of all tenants' endpoints of one name are one."""

    suite: ClassVar[str] = "forge_core.builtin.testing:TestLogMonitor"

    def _path(self, tenant: str, name: str) -> Path:
        return super()._path("default", name)


class AnyEndpoint(LogMonitor):
    """An endpoint's name may lead out of the monitor's folder."""

    suite: ClassVar[str] = "forge_core.builtin.testing:TestLogMonitor"

    def open(self) -> None:
        swap(monitor, "_checked", str)


class LastBatchAlone(LogMonitor):
    """Of several batches within a second only the last is counted."""

    suite: ClassVar[str] = "forge_core.builtin.testing:TestLogMonitor"

    def record(self, endpoint: str, version: int, inputs: ArrowStream, outputs: ArrowStream, latency_ms: Sequence[float]) -> None:
        super().record(endpoint, version, inputs, outputs, latency_ms)
        with self._lock:
            for (_tenant, name, number), waiting in self._waiting.items():
                if (name, number) == (endpoint, version):
                    waiting[:] = latency_ms
