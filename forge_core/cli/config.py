"""`forge config`."""

from __future__ import annotations

import re
from collections.abc import Mapping

import yaml
from attrs import evolve
from cyclopts import App

from forge_core import config, schema
from forge_core.cli import console
from forge_core.cli.console import opened, say
from forge_core.records.data import JSON

app = App(name="config", help="Show, check and describe forge.yaml.")


@app.command
def show() -> int:
    """The project as it is understood: overlays and --set applied, defaults filled in, references unresolved."""
    shown = hidden(_load().raw)
    say(shown, lambda: yaml.safe_dump(shown, sort_keys=False, allow_unicode=True).rstrip())
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


def hidden(value: JSON, key: str = "") -> JSON:
    """What looks like a secret written out (rather than as `${secret:..}`) is not shown: passwords in URLs, and keys named so."""
    if isinstance(value, Mapping):
        return {name: hidden(inner, name) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [hidden(inner, key) for inner in value]
    if not isinstance(value, str) or value.startswith("${"):
        return value
    if _SECRET.search(key):
        return "***"
    return re.sub(r"(://[^/:@\s]*:)(?!\$\{)[^/@\s]+@", r"\1***@", value)


_SECRET = re.compile(r"(?i)(secret|password|passwd|token|credential|^key$|api_?key|private_?key|access_?key)")


def _load() -> config.Config:
    said = console.options
    found = config.load(said.config, said.env, said.set)
    _ = found.document  # wrong ones are errors
    return found
