"""The commands and the global options as data, and `forge --help`, drawn without the parser that they cost 200 ms with."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from forge_core.catalog import Ref

GROUPS: dict[str, dict[str, tuple[str, str]]] = {
    "A project": {
        "init": ("forge_core.cli.init:init", "Make a project from a template."),
        "config": ("forge_core.cli.config:app", "Show, check and describe forge.yaml."),
        "db": ("forge_core.cli.db:app", "The project's database and its schema."),
        "doctor": ("forge_core.cli.doctor:doctor", "Is this project, and everything around it, well?"),
        "plugins": ("forge_core.cli.plugins:app", "What is installed, and what is wrong with it."),
    },
    "Models": {
        "plan": ("forge_core.cli.train:plan", "What `train` would do, step by step; writes nothing."),
        "train": ("forge_core.cli.train:train", "Train a model, publish it and report."),
        "runs": ("forge_core.cli.runs:app", "List, show, resume and cancel runs; read their logs."),
        "models": ("forge_core.cli.models:app", "List, show, compare and move registered models."),
    },
    "Serving": {
        "deploy": ("forge_core.cli.deploy:deploy", "Put a version of a model behind an endpoint."),
        "promote": ("forge_core.cli.deploy:promote", "Give an endpoint's new version all traffic, and the alias production."),
        "rollback": ("forge_core.cli.deploy:rollback", "Take an endpoint back to what it routed to before."),
        "history": ("forge_core.cli.deploy:history", "What an endpoint routed to, and when."),
        "serve": ("forge_core.cli.serve:serve", "Answer predictions over HTTP."),
        "predict": ("forge_core.cli.serve:predict", "Predict a file of rows with an endpoint or a version."),
        "monitor": ("forge_core.cli.monitor:monitor", "Requests and latencies of what is live."),
        "trace": ("forge_core.cli.monitor:trace", "Which version, run, code and data answered a request."),
    },
}
CORE = {name: entry for group in GROUPS.values() for name, entry in group.items()}

OPTIONS = {
    "--config PATH": "The project's file, instead of ./forge.yaml.",
    "--env NAME": "An overlay from the file's `environments`.",
    "--set KEY=VALUE": "Override a key: infrastructure.serving.port=9000.",
    "--api-key-file PATH": "A file with an API key, instead of FORGE_API_KEY.",
    "--json": "One JSON document on stdout.",
    "--debug": "Tracebacks with errors.",
    "--no-plugins": "The kernel alone: for rescue.",
    "--version": "The kernel's version.",
}
HELP = {word.split()[0]: text for word, text in OPTIONS.items()}
WITH_VALUE = tuple(word.split()[0] for word in OPTIONS if " " in word)


def words(argv: Sequence[str]) -> list[str]:
    """The arguments without options, as far as they can be told apart before parsing."""
    found, skip = [], False
    for argument in argv:
        if skip:
            skip = False
        elif argument.startswith("-"):
            skip = argument in WITH_VALUE
        else:
            found.append(argument)
    return found


def line(ref: Ref) -> str:
    """What is said of a plugin's command: its distribution's summary."""
    return ref.summary or f"From {ref.distribution}."


def is_asked_for(argv: Sequence[str]) -> bool:
    """Is it the overview that this command line asks for?"""
    return [word for word in argv if word != "--no-plugins"] in ([], ["--help"], ["-h"])


def overview(of_plugins: Iterable[tuple[str, str]], bold: bool) -> str:
    """What `forge --help` says; `of_plugins` are the plugins' commands, each with its line."""
    groups = {title: {name: text for name, (_, text) in entries.items()} for title, entries in GROUPS.items()}
    groups = {**groups, "Commands of plugins": dict(sorted(of_plugins)), "With every command": OPTIONS}
    left = max(len(name) for entries in groups.values() for name in entries) + 4
    width = max(left + 30, min(shutil.get_terminal_size().columns, 110))
    lines = ["Forge: an ML platform that is only plugins.", "", "Usage: forge COMMAND [OPTIONS]     forge COMMAND --help says more"]
    for title, entries in groups.items():
        if entries:
            lines += ["", f"\033[1m{title}\033[0m" if bold else title]
        for name, text in entries.items():
            lines += textwrap.wrap(text, width, initial_indent=f"  {name:<{left - 2}}", subsequent_indent=" " * left) or [f"  {name}"]
    return "\n".join(lines)
