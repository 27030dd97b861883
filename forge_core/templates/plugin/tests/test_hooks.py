"""The plugin module: light, and heard."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from forge_core import Kernel
from forge_core.hookspecs import KernelHooks, TrainingHooks
from forge_core.records import HealthCheck, RunRecord
from forge_core.testing import assert_light
from forge_core.testing.recorded import RecordedHooks


def test_the_plugin_module_is_light() -> None:
    assert_light("forge_acme.plugin")


def test_a_finished_run_is_logged(
    kernel: Kernel, recorded_hooks: RecordedHooks, caplog: pytest.LogCaptureFixture
) -> None:
    run = RunRecord("run_1", "churn", "done", datetime.now(UTC), (), "default")
    with caplog.at_level("INFO", "forge_acme"):
        kernel.hub.tell(TrainingHooks.forge_run_finished, run=run)
    assert recorded_hooks.of("forge_run_finished") == [{"run": run}]
    assert "run run_1 of churn is done" in caplog.text
    assert not kernel.faults


def test_forge_doctor_shows_its_version(kernel: Kernel) -> None:
    checks = kernel.hub.ask(KernelHooks.forge_health_checks, HealthCheck)
    assert "forge-acme" in [check.name for check in checks if check.healthy]
