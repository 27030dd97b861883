"""What a driver of each role must do, a file per role."""

from __future__ import annotations

from forge_core.contracts.auth import AuthProvider
from forge_core.contracts.connector import Batches, DataSourceConnector
from forge_core.contracts.deployer import Deployer, DeploymentStrategy
from forge_core.contracts.driver import Capability, Driver
from forge_core.contracts.flavor import Flavor, Models, Predictor, ServedModel
from forge_core.contracts.monitor import Monitor
from forge_core.contracts.notifier import Notifier
from forge_core.contracts.orchestrator import Orchestrator, Runtime
from forge_core.contracts.registry import ModelRegistry
from forge_core.contracts.secrets import SecretStore
from forge_core.contracts.tracker import ExperimentTracker
from forge_core.contracts.trainer import Trainer
from forge_core.contracts.transform import Transformation

CONTRACTS: dict[str, type[Driver]] = {
    contract.role: contract
    for contract in (
        DataSourceConnector, Trainer, Flavor, ModelRegistry, ExperimentTracker, Deployer, DeploymentStrategy,
        Monitor, AuthProvider, Orchestrator, Transformation, Notifier, SecretStore,
    )
}  # fmt: skip

__all__ = [
    "CONTRACTS",
    "AuthProvider",
    "Batches",
    "Capability",
    "DataSourceConnector",
    "Deployer",
    "DeploymentStrategy",
    "Driver",
    "ExperimentTracker",
    "Flavor",
    "ModelRegistry",
    "Models",
    "Monitor",
    "Notifier",
    "Orchestrator",
    "Predictor",
    "Runtime",
    "SecretStore",
    "ServedModel",
    "Trainer",
    "Transformation",
]
