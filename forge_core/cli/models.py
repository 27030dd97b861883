"""`forge models`."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from cyclopts import App

from forge_core.cli.console import opened, say, table
from forge_core.faults import DigestMismatch
from forge_core.kernel import Kernel
from forge_core.records.models import Lineage, ModelMetadata, ModelStatus

app = App(name="models", help="List, show, compare and move registered models.")


@app.command(name="list")
def list_(model: str | None = None, /, *, limit: int = 100) -> int:
    """Versions, newest first; a model that is being trained is shown without a number.

    Parameters
    ----------
    model
        Only versions of this model.
    limit
        How many at the most.
    """
    with opened() as kernel:
        found = list(kernel.registry.search(model, limit=limit))
        rows = [(one.selector, one.status.value, one.flavor, _metrics(one), f"{one.created_at:%Y-%m-%d %H:%M}") for one in found]
        training = [run for run in kernel.runs(model) if run.state == "running" and any(s.stage == "TRAINING" for s in run.steps)]
        rows = [*((run.name, ModelStatus.TRAINING.value, "", "", f"{run.started_at:%Y-%m-%d %H:%M}") for run in training), *rows]
        say(
            found,
            lambda: table(("version", "status", "flavor", "metrics", "created (UTC)"), rows) if rows else "no models yet: forge train",
        )
    return 0


@app.command
def show(selector: str, /) -> int:
    """One version: `churn@3`, `churn@latest`, `churn@production`."""
    with opened() as kernel:
        model = kernel.registry.get(selector)
        aliases = sorted(alias for alias, version in kernel.registry.aliases(model.name).items() if version == model.version)
        say(model, lambda: _page(model, aliases))
    return 0


def _page(model: ModelMetadata, aliases: list[str]) -> Any:
    code = model.code
    rows = [
        ("version", model.selector),
        ("id", model.model_id),
        ("status", model.status.value),
        ("aliases", ", ".join(aliases) or "none"),
        ("metrics", _metrics(model)),
        ("parameters", "  ".join(f"{name}={value}" for name, value in sorted(model.parameters.items()))),
        ("inputs", ", ".join(f"{one.name}: {one.type}" for one in model.signature)),
        ("flavor", model.flavor),
        ("digest", model.digest),
        ("training data", model.training_data_hash),
        ("run", model.run_id),
        ("code", (code.commit or "no git commit") + (" with uncommitted changes" if code.diff_digest else "") if code else "unknown"),
        ("libraries", ", ".join(model.dependencies)),
        ("tags", "  ".join(f"{name}={value}" for name, value in sorted(model.tags.items()))),
        ("created (UTC)", f"{model.created_at:%Y-%m-%d %H:%M:%S}"),
    ]
    return table(("", ""), [(name, value) for name, value in rows if value])


@app.command
def compare(first: str, second: str, /) -> int:
    """What differs between two versions: metrics, parameters, data, code."""
    with opened() as kernel:
        one, two = kernel.registry.get(first), kernel.registry.get(second)
        pairs = {
            **{f"metric {name}": (one.metrics.get(name), two.metrics.get(name)) for name in sorted({*one.metrics, *two.metrics})},
            **{
                f"parameter {name}": (one.parameters.get(name), two.parameters.get(name))
                for name in sorted({*one.parameters, *two.parameters})
            },
            "training data": (one.training_data_hash, two.training_data_hash),
            "files": (one.digest, two.digest),
            "commit": tuple(model.code.commit if model.code else None for model in (one, two)),
        }
        differ = [{"what": name, "first": left, "second": right} for name, (left, right) in pairs.items() if left != right]
        shown = [(row["what"], row["first"], row["second"]) for row in differ]
        say(differ, lambda: table(("", one.selector, two.selector), shown) if shown else "no difference")
    return 0


@app.command
def promote(selector: str, /, *, alias: str = "production", reason: str = "") -> int:
    """Point an alias at a version. Traffic does not move: `forge promote ENDPOINT` moves both."""
    with opened() as kernel:
        model = kernel.registry.get(selector)
        kernel.registry.set_alias(model.name, alias, model.version, kernel.registry.aliases(model.name).get(alias), reason)
        say({"name": model.name, "alias": alias, "version": model.version}, f"{model.name}@{alias} is version {model.version}")
    return 0


@app.command
def archive(selector: str, /) -> int:
    """Put a version away; `latest` passes over it."""
    with opened() as kernel:
        model = kernel.registry.get(selector)
        moved = kernel.registry.transition(model.selector, model.status, ModelStatus.ARCHIVED)
        say(moved, f"{moved.selector} is archived")
    return 0


@app.command
def history(name: str, /, *, alias: str = "production") -> int:
    """Where an alias pointed, when, by whom and why."""
    with opened() as kernel:
        events = list(kernel.registry.alias_history(name, alias))
        rows = [(f"{one.at:%Y-%m-%d %H:%M:%S}", one.before, one.after, one.actor) for one in events]
        say(events, lambda: table(("at (UTC)", "before", "after", "by"), rows) if rows else f"{name}@{alias} was never set")
    return 0


@app.command
def lineage(selector: str, /, *, downward: bool = False) -> int:
    """What a version was made of: run, code, data, parents; `--downward`: what was made of it."""
    with opened() as kernel:
        tree = kernel.registry.lineage(selector, not downward)
        say(tree, lambda: "\n".join(_tree(tree, 0)))
    return 0


def _tree(node: Lineage, depth: int) -> list[str]:
    return [f"{'  ' * depth}{node.kind}  {node.node}", *(line for edge in node.edges for line in _tree(edge, depth + 1))]


@app.command
def verify(selector: str | None = None, /) -> int:
    """Compare stored bytes with their digests; exit 1 where one does not fit."""
    with opened() as kernel:
        faults = list(kernel.registry.verify(selector))
        say(
            faults,
            lambda: (
                "\n".join(f"{fault.where}: {fault.cause}\n  {fault.remedy}" for fault in faults) or "every version is as it was published"
            ),
        )
        if faults:
            raise DigestMismatch(f"{len(faults)} version(s) are not as they were published", "they are quarantined; train them again")
    return 0


@app.command
def gc(*, older_than_hours: float = 24.0) -> int:
    """Remove bytes that no version names."""
    with opened() as kernel:
        freed = kernel.registry.collect_garbage(timedelta(hours=older_than_hours))
        say({"bytes": freed}, f"{freed:,} bytes freed")
    return 0


def _metrics(model: ModelMetadata) -> str:
    return "  ".join(f"{name} {value:.4g}" for name, value in model.metrics.items())


def resolve(kernel: Kernel, name: str, version: str) -> str:
    """`name` with `--version`: `churn`, `latest` gives `churn@latest`; a selector stays as it is."""
    return name if "@" in name else f"{name}@{version}"
