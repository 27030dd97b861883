"""Every driver of this distribution keeps the contract of its role, and the rules about checkpoints hold for a trainer that saves some."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from forge_core.testing import TrainerContract
from forge_tabular.testing import (  # noqa: F401
    TestAggregate,
    TestDateParts,
    TestLightGBM,
    TestLightGBMFlavor,
    TestOneHot,
    TestPca,
    TestSklearn,
    TestSkopsFlavor,
    TestStandardScaler,
    TestWindow,
    TestXGBoost,
    TestXGBoostFlavor,
)

sys.path.append(str(Path(__file__).parent))  # other processes import the trainer by its name, as this one does

from resuming_trainer import ResumingTrainer


class TestResuming(TrainerContract):
    driver_class = ResumingTrainer

    @pytest.fixture
    def tasks(self):
        return ("binary",)

    @pytest.fixture
    def checkpoints(self):
        return True
