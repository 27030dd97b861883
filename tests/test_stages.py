"""The standard stages and their plan, with the smallest driver of each role: what decides a fingerprint, and what is done with it."""

from __future__ import annotations

import importlib
import math
import shutil
from pathlib import Path

import pytest

from forge_core import Kernel, Pipeline
from forge_core.records import Query
from forge_core.serialize import digest

YAML = """
project: {name: test}
infrastructure:
  orchestration: {isolation: inline}
  registry: {type: folder}
  tracking: {type: nothing}
  serving: {type: routes}
datasets: [{name: d, path: d.csv, format: csv, connector: rows, target: y}]
"""
MODEL = YAML + "models: [{name: m, type: mean}]\n"
COUNT = YAML + "pipeline: {steps: [{name: count, stage: DATA_PREPARATION, target: 'counting:count'}]}\n"
COUNTING = """
import pyarrow as pa
from forge_core.records import Query
def count(kernel, dataset="d"):
    with open("ran.txt", "a") as file:
        file.write("count\\n")
    return {"rows": pa.table(kernel.connector("rows").fetch_training_data(Query(dataset))).num_rows}
"""


def write_rows(folder: Path, rows: int = 20, name: str = "d.csv") -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text("x,y\n" + "".join(f"{number},{number * 2.0}\n" for number in range(rows)))


@pytest.fixture(autouse=True)
def _tiny(fake_distribution, project):
    shutil.copytree(Path(__file__).with_name("tiny"), fake_distribution.folder, dirs_exist_ok=True)
    write_rows(project())


def prints(kernel: Kernel) -> dict[str, str]:
    return {one.step.name: one.fingerprint for one in kernel.plan().steps}


def changed(before: dict[str, str], after: dict[str, str]) -> set[str]:
    return {name for name in before if before[name] != after[name]}


def cached(kernel: Kernel, pipeline=None) -> dict[str, bool]:
    return {one.step.name: one.cached for one in kernel.plan(pipeline).steps}


# ---- fingerprints


@pytest.mark.parametrize(
    ("said", "names"),
    [
        ("connectors.rows.quote='`'", {"prepare", "train", "validate"}),
        ("trainers.mean.shift=1.0", {"train", "validate"}),
        ("infrastructure.registry.file=other.json", {"validate"}),
        ("infrastructure.storage.path=.forge/elsewhere", {"validate"}),
    ],
)
def test_settings_change_the_fingerprints_of_the_steps_that_use_them(open_kernel, said, names):
    assert changed(prints(open_kernel(MODEL)), prints(open_kernel(MODEL, sets=(said,)))) == names


def test_settings_of_a_projects_own_model_change_its_fingerprints(open_kernel):
    own = "import tiny\nfrom forge_core import register_model\n@register_model('own')\nclass Own(tiny.Mean): ...\n"
    text = YAML + "plugins: {local: [own_model]}\nmodels: [{name: m, type: own}]\n"
    before = prints(open_kernel(text, own_model=own))
    assert changed(before, prints(open_kernel(text, sets=("trainers.own.shift=1.0",)))) == {"train", "validate"}


def test_another_registry_gets_a_version_of_its_own(open_kernel):
    open_kernel(MODEL).execute()
    other = open_kernel(MODEL, sets=("infrastructure.registry.file=other.json",))
    assert cached(other) == {"prepare": True, "train": True, "validate": False}
    other.execute()
    assert [one.selector for one in other.registry.search("m")] == ["m@1"]


def test_a_version_that_the_registry_does_not_have_any_more_is_published_again(open_kernel):
    kernel = open_kernel(MODEL)
    kernel.execute()
    assert cached(kernel) == {"prepare": True, "train": True, "validate": True}
    (kernel.project.state / "models.json").unlink()
    assert cached(kernel) == {"prepare": True, "train": True, "validate": False}


def test_hyperparameters_that_are_no_number_can_be_planned_and_trained(open_kernel):
    texts = [YAML + f"models: [{{name: m, type: mean, hyperparameters: {{missing: {value}}}}}]\n" for value in (".nan", ".inf", "null")]
    assert len({prints(open_kernel(text))["train"] for text in texts}) == 3
    kernel = open_kernel(texts[0])
    assert prints(kernel) == prints(kernel)
    run = kernel.execute()
    assert math.isnan(run.steps[1].outputs["parameters"]["missing"])
    assert all(cached(kernel).values())


# ---- data


def test_a_pipeline_without_a_model_pins_its_data_sets_and_runs_again_when_they_change(open_kernel):
    kernel = open_kernel(COUNT, counting=COUNTING)
    assert [one.dataset for one in kernel.plan().data] == ["d"]
    assert kernel.execute().steps[0].outputs == {"rows": 20}
    assert cached(kernel) == {"count": True}
    write_rows(kernel.config.root, 30)
    assert cached(kernel) == {"count": False}
    assert kernel.execute().steps[0].outputs == {"rows": 30}


def test_yaml_and_the_builder_agree_on_a_pipeline_without_a_model(open_kernel):
    kernel = open_kernel(COUNT, counting=COUNTING)
    built = (
        Pipeline("test")
        .with_dataset("d", path="d.csv", format="csv", connector="rows", target="y")
        .with_step(importlib.import_module("counting").count, "DATA_PREPARATION")
        .build()
    )
    assert digest(built) == digest(kernel.pipeline())
    kernel.execute()
    assert cached(kernel, built) == {"count": True}


@pytest.mark.parametrize("text", [COUNT, MODEL], ids=["own steps", "model"])
def test_what_one_may_read_is_not_given_to_another_from_before(project, text):
    project(text.replace("registry:", "auth: {type: staff}\n  registry:", 1), counting=COUNTING)
    write_rows(Path(), 100)
    rows = {}
    for key in ("ann", "viewer"):  # the viewer reads half of them
        with Kernel.open(credentials={"api_key": key}) as kernel:
            assert not any(cached(kernel).values())
            rows[key] = kernel.execute().steps[0].outputs["rows"]
            assert all(cached(kernel).values())
    assert [one if isinstance(one, int) else one["read"] for one in rows.values()] == [100, 50]


@pytest.mark.parametrize("isolation", ["inline", "process"])
def test_a_builders_data_set_need_not_be_listed(open_kernel, isolation):
    kernel = open_kernel(YAML, sets=(f"infrastructure.orchestration.isolation={isolation}",))
    write_rows(kernel.config.root, 10, "e.csv")
    built = Pipeline("m").with_dataset("e", path="e.csv", format="csv", connector="rows", target="y").with_training("mean").build()
    assert [one.dataset for one in kernel.plan(built).data] == ["e"]
    run = kernel.execute(built)
    assert (run.state, run.steps[0].outputs["rows"]["read"]) == ("done", 10)
    assert cached(kernel, built) == {"prepare": True, "train": True, "validate": True}
    assert list(kernel.connector("rows").datasets()) == ["d"]


@pytest.mark.parametrize("isolation", ["inline", "process"])
def test_a_step_of_ones_own_sees_the_builders_data_set(open_kernel, isolation):
    kernel = open_kernel(YAML, sets=(f"infrastructure.orchestration.isolation={isolation}",), counting=COUNTING)
    write_rows(kernel.config.root, 10, "e.csv")
    built = (
        Pipeline("count")
        .with_dataset("e", path="e.csv", format="csv", connector="rows")
        .with_step(importlib.import_module("counting").count, "DATA_PREPARATION", dataset="e")
        .build()
    )
    assert kernel.execute(built).steps[0].outputs == {"rows": 10}


# ---- deployment


DEPLOYED = MODEL + "deployment: {automatic: true, strategy: all, endpoints: [{name: e}]}\n"


def test_a_deployment_is_never_taken_from_before_and_changes_nothing_that_is_live(open_kernel):
    kernel = open_kernel(DEPLOYED)
    kernel.execute()
    assert cached(kernel) == {"prepare": True, "train": True, "validate": True, "deploy": False}
    again = kernel.execute()
    assert [step.cached for step in again.steps] == [True, True, True, False]
    assert [(one.revision, one.routes[0].version) for one in kernel.deployer.history("e")] == [(1, 1)]
    assert again.steps[3].outputs["revision"] == 1


def test_a_deployment_moves_traffic_that_somebody_moved_away(open_kernel):
    kernel = open_kernel(DEPLOYED)
    kernel.execute()
    kernel.deployer.deploy_model("m@7", "e", kernel.make("strategy", "all"))
    kernel.execute()
    assert [one.routes[0].version for one in kernel.deployer.history("e")] == [1, 7, 1]


# ---- where a project lies


@pytest.mark.parametrize("name", ["a#b", "a?b", "a#b?mode=ro", "x%41y", "with space"])
def test_a_projects_folder_may_be_called_anything(tmp_path, monkeypatch, name):
    folder = tmp_path / "projects" / name
    folder.mkdir(parents=True)
    (folder / "forge.yaml").write_text(MODEL)
    write_rows(folder)
    monkeypatch.chdir(folder)
    with Kernel.open(folder) as kernel:
        kernel.execute()
    with Kernel.open(folder, read_only=True) as reader:
        assert cached(reader) == {"prepare": True, "train": True, "validate": True}
        assert [run.state for run in reader.runs()] == ["done"]
        assert reader.connector("rows").resolve(Query("d")).dataset == "d"
    assert [path.name for path in folder.parent.iterdir()] == [name]
    assert sorted(path.name for path in folder.iterdir()) == [".forge", "d.csv", "forge.yaml"]
