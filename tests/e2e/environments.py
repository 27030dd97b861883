"""A virtual environment, and commands in it as a user types them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
DISTRIBUTIONS = (ROOT, *sorted((ROOT / "plugins").glob("forge-*")))


class Environment:
    """A virtual environment, and commands in it as a user types them."""

    def __init__(self, folder: Path) -> None:
        self.bin = folder / "bin"
        self.python = self.bin / "python"

    def variables(self, **more: str) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("FORGE_", "PYTHON", "COV_"))}
        return {**kept, "PATH": f"{self.bin}{os.pathsep}{os.environ['PATH']}", **more}

    def run(
        self, command: str, cwd: Path, *, code: int | None = 0, timeout: float = 240, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            command.split(), cwd=cwd, env=self.variables(**variables), capture_output=True, text=True, timeout=timeout, check=False
        )
        shown = f"$ {command}\n{done.stdout}\n{done.stderr}"
        assert code is None or done.returncode == code, shown
        assert "Traceback" not in done.stderr, shown
        return done

    def json(self, command: str, cwd: Path, **variables: str) -> Any:
        return json.loads(self.run(f"{command} --json", cwd, **variables).stdout)

    def start(self, command: str, cwd: Path, log: Path, **variables: str) -> subprocess.Popen[bytes]:
        with log.open("wb") as sink:
            return subprocess.Popen(
                command.split(), cwd=cwd, env=self.variables(**variables), stdout=sink, stderr=subprocess.STDOUT, start_new_session=True
            )

    @contextmanager
    def serving(self, command: str, cwd: Path, port: int, **variables: str) -> Iterator[subprocess.Popen[bytes]]:
        log = cwd / "serve.log"
        process = self.start(f"{command} --port {port}", cwd, log, **variables)
        try:
            wait_until(lambda: status(port, "/readyz") == 200, 60, log.read_text)
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(20)
                except subprocess.TimeoutExpired:
                    os.killpg(process.pid, signal.SIGKILL)
                    raise


def wait_until(holds: Callable[[], bool], seconds: float, told: Callable[[], str]) -> None:
    ends = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < ends, told()
        time.sleep(0.1)


def status(port: int, path: str) -> int:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def post(port: int, path: str, body: object, **headers: str) -> tuple[int, dict[str, Any]]:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}", json.dumps(body).encode(), {"Content-Type": "application/json", **headers}
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)
