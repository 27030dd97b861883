"""A project's own modules are plugins: heard, listed, and faulty in the same words as a distribution."""

from __future__ import annotations

YAML = "project: {name: t}\nplugins: {local: [mine_local, broken_local]}\n"
MINE = """
from forge_core import hookimpl, register_model
from forge_core.contracts import Trainer
from forge_core.records import HealthCheck

@hookimpl
def forge_health_checks():
    return [HealthCheck("mine", True, "well")]

@register_model("nothing")
class Nothing(Trainer):
    def train(self, spec, data, context): ...
    def evaluate(self, spec, predictor, data): return {}
"""


def test_local_modules_are_listed_with_their_state_and_faults(command, project):
    project(YAML, mine_local=MINE, broken_local="assert False, 'on purpose'")
    said = command("doctor", "--json")
    assert said.code == 1
    assert {"mine": "well"}.items() <= {one["name"]: one["message"] for one in said.json}.items()
    listed = {one["distribution"]: one for one in command("plugins", "list", "--json").json}
    assert (listed["mine_local"]["state"], listed["mine_local"]["version"], listed["mine_local"]["faults"]) == ("ready", "local", [])
    assert listed["broken_local"]["state"] == "faulty"
    fault = listed["broken_local"]["faults"][0]
    assert fault["cause"] == "AssertionError: on purpose"
    assert fault["remedy"] == "mend broken_local, or take it out of plugins.local"
    told = command("plugins", "doctor")
    assert told.code == 1
    assert "broken_local local: import: AssertionError: on purpose\n  mend broken_local, or take it out of plugins.local" in told.out


def test_listing_imports_no_local_module(command, project):
    project("project: {name: t}\nplugins: {local: [canary_local]}\n", canary_local="raise SystemExit('imported')")
    listed = {one["distribution"]: one for one in command("plugins", "list", "--json").json}
    assert listed["canary_local"]["state"] == "ready"
