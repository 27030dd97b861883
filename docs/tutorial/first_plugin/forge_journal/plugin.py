"""What forge-journal hears."""

from __future__ import annotations

import sys

from forge_core import hookimpl
from forge_core.records import ModelMetadata


@hookimpl
def forge_model_registered(model: ModelMetadata) -> None:
    sys.stderr.write(f"journal: {model.selector} was published\n")
