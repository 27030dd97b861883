"""A server of the tests' own LitAPIs: a real supervisor, real workers and gateways, real TCP on a free loopback port."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from forge_core import Kernel
from forge_core.records import Column, ModelDraft, ModelManifest
from forge_core.serialize import to_json
from forge_cortex.server.channel import Channel, Closed
from forge_cortex.server.messages import Desired, Limits, Listening, Observed, ServerPlan, Stop, Target, ToCommand, WorkerSpec

HERE = Path(__file__).parent
sys.path.append(str(HERE))  # tests and worker processes import `cortex_apis`


class Answered:
    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.getheaders()}
        self.body = response.read()

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Server:
    """Started like `forge serve` starts one; `desire` is what the database would say."""

    def __init__(self, **plan: Any) -> None:
        limits = Limits(**{"timeout": 5.0, "notice": 0.2, **plan.pop("limits", {})})
        access = WorkerSpec("cortex_apis:doors", {"closed": plan.pop("closed", False)})
        ours, theirs = socket.socketpair()
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "forge_cortex.server.supervisor", str(theirs.fileno())],
            pass_fds=(theirs.fileno(),),
            env={**os.environ, "PYTHONPATH": str(HERE)},
            start_new_session=True,
        )
        theirs.close()
        self.channel: Channel[ToCommand] = Channel(ours, ToCommand)
        self.observed: list[Observed] = []
        self.folder = Path(tempfile.mkdtemp(prefix="forge-cortex-"))
        self.channel.send(ServerPlan("127.0.0.1", 0, str(self.folder), access, limits=limits, **plan))
        self.port = self.hear(lambda message: isinstance(message, Listening)).port
        self._local = threading.local()

    def hear(self, wanted: Callable[[Any], bool], within: float = 20.0) -> Any:
        ends = time.monotonic() + within
        while (left := ends - time.monotonic()) > 0:
            if select.select([self.channel], [], [], left)[0]:
                messages = self.channel.receive()
                self.observed += [message for message in messages if isinstance(message, Observed)]
                for message in messages:
                    if wanted(message):
                        return message
        raise AssertionError("the server did not say it in time")

    def desire(self, *targets: Target, wait: bool = True) -> None:
        self.channel.send(Desired(targets))
        for target in targets if wait else ():
            if not any((one.endpoint, one.revision, one.live) == (target.endpoint, target.revision, True) for one in self.observed):
                self.hear(
                    lambda one, target=target: (
                        isinstance(one, Observed) and (one.endpoint, one.revision, one.live) == (target.endpoint, target.revision, True)
                    )
                )

    def request(self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> Answered:
        """On a connection of this thread's own, kept alive."""
        if getattr(self._local, "connection", None) is None:
            self._local.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=15)
        try:
            self._local.connection.request(method, path, body, headers or {})
            answered = Answered(self._local.connection.getresponse())
        except Exception:
            self._local.connection.close()
            raise
        if answered.headers.get("connection") == "close":
            self._local.connection.close()
        return answered

    def post(self, path: str, body: Any, content_type: str = "application/json", **headers: str) -> Answered:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.request("POST", path, data, {"content-type": content_type, **headers})

    def get(self, path: str, **headers: str) -> Answered:
        return self.request("GET", path, None, headers)

    def until(self, path: str, status: int, within: float = 10.0) -> float:
        """Seconds until a page answers so."""
        begun = time.monotonic()
        while time.monotonic() - begun < within:
            if self.get(path).status == status:
                return time.monotonic() - begun
            time.sleep(0.02)
        raise AssertionError(f"{path} did not become {status} within {within} s")

    def children(self) -> dict[int, str]:
        """The supervisor's processes: those with a connection accepted on a Unix socket file are workers."""
        found = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return {int(pid): "gateway" if self._listens(int(pid)) else "worker" for pid in found}

    def workers(self) -> list[int]:
        return [pid for pid, kind in self.children().items() if kind == "worker"]

    def gateways(self) -> list[int]:
        return [pid for pid, kind in self.children().items() if kind == "gateway"]

    def _listens(self, pid: int) -> bool:
        inode = next(
            line.split()[9]
            for line in Path("/proc/net/tcp").read_text().splitlines()[1:]
            if line.split()[3] == "0A" and int(line.split()[1].partition(":")[2], 16) == self.port
        )
        links = []
        with contextlib.suppress(OSError):  # it ends while it is looked at
            links = [os.readlink(one) for one in Path(f"/proc/{pid}/fd").iterdir()]
        return f"socket:[{inode}]" in links

    def stop(self) -> int:
        if self.process.poll() is None:
            with contextlib.suppress(Closed):
                self.channel.send(Stop())
            self.process.wait(20)
        return self.process.returncode

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.channel.close()
        shutil.rmtree(self.folder, ignore_errors=True)


@pytest.fixture
def serving() -> Iterator[Callable[..., Server]]:
    """Makes servers; they and their folders are gone afterwards."""
    yield from _servers()


@pytest.fixture(scope="module")
def shared() -> Iterator[Callable[..., Server]]:
    """The same for a server that several tests of a module only ask."""
    yield from _servers()


def _servers() -> Iterator[Callable[..., Server]]:
    made: list[Server] = []

    def make(**plan: Any) -> Server:
        made.append(Server(**plan))
        return made[-1]

    try:
        yield make
    finally:
        for one in made:
            with contextlib.suppress(subprocess.TimeoutExpired):
                one.stop()
            one.kill()


class Lines:
    """A project whose models are lines through the origin."""

    def __init__(self, root: Path, port: int) -> None:
        self.root, self.port = root, port

    def open(self, **options: Any) -> Kernel:
        return Kernel.open(self.root / "forge.yaml", **options)

    def train(self, kernel: Kernel, slope: float | str, name: str = "line", **draft: Any) -> str:
        """Publish a version; a slope that is no number is one that cannot be loaded."""
        folder = Path(tempfile.mkdtemp(dir=self.root))
        (folder / "flavor").mkdir()
        (folder / "flavor" / "line.json").write_text(json.dumps({"slope": slope}))
        inputs = (Column("x", "double", False),)
        manifest = ModelManifest(1, "cortex_line", "regression", (), None, inputs, ())
        (folder / "forge.json").write_text(json.dumps(to_json(manifest)))
        made = ModelDraft(
            name=name, flavor="cortex_line", run_id=folder.name, metrics={}, parameters={}, training_data_hash="", signature=inputs, **draft
        )
        return kernel.registry.register_model(folder, made).selector


@pytest.fixture
def lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lines:
    """The flavor is found as an installed distribution's would be, in this process and in those it starts."""
    site = tmp_path / "site" / "cortex_test_flavor-1.0.dist-info"
    site.mkdir(parents=True)
    (site / "METADATA").write_text("Metadata-Version: 2.1\nName: cortex-test-flavor\nVersion: 1.0\nRequires-Dist: forge-kernel>=1.0,<2\n")
    (site / "entry_points.txt").write_text("[forge.flavors]\ncortex_line = cortex_flavor:LineFlavor\n")
    monkeypatch.syspath_prepend(str(site.parent))
    monkeypatch.setenv("PYTHONPATH", f"{site.parent}{os.pathsep}{HERE}")
    monkeypatch.delenv("FORGE_API_KEY", raising=False)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    root = tmp_path / "project"
    root.mkdir()
    (root / "forge.yaml").write_text(
        f"project: {{name: lines}}\ninfrastructure:\n  serving: {{port: {port}, drain_notice: 0.2, timeout: 5}}\n"
    )
    return Lines(root, port)


@pytest.fixture(scope="session")
def echo() -> Callable[..., Target]:
    """An endpoint `e` routed to the echo model."""

    def target(revision: int = 1, version: int = 1, endpoint: str = "e", **arguments: Any) -> Target:
        return Target(endpoint, revision, "echo", version, WorkerSpec("cortex_apis:echo", {"version": version, **arguments}))

    return target


@pytest.fixture(scope="session")
def summing() -> Target:
    """An endpoint `sum` routed to a model with a signature."""
    return Target("sum", 1, "summing", 3, WorkerSpec("cortex_apis:summing"))
