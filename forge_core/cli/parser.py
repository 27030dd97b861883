"""The command line's parser: commands by string, each loaded when it is run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, CycloptsError, Group, Parameter

from forge_core import __version__
from forge_core.catalog import Ref
from forge_core.cli import console
from forge_core.cli.overview import CORE, HELP, line, words


def execute(plugins: Sequence[Ref], argv: Sequence[str]) -> int:
    """Parse and run a command line; returns its exit code.

    Raises Usage where the words do not fit the command.
    """
    try:
        answer = assemble(plugins).meta(argv, exit_on_error=False, print_error=False)
    except CycloptsError as error:
        cause = " ".join(str(error).split()) or type(error).__name__
        raise console.Usage(cause, " ".join(["forge", *words(argv)[:1], "--help"])) from error
    return answer if isinstance(answer, int) and not isinstance(answer, bool) else 0


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
        app.command(ref.target, name=ref.name, help=line(ref), group="Commands of plugins")
    _everywhere(app)
    return app


def _everywhere(app: App) -> None:
    everywhere = Group("Everywhere", sort_key=9)
    app.meta.group_parameters = everywhere

    @app.meta.default
    def launch(
        *tokens: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
        config: Annotated[Path | None, Parameter(help=HELP["--config"], show_default=False)] = None,
        env: Annotated[str | None, Parameter(help=HELP["--env"], show_default=False)] = None,
        set: Annotated[tuple[str, ...], Parameter(help=HELP["--set"], show_default=False, n_tokens=1)] = (),  # noqa: A002
        api_key_file: Annotated[Path | None, Parameter(help=HELP["--api-key-file"], show_default=False)] = None,
        json: Annotated[bool, Parameter(help=HELP["--json"], show_default=False)] = False,
        debug: Annotated[bool, Parameter(help=HELP["--debug"], show_default=False)] = False,
        no_plugins: Annotated[bool, Parameter(help=HELP["--no-plugins"], show_default=False)] = False,
    ) -> Any:
        console.options = console.Options(config, env, set, api_key_file, json, debug, no_plugins, " ".join(words(tokens)[:2]))
        return app(tokens, exit_on_error=False, print_error=False)
