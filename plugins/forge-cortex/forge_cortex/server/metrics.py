"""Counters that are right across processes: a block of shared memory per process, summed when they are read.

A process writes to its own slot alone, so nothing is locked; a successor in the slot counts on. The memory is anonymous: it
ends with the processes.
"""

from __future__ import annotations

import mmap
from bisect import bisect_left
from collections.abc import Iterator, Sequence

CODES = (200, 400, 401, 403, 404, 405, 408, 413, 415, 422, 429, 499, 500, 502, 503, 504)
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)  # seconds
_CODE = {code: index for index, code in enumerate(CODES)}
_LATENCY = len(CODES)
_SUM = _LATENCY + len(BUCKETS) + 1
_IN_FLIGHT = _SUM + 1
_BATCHES, _BATCHED, _BUSY = _IN_FLIGHT + 1, _IN_FLIGHT + 2, _IN_FLIGHT + 3
WIDTH = 40
SERIES = 256
CONTENT_TYPE = b"application/openmetrics-text; version=1.0.0; charset=utf-8"


class Series:
    """What one process counts for one endpoint or model version."""

    __slots__ = ("_at", "_cells")

    def __init__(self, cells: memoryview[float], at: int) -> None:
        self._cells = cells
        self._at = at

    def started(self) -> None:
        self._cells[self._at + _IN_FLIGHT] += 1

    def finished(self, code: int, seconds: float) -> None:
        cells, at = self._cells, self._at
        cells[at + _IN_FLIGHT] -= 1
        cells[at + _CODE.get(code, _CODE[500 if code >= 500 else 400])] += 1
        cells[at + _LATENCY + bisect_left(BUCKETS, seconds)] += 1
        cells[at + _SUM] += seconds

    def batch(self, size: int, seconds: float) -> None:
        cells, at = self._cells, self._at
        cells[at + _BATCHES] += 1
        cells[at + _BATCHED] += size
        cells[at + _BUSY] += seconds


class Board:
    """`slots` blocks of `SERIES` series each, made before forking."""

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._cells = memoryview(mmap.mmap(-1, slots * SERIES * WIDTH * 8)).cast("d")

    def series(self, slot: int, number: int) -> Series:
        return Series(self._cells, (slot * SERIES + min(number, SERIES - 1)) * WIDTH)

    def settle(self, slot: int) -> None:
        """A process of this slot is gone, and what it had in flight with it."""
        for number in range(SERIES):
            self._cells[(slot * SERIES + number) * WIDTH + _IN_FLIGHT] = 0.0

    def total(self, number: int) -> list[float]:
        """The cells of one series, summed over all processes."""
        starts = [(slot * SERIES + number) * WIDTH for slot in range(self._slots)]
        return [sum(column) for column in zip(*(self._cells[at : at + WIDTH].tolist() for at in starts), strict=True)]


def exposition(board: Board, labels: Sequence[tuple[str, str, int]], gauges: Sequence[tuple[str, str, float]]) -> bytes:
    """OpenMetrics text.

    `labels` are the endpoint ("" for a group of workers), model and version of each series; `gauges` are name, help and value.
    """
    totals = [(_labels(*one), board.total(number), bool(one[0])) for number, one in enumerate(labels)]
    endpoints = [(label, cells) for label, cells, is_endpoint in totals if is_endpoint]
    groups = [(label, cells) for label, cells, is_endpoint in totals if not is_endpoint]
    lines = [
        *_family("forge_requests", "counter", "Requests answered, by status code.", _requests(endpoints)),
        *_family("forge_request_duration_seconds", "histogram", "From admission to the answer.", _latencies(endpoints)),
        *_family(
            "forge_requests_in_flight",
            "gauge",
            "Admitted and not yet answered.",
            (f"{{{label}}} {cells[_IN_FLIGHT]:g}" for label, cells in endpoints),
        ),
        *_family("forge_batches", "counter", "Batches predicted.", (f"_total{{{label}}} {cells[_BATCHES]:g}" for label, cells in groups)),
        *_family(
            "forge_batched_requests",
            "counter",
            "Requests in those batches.",
            (f"_total{{{label}}} {cells[_BATCHED]:g}" for label, cells in groups),
        ),
        *_family(
            "forge_busy_seconds", "counter", "Time spent predicting.", (f"_total{{{label}}} {cells[_BUSY]:.6f}" for label, cells in groups)
        ),
    ]
    for name, text, value in gauges:
        lines += _family(name, "gauge", text, [f" {value:g}"])
    return ("\n".join([*lines, "# EOF"]) + "\n").encode()


def _labels(endpoint: str, model: str, version: int) -> str:
    named = (("endpoint", endpoint), ("model", model), ("version", str(version) if version else ""))
    return ",".join(f'{name}="{_escaped(value)}"' for name, value in named if value)


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _family(name: str, kind: str, text: str, samples: Iterator[str] | Sequence[str]) -> Iterator[str]:
    yield f"# TYPE {name} {kind}"
    yield f"# HELP {name} {text}"
    yield from (name + sample for sample in samples)


def _requests(series: Sequence[tuple[str, list[float]]]) -> Iterator[str]:
    for label, cells in series:
        for code, count in zip(CODES, cells, strict=False):
            if count:
                yield f'_total{{{label},code="{code}"}} {count:.0f}'


def _latencies(series: Sequence[tuple[str, list[float]]]) -> Iterator[str]:
    for label, cells in series:
        running = 0.0
        for bound, count in zip((*map(str, BUCKETS), "+Inf"), cells[_LATENCY:], strict=False):
            running += count
            yield f'_bucket{{{label},le="{bound}"}} {running:.0f}'
        yield f"_count{{{label}}} {running:.0f}"
        yield f"_sum{{{label}}} {cells[_SUM]:.6f}"
