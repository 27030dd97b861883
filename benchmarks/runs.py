"""A run of 100 chained no-op steps, each journaled durably, beside one commit a step by hand and beside Dagster in-process."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import sqlalchemy as sa

from forge_core import Kernel
from forge_core.records import PipelineConfig, Step
from measure import interval, peer, verdict

STEPS = 100
ROUNDS = 15
DAGSTER = """
import sys, time, logging
logging.disable(logging.CRITICAL)
from dagster import DagsterInstance, In, Nothing, graph, op
def made(number):
    @op(name=f"s{number}", ins={"after": In(Nothing)} if number else {})
    def nothing(): ...
    return nothing
ops = [made(number) for number in range(int(sys.argv[2]))]
@graph
def chain():
    last = ops[0]()
    for one in ops[1:]:
        last = one(after=last)
job = chain.to_job()
with DagsterInstance.local_temp(sys.argv[1]) as instance:
    job.execute_in_process(instance=instance)
    for _ in range(3):
        began = time.perf_counter()
        assert job.execute_in_process(instance=instance).success
        print(time.perf_counter() - began)
"""


def by_forge(kernel: Kernel, tag: int) -> float:
    steps = tuple(
        Step(f"s{number}", "TRAINING", "steps:nothing", {"tag": tag}, (f"s{number - 1}",) if number else ()) for number in range(STEPS)
    )
    began = time.perf_counter()
    run = kernel.execute(PipelineConfig("chain", stages=steps))
    took = time.perf_counter() - began
    assert [step.state for step in run.steps] == ["done"] * STEPS
    assert not any(step.cached for step in run.steps)
    return took


def by_hand(engine: sa.Engine, table: sa.Table) -> float:
    began = time.perf_counter()
    for number in range(STEPS):
        with engine.begin() as connection:
            connection.execute(table.insert().values(name=f"s{number}", state="done", outputs={}))
    return time.perf_counter() - began


def engine_in(folder: Path) -> tuple[sa.Engine, sa.Table]:
    engine = sa.create_engine(f"sqlite:///{folder}/hand.db")

    @sa.event.listens_for(engine, "connect")
    def durable(connection: object, _record: object) -> None:
        connection.execute("PRAGMA journal_mode=WAL")  # type: ignore[attr-defined]
        connection.execute("PRAGMA synchronous=FULL")  # type: ignore[attr-defined]

    tables = sa.MetaData()
    table = sa.Table(
        "steps",
        tables,
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.Text),
        sa.Column("state", sa.Text),
        sa.Column("outputs", sa.JSON),
    )
    tables.create_all(engine)
    return engine, table


def by_dagster(folder: Path) -> float:
    script = folder / "chain.py"
    script.write_text(DAGSTER)
    (folder / "dagster").mkdir()
    python = peer("dagster", "dagster==1.13.27") / "python"
    environment = {**os.environ, "DAGSTER_DISABLE_TELEMETRY": "yes"}
    done = subprocess.run(
        [str(python), str(script), str(folder / "dagster"), str(STEPS)], env=environment, capture_output=True, text=True, check=True
    )
    return sorted(map(float, done.stdout.split()))[1]


def main() -> int:
    with tempfile.TemporaryDirectory(dir=Path(__file__).parents[1]) as name:
        folder = Path(name)
        (folder / "forge.yaml").write_text("project: {name: chain}\n")
        (folder / "steps.py").write_text("def nothing():\n    return {}\n")
        engine, table = engine_in(folder)
        pairs = []
        with Kernel.open(folder) as kernel:
            by_forge(kernel, -1)
            by_hand(engine, table)
            for number in range(ROUNDS):
                pairs.append((by_forge(kernel, number), by_hand(engine, table)))
        theirs = by_dagster(folder)
        ours = interval([forge for forge, _hand in pairs])[0]
        middle, low, high = interval([forge / hand for forge, hand in pairs])
        detail = f"90 % {low:.2f}-{high:.2f}; {ours / STEPS * 1e3:.2f} ms a step, Dagster {theirs / STEPS * 1e3:.1f}"
        reached = [
            verdict("100 journaled no-op steps / one commit a step by hand", middle, 3, "x", detail),
            verdict("the same / Dagster in-process", ours / theirs, 0.08),
        ]
    return 0 if all(reached) else 1


if __name__ == "__main__":
    sys.exit(main())
