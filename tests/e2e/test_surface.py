"""The surface that other people build on is there, in an environment made of wheels alone."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from environments import ROOT, Environment

COMMANDS = [
    "init",
    "plan",
    "train",
    "runs",
    "data",
    "models",
    "deploy",
    "promote",
    "rollback",
    "history",
    "serve",
    "predict",
    "monitor",
    "trace",
    "plugins",
    "config",
    "db",
    "doctor",
    "auth",
]
CONTRACTS = [
    "DataSourceConnector",
    "Trainer",
    "Flavor",
    "ModelRegistry",
    "ExperimentTracker",
    "Orchestrator",
    "Deployer",
    "DeploymentStrategy",
    "Monitor",
    "AuthProvider",
    "Transformation",
    "Notifier",
    "SecretStore",
]
RECORDS = [
    "ModelStatus",
    "ModelMetadata",
    "PipelineStage",
    "PipelineConfig",
    "RetryPolicy",
    "RunRecord",
    "StepRecord",
    "Plan",
    "Query",
    "TrainingData",
    "ModelSpec",
    "TrainedModel",
    "ModelDraft",
    "DatasetVersion",
    "Route",
    "Deployment",
    "Session",
    "Principal",
    "Decision",
    "Refusal",
    "Alert",
    "Event",
    "HealthCheck",
]
NAMES = {
    "forge_core": "hookimpl Kernel Pipeline TrainingOrchestrator ModelFactory register_model",
    "forge_core.pipeline": "PipelineBuilder",
    "forge_core.contracts": " ".join(CONTRACTS),
    "forge_core.records": " ".join(RECORDS),
    "forge_lake": "LakeServiceConnector",
    "forge_cortex": "ModelDeploymentService CortexClient",
    "forge_cortex.strategies": "BlueGreenDeployment",
}


def test_help_names_every_command(environment: Environment, tmp_path: Path) -> None:
    words = environment.run("forge --help", tmp_path).stdout.split()
    assert [name for name in COMMANDS if name not in words] == []


@pytest.mark.parametrize("module", NAMES)
def test_public_names_can_be_imported(environment: Environment, tmp_path: Path, module: str) -> None:
    names = ", ".join(NAMES[module].split())
    subprocess.run([environment.python, "-c", f"from {module} import {names}"], cwd=tmp_path, env=environment.variables(), check=True)


def test_importing_the_kernel_costs_nothing(environment: Environment, tmp_path: Path) -> None:
    code = "import sys, forge_core; print([name for name in ('attrs', 'pluggy', 'yaml', 'sqlalchemy') if name in sys.modules])"
    done = subprocess.run(
        [environment.python, "-c", code], cwd=tmp_path, env=environment.variables(), check=True, capture_output=True, text=True
    )
    assert done.stdout.strip() == "[]"


def test_the_template_trains(environment: Environment, tmp_path: Path) -> None:
    environment.run("forge init churn", tmp_path)
    project = tmp_path / "churn"
    environment.run("python make_data.py", project)
    environment.run("forge config validate", project)
    assert environment.json("forge train", project)["state"] == "done"


def test_an_address_beyond_this_machine_is_not_served_without_auth(environment: Environment, tmp_path: Path) -> None:
    (tmp_path / "forge.yaml").write_text("project: {name: open}\n")
    done = environment.run("forge serve --host 0.0.0.0 --port 9", tmp_path, code=3)
    assert "auth" in done.stderr


def test_the_kernel_alone_is_small(environment: Environment, wheels: Path, tmp_path: Path) -> None:
    """At most 20 distributions and 55 MB."""
    folder = tmp_path / "alone"
    wheel = next(wheels.glob("forge_kernel-*.whl"))
    pip = [
        str(environment.python),
        "-m",
        "pip",
        "install",
        "-q",
        "--no-compile",
        "--target",
        str(folder),
        "-c",
        str(ROOT / "constraints.txt"),
    ]
    subprocess.run([*pip, str(wheel)], check=True)
    distributions = list(folder.glob("*.dist-info"))
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    assert len(distributions) <= 20, sorted(path.name for path in distributions)
    assert size <= 55e6, f"{size / 1e6:.0f} MB"


def test_a_second_json_document_is_never_printed(environment: Environment, tmp_path: Path) -> None:
    (tmp_path / "forge.yaml").write_text("project: {name: quiet}\n")
    for command in ("plugins list", "config show", "config schema", "runs list", "models list", "db current"):
        json.loads(environment.run(f"forge {command} --json", tmp_path).stdout)
