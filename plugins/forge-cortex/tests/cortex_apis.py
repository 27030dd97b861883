"""LitAPIs and an access for the tests of the transport; a worker process imports them by name."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import litserve
import pyarrow as pa
import pyarrow.compute as pc

from forge_core.faults import InvalidInput
from forge_cortex.server import arrow
from forge_cortex.server.frames import Kind
from forge_cortex.server.hooks import Answer, Input
from forge_cortex.server.messages import Field
from forge_cortex.server.problems import Problem


class Echo(litserve.LitAPI):
    """Raw JSON in, its `x` out; `sleep` seconds a batch, and a few words that misbehave."""

    def __init__(self, version: int = 1, sleep: float = 0.0, batch: int = 8, fail_at: str = "", touch: str = "") -> None:
        super().__init__(max_batch_size=batch)
        self.version, self.sleep, self.fail_at, self.touch = version, sleep, fail_at, touch

    def setup(self, device):
        if self.touch:
            with Path(self.touch).open("a") as tried:
                tried.write("x")
        if self.fail_at == "setup" or (self.fail_at == "setup once" and Path(self.touch).stat().st_size == 1):
            raise InvalidInput("the artifact is corrupt", "train again")

    def decode_request(self, request):
        return request["x"]

    def batch(self, inputs):
        return inputs

    def predict(self, x):
        time.sleep(self.sleep)
        for one in x:
            if one == "raise":
                raise RuntimeError("secret-7f3a")
            if one == "exit":
                raise SystemExit(3)
            if one == "die":
                os.kill(os.getpid(), signal.SIGKILL)
            if one == "hang":
                time.sleep(60)
        return x

    def unbatch(self, output):
        return output

    def encode_response(self, output):
        return {"x": output, "by": self.version}


class Summing(litserve.LitAPI):
    """Typed rows in; per row the sum of the numbers and the text's length."""

    COLUMNS = (
        ("amount", "double", False),
        ("count", "int8", True),
        ("carrier", "string", True),
        ("at", "timestamp[us, tz=UTC]", False),
        ("day", "date32[day]", False),
        ("late", "bool", False),
    )

    def __init__(self) -> None:
        super().__init__(max_batch_size=64)
        self.signature = tuple(Field(*one) for one in self.COLUMNS)

    def setup(self, device):
        self.reader = arrow.Reader(self.signature)

    def example(self):
        return Input(Kind.STREAM, arrow.to_stream(self.reader.example()))

    def decode_request(self, request):
        if request.kind == Kind.ROWS:
            return request.kind, self.reader.table(self.reader.unpack(request.body))
        return request.kind, self.reader.stream(request.body)

    def batch(self, inputs):
        return [kind for kind, _ in inputs], [len(table) for _, table in inputs], pa.concat_tables([table for _, table in inputs])

    def predict(self, x):
        kinds, counts, table = x
        if pc.any(pc.equal(table["amount"], 666.0)).as_py():
            raise RuntimeError("no such amount")
        sums = pc.add(table["amount"], pc.coalesce(pc.cast(table["count"], pa.float64()), 0.0))
        return kinds, counts, pa.table({"prediction": sums})

    def unbatch(self, output):
        kinds, counts, table = output
        parts, at = [], 0
        for kind, count in zip(kinds, counts, strict=True):
            parts.append((kind, table.slice(at, count)))
            at += count
        return parts

    def encode_response(self, output):
        kind, table = output
        return arrow.to_stream(table) if kind == Kind.ARROW else Answer(table["prediction"].to_pylist())


def echo(**arguments: Any) -> Echo:
    return Echo(**arguments)


def summing() -> Summing:
    return Summing()


class Doors:
    """Allows everything where no key is asked for; else `good` may predict on `open`, `admin` may do all."""

    def __init__(self, closed: bool) -> None:
        self.closed = closed

    def check(self, token, action, resource):
        if not self.closed or token == "admin":
            return True
        if token != "good":
            raise Problem(401, "a key is needed", headers={b"www-authenticate": b"Bearer"})
        if (action, resource) != ("endpoint:predict", "endpoint:open"):
            raise Problem(403, f"good may not {action} on {resource}")
        return True


def doors(closed: bool = False) -> Doors:
    return Doors(closed)
