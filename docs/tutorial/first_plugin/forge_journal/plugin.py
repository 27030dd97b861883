"""What forge-journal hears."""

from __future__ import annotations

import sys

from forge_core import hookimpl
from forge_core.records import RunRecord


@hookimpl
def forge_run_finished(run: RunRecord) -> None:
    sys.stderr.write(f"journal: {run.run_id} is {run.state}\n")
