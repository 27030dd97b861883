"""`forge plan` and `forge train`."""

from __future__ import annotations

import sys
import time
from typing import Annotated, Any

from cyclopts import Parameter

from forge_core.cli import console
from forge_core.cli.console import note, opened, say, table
from forge_core.hookspecs import hookimpl
from forge_core.kernel import Kernel
from forge_core.records.runs import Plan, RunRecord, StepRecord
from forge_core.serialize import digest


def plan(model: str | None = None, /) -> int:
    """What `train` would do, step by step: cached or runs, and why. Writes nothing.

    Parameters
    ----------
    model
        A model of forge.yaml; the only one where it is not given.
    """
    with opened(read_only=True) as kernel:
        made = kernel.plan(model)
        say(made, lambda: _plan_table(made))
    return 0


def _plan_table(made: Plan) -> Any:
    from rich.console import Group  # drawn for people only

    rows = [(one.step.name, one.step.stage, "cached" if one.cached else "runs", one.fingerprint[:12], one.why) for one in made.steps]
    data = [f"data   {one.dataset} {one.version}" + (f"  {one.rows:,} rows" if one.rows is not None else "") for one in made.data]
    head = f"plan   {made.pipeline.name}  digest {digest(made.pipeline)[:12]}"
    return Group(head, *data, table(("step", "stage", "", "fingerprint", "why"), rows))


def train(
    model: str | None = None,
    /,
    *,
    experiment_name: Annotated[str | None, Parameter(help="The experiment that the tracker files this run under.")] = None,
) -> int:
    """Train a model, publish it and report.

    Parameters
    ----------
    model
        A model of forge.yaml; the only one where it is not given.
    """
    with opened() as kernel:
        _follow(kernel)
        run = kernel.execute(model, **({"experiment_name": experiment_name} if experiment_name else {}))
        say(run, lambda: summary(run))
    return 0


def summary(run: RunRecord) -> str:
    """What a run ends with: model id, version, metrics."""
    lines = [f"{run.run_id}  {run.state}"]
    for step in run.steps:
        if step.outputs.get("rows", {}).get("without_target"):
            lines.append(
                f"rows     {step.outputs['rows']['without_target']:,} of {step.outputs['rows']['read']:,} had no target and were left out"
            )
        if "model_id" in step.outputs:
            outputs = step.outputs
            lines.append(f"model    {outputs['model']}  {outputs['model_id']}")
            lines.append("metrics  " + "  ".join(f"{name} {value:.4f}" for name, value in outputs["metrics"].items()))
            if outputs.get("production"):
                before = outputs["production"]
                shown = "  ".join(f"{name} {value:.4f}" for name, value in before.get("metrics", {}).items()) or before.get("error", "")
                doubt = "" if before.get("held_out", True) else "  (on these rows, some of which it may have been trained on)"
                lines.append(f"in production  version {before['version']}  {shown}{doubt}")
    return "\n".join(lines)


def _follow(kernel: Kernel) -> None:
    """A line for each step as it ends; on a terminal, how far the present one is."""
    live = sys.stderr.isatty() and not console.options.json
    shown = 0.0

    class Lines:
        @hookimpl
        def forge_run_started(self, run: RunRecord) -> None:
            note(f"run    {run.run_id}")

        @hookimpl
        def forge_step_started(self, step: StepRecord) -> None:
            if live:
                sys.stderr.write(f"\r\x1b[K{step.name:10} ...")
                sys.stderr.flush()

        @hookimpl
        def forge_step_finished(self, step: StepRecord) -> None:
            if live:
                sys.stderr.write("\r\x1b[K")
            note(step_line(step))

    def progress(_run_id: str, step: str, fraction: float, message: str) -> None:
        nonlocal shown
        if live and time.monotonic() - shown > 0.1:
            shown = time.monotonic()
            sys.stderr.write(f"\r\x1b[K{step:10} {fraction:4.0%}  {message[:60]}")
            sys.stderr.flush()

    kernel.hub.listen(Lines(), "forge-kernel")
    kernel.on_step_progress = progress


def step_line(step: StepRecord) -> str:
    took = f"{(step.ended_at - step.started_at).total_seconds():.1f} s" if step.ended_at is not None and not step.cached else ""
    state = "cached" if step.cached else step.state
    return f"{step.name:10} {state:10} {took}" + (f"  {step.error}" if step.error else "")
