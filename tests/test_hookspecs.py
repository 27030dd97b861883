"""Every hook is documented by an example that runs, and heard with exactly the arguments that its spec names."""

from __future__ import annotations

import inspect
from datetime import UTC, datetime
from pathlib import Path
from textwrap import dedent
from types import SimpleNamespace

import pytest

import forge_core
from forge_core import hookimpl, records
from forge_core.catalog import Catalog
from forge_core.faults import Refused
from forge_core.hookspecs import SUBJECTS
from forge_core.hub import Hub

# DESIGN, section 6: the table that plugin authors know.
HOOKS = {
    "Data": {"tell": ("forge_data_fetched", "forge_dataset_registered"), "gate": ("forge_before_fetch",), "ask": ()},
    "Training": {
        "tell": ("forge_run_started", "forge_step_started", "forge_step_finished", "forge_run_finished", "forge_metrics_logged"),
        "gate": ("forge_before_run",),
        "ask": (),
    },
    "Registry": {
        "tell": ("forge_model_registered", "forge_model_transitioned"),
        "gate": ("forge_before_register", "forge_before_load"),
        "ask": (),
    },
    "Deployment": {"tell": ("forge_traffic_changed", "forge_rolled_back"), "gate": ("forge_before_deploy",), "ask": ()},
    "Monitoring": {"tell": ("forge_predictions_logged", "forge_alert_raised"), "gate": (), "ask": ()},
    "Auth": {"tell": ("forge_event_recorded",), "gate": ("forge_authorize",), "ask": ()},
    "Kernel": {
        "tell": ("forge_kernel_opened", "forge_kernel_closed", "forge_command_started", "forge_command_finished"),
        "gate": (),
        "ask": ("forge_commands", "forge_health_checks", "forge_resources"),
    },
}
SPECS = {
    name: spec for subject in SUBJECTS for name, spec in vars(subject).items() if name.startswith("forge_") for spec in [spec.__func__]
}
GATHERED = {"forge_commands": records.Command, "forge_health_checks": records.HealthCheck, "forge_resources": records.Resource}
NOW = datetime(2026, 1, 1, tzinfo=UTC)
VERSION = records.DatasetVersion("payroll", "1", "d1")
DRAFT = {"name": "pay", "flavor": "f", "run_id": "run_1", "metrics": {}, "parameters": {}, "training_data_hash": "h", "signature": ()}
STEP = records.StepRecord("train", "TRAINING", "done", "f", 1, False, {}, NOW)
# One value for each name of an argument; the examples of gates refuse exactly these.
VALUES = {
    "action": "model:register",
    "alert": records.Alert("pay", "drift", "it drifts", NOW),
    "command": "models show",
    "config": records.PipelineConfig("pay"),
    "data": records.TrainingData(VERSION, records.Query("payroll"), (), lambda: None),
    "dataset": VERSION,
    "deployment": records.Deployment("checkout", 1, (), "blue_green", "", "ann", "why", NOW, "ready"),
    "draft": records.ModelDraft(**DRAFT),
    "endpoint": "checkout",
    "event": records.Event("evt_1", "model:register", "model:pay", "ann", "default", NOW),
    "exit_code": 0,
    "expected": records.ModelStatus.VALIDATING,
    "latency_ms": (1.5,),
    "metrics": {"loss": 0.1},
    "model": records.ModelMetadata(**DRAFT, model_id="mdl_1", version=1, digest="d", created_at=NOW, updated_at=NOW, tenant="default"),
    "principal": records.Principal("ci"),
    "project": records.Project("pay", Path("/nowhere")),
    "query": records.Query("payroll"),
    "resource": "model:pay",
    "run": records.RunRecord("run_1", "pay", "done", NOW, (), "default"),
    "run_id": "run_1",
    "selector": "retired_pay@1",
    "session": records.Session(records.Principal("guest"), "req_1"),
    "step": STEP,
    "version": 1,
}


def kind(spec) -> str:
    return inspect.getdoc(spec).partition(":")[0].lower()


def values(name: str) -> dict[str, object]:
    given = {one: VALUES[one] for one in inspect.signature(SPECS[name]).parameters}
    return {**given, "step": 3} if name == "forge_metrics_logged" else given  # a trainer's own step is a number


def call(hub: Hub, name: str) -> object:
    """As the kernel calls a hook of this kind; for a gate, what it refused with."""
    spec = SPECS[name]
    if kind(spec) == "ask":
        return hub.ask(spec, GATHERED[name], **values(name))
    if kind(spec) == "tell":
        return hub.tell(spec, **values(name))
    try:
        return hub.gate(spec, **values(name))
    except Refused as refused:
        return refused


def example(name: str) -> object:
    """The implementation that the spec's docstring shows."""
    _before, found, block = inspect.getdoc(SPECS[name]).partition("Example::\n\n")
    assert found, f"{name} has no example"
    made: dict[str, object] = {
        "hookimpl": hookimpl,
        **{one: getattr(records, one) for one in ("Refusal", "Command", "HealthCheck", "Resource")},
    }
    exec(dedent(block), made)
    return made[name]


def test_the_hooks_are_those_of_the_table():
    said = {
        subject.__name__.removesuffix("Hooks"): {
            way: tuple(name for name in vars(subject) if name.startswith("forge_") and kind(SPECS[name]) == way)
            for way in ("tell", "gate", "ask")
        }
        for subject in SUBJECTS
    }
    assert {subject: {way: set(names) for way, names in ways.items()} for subject, ways in said.items()} == {
        subject: {way: set(names) for way, names in ways.items()} for subject, ways in HOOKS.items()
    }


@pytest.mark.parametrize("name", SPECS)
def test_the_example_of_a_hook_runs_and_is_heard(name, capsys):
    hub = Hub(Catalog(()))
    hub.listen(SimpleNamespace(**{name: example(name)}), "forge-example")
    assert hub.listeners(SPECS[name]) == 1
    answer = call(hub, name)
    assert hub.faults == []
    if kind(SPECS[name]) == "tell":
        assert capsys.readouterr().err.strip()  # each of them prints what it was told
    elif kind(SPECS[name]) == "gate":
        assert isinstance(answer, Refused)
        assert answer.remedy
    else:
        assert isinstance(answer[0], GATHERED[name])


@pytest.mark.parametrize("name", SPECS)
def test_a_hook_is_heard_with_exactly_its_arguments(name):
    heard: list[dict[str, object]] = []
    arguments = ", ".join(inspect.signature(SPECS[name]).parameters)
    made: dict[str, object] = {"heard": heard}
    exec(f"def {name}({arguments}):\n    heard.append(dict(locals()))", made)
    hub = Hub(Catalog(()))
    hub.listen(SimpleNamespace(**{name: hookimpl(made[name])}), "forge-listener")
    call(hub, name)
    assert heard == [values(name)]


@pytest.mark.parametrize("name", SPECS)
def test_a_spec_answers_nothing_and_is_annotated(name):
    spec = SPECS[name]
    assert spec(**values(name)) in (None, ())
    assert set(spec.__annotations__) == {*inspect.signature(spec).parameters, "return"}


# Told by drivers' distributions to come, through the Runtime that they get; the kernel has no such event itself.
TOLD_BY_PLUGINS = {"forge_predictions_logged", "forge_alert_raised", "forge_resources"}


@pytest.mark.parametrize("name", sorted(set(SPECS) - TOLD_BY_PLUGINS))
def test_the_kernel_calls_every_hook_of_its_own(name):
    root = Path(forge_core.__file__).parent
    users = [path for path in root.rglob("*.py") if path.name != "hookspecs.py" and f".{name}" in path.read_text()]
    assert users, f"{name} is documented and nobody calls it"


def test_the_documentation_reads_the_hooks_from_their_specs():
    docs = Path(forge_core.__file__).parents[1] / "docs"
    assert ".. automodule:: forge_core.hookspecs" in (docs / "plugins" / "hooks.md").read_text()
    assert "undoc-members" in (docs / "conf.py").read_text()  # the classes that hold the specs say nothing themselves
