"""Who may do what is decided by the driver that forge.yaml names; while that one is faulty, nothing that it guards is open."""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow as pa
import pytest

from forge_core import Kernel
from forge_core.faults import Refused
from forge_core.records import ModelDraft, Query

YAML = """
project: {{name: test}}
infrastructure:
  auth: {{type: "{auth}"}}
  registry: {{type: folder}}
  tracking: {{type: nothing}}
  serving: {{type: routes}}
datasets: [{{name: d, path: d.csv, format: csv, connector: rows, target: y}}]
models: [{{name: m, type: mean}}]
"""
FAULTY = ("unmade", "unopened", "${env:NO_SUCH_VARIABLE:-unmade}")
DRAFT = ModelDraft(name="m", flavor="number", run_id="run_1", metrics={}, parameters={}, training_data_hash="", signature=())


@pytest.fixture(autouse=True)
def _tiny(fake_distribution, project):
    shutil.copytree(Path(__file__).with_name("tiny"), fake_distribution.folder, dirs_exist_ok=True)
    (project() / "d.csv").write_text("x,y\n" + "".join(f"{number},{number * 2.0}\n" for number in range(100)))


# ---- the driver's name is a value like any other


@pytest.mark.parametrize(("variable", "name"), [(None, "viewer"), ("staff", "viewer"), ("none", "system")])
def test_the_auth_drivers_name_may_come_from_the_environment(project, monkeypatch, variable, name):
    if variable is not None:
        monkeypatch.setenv("AUTH_DRIVER", variable)
    project(YAML.format(auth="${env:AUTH_DRIVER:-staff}"))
    with Kernel.open(credentials={"api_key": "viewer"}) as kernel:
        assert (kernel.session.principal.name, kernel.faults) == (name, ())
        assert kernel.connector("rows").fetch_training_data(Query("d")).open().num_rows == (50 if name == "viewer" else 100)


def test_an_auth_driver_named_by_the_environment_refuses(project):
    project(YAML.format(auth="${env:AUTH_DRIVER:-staff}"))
    with Kernel.open() as kernel, pytest.raises(Refused, match="no key"):
        kernel.registry.search()


@pytest.mark.parametrize("auth", ["door", "${env:AUTH_DRIVER:-door}"])
def test_the_distribution_of_the_auth_driver_is_required(open_kernel, fake_distribution, auth):
    fake_distribution.add(
        "forge-door",
        entries={"forge.plugins": {"door": "door_plugin"}, "forge.auth": {"door": "door:Door"}},
        door_plugin="raise ValueError('no lock')",
        door="import tiny\nclass Door(tiny.Staff):\n    def authenticate(self, credentials):\n        return super().authenticate({'api_key': 'ann'})\n",
    )
    kernel = open_kernel(YAML.format(auth=auth))
    assert list(kernel.registry.search()) == []
    with pytest.raises(Refused, match="while forge-door 1.0 is faulty: ValueError: no lock"):
        kernel.registry.register_model(Path(), DRAFT)


# ---- while it is faulty


@pytest.mark.parametrize("auth", FAULTY)
def test_a_faulty_auth_driver_is_a_fault_of_its_distribution(open_kernel, auth):
    (fault,) = open_kernel(YAML.format(auth=auth)).faults
    assert (fault.where, fault.distribution, fault.version) == ("auth", "forge-tiny", "1.0")
    assert "the policy file is empty" in fault.cause


@pytest.mark.parametrize("auth", [*FAULTY, "nobody_offers_this", "${env:NO_SUCH_VARIABLE}"])
def test_while_the_auth_driver_is_faulty_nothing_changes_no_rows_and_no_predictions_are_given(open_kernel, auth):
    kernel = open_kernel(YAML.format(auth=auth))
    for refused in (
        lambda: kernel.registry.register_model(Path(), DRAFT),
        kernel.execute,
        lambda: kernel.deployer.deploy_model("m@1", "e", kernel.make("strategy", "all")),
        lambda: kernel.connector("rows").fetch_training_data(Query("d")),
        kernel.plan,  # its query cannot be obliged
        lambda: kernel.deployer.predict("e", pa.table({"x": [1]})),
    ):
        with pytest.raises(Refused, match="faulty"):
            refused()
    assert (list(kernel.registry.search()), list(kernel.runs()), list(kernel.deployer.endpoints())) == ([], [], [])
    assert list(kernel.connector("rows").datasets()) == ["d"]
    assert [fault.where for fault in kernel.faults] == ["auth"]


@pytest.mark.parametrize("auth", FAULTY)
def test_commands_that_read_work_while_the_auth_driver_is_faulty(project, command, auth):
    project(YAML.format(auth=auth))
    for argv in (("runs", "list"), ("models", "list"), ("config", "show"), ("plugins", "list")):
        assert command(*argv).code == 0, argv
    said = command("train")
    assert said.code == 3
    assert "forge-tiny 1.0 is faulty" in said.err
    assert "the policy file is empty" in command("doctor").out
