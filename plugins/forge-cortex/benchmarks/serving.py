"""Forge beside LitServe and bare starlette in one run, interleaved: requests/s, p50 and p99; ratios are what counts.

python plugins/forge-cortex/benchmarks/serving.py [--model echo|forest] [--rounds 3] [--seconds 4] [--connections 64]

The server (all its processes) has core 0, the load generator core 1. Forge has everything on: access asked, signature
validated, bounded queue, deadline, request ids, metrics.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import select
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from forge_cortex.server.channel import Channel
from forge_cortex.server.messages import Desired, Listening, Observed, ServerPlan, Target, ToCommand, WorkerSpec

HERE = Path(__file__).parent
ENV = {**os.environ, "PYTHONPATH": str(HERE), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
SERVER, LOAD = ["taskset", "-c", "0"], ["taskset", "-c", "1"]


def forge(model: str) -> tuple[subprocess.Popen, int, str, Channel]:
    ours, theirs = socket.socketpair()
    command = [*SERVER, sys.executable, "-P", "-m", "forge_cortex.server.supervisor", str(theirs.fileno())]
    process = subprocess.Popen(command, pass_fds=(theirs.fileno(),), env=ENV, start_new_session=True)
    theirs.close()
    channel: Channel = Channel(ours, ToCommand)
    channel.send(ServerPlan("127.0.0.1", 0, tempfile.mkdtemp(prefix="forge-cortex-"), WorkerSpec("bench_apis:keys")))
    channel.send(Desired((Target("e", 1, model, 1, WorkerSpec(f"bench_apis:{model}")),)))
    port = 0
    while True:
        select.select([channel], [], [], 60)
        for message in channel.receive():
            if isinstance(message, Listening):
                port = message.port
            elif isinstance(message, Observed):
                return process, port, "/predict/e", channel


def peer(name: str, model: str) -> tuple[subprocess.Popen, int, str, None]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen([*SERVER, sys.executable, str(HERE / "peers.py"), name, model, str(port)], env=ENV, start_new_session=True)
    for _ in range(200):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return process, port, "/predict", None
        time.sleep(0.2)
    raise SystemExit(f"{name} did not start")


def load(port: int, path: str, connections: int, seconds: float, body: bytes) -> dict:
    command = [*LOAD, sys.executable, str(HERE / "load.py"), str(port), path, str(connections), str(seconds)]
    return json.loads(subprocess.run(command, input=body, stdout=subprocess.PIPE, check=True, timeout=seconds + 60).stdout)


def main() -> None:
    said = argparse.ArgumentParser()
    said.add_argument("--model", default="echo", choices=["echo", "forest"])
    said.add_argument("--rounds", type=int, default=3)
    said.add_argument("--seconds", type=float, default=4.0)
    said.add_argument("--connections", type=int, default=64)
    given = said.parse_args()
    body = json.dumps({"instances": [[index * 0.37 - 3 for index in range(30)]]}).encode()
    results: dict[str, list[dict]] = {"forge": [], "litserve": [], "starlette": []}
    for _ in range(given.rounds):
        for name, seen in results.items():
            process, port, path, channel = forge(given.model) if name == "forge" else peer(name, given.model)
            try:
                load(port, path, given.connections, 1.0, body)
                seen.append(load(port, path, given.connections, given.seconds, body))
            finally:
                if channel is not None:
                    channel.close()  # it drains and takes its folder along
                    process.wait(20)
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    medians = {name: {key: statistics.median(one[key] for one in seen) for key in seen[0]} for name, seen in results.items()}
    for name, row in medians.items():
        speed, p50, p99 = row["rps"], row["p50_ms"], row["p99_ms"]
        print(f"{name:10} {speed:>10,.0f} requests/s   p50 {p50:>8.2f} ms   p99 {p99:>8.2f} ms   failed {row['failed']:.0f}")
    for name in ("litserve", "starlette"):
        ratio = medians["forge"]["rps"] / medians[name]["rps"]
        print(f"forge / {name}: {ratio:.2f} x requests/s, {medians['forge']['p99_ms'] / medians[name]['p99_ms']:.2f} x p99")


if __name__ == "__main__":
    main()
