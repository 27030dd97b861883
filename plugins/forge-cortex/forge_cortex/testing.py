"""The drivers of this distribution, proved by the suites of their roles: `forge plugins test forge-cortex`."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from forge_core.records.serving import Deployment
from forge_core.testing import DeployerContract, StrategyContract
from forge_cortex.service import ModelDeploymentService
from forge_cortex.strategies import BlueGreenDeployment


class TestCortex(DeployerContract):
    driver_class = ModelDeploymentService

    @pytest.fixture
    def request_id(self) -> Callable[[Deployment], str]:
        """As the gateway gives them: endpoint, revision, route, process and count."""
        return lambda made: f"req_{made.endpoint}.{made.revision}.0.01a2045c986033b9.1"


class TestBlueGreen(StrategyContract):
    driver_class = BlueGreenDeployment
