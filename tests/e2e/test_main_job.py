"""The main job through the commands a user types, from built wheels, on two data sets of other tasks and schemas."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from environments import Environment, post, status, wait_until

EXAMPLES = ["flights", "diabetes"]


def listing(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(path.relative_to(folder)): (path.stat().st_size, path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}


def raw_row(environment: Environment, project: Path, model: dict[str, Any]) -> dict[str, Any]:
    """A row as the data set has it, without its target: what a client would send."""
    code = (
        "import sys, json, datetime; from forge_core import Kernel; from forge_core.records import Query; import pyarrow as pa\n"
        "with Kernel.open() as k:\n"
        f" p = k.pipeline({model['name']!r}); d = p.datasets[-1]; f = p.model.features\n"
        " t = pa.table(k.connector(d.connector).fetch_training_data(Query(d.name, columns=f), limit=1))\n"
        " row = {n: v for n, v in t.to_pylist()[0].items() if n != p.model.target}\n"
        " json.dump(row, sys.stdout, default=datetime.datetime.isoformat)\n"
    )
    (project / "row.py").write_text(code)
    return dict(json.loads(environment.run("python row.py", project).stdout))


@pytest.mark.parametrize("name", EXAMPLES)
def test_from_data_to_an_answer_over_http(environment: Environment, example: Callable[[str], Path], port: int, name: str) -> None:
    project = example(name)
    said = yaml.safe_load((project / "forge.yaml").read_text())
    model, dataset = said["models"][0], said["datasets"][-1]["name"]
    endpoint = said["deployment"]["endpoints"][0]["name"]
    registered = environment.json(f"forge data register {dataset}", project)
    assert registered["rows"] is None or registered["rows"] > 400

    before = listing(project)
    plan = environment.json("forge plan", project)
    assert [step["cached"] for step in plan["steps"]] == [False, False, False]
    assert listing(project) == before, "plan writes nothing"

    run = environment.json(f"forge train {model['name']}", project)
    assert run["state"] == "done"
    assert {step["name"]: step["state"] for step in run["steps"]} == {"prepare": "done", "train": "done", "validate": "done"}
    assert all(step["cached"] for step in environment.json("forge plan", project)["steps"])
    again = environment.json(f"forge train {model['name']}", project)
    assert [step["cached"] for step in again["steps"]] == [True, True, True]

    shown = environment.json(f"forge models show {model['name']}@latest", project)
    assert shown["version"] == 1
    assert shown["status"] == "validating"
    for metric, bar in model["evaluation"]["require"].items():
        assert shown["metrics"][metric] >= bar if not metric.startswith(("rmse", "mae")) else shown["metrics"][metric] <= bar
    deployed = environment.json(f"forge deploy {model['name']} --endpoint {endpoint}", project)
    assert deployed["routes"] == [{"model": model["name"], "version": 1, "weight": 100, "shadow": False}]
    assert environment.json(f"forge models show {model['name']}@1", project)["status"] == "deployed"

    row = raw_row(environment, project, model)
    with environment.serving(f"forge serve {endpoint}", project, port):
        code, answer = post(port, f"/predict/{endpoint}", {"dataframe_records": [row, row]})
        assert code == 200, answer
        assert (answer["model"], answer["version"]) == (model["name"], 1)
        assert len(answer["predictions"]) == 2
        assert answer["request_id"]
        code, problem = post(port, f"/predict/{endpoint}", {"dataframe_records": [{**row, next(iter(row)): ["not", "a", "value"]}]})
        assert code in (400, 422)
        assert next(iter(row)) in json.dumps(problem)
        assert status(port, "/healthz") == 200
        assert status(port, "/metrics") == 200
        assert status(port, "/predict/nobody") in (404, 405)
        traced = environment.json(f"forge trace {answer['request_id']}", project)
        assert (traced["model"]["version"], traced["model"]["run_id"]) == (1, run["run_id"])

        def counted() -> int:
            (report,) = environment.json(f"forge monitor {endpoint}", project)
            return int(report["versions"].get("1", {"requests": 0})["requests"])

        wait_until(lambda: counted() == 1, 10, lambda: "the monitor has not seen the one good request")

    (project / "rows.jsonl").write_text(json.dumps(row) + "\n" + json.dumps(row) + "\n")
    environment.run(f"forge predict {model['name']}@1 --input rows.jsonl --output told.jsonl", project)
    told = [json.loads(line) for line in (project / "told.jsonl").read_text().splitlines()]
    assert len(told) == 2
    assert told[0]["prediction"] == answer["predictions"][0] or told[0]["prediction"] == pytest.approx(answer["predictions"][0], rel=1e-6)


def test_a_killed_training_is_dead_and_resumes_without_doing_a_finished_step_again(
    environment: Environment, example: Callable[[str], Path], tmp_path: Path
) -> None:
    project = example("flights")
    process = environment.start("forge train", project, tmp_path / "train.log")

    def training() -> bool:
        found = environment.run("forge runs list --json", project, code=None).stdout
        runs = json.loads(found) if found.strip() else []
        return bool(runs) and any(step["name"] == "train" and step["state"] == "running" for step in runs[0]["steps"])

    wait_until(training, 120, (tmp_path / "train.log").read_text)
    time.sleep(0.5)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    (run,) = environment.json("forge runs list", project)
    assert run["state"] == "dead"
    finished = {step["name"]: step for step in run["steps"] if step["state"] == "done"}
    assert set(finished) == {"prepare"}
    wait_until(lambda: not workers(project), 5, lambda: "the worker outlived its parent")

    environment.run(f"forge runs resume {run['run_id']}", project)
    (ended,) = environment.json("forge runs list", project)
    assert ended["state"] == "done"
    assert next(step for step in ended["steps"] if step["name"] == "prepare") == finished["prepare"]
    assert [one["version"] for one in environment.json("forge models list", project)] == [1]


def workers(project: Path) -> list[int]:
    """Processes of `forge_core.worker` that work in this project."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if (
                entry.name.isdecimal()
                and b"forge_core.worker" in (entry / "cmdline").read_bytes()
                and (entry / "cwd").readlink() == project
            ):
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def test_yaml_and_builder_are_the_same_pipeline(environment: Environment, example: Callable[[str], Path]) -> None:
    project = example("flights")
    (project / "same.py").write_text(
        "from pipeline import pipeline\nfrom forge_core import Kernel\nfrom forge_core.serialize import digest, from_json, to_json\n"
        "with Kernel.open() as kernel:\n spelled = kernel.pipeline(pipeline.name)\n"
        " assert from_json(to_json(spelled), type(spelled)) == pipeline\n print(digest(spelled), digest(pipeline))\n"
    )
    first, second = environment.run("python same.py", project).stdout.split()
    assert first == second


def test_a_model_that_misses_its_requirement_is_published_as_failed(environment: Environment, example: Callable[[str], Path]) -> None:
    project = example("diabetes")
    said = yaml.safe_load((project / "forge.yaml").read_text())
    metric = next(iter(said["models"][0]["evaluation"]["require"]))
    bar = 0.9999 if metric == "r2" else 0.0001
    done = environment.run(f"forge train --set models.0.evaluation.require.{metric}={bar}", project, code=1)
    assert metric in done.stderr
    (model,) = environment.json("forge models list", project)
    assert model["status"] == "failed"
    environment.run(f"forge deploy {model['name']}", project, code=1)
