"""The hooks of forge-acme.

This module is imported whenever a project is opened, so it imports the standard library and `forge_core` only.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

from forge_core import hookimpl
from forge_core.records import HealthCheck, RunRecord

from forge_acme import __version__

logger = logging.getLogger(__name__)


@hookimpl
def forge_run_finished(run: RunRecord) -> None:
    logger.info("run %s of %s is %s", run.run_id, run.name, run.state)


@hookimpl
def forge_health_checks() -> Iterable[HealthCheck]:
    return [HealthCheck("forge-acme", True, f"version {__version__}")]
