"""The assembled command line, for the reference page."""

from __future__ import annotations

from forge_core.catalog import Catalog
from forge_core.cli.app import assemble

app = assemble(Catalog.scan().ready("command"))
