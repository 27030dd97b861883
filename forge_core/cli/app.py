"""A command line from its words to its exit code; the parser is loaded when there is something to parse."""

from __future__ import annotations

import difflib
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

from forge_core.catalog import Catalog, Ref
from forge_core.cli import console
from forge_core.cli.overview import CORE, is_asked_for, line, overview, words
from forge_core.faults import ForgeError


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
    if is_asked_for(argv):
        refs = [] if "--no-plugins" in argv else _commands()
        sys.stdout.write(overview(((ref.name, line(ref)) for ref in refs), sys.stdout.isatty()) + "\n")
        return 0
    first = next(iter(words(argv)), None)
    refs = [] if "--no-plugins" in argv or first in CORE else _commands()
    names = {*CORE, *(ref.name for ref in refs)}
    if first is not None and first not in names and not {"--help", "-h", "--version"} & set(argv[:1]):
        local = _local_command(first, argv)
        if local is None:
            near = difflib.get_close_matches(first, names, 1)
            raise console.Usage(f"there is no command {first!r}", f"did you mean `forge {near[0]}`?" if near else "forge --help")
        refs = [*refs, local]
    from forge_core.cli.parser import execute  # 90 ms that the overview does without

    return execute(refs, argv)


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
