"""The kit for plugin authors: a suite of contract checks for each role, fixtures for pytest, and the check of light imports.

Needs `pip install 'forge-kernel[testing]'`. The fixtures are there in every pytest session of an environment that has
forge-kernel; the suites are subclassed::

    from forge_core.testing import NotifierContract
    from forge_acme.notifier import AcmeNotifier

    class TestAcme(NotifierContract):
        driver_class = AcmeNotifier
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from forge_core.testing.auth import AuthContract
    from forge_core.testing.connector import ConnectorContract
    from forge_core.testing.contract import Contract, Subject, needs
    from forge_core.testing.deployer import DeployerContract
    from forge_core.testing.flavor import FlavorContract
    from forge_core.testing.light import Import, assert_light, import_of
    from forge_core.testing.monitor import MonitorContract
    from forge_core.testing.notifier import NotifierContract
    from forge_core.testing.orchestrator import OrchestratorContract
    from forge_core.testing.registry import RegistryContract
    from forge_core.testing.secrets import SecretsContract
    from forge_core.testing.strategy import StrategyContract
    from forge_core.testing.tracker import TrackerContract
    from forge_core.testing.trainer import TrainerContract
    from forge_core.testing.transform import TransformationContract

SUITES = {
    "connector": "ConnectorContract",
    "trainer": "TrainerContract",
    "flavor": "FlavorContract",
    "registry": "RegistryContract",
    "tracker": "TrackerContract",
    "orchestrator": "OrchestratorContract",
    "deployer": "DeployerContract",
    "strategy": "StrategyContract",
    "monitor": "MonitorContract",
    "auth": "AuthContract",
    "transform": "TransformationContract",
    "notifier": "NotifierContract",
    "secrets": "SecretsContract",
}
"""The suite of each role, in the module of the role's name."""

_HOME = {
    "Contract": "contract",
    "Import": "light",
    "Subject": "contract",
    "assert_light": "light",
    "import_of": "light",
    "needs": "contract",
    **{suite: role for role, suite in SUITES.items()},
}

__all__ = [
    "SUITES",
    "AuthContract",
    "ConnectorContract",
    "Contract",
    "DeployerContract",
    "FlavorContract",
    "Import",
    "MonitorContract",
    "NotifierContract",
    "OrchestratorContract",
    "RegistryContract",
    "SecretsContract",
    "StrategyContract",
    "Subject",
    "TrackerContract",
    "TrainerContract",
    "TransformationContract",
    "assert_light",
    "import_of",
    "needs",
]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
