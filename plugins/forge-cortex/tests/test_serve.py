"""`forge serve` as typed: from the registry to an answer, changed while it serves, ended by signals."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from forge_core.faults import ForgeError
from forge_cortex import CortexClient

FORGE = str(Path(sys.executable).with_name("forge"))


@pytest.fixture
def serve(lines):
    started: list[subprocess.Popen[bytes]] = []

    def start(*arguments: str) -> subprocess.Popen[bytes]:
        started.append(
            subprocess.Popen(
                [FORGE, "serve", *arguments], cwd=lines.root, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )
        )
        return started[-1]

    yield start
    for one in started:
        if one.poll() is None:
            os.killpg(one.pid, signal.SIGKILL)
        one.communicate()


def eventually(true: Callable[[], object], within: float = 20.0) -> None:
    ends = time.monotonic() + within
    while True:
        try:
            if true():
                return
        except ForgeError:
            pass
        assert time.monotonic() < ends, "it did not happen in time"
        time.sleep(0.02)


def deploy(kernel, selector, endpoint="churn"):
    return kernel.deployer.deploy_model(selector, endpoint, kernel.make("strategy", "blue_green"))


def test_a_server_converges_to_each_new_revision_without_a_failed_request(lines, serve):
    with lines.open() as kernel, CortexClient(f"http://127.0.0.1:{lines.port}") as client:
        for slope in (1.0, 2.0, "corrupt", 4.0):
            lines.train(kernel, slope)
        deploy(kernel, "line@1")
        process = serve()
        eventually(client.ready)
        eventually(lambda: kernel.deployer.status("churn").status == "ready")
        seen, stop, failed = [], threading.Event(), []

        def ask() -> None:
            with CortexClient(f"http://127.0.0.1:{lines.port}") as mine:
                while not stop.is_set():
                    try:
                        answer = mine.predict("churn", [{"x": 10.0}])
                        seen.append((answer.version, answer.predictions[0]))
                    except ForgeError as error:
                        failed.append(error)
                    time.sleep(0.01)

        asking = threading.Thread(target=ask)
        asking.start()
        try:
            deploy(kernel, "line@2")
            eventually(lambda: kernel.deployer.status("churn").status == "ready")
            eventually(lambda: seen[-1] == (2, 20.0), 2.0)
            deploy(kernel, "line@3")  # cannot be loaded: the one before serves on
            eventually(lambda: kernel.deployer.status("churn").status == "failed")
            assert client.ready()
            assert seen[-1] == (2, 20.0)
            kernel.deployer.rollback("churn")
            eventually(lambda: kernel.deployer.status("churn").status == "ready", 2.0)  # it was never unloaded
            deploy(kernel, "line@4", "other")
            eventually(lambda: client.predict("other", [{"x": 1.0}]).predictions == [4.0])
            kernel.deployer.retire("other")
            eventually(lambda: "other" not in client.health()["endpoints"], 3.0)
        finally:
            stop.set()
            asking.join()
        assert failed == []
        assert {version for version, _ in seen} == {1, 2}
        assert all(prediction == 10.0 * version for version, prediction in seen)
        assert [one.status for one in kernel.deployer.history("churn")] == ["ready", "rolled_back", "ready", "ready"]
        listened = [event.after for _, event in kernel.database.events() if event.action == "server:listen"]
        assert listened == [{"endpoints": [], "workers": 1}]
        process.send_signal(signal.SIGTERM)
        assert process.wait(15) == 0
        assert process.stdout.read() == b""


def test_a8_a_version_whose_bytes_were_changed_gets_no_traffic(lines, serve):
    with lines.open() as kernel, CortexClient(f"http://127.0.0.1:{lines.port}") as client:
        lines.train(kernel, 1.0)
        lines.train(kernel, 2.0)
        for blob in (lines.root / ".forge" / "artifacts").rglob("*"):
            if blob.is_file() and b'{"slope": 2.0}' in blob.read_bytes():
                blob.chmod(0o600)
                blob.write_bytes(b'{"slope": 9.0}')
        deploy(kernel, "line@1")
        process = serve("churn")
        eventually(client.ready)
        deploy(kernel, "line@2")
        eventually(lambda: kernel.deployer.status("churn").status == "failed")
        assert client.predict("churn", [{"x": 1.0}]).predictions == [1.0]
        os.killpg(process.pid, signal.SIGINT)  # as a terminal sends it: to everyone
        assert process.wait(15) == 0


def test_nothing_is_left_when_the_command_is_killed(lines, serve):
    with lines.open() as kernel, CortexClient(f"http://127.0.0.1:{lines.port}") as client:
        lines.train(kernel, 1.0)
        deploy(kernel, "line@1")
        process = serve()
        eventually(client.ready)
        process.kill()
        process.wait()
        eventually(lambda: not _group(process.pid))


def _group(leader: int) -> list[int]:
    """Who still lives of a process group."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == leader and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return found


def test_what_cannot_be_served_is_told_before_anything_starts(lines, serve):
    with lines.open() as kernel:
        lines.train(kernel, 1.0)
        deploy(kernel, "line@1")
    unknown = serve("none")
    assert unknown.wait(20) == 1
    assert b"endpoint 'none' routes nowhere" in unknown.stderr.read()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", lines.port))
        taken.listen()
        refused = serve()
        assert refused.wait(20) == 2
        assert b"cannot listen on 127.0.0.1" in refused.stderr.read()
