"""`monitoring: acme`: requests and latencies of each version, as JSON lines in `.forge`."""

from __future__ import annotations

import json
import logging
import math
import re
import threading
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from attrs import frozen
from forge_core.contracts import Monitor
from forge_core.faults import ConfigError, ForgeError, InvalidInput
from forge_core.files import folder_name
from forge_core.operations import current
from forge_core.records import JSON, ArrowStream, Project

logger = logging.getLogger(__name__)
_MOST = 100_000
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")


class AcmeMonitor(Monitor):
    """What was recorded waits in memory and is written in the background; inputs and outputs are not kept."""

    @frozen
    class Settings:
        """Seconds between two writes."""

        flush: float = 1.0

    def __init__(self, settings: Settings, *, project: Project) -> None:
        self._folder = project.state / "acme-monitor"
        self._flush = settings.flush
        self._waiting: list[tuple[Path, JSON]] = []
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._write()

    def record(
        self, endpoint: str, version: int, inputs: ArrowStream, outputs: ArrowStream, latency_ms: Sequence[float]
    ) -> None:
        said = {"at": _text(datetime.now(UTC)), "version": version, "latency_ms": [float(one) for one in latency_ms]}
        if said["latency_ms"]:
            self._keep(self._path(endpoint), said)

    def feedback(self, request_id: str, label: JSON) -> None:
        """Written before it returns."""
        said = {"at": _text(datetime.now(UTC)), "request_id": request_id, "label": label}
        try:
            json.dumps(said, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise InvalidInput(f"the label is not JSON: {error}", "numbers, text, lists and mappings") from None
        self._keep(self._path("labels", "requests"), said)
        self._write()

    def report(self, endpoint: str, window: timedelta) -> Mapping[str, JSON]:
        """Requests and quantiles of latency (ms) of each version within the window."""
        self._write()
        now, found = datetime.now(UTC), dict[str, list[float]]()
        since = _text(now - window) if window < now - datetime.min.replace(tzinfo=UTC) else ""
        for said in _lines(self._path(endpoint)):
            if said["at"] >= since:
                found.setdefault(str(said["version"]), []).extend(said["latency_ms"])
        versions = {name: _summary(latency) for name, latency in sorted(found.items())}
        return {"endpoint": endpoint, "window_s": window.total_seconds(), "versions": versions}

    def add_monitor(self, endpoint: str, monitor: Mapping[str, JSON]) -> None:
        raise ConfigError("this monitor only counts", "configure another one: infrastructure.monitoring")

    def _path(self, name: str, kind: str = "endpoints") -> Path:
        if not _NAME.fullmatch(name):
            raise InvalidInput(f"{name!r:.100} is no endpoint's name", "letters, digits, _ . -")
        return self._folder / folder_name(current().principal.tenant) / kind / f"{name}.jsonl"

    def _keep(self, path: Path, said: JSON) -> None:
        with self._lock:
            self._waiting.append((path, said))
            del self._waiting[:-_MOST]  # where the disk is full for long, what is oldest is lost
            if self._timer is None:
                self._timer = threading.Timer(self._flush, self._write_later)
                self._timer.daemon = True
                self._timer.start()

    def _write_later(self) -> None:
        try:
            self._write()
        except ForgeError as error:
            logger.warning("what was recorded waits: %s", error.cause)

    def _write(self) -> None:
        with self._lock:  # held while it writes, so that whoever reports next reads all of it
            lines: dict[Path, list[str]] = {}
            for path, said in self._waiting:
                lines.setdefault(path, []).append(json.dumps(said))
            try:
                for path, texts in lines.items():
                    path.parent.mkdir(parents=True, exist_ok=True)
                    with path.open("ab", buffering=0) as log:
                        log.write("\n".join(["", *texts, ""]).encode())  # one write: other processes append as well
                    self._waiting = [one for one in self._waiting if one[0] != path]
            except OSError as error:
                raise ForgeError(f"{path.name}: {error.strerror}", "look at the disk") from None
            finally:
                self._timer = None


def _text(at: datetime) -> str:
    """Of one width, so that the order of texts is that of times."""
    return at.isoformat(timespec="microseconds")


def _lines(path: Path) -> list[Mapping[str, JSON]]:
    """A line that was cut off was being written when its process was killed."""
    said = []
    for line in path.read_bytes().splitlines() if path.is_file() else ():
        try:
            said.append(json.loads(line))
        except ValueError:
            continue
    return said


def _summary(latency: Sequence[float]) -> JSON:
    ordered = sorted(latency)
    at = {f"latency_p{share}": ordered[math.ceil(share / 100 * len(ordered)) - 1] for share in (50, 95, 99)}
    return {"requests": len(ordered), **at}
