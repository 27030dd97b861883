"""The kernel's own drivers, proved by the suites of their roles."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from forge_core.builtin.auth import SYSTEM, NoAuth
from forge_core.builtin.monitor import LogMonitor
from forge_core.builtin.notifier import ConsoleNotifier
from forge_core.builtin.secrets import EnvironmentSecrets
from forge_core.orchestrator import TrainingOrchestrator
from forge_core.records.auth import Principal
from forge_core.records.data import JSON
from forge_core.testing import AuthContract, MonitorContract, NotifierContract, OrchestratorContract, SecretsContract, Subject


class TestLocalOrchestrator(OrchestratorContract):
    driver_class = TrainingOrchestrator


class TestConsoleNotifier(NotifierContract):
    driver_class = ConsoleNotifier

    @pytest.fixture
    def break_receiver(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[], None]:
        def close() -> None:
            closed = (tmp_path / "closed").open("w")
            closed.close()
            monkeypatch.setattr(sys, "stderr", closed)

        return close


class TestEnvironmentSecrets(SecretsContract):
    driver_class = EnvironmentSecrets

    @pytest.fixture
    def keep(self, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
        return lambda ref, text: monkeypatch.setenv("FORGE_SECRET_" + re.sub("[-/.]", "_", ref).upper(), text)


class TestLogMonitor(MonitorContract):
    driver_class = LogMonitor

    @pytest.fixture
    def kept_labels(self, subject: Subject) -> Callable[[], Mapping[str, JSON]]:
        path = subject.root / ".forge" / "monitor" / "default" / "requests.feedback"

        def read() -> Mapping[str, JSON]:
            found = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
            return {one["request_id"]: one["label"] for one in found}

        return read


class TestNoAuth(AuthContract):
    driver_class = NoAuth

    @pytest.fixture
    def anonymous(self) -> Principal:
        return SYSTEM

    @pytest.fixture
    def stranger(self) -> None:
        return None
