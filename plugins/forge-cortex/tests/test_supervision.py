"""What a server survives: FAULTS V2, V3, V4, V7 (a few swaps) and V8, with real signals under real load."""

from __future__ import annotations

import http.client
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest


class Load:
    """Threads that ask and note (status, seconds, version, when)."""

    def __init__(self, server, threads: int = 4, path: str = "/predict/e", pause: float = 0.0) -> None:
        self.seen: list[tuple[int, float, int | None, float]] = []
        self.broken: list[tuple[str, float]] = []
        self._server, self._path, self._pause = server, path, pause
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(threads)]

    def __enter__(self) -> Load:
        for one in self._threads:
            one.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for one in self._threads:
            one.join(20)

    def _ask(self) -> None:
        while not self._stop.is_set():
            begun = time.monotonic()
            try:
                answered = self._server.post(self._path, {"x": 1})
            except Exception as error:
                self.broken.append((type(error).__name__, time.monotonic()))
                if isinstance(error, ConnectionRefusedError):
                    return
                continue
            version = answered.json["version"] if answered.status == 200 else None
            self.seen.append((answered.status, time.monotonic() - begun, version, begun))
            time.sleep(self._pause)

    @property
    def statuses(self) -> Counter[int]:
        return Counter(status for status, *_ in self.seen)


def eventually(true: Callable[[], object], within: float = 10.0) -> None:
    ends = time.monotonic() + within
    while not true():
        assert time.monotonic() < ends, "it did not happen in time"
        time.sleep(0.02)


def test_v2_a_killed_worker_takes_only_its_own_requests_along(serving, echo):
    server = serving(workers=2)
    server.desire(echo(sleep=0.02, batch=4))
    with Load(server, threads=16) as load:
        time.sleep(0.5)
        os.kill(server.workers()[0], signal.SIGKILL)
        killed = time.monotonic()
        time.sleep(0.2)
        server.until("/readyz", 200, within=5.0)
        back = time.monotonic() - killed
        time.sleep(0.3)
    assert not load.broken
    assert set(load.statuses) <= {200, 502, 503}
    assert load.statuses[503] + load.statuses[502] <= 4  # one batch
    assert max(seconds for _, seconds, *_ in load.seen) < 2.0
    assert back < 3.0
    assert len(server.workers()) == 2


def test_v2_without_any_worker_requests_are_answered_at_once_until_one_is_back(serving, echo):
    server = serving()
    server.desire(echo())
    os.kill(server.workers()[0], signal.SIGKILL)
    statuses = set()
    begun = time.monotonic()
    while 200 not in statuses or time.monotonic() - begun < 0.5:
        asked = time.monotonic()
        answered = server.post("/predict/e", {"x": 1})
        assert time.monotonic() - asked < 2.0
        assert answered.status == 200 or answered.headers["retry-after"] == "1"
        statuses.add(answered.status)
        assert time.monotonic() - begun < 5.0
    assert statuses <= {200, 503}


def test_a_killed_gateway_is_replaced_and_its_workers_live_on(serving, echo):
    server = serving()
    server.desire(echo())
    workers = server.workers()
    os.kill(server.gateways()[0], signal.SIGKILL)
    eventually(lambda: _answers(server))
    assert server.workers() == workers


def _answers(server) -> bool:
    try:
        return server.post("/predict/e", {"x": 1}).status == 200
    except (OSError, http.client.HTTPException):
        return False


def test_v3_a_version_that_cannot_set_up_leaves_the_old_one_serving(serving, echo, tmp_path):
    server = serving()
    server.desire(echo())
    tried = tmp_path / "tried"
    with Load(server, threads=2, pause=0.005) as load:
        server.desire(echo(revision=2, version=2, fail_at="setup", touch=str(tried)), wait=False)
        seen = server.hear(lambda one: getattr(one, "live", None) is False)
        assert (seen.revision, seen.reason) == (2, "the artifact is corrupt")
        time.sleep(1.5)
        assert server.get("/readyz").status == 200
        assert 2 <= tried.stat().st_size <= 5  # it tries again, ever more slowly
        server.desire(echo(revision=3))
    assert set(load.statuses) == {200}
    assert {version for *_, version, _ in load.seen} == {1}


def test_v3_a_first_version_that_cannot_set_up_is_not_ready_and_recovers(serving, echo, tmp_path):
    server = serving()
    server.desire(echo(fail_at="setup once", touch=str(tmp_path / "tried")), wait=False)
    server.hear(lambda one: getattr(one, "live", None) is False)
    answered = server.post("/predict/e", {"x": 1})
    assert answered.status in {200, 503}
    server.hear(lambda one: getattr(one, "live", None) is True)
    assert server.post("/predict/e", {"x": 1}).status == 200


def test_v4_a_stuck_worker_is_504_at_the_deadline_and_replaced(serving, echo):
    server = serving(limits={"timeout": 0.5})
    server.desire(echo())
    before = server.workers()
    begun = time.monotonic()
    assert server.post("/predict/e", {"x": "hang"}).status == 504
    assert time.monotonic() - begun < 1.0
    eventually(lambda: server.workers() and server.workers() != before, within=5.0)
    server.until("/readyz", 200)
    assert server.post("/predict/e", {"x": 1}).status == 200


def test_v7_versions_are_swapped_under_load_without_a_failed_request(serving, echo):
    server = serving()
    server.desire(echo())
    with Load(server, threads=4, pause=0.005) as load:
        for revision in range(2, 7):
            swapped = time.monotonic()
            server.desire(echo(revision=revision, version=revision % 2 + 1))
            eventually(
                lambda since=swapped, wanted=revision % 2 + 1: any(at > since and version == wanted for *_, version, at in list(load.seen))
            )
    assert not load.broken
    assert set(load.statuses) == {200}
    eventually(lambda: len(server.workers()) == 1)
    assert [one.revision for one in server.observed if one.live] == [1, 2, 3, 4, 5, 6]


def test_the_old_version_answers_what_it_had_when_the_new_one_takes_over(serving, echo):
    server = serving(workers=2, limits={"batch": 1})
    server.desire(echo(sleep=1.0))
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(server.post("/predict/e", {"x": 1}))) for _ in range(4)]
    for one in threads:
        one.start()
    time.sleep(0.2)
    server.desire(echo(revision=2, version=2))
    assert server.post("/predict/e", {"x": 1}).json["version"] == 2
    for one in threads:
        one.join()
    assert [(one.status, one.json["version"]) for one in answers] == [(200, 1)] * 4
    eventually(lambda: len(server.workers()) == 2)


def test_an_endpoint_that_is_no_longer_desired_is_gone(serving, echo):
    server = serving()
    server.desire(echo(), echo(endpoint="f"))
    server.desire(echo(endpoint="f"))
    eventually(lambda: server.post("/predict/e", {"x": 1}).status == 404)
    assert server.post("/predict/f", {"x": 1}).status == 200
    assert len(server.workers()) == 1  # both were served by the same ones


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_v8_a_signal_drains_not_ready_first_then_exit_0(serving, echo, number):
    server = serving(limits={"notice": 0.5})
    server.desire(echo(sleep=0.05, batch=4))
    with Load(server, threads=8) as load:
        time.sleep(0.3)
        os.kill(server.process.pid, number)
        signalled = time.monotonic()
        time.sleep(0.1)
        assert server.get("/readyz").status == 503
        assert server.post("/predict/e", {"x": 1}).status == 200  # still accepted
        assert server.process.wait(10) == 0
    assert set(load.statuses) == {200}
    assert {kind for kind, _ in load.broken} <= {"ConnectionRefusedError"}
    assert min((at for _, at in load.broken), default=signalled + 1) >= signalled + 0.4
    assert not server.folder.exists()


def test_nothing_is_left_when_the_supervisor_is_killed(serving, echo):
    server = serving(workers=2)
    server.desire(echo())
    children = list(server.children())
    assert len(children) == 3
    os.kill(server.process.pid, signal.SIGKILL)
    server.process.wait()
    eventually(lambda: not any(Path(f"/proc/{pid}/exe").exists() for pid in children))


def test_the_server_ends_with_the_command(serving, echo):
    server = serving()
    server.desire(echo())
    server.channel.close()
    assert server.process.wait(10) == 0
