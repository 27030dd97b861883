"""Every driver of this distribution keeps the rules of its role."""

from __future__ import annotations

from forge_acme.testing import (
    TestAcmeAuth,  # <auth>
    TestAcmeConnector,  # <connector>
    TestAcmeDeployer,  # <deployer>
    TestAcmeFlavor,  # <flavor>
    TestAcmeMonitor,  # <monitor>
    TestAcmeNotifier,  # <notifier>
    TestAcmeOrchestrator,  # <orchestrator>
    TestAcmeRegistry,  # <registry>
    TestAcmeSecrets,  # <secrets>
    TestAcmeStrategy,  # <strategy>
    TestAcmeTracker,  # <tracker>
    TestAcmeTrainer,  # <trainer>
    TestAcmeTransform,  # <transform>
)

__all__ = [
    "TestAcmeAuth",  # <auth>
    "TestAcmeConnector",  # <connector>
    "TestAcmeDeployer",  # <deployer>
    "TestAcmeFlavor",  # <flavor>
    "TestAcmeMonitor",  # <monitor>
    "TestAcmeNotifier",  # <notifier>
    "TestAcmeOrchestrator",  # <orchestrator>
    "TestAcmeRegistry",  # <registry>
    "TestAcmeSecrets",  # <secrets>
    "TestAcmeStrategy",  # <strategy>
    "TestAcmeTracker",  # <tracker>
    "TestAcmeTrainer",  # <trainer>
    "TestAcmeTransform",  # <transform>
]
