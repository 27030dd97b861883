"""What watches what is live."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import ClassVar

from forge_core.contracts.driver import Driver
from forge_core.operations import operation
from forge_core.records.data import JSON, ArrowStream


class Monitor(Driver):
    role: ClassVar[str] = "monitor"

    @abstractmethod
    @operation("endpoint:record", resource="endpoint:{endpoint}")
    def record(self, endpoint: str, version: int, inputs: ArrowStream, outputs: ArrowStream, latency_ms: Sequence[float]) -> None:
        """A hot path: no I/O here, it is written in the background. `latency_ms` has one entry a request."""

    @abstractmethod
    @operation("endpoint:feedback", resource="request:{request_id}")
    def feedback(self, request_id: str, label: JSON) -> None: ...

    @abstractmethod
    @operation("endpoint:read", resource="endpoint:{endpoint}")
    def report(self, endpoint: str, window: timedelta) -> Mapping[str, JSON]: ...

    @abstractmethod
    @operation("endpoint:monitor", resource="endpoint:{endpoint}", mutates=True)
    def add_monitor(self, endpoint: str, monitor: Mapping[str, JSON]) -> None: ...
