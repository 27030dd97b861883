"""`forge db`."""

from __future__ import annotations

from cyclopts import App

from forge_core.cli.console import opened, say, table

app = App(name="db", help="The project's database and its schema.")


@app.command
def current() -> int:
    """The schema version of each distribution that keeps something there."""
    with opened(read_only=True) as kernel:
        found = kernel.database.schemas()
        say(found, lambda: table(("distribution", "schema"), sorted(found.items())) if found else "no database yet")
    return 0


@app.command
def upgrade() -> int:
    """Create what is missing, for the kernel and the configured drivers."""
    with opened() as kernel:
        with kernel.database.transaction():
            pass
        for role in ("registry", "tracker", "deployer"):
            kernel.driver(role)
        found = kernel.database.schemas()
        say(found, lambda: table(("distribution", "schema"), sorted(found.items())))
    return 0
