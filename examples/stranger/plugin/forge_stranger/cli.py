"""`forge stranger`."""

from __future__ import annotations

from cyclopts import App

from forge_core.cli.console import opened, say, table
from forge_stranger import diary

app = App(name="stranger", help="A stranger's plugin: a diary of finished runs.", version_flags=())
COLUMNS = ("run_id", "name", "state", "ended_at")


@app.default
def show(*, last: int = 20) -> int:
    """The runs of this project that ended, oldest first.

    Parameters
    ----------
    last
        How many of them.
    """
    with opened(read_only=True) as kernel:
        entries = diary.read(diary.path(kernel.project))[-last:]
        say(
            entries,
            lambda: table(COLUMNS, [[entry.get(name) for name in COLUMNS] for entry in entries]) if entries else "no run has ended yet",
        )
    return 0
