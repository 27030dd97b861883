"""`monitor: log`: counts and latencies of each endpoint, as JSON lines in `.forge/monitor/`."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from forge_core.contracts.monitor import Monitor
from forge_core.faults import ConfigError, InvalidInput
from forge_core.files import folder_name
from forge_core.operations import current
from forge_core.records.data import JSON, ArrowStream
from forge_core.records.project import Project

FLUSH = 1.0  # seconds
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")


class LogMonitor(Monitor):
    """Appends one line a second, endpoint and version; keeps neither inputs nor outputs, so it has no drift to report."""

    def __init__(self, *, project: Project) -> None:
        self._folder = project.state / "monitor"
        self._waiting: dict[tuple[str, str, int], list[float]] = {}
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None

    def close(self) -> None:
        timer = self._timer
        if timer is not None:
            timer.cancel()
        self._flush()

    def record(self, endpoint: str, version: int, inputs: ArrowStream, outputs: ArrowStream, latency_ms: Sequence[float]) -> None:
        with self._lock:
            self._waiting.setdefault((current().principal.tenant, _checked(endpoint), version), []).extend(latency_ms)
            if self._timer is None:
                self._timer = threading.Timer(FLUSH, self._flush)
                self._timer.daemon = True
                self._timer.start()

    def feedback(self, request_id: str, label: JSON) -> None:
        try:
            json.dumps(label)
        except (TypeError, ValueError, RecursionError) as error:
            raise InvalidInput(
                f"the label is not made of JSON: {error}", "text, numbers, true, false, null, lists and mappings of those"
            ) from None
        self._append(current().principal.tenant, "requests.feedback", [{"at": _now(), "request_id": request_id, "label": label}])

    def report(self, endpoint: str, window: timedelta) -> Mapping[str, JSON]:
        """Requests and latency quantiles (ms) of each version within the window."""
        since = _before(window)
        self._flush()
        latencies: dict[str, list[float]] = {}
        path = self._path(current().principal.tenant, f"{_checked(endpoint)}.jsonl")
        if path.is_file():
            with path.open(encoding="utf-8") as lines:
                for line in lines:
                    said = json.loads(line)
                    if said["at"] >= since:
                        latencies.setdefault(str(said["version"]), []).extend(said["latency_ms"])
        return {
            "endpoint": endpoint,
            "window_s": window.total_seconds(),
            "versions": {name: _summary(found) for name, found in sorted(latencies.items())},
        }

    def add_monitor(self, endpoint: str, monitor: Mapping[str, JSON]) -> None:
        raise ConfigError("the monitor `log` only counts", "configure another one: infrastructure.monitoring")

    def _flush(self) -> None:
        with self._lock:
            waiting, self._waiting, self._timer = self._waiting, {}, None
        for (tenant, endpoint, version), latency in waiting.items():
            self._append(
                tenant, f"{endpoint}.jsonl", [{"at": _now(), "version": version, "latency_ms": [round(one, 3) for one in latency]}]
            )

    def _append(self, tenant: str, name: str, records: Sequence[Mapping[str, JSON]]) -> None:
        path = self._path(tenant, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        data = "".join(json.dumps(record) + "\n" for record in records).encode()
        with path.open("ab", buffering=0) as log:
            log.write(data)  # one write: several processes append to one file

    def _path(self, tenant: str, name: str) -> Path:
        return self._folder / folder_name(tenant) / name


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise InvalidInput(f"{name!r} is no endpoint's name", "letters, digits, _ . -")
    return name


def _now() -> str:
    return datetime.now(UTC).isoformat()


def _before(window: timedelta) -> str:
    """When a window began; one that is longer than there are dates began with the first."""
    try:
        return (datetime.now(UTC) - window).isoformat()
    except OverflowError:
        return "0001" if window > timedelta(0) else "9999-12-31T24"


def _summary(latency: Sequence[float]) -> JSON:
    ordered = sorted(latency)
    at = {f"latency_p{round(share * 100)}": ordered[min(len(ordered) - 1, int(share * len(ordered)))] for share in (0.5, 0.95, 0.99)}
    return {"requests": len(ordered), **at}
