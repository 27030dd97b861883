"""`forge config`."""

from __future__ import annotations

import yaml
from attrs import evolve
from cyclopts import App

from forge_core import config, schema
from forge_core.cli import console
from forge_core.cli.console import opened, say

app = App(name="config", help="Show, check and describe forge.yaml.")


@app.command
def show() -> int:
    """The project as it is understood: overlays and --set applied, defaults filled in, references unresolved."""
    found = _load()
    say(found.raw, lambda: yaml.safe_dump(dict(found.raw), sort_keys=False, allow_unicode=True).rstrip())
    return 0


@app.command
def validate() -> int:
    """Check the file, the drivers that it names, and their settings; starts nothing."""
    with opened(read_only=True) as kernel:
        checked = schema.check(kernel)
        say(checked, f"forge.yaml is valid: {len(checked['models'])} model(s), {len(checked['datasets'])} data set(s)")
    return 0


@app.command(name="schema")
def schema_() -> int:
    """A JSON Schema of forge.yaml, built from the settings of what is installed."""
    console.options = evolve(console.options, json=True)  # it is JSON either way
    say(schema.build())
    return 0


def _load() -> config.Config:
    said = console.options
    found = config.load(said.config, said.env, said.set)
    _ = found.document  # wrong ones are errors
    return found
