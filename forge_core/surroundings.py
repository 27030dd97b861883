"""What an import should leave as it was: signal handlers, locale, working directory, `sys.path`, threads, exit handlers."""

from __future__ import annotations

import atexit
import locale
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from attrs import frozen

EXITS: list[str] = []
"""Whose functions were registered with `atexit` since `watch_exits`, as `module:name`."""


@frozen
class Change:
    cause: str
    remedy: str


@frozen
class Surroundings:
    handlers: dict[int, object]
    masks: tuple[int, ...]
    locale: str
    folder: str
    path: tuple[str, ...]
    threads: frozenset[threading.Thread]
    exits: int

    @classmethod
    def now(cls) -> Surroundings:
        return cls(
            {number: signal.getsignal(number) for number in signal.valid_signals()},
            _masks(),
            locale.setlocale(locale.LC_ALL),
            _folder(),
            tuple(map(str, sys.path)),
            frozenset(threading.enumerate()),
            len(EXITS),
        )

    def changes(self, own: Callable[[str], bool]) -> Iterator[Change]:
        """What is different now. Exit handlers are told where they are of a module of one's `own`: every large library has some."""
        now = Surroundings.now()
        caught = {number for number in self.handlers if self.handlers[number] != now.handlers[number]}
        caught |= {number for before, after in zip(self.masks, now.masks, strict=True) for number in _bits(before ^ after)}
        if caught:
            names = ", ".join(signal.Signals(number).name for number in sorted(caught) if number in set(signal.Signals))
            yield Change(f"changed what happens on {names or 'a real-time signal'}", "its author should set no signal handler at import")
        if now.locale != self.locale:
            yield Change(f"set the locale to {now.locale}", "its author should leave the locale alone: it is the whole process's")
        if now.folder != self.folder:
            yield Change(f"changed the working directory to {now.folder}", "its author should use absolute paths and no chdir")
        if now.path != self.path:
            yield Change(_path_change(self.path, now.path), "its author should leave sys.path alone, and package its modules")
        started = [thread.name for thread in threading.enumerate() if thread not in self.threads]
        if started:
            yield Change(f"left {_listed(started)}", "its author should start threads in open() and end them in close()")
        at_exit = [name for name in EXITS[self.exits :] if own(name.partition(":")[0])]
        if at_exit:
            yield Change(
                f"registered for the exit: {', '.join(at_exit)}", "its author should do that in close(), or in forge_kernel_closed"
            )


def watch_exits() -> None:
    """Note who registers with `atexit` from here on; C code and `threading` have ways of their own."""
    register: Callable[..., Any] = atexit.register

    def noted(function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        EXITS.append(f"{getattr(function, '__module__', '')}:{getattr(function, '__name__', type(function).__name__)}")
        return register(function, *arguments, **named)

    atexit.register = noted  # type: ignore[assignment]  # as generous as the original


def _masks() -> tuple[int, ...]:
    """Signals that are ignored and caught, C handlers included; nothing where the system does not tell."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return ()
    return tuple(int(line.split()[1], 16) for line in lines if line.startswith(("SigIgn:", "SigCgt:")))


def _bits(mask: int) -> Iterator[int]:
    return (number + 1 for number in range(mask.bit_length()) if mask >> number & 1)


def _folder() -> str:
    try:
        return os.getcwd()
    except OSError:
        return "a folder that is gone"


def _path_change(before: tuple[str, ...], after: tuple[str, ...]) -> str:
    added, gone = [one for one in after if one not in before], [one for one in before if one not in after]
    said = [f"added {', '.join(added)} to"] if added else []
    said += [f"removed {', '.join(gone)} from"] if gone else []
    return f"{' and '.join(said) or 'changed the order of'} sys.path"


def _listed(names: list[str]) -> str:
    return f"{len(names)} thread{'s' if len(names) > 1 else ''} running: {', '.join(names[:3])}{', ...' if len(names) > 3 else ''}"
