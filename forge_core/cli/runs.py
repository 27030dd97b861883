"""`forge runs`."""

from __future__ import annotations

import sys

from cyclopts import App

from forge_core.cli.console import opened, say, table
from forge_core.cli.train import _follow, step_line, summary

app = App(name="runs", help="List, show, resume and cancel runs; read their logs.")


@app.command(name="list")
def list_(model: str | None = None, /, *, limit: int = 20) -> int:
    """Runs, newest first.

    Parameters
    ----------
    model
        Only runs of this model.
    limit
        How many at the most.
    """
    with opened() as kernel:
        runs = kernel.runs(model, limit)
        rows = [
            (
                run.run_id,
                run.name,
                run.state,
                f"{run.started_at:%Y-%m-%d %H:%M:%S}",
                " ".join(f"{s.name}:{s.state}" for s in run.steps),
                run.error,
            )
            for run in runs
        ]
        say(
            runs,
            lambda: table(("run", "pipeline", "state", "started (UTC)", "steps", "error"), rows) if rows else "no runs yet: forge train",
        )
    return 0


@app.command
def show(run_id: str, /) -> int:
    """One run with its steps."""
    with opened() as kernel:
        run = kernel.orchestrator.monitor_progress(run_id)
        say(run, lambda: "\n".join([summary(run), *(step_line(step) for step in run.steps), *([run.error] if run.error else [])]))
    return 0


@app.command
def resume(run_id: str, /) -> int:
    """Go on where a dead, failed or cancelled run stopped; a finished step is not run again."""
    with opened() as kernel:
        _follow(kernel)
        kernel.orchestrator.resume(run_id)
        run = kernel.orchestrator.monitor_progress(run_id)
        say(run, lambda: summary(run))
    return 0


@app.command
def cancel(run_id: str, /) -> int:
    """Ask a run to stop."""
    with opened() as kernel:
        kernel.orchestrator.cancel(run_id)
        say({"run_id": run_id, "cancelled": True}, f"{run_id} is asked to stop")
    return 0


@app.command
def logs(run_id: str, step: str | None = None, /) -> int:
    """What a run's steps printed."""
    with opened() as kernel:
        lines = list(kernel.orchestrator.logs(run_id, step))
        say(lines, lambda: "\n".join(lines) if lines else "no log")
    sys.stdout.flush()
    return 0
