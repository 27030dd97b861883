"""What every command uses: the project of the global options, and one way to report.

A command of a plugin uses the same three: `opened()`, `say()` and `table()`.
"""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import frozen

from forge_core.faults import ConfigError, ForgeError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from forge_core.kernel import Kernel


@frozen
class Options:
    """The global options, and the command's words."""

    config: Path | None = None
    env: str | None = None
    set: tuple[str, ...] = ()
    api_key_file: Path | None = None
    json: bool = False
    debug: bool = False
    no_plugins: bool = False
    command: str = ""


options = Options()
WIDTH = 240  # columns of a table that is not drawn on a terminal
_document: int | None = None  # the real stdout while one JSON document is promised


class Usage(ForgeError):
    """The command line itself is wrong."""

    exit_code = 2
    kind = "usage"


@contextmanager
def one_document(promised: bool) -> Iterator[None]:
    """With `--json`, stdout is kept for one document: whatever else is printed, by C libraries too, goes to stderr."""
    global _document  # noqa: PLW0603 - one stdout, one process
    if not promised:
        yield
        return
    try:
        kept = os.dup(1)
        os.dup2(2, 1)
    except OSError:  # stdout or stderr is closed
        yield
        return
    _document = kept
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)
        _document = None


@contextmanager
def opened(read_only: bool = False) -> Iterator[Kernel]:
    """The project, opened as the global options say; hooks are told that a command starts and how it ends."""
    from forge_core.hookspecs import KernelHooks  # with the kernel: not for help
    from forge_core.kernel import Kernel

    with Kernel.open(
        options.config, options.env, options.set, credentials(), plugins=not options.no_plugins, read_only=read_only
    ) as kernel:
        for fault in kernel.faults:
            sys.stderr.write(f"forge: warning: {fault.distribution} {fault.version}: {fault.cause} (forge plugins doctor)\n")
        kernel.hub.tell(KernelHooks.forge_command_started, command=options.command)
        code = 1
        try:
            yield kernel
            code = 0
        except ForgeError as error:
            code = error.exit_code
            raise
        except KeyboardInterrupt:
            code = 130
            raise
        finally:
            kernel.hub.tell(KernelHooks.forge_command_finished, command=options.command, exit_code=code)


def credentials() -> dict[str, str] | None:
    if options.api_key_file is None:
        return None
    try:
        return {"api_key": options.api_key_file.read_text(encoding="utf-8").strip()}
    except (OSError, UnicodeDecodeError):
        raise ConfigError("the API key's file cannot be read", "look at --api-key-file") from None


def say(record: object, text: str | RenderableType | Callable[[], str | RenderableType] = "") -> None:
    """Report: one JSON document with `--json`, otherwise text (a string, something rich can draw, or a function that makes one)."""
    if options.json:
        from forge_core.serialize import to_json  # cattrs is not on the path of help

        _write(json.dumps(to_json(record), ensure_ascii=False, default=str) + "\n")
        return
    shown = text() if callable(text) else text
    if isinstance(shown, str):
        sys.stdout.write(shown + "\n")
        return
    if isinstance(shown, Table) and not sys.stdout.isatty():
        sys.stdout.write(shown.plain())
        return
    from rich.console import Console  # 40 ms that plain text does not need

    if sys.stdout.isatty():
        Console(file=sys.stdout, highlight=False).print(shown)
        return
    plain = io.StringIO()
    Console(file=plain, width=WIDTH, highlight=False).print(shown)
    sys.stdout.writelines(f"{line.rstrip()}\n" for line in plain.getvalue().splitlines())


def _write(text: str) -> None:
    if _document is None:
        sys.stdout.write(text)
        return
    data = text.encode()
    while data:
        data = data[os.write(_document, data) :]


def note(text: str) -> None:
    """A line for people, on stderr: how far something is, never part of the answer."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


@frozen
class Table:
    """Rows below heads, unboxed, so that it can be piped as well; rich draws it on a terminal."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def plain(self) -> str:
        lines = [*([self.columns] if any(self.columns) else []), *self.rows]
        widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)] if lines else []
        return "".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() + "\n" for line in lines)

    def __rich__(self) -> RenderableType:
        from rich.table import Table as Drawn  # with the console, where something is drawn
        from rich.text import Text

        made = Drawn(box=None, pad_edge=False, header_style="bold", show_header=any(self.columns))
        for column in self.columns:
            made.add_column(column, overflow="fold")
        for row in self.rows:
            made.add_row(*map(Text, row))
        return made


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    """A table to `say`; None, and what a row has not, is an empty cell."""
    lines = [["" if cell is None else " ".join(str(cell).splitlines()) for cell in row] for row in rows]
    return Table(tuple(columns), tuple((*line, *[""] * (len(columns) - len(line))) for line in lines))
