"""The suite of monitors."""

from __future__ import annotations

import json
import math
import random
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from itertools import product
from pathlib import Path
from types import FrameType
from typing import Any

import pyarrow as pa
import pytest

from forge_core import Kernel
from forge_core.contracts.monitor import Monitor
from forge_core.faults import ForgeError, NotFound
from forge_core.records.data import JSON, ArrowStream
from forge_core.testing.contract import Contract, Subject, tenant
from forge_core.testing.processes import killed, race, run
from forge_core.testing.samples import undeclared

INPUTS = pa.table({"x": [1.0, 2.0, 3.0], "carrier": ["AA", "UA", None]})
OUTPUTS = pa.table({"prediction": [0.0, 1.0, 1.0], "probabilities": [[0.9, 0.1], [0.2, 0.8], [0.4, 0.6]]})
HOUR = timedelta(hours=1)
IO = ("open", "os.", "pathlib.", "shutil.", "socket.", "sqlite3.", "subprocess.", "tempfile.", "urllib.", "http.")


# ---- what other processes do


def records(driver: Any, endpoint: str, calls: int, latency: float) -> None:
    for _ in range(calls):
        driver.record(endpoint, 1, INPUTS, OUTPUTS, [latency])


def records_for_ever(driver: Any, endpoint: str) -> Iterator[JSON]:
    """Acknowledges nothing but that it began."""
    yield "began"
    while True:
        driver.record(endpoint, 1, INPUTS, OUTPUTS, [1.0])


def labels(driver: Any, requests: Mapping[str, JSON]) -> Iterator[JSON]:
    for request_id, label in requests.items():
        driver.feedback(request_id, label)
        yield request_id
    time.sleep(60)


def watched(driver: Any, endpoint: str, calls: int) -> JSON:
    """What the calling thread does while it records: audit events of I/O, system calls that write, and the median time in seconds."""
    records(driver, endpoint, 200, 1.0)  # what is made at first use is made now
    thread, seen, watching = threading.get_ident(), list[str](), False

    def hook(event: str, arguments: object) -> None:
        if watching and threading.get_ident() == thread and event.startswith(IO):
            seen.append(f"{event} {arguments!r}"[:200])

    sys.addaudithook(hook)
    took = []
    before = _writes()
    watching = True
    for _ in range(calls):
        began = time.perf_counter()
        driver.record(endpoint, 1, INPUTS, OUTPUTS, [1.0])
        took.append(time.perf_counter() - began)
    watching = False
    return {"events": sorted(set(seen))[:10], "writes": _writes() - before, "median": sorted(took)[len(took) // 2]}


def _writes() -> int:
    """System calls of this thread that wrote, where the system counts them."""
    counts = Path("/proc/thread-self/io")
    return next((int(line.split()[1]) for line in counts.read_text().splitlines() if line.startswith("syscw")), 0) if counts.exists() else 0


class MonitorContract(Contract):
    """Set `driver_class`, and `settings` where it needs any. Override `monitors` and `kept_labels` where the driver has those.

    A report has, under `versions`, for each version (as text) that answered within the window `requests`, `latency_p50`, `latency_p95`
    and `latency_p99` in milliseconds: `forge monitor` shows these. It may have more.
    """

    contract = Monitor

    @pytest.fixture
    def inputs(self) -> pa.Table:
        """Rows as a model gets them. Override it where the driver was configured for columns of its own."""
        return INPUTS

    @pytest.fixture
    def outputs(self) -> pa.Table:
        """What the model answered to `inputs`, row by row."""
        return OUTPUTS

    @pytest.fixture
    def rank_error(self) -> float:
        """How far a quantile may be off: p95 lies between the exact p94 and p96 at 0.01. Widen it for a sketch, and say so."""
        return 0.01

    @pytest.fixture
    def monitors(self) -> Sequence[Mapping[str, JSON]]:
        """What `add_monitor` takes, such as `({"type": "drift", "column": "x"},)`; empty where the driver takes none."""
        return ()

    @pytest.fixture
    def kept_labels(self) -> Callable[[], Mapping[str, JSON]] | None:
        """Reads the default tenant's labels by request id, from where the driver keeps them; None where there is no way to read them."""
        return None

    @pytest.fixture
    def seen(self, driver: Any) -> Callable[..., dict[str, Any]]:
        """`seen("churn")`: the report's versions."""

        def versions(endpoint: str, window: timedelta = HOUR, by: Any = None) -> dict[str, Any]:
            report = (by or driver).report(endpoint, window)
            json.dumps(dict(report), allow_nan=False)
            return dict(report.get("versions", {}))

        return versions

    # ---- record and report

    def test_a_report_counts_the_requests_of_each_version(
        self, driver: Any, seen: Callable[..., Any], inputs: ArrowStream, outputs: ArrowStream
    ) -> None:
        """Requests are counted by endpoint and version, one for each entry of `latency_ms`, however many rows they had.

        Count entries, neither calls nor rows; name versions by their number as text.
        """
        for endpoint, version, requests in (("churn", 1, 2), ("churn", 1, 1), ("churn", 12, 5), ("fraud", 1, 7), ("churn", 12, 0)):
            driver.record(endpoint, version, inputs, outputs, [1.0] * requests)
        assert {version: said["requests"] for version, said in seen("churn").items()} == {"1": 3, "12": 5}
        assert {version: said["requests"] for version, said in seen("fraud").items()} == {"1": 7}

    @pytest.mark.parametrize("requests", [1, 2, 3, 100, 5000])
    def test_latencies_are_the_quantiles_of_what_was_recorded(
        self, driver: Any, seen: Callable[..., Any], inputs: ArrowStream, outputs: ArrowStream, rank_error: float, requests: int
    ) -> None:
        """`latency_p50`, `p95` and `p99` agree with sorting everything recorded, across calls, within `rank_error`. Average nothing."""
        chance = random.Random(requests)  # noqa: S311 - makes latencies
        latencies = [round(chance.lognormvariate(2, 1.5), 3) for _ in range(requests)]
        for start in range(0, requests, 97):
            driver.record("churn", 3, inputs, outputs, latencies[start : start + 97])
        said, ordered = seen("churn")["3"], sorted(latencies)
        assert said["requests"] == requests
        for share in (0.5, 0.95, 0.99):
            low = ordered[max(0, math.floor((share - rank_error) * (requests - 1)))]
            high = ordered[min(requests - 1, math.ceil((share + rank_error) * (requests - 1)))]
            assert low - 0.002 <= said[f"latency_p{round(share * 100)}"] <= high + 0.002, f"p{share * 100:g} of {requests}"

    def test_a_window_leaves_out_what_is_older(
        self, driver: Any, seen: Callable[..., Any], inputs: ArrowStream, outputs: ArrowStream
    ) -> None:
        """A report is about the last `window` of time, to about a second; older requests count in a longer one only. Keep times."""
        driver.record("churn", 1, inputs, outputs, [100.0] * 3)
        time.sleep(2.6)
        driver.record("churn", 1, inputs, outputs, [1.0] * 2)
        assert seen("churn", timedelta(seconds=1.3))["1"]["requests"] == 2
        assert seen("churn", timedelta(seconds=1.3))["1"]["latency_p99"] <= 1.1
        assert seen("churn")["1"]["requests"] == 5
        assert seen("churn", timedelta(0)) == {}

    @pytest.mark.parametrize("window", [timedelta.max, timedelta(days=365_000), timedelta(seconds=-5)])
    def test_any_window_gets_an_answer_or_a_typed_error(
        self, driver: Any, seen: Callable[..., Any], inputs: ArrowStream, outputs: ArrowStream, window: timedelta
    ) -> None:
        """A window longer than time itself has everything, and one into the future nothing; or both are refused. Bound it first."""
        driver.record("churn", 1, inputs, outputs, [1.0])
        try:
            found = seen("churn", window)
        except ForgeError:
            return
        assert {version: said["requests"] for version, said in found.items()} == ({"1": 1} if window > timedelta(0) else {})

    def test_an_endpoint_that_nobody_asked_has_no_requests(
        self, driver: Any, seen: Callable[..., Any], inputs: ArrowStream, outputs: ArrowStream
    ) -> None:
        """A report on an unknown endpoint is an empty one, or `NotFound`, before and after others were recorded. Give no zeros."""
        for _ in range(2):
            try:
                assert seen("nobody") == {}
            except NotFound as error:
                assert "nobody" in error.cause  # noqa: PT017 - either answer is right
            driver.record("churn", 1, inputs, outputs, [1.0])

    # ---- the hot path

    def test_recording_does_no_io_and_takes_little(self, subject: Subject) -> None:
        """`record` is on the path of every request: its thread opens and writes nothing, and is back within a millisecond.

        Put things into memory, and let a thread of your own write them.
        """
        (found,) = run(subject, watched, "churn", 2000)
        assert found["events"] == []
        assert found["writes"] == 0
        assert found["median"] < 0.001, f"{found['median'] * 1e6:.0f} microseconds"

    def test_what_was_recorded_is_written_in_the_background(
        self, driver: Any, another: Callable[[], Any], seen: Callable[..., Any], inputs: ArrowStream, outputs: ArrowStream
    ) -> None:
        """Without any further call, others see what was recorded, within ten seconds. Start the writer with the first record."""
        driver.record("churn", 1, inputs, outputs, [1.0, 2.0])
        other, ends = another(), time.monotonic() + 10
        while not seen("churn", by=other):
            assert time.monotonic() < ends, "nobody else has seen it for ten seconds"
            time.sleep(0.05)
        assert seen("churn", by=other)["1"]["requests"] == 2

    def test_it_goes_on_being_written_in_the_background(
        self, driver: Any, another: Callable[[], Any], seen: Callable[..., Any], inputs: ArrowStream, outputs: ArrowStream
    ) -> None:
        """What comes after a pause is written as well, and nothing twice. Start the writer anew, or never stop it."""
        other = another()
        for number in (1, 2):
            driver.record("churn", 1, inputs, outputs, [1.0])
            ends = time.monotonic() + 10
            while seen("churn", by=other).get("1", {"requests": 0})["requests"] < number:
                assert time.monotonic() < ends, f"record {number} was not seen for ten seconds"
                time.sleep(0.05)
        time.sleep(1.2)
        for one in (driver, other, another()):
            assert seen("churn", by=one)["1"]["requests"] == 2

    def test_threads_that_record_at_once_lose_nothing(
        self, driver: Any, seen: Callable[..., Any], inputs: ArrowStream, outputs: ArrowStream
    ) -> None:
        """Eight threads record 150 times each while another one reports: every request is counted, once. Swap buffers under a lock."""
        hesitant, begin = _hesitant({one.__module__ for one in self.driver_class.__mro__}), threading.Barrier(9)

        def requests() -> dict[str, int]:
            return {version: said["requests"] for version, said in seen("churn").items()}

        def record(version: int) -> None:
            begin.wait()
            before = sys.gettrace()
            sys.settrace(hesitant)
            try:
                for _ in range(150):
                    driver.record("churn", version, inputs, outputs, [1.0, 2.0])
            finally:
                sys.settrace(before)

        with ThreadPoolExecutor(8) as pool:
            recorded = [pool.submit(record, number % 2 + 1) for number in range(8)]
            begin.wait()
            while not all(one.done() for one in recorded):
                assert sum(requests().values()) <= 2400
                time.sleep(0.002)
            for one in recorded:
                one.result()
        assert requests() == {"1": 1200, "2": 1200}

    def test_processes_that_record_at_once_lose_nothing_and_closing_writes_the_rest(
        self, subject: Subject, seen: Callable[..., Any]
    ) -> None:
        """Four processes record 300 times each and close at once: their requests are all there afterwards.

        Write what is left in `close`, and append whole records, since other processes write to the same place.
        """
        race(subject, records, [["churn", 300, float(number)] for number in range(4)])
        said = seen("churn")["1"]
        assert said["requests"] == 1200
        assert said["latency_p99"] == pytest.approx(3.0, abs=0.002)

    def test_a_process_that_is_killed_leaves_what_can_be_read(
        self, driver: Any, subject: Subject, seen: Callable[..., Any], inputs: ArrowStream, outputs: ArrowStream
    ) -> None:
        """SIGKILL while it writes: what others have written is whole, the report works, and goes on counting. Write whole records."""
        driver.record("churn", 2, inputs, outputs, [1.0] * 7)
        assert seen("churn")["2"]["requests"] == 7
        killed(subject, records_for_ever, "churn", after=1.2)
        driver.record("churn", 2, inputs, outputs, [1.0])
        assert seen("churn")["2"]["requests"] == 8

    # ---- feedback and monitors

    @pytest.mark.parametrize("label", [None, True, 0, 1.5, "churned", "\u2713\n\u202e", [1, [2]], {"class": "a", "weights": [0.5, 0.5]}])
    def test_a_label_is_any_json(self, driver: Any, label: JSON) -> None:
        """Feedback takes any JSON for a request. Keep it as it is."""
        driver.feedback("req_1", label)

    def test_a_label_that_is_no_json_is_refused(self, driver: Any) -> None:
        """A label that is not made of JSON is a ForgeError. Check it where it enters, before anything is written."""
        for label in (object(), {"x": b"bytes"}, [{1, 2}]):
            with pytest.raises(ForgeError):
                driver.feedback("req_1", label)

    def test_labels_are_kept_once_they_were_accepted(
        self, request: pytest.FixtureRequest, subject: Subject, kept_labels: Callable[[], Mapping[str, JSON]] | None
    ) -> None:
        """What `feedback` has accepted is there, value by value, though the process is killed right after. Write before you return."""
        if kept_labels is None:
            undeclared(request, "the fixture kept_labels")
        given: dict[str, JSON] = {"req_1": {"churned": True}, "req_2": "\u2713\nno", "req_3": None, "req_4": [1, 2.5]}
        killed(subject, labels, given, acknowledged=len(given))
        assert dict(kept_labels()) == given

    def test_monitors_that_it_knows_are_added(
        self, request: pytest.FixtureRequest, driver: Any, kernel: Kernel, monitors: Sequence[Mapping[str, JSON]]
    ) -> None:
        """Each of `monitors` is taken, and the audit trail says that it was done. It is a mutation: raise where it was not done."""
        if not monitors:
            undeclared(request, "the fixture monitors")
        for one in monitors:
            driver.add_monitor("churn", one)
        events = [(event.action, event.outcome) for _, event in kernel.database.events()]
        assert events == [("endpoint:monitor", "done")] * len(monitors)

    @pytest.mark.parametrize("monitor", [{}, {"type": "no monitor of anyone"}, {"type": None}, {"type": ["drift"]}])
    def test_a_monitor_that_it_does_not_know_is_refused(self, driver: Any, kernel: Kernel, monitor: Mapping[str, JSON]) -> None:
        """What a driver does not watch is a ForgeError and nothing done: nobody may think that it is watched. Check the whole mapping."""
        with pytest.raises(ForgeError):
            driver.add_monitor("churn", monitor)
        assert "done" not in [event.outcome for _, event in kernel.database.events()]

    # ---- tenants and names

    def test_one_tenants_requests_are_not_anothers(
        self, driver: Any, another: Callable[[], Any], seen: Callable[..., Any], inputs: ArrowStream, outputs: ArrowStream
    ) -> None:
        """Tenants whose names look alike count apart, in this driver and in others. Ask `operations.current()` for the tenant."""
        names = ["a", "ab", "a/", "A", "a%2Fb", "../a", "default"]
        for number, name in enumerate(names, 1):
            with tenant(name):
                driver.record("churn", 1, inputs, outputs, [float(number)] * number)
        for by in (driver, another()):
            for number, name in enumerate(names, 1):
                with tenant(name):
                    assert seen("churn", by=by)["1"]["requests"] == number
        with tenant("nobody"):
            assert seen("churn") == {}

    def test_a_hostile_name_reaches_no_file_outside(
        self,
        driver: Any,
        seen: Callable[..., Any],
        inputs: ArrowStream,
        outputs: ArrowStream,
        hostile_paths: tuple[str, ...],
        tmp_path: Path,
    ) -> None:
        """An endpoint's name is refused, typed, or counted under exactly that name; no file appears beside the driver's own folder.

        Let names through by a pattern, or make no path of them.
        """
        driver.record("churn", 1, inputs, outputs, [1.0])
        assert seen("churn")["1"]["requests"] == 1
        driver.feedback("req_1", 1)
        before = _around(tmp_path)
        acts: tuple[Callable[[str], object], ...] = (
            lambda name: driver.record(name, 1, inputs, outputs, [1.0]),
            lambda name: driver.feedback(name, 1),
            lambda name: driver.report(name, HOUR),
            lambda name: driver.add_monitor(name, {"type": "no monitor of anyone"}),
        )
        for act, name in product(acts, hostile_paths):
            with suppress(ForgeError):
                act(name)
        assert seen("churn")["1"]["requests"] == 1
        assert _around(tmp_path) == before


def _hesitant(modules: Collection[str]) -> Callable[..., Any]:
    """Lets other threads go first between any two instructions of these modules, now and then: a race that is there is seen."""
    chance = random.Random(0)  # noqa: S311 - chooses instants

    def each(frame: FrameType, event: str, _argument: object) -> Any:
        if event == "opcode" and chance.random() < 0.2:
            time.sleep(0)
        return each

    def trace(frame: FrameType, _event: str, _argument: object) -> Any:
        if frame.f_globals.get("__name__") not in modules:
            return None
        frame.f_trace_opcodes = True
        return each

    return trace


def _around(folder: Path) -> set[Path]:
    """What lies in the test's folder, in the project and in its `.forge`, without what lies deeper."""
    return {path for pattern in ("*", "*/*", "*/.forge/*") for path in folder.glob(pattern) if not path.name.startswith("forge.db")}
