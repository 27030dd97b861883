"""The command line's assembly: commands by string, each loaded when it is run."""

from __future__ import annotations

import difflib
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, CycloptsError, Group, Parameter

from forge_core import __version__
from forge_core.catalog import Catalog, Ref
from forge_core.cli import console
from forge_core.faults import ForgeError

CORE: dict[str, tuple[str, str]] = {
    "init": ("forge_core.cli.init:init", "Make a project from a template."),
    "plan": ("forge_core.cli.train:plan", "What `train` would do, step by step; writes nothing."),
    "train": ("forge_core.cli.train:train", "Train a model, publish it and report."),
    "runs": ("forge_core.cli.runs:app", "List, show, resume and cancel runs; read their logs."),
    "models": ("forge_core.cli.models:app", "List, show, compare and move registered models."),
    "deploy": ("forge_core.cli.deploy:deploy", "Put a version of a model behind an endpoint."),
    "promote": ("forge_core.cli.deploy:promote", "Give an endpoint's new version all traffic, and the alias production."),
    "rollback": ("forge_core.cli.deploy:rollback", "Take an endpoint back to what it routed to before."),
    "history": ("forge_core.cli.deploy:history", "What an endpoint routed to, and when."),
    "serve": ("forge_core.cli.serve:serve", "Answer predictions over HTTP."),
    "predict": ("forge_core.cli.serve:predict", "Predict a file of rows with an endpoint or a version."),
    "monitor": ("forge_core.cli.monitor:monitor", "Requests and latencies of what is live."),
    "trace": ("forge_core.cli.monitor:trace", "Which version, run, code and data answered a request."),
    "plugins": ("forge_core.cli.plugins:app", "What is installed, and what is wrong with it."),
    "config": ("forge_core.cli.config:app", "Show, check and describe forge.yaml."),
    "db": ("forge_core.cli.db:app", "The project's database and its schema."),
    "doctor": ("forge_core.cli.doctor:doctor", "Is this project, and everything around it, well?"),
}
OPTIONS_WITH_VALUE = ("--config", "--env", "--set", "--api-key-file")


def words(argv: Sequence[str]) -> list[str]:
    """The arguments without options, as far as they can be told apart before parsing."""
    found, skip = [], False
    for argument in argv:
        if skip:
            skip = False
        elif argument.startswith("-"):
            skip = argument in OPTIONS_WITH_VALUE
        else:
            found.append(argument)
    return found


def assemble(plugins: Sequence[Ref]) -> App:
    """The application: core commands, and those of `forge.commands`, whose help line is their distribution's summary."""
    app = App(
        name="forge",
        help="Forge: an ML platform that is only plugins.",
        help_format="plaintext",
        version=__version__,
        result_action="return_value",
        default_parameter=Parameter(negative=""),
    )
    for name, (target, text) in CORE.items():
        app.command(target, name=name, help=text)
    for ref in plugins:
        app.command(ref.target, name=ref.name, help=ref.summary or f"From {ref.distribution}.", group="Commands of plugins")
    _everywhere(app)
    return app


def _everywhere(app: App) -> None:
    everywhere = Group("Everywhere", sort_key=9)
    app.meta.group_parameters = everywhere

    @app.meta.default
    def launch(
        *tokens: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
        config: Annotated[Path | None, Parameter(help="The project's file, instead of ./forge.yaml.")] = None,
        env: Annotated[str | None, Parameter(help="An overlay from the file's `environments`.")] = None,
        set: Annotated[tuple[str, ...], Parameter(help="Override a key: infrastructure.serving.port=9000.", n_tokens=1)] = (),  # noqa: A002
        api_key_file: Annotated[Path | None, Parameter(help="A file with an API key, instead of FORGE_API_KEY.")] = None,
        json: Annotated[bool, Parameter(help="One JSON document on stdout.")] = False,
        debug: Annotated[bool, Parameter(help="Tracebacks with errors.")] = False,
        no_plugins: Annotated[bool, Parameter(help="The kernel alone: for rescue.")] = False,
    ) -> Any:
        console.options = console.Options(config, env, set, api_key_file, json, debug, no_plugins, " ".join(words(tokens)[:2]))
        return app(tokens, exit_on_error=False, print_error=False)


def run(argv: Sequence[str]) -> int:
    """Run a command line; returns its exit code. The only place where errors become text."""
    with console.one_document("--json" in argv):
        code = _guarded(lambda: _dispatch(list(argv)), argv)
        try:
            sys.stdout.flush()
        except BrokenPipeError:  # whoever read us has gone: not our failure
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return code


def _dispatch(argv: list[str]) -> int:
    first = next(iter(words(argv)), None)
    refs = [] if "--no-plugins" in argv or first in CORE else _commands()
    names = {*CORE, *(ref.name for ref in refs)}
    if first is not None and first not in names and not {"--help", "-h", "--version"} & set(argv[:1]):
        local = _local_command(first, argv)
        if local is None:
            near = difflib.get_close_matches(first, names, 1)
            raise console.Usage(f"there is no command {first!r}", f"did you mean `forge {near[0]}`?" if near else "forge --help")
        refs = [*refs, local]
    answer = assemble(refs).meta(argv, exit_on_error=False, print_error=False)
    return answer if isinstance(answer, int) and not isinstance(answer, bool) else 0


def _commands() -> list[Ref]:
    return [ref for ref in Catalog.scan().ready("command") if ref.name not in CORE]


def _local_command(name: str, argv: Sequence[str]) -> Ref | None:
    """A command of the project's local plugins, if there is a project here that has any."""
    from forge_core.cli.local import find  # opens the project: only for a word that nobody else knows

    return find(name, argv)


def _guarded(act: Callable[[], int], argv: Sequence[str]) -> int:
    debug = "--debug" in argv
    try:
        return act()
    except CycloptsError as error:
        _say(" ".join(str(error).split()) or type(error).__name__, f"forge {' '.join(words(argv)[:1])} --help".replace("  ", " "))
        return 2
    except ForgeError as error:
        if debug:
            sys.stderr.write("".join(traceback.format_exception(error)))
        _say(error.cause, error.remedy)
        return error.exit_code
    except KeyboardInterrupt:
        _say("interrupted", "")
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else 0 if error.code is None else 1
    except OSError as error:
        if debug:
            sys.stderr.write("".join(traceback.format_exception(error)))
        name = Path(os.fsdecode(error.filename)).name if isinstance(error.filename, str | bytes) else "a file"
        _say(f"{name}: {error.strerror or type(error).__name__}", "look at the project's folder, its permissions and the disk")
        return 1
    except Exception as error:
        if debug:
            sys.stderr.write("".join(traceback.format_exception(error)))
        first = next((line for line in str(error).splitlines() if line.strip()), "")
        _say(f"{type(error).__name__}: {first}", "this should not happen: --debug shows where")
        return 1


def _say(cause: str, remedy: str) -> None:
    try:
        sys.stderr.write(f"forge: {cause}\n" + (f"  {remedy}\n" if remedy else ""))
        sys.stderr.flush()
    except (OSError, ValueError):
        return  # nobody listens; the exit code still tells
