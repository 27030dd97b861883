"""`python -m forge_core.probed TASK`: a process in which one distribution's entry points are imported and looked at.

What it finds goes, a JSON object a line, to a descriptor of its own; what `faulthandler` has to say stands between.
Nothing is imported here, before the plugin modules are, that would hide what they import themselves.
"""

from __future__ import annotations

import contextlib
import faulthandler
import importlib
import inspect
import json
import os
import re
import sys
import time
import traceback
from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import forge_core.records  # noqa: F401 - with the hooks, what every plugin module may import for nothing
from forge_core import __version__
from forge_core.faults import ForgeError
from forge_core.hookspecs import SUBJECTS
from forge_core.processes import die_with_parent
from forge_core.surroundings import Surroundings, watch_exits

TRACEBACK = 20_000  # characters of one, at most


class Probed:
    """One distribution: `entries` are (role, name, target) of its entry points."""

    def __init__(self, task: dict[str, Any], tell: Callable[..., None]) -> None:
        self.name, self.version = task["distribution"], task["version"]
        self.entries = sorted(map(tuple, task["entries"]), key=lambda entry: entry[0] != "plugin")
        self.tell = tell
        self._roots = {target.partition(":")[0].partition(".")[0] for _, _, target in self.entries}

    def own(self, module: str) -> bool:
        return module.partition(".")[0] in self._roots

    def all(self) -> None:
        for role, name, target in self.entries:
            where = f"{role} {name}"
            self.tell("begins", where=where, target=target)
            if self._imports(where, role, target):
                try:
                    self._check(where, role, name, target)
                except BaseException as error:
                    self._failed(where, error.__cause__ or error if isinstance(error, ForgeError) else error)

    def _imports(self, where: str, role: str, target: str) -> bool:
        if role != "plugin":
            importlib.import_module("forge_core.contracts")  # every driver's module has these: they are not its cost
        surroundings, modules, began = Surroundings.now(), set(sys.modules), time.perf_counter()
        failure: BaseException | None = None
        try:
            importlib.import_module(target.partition(":")[0].strip())
        except BaseException as error:
            failure = error
        seconds = time.perf_counter() - began
        if failure is not None:
            self._failed(where, failure)
        new = sorted(set(sys.modules) - modules)
        self.tell("imported", where=where, role=role, target=target, seconds=seconds, modules=len(new), roots=_roots(new))
        for change in surroundings.changes(self.own):
            self._finds("warning", where, f"its import {change.cause}", change.remedy)
        return failure is None

    def _check(self, where: str, role: str, name: str, target: str) -> None:
        from forge_core.catalog import Catalog, Ref  # this and what follows after the plugin module: see above

        ref = Ref(role, name, target, self.name, self.version)
        if role == "plugin":
            self._hear(where, ref)
        elif role == "command":
            if not callable(ref.entry.load()):
                self._finds("error", where, f"{target} is no command", "its author should name a cyclopts App, or a function")
        else:
            from forge_core.drivers import load

            self._contract(where, ref, load(Catalog((ref,)), role, name))

    def _hear(self, where: str, ref: Any) -> None:
        from forge_core.catalog import Catalog
        from forge_core.hub import Hub

        local = self.version == "local"
        hub = Hub(Catalog(() if local else (ref,)), local=(ref.target,) if local else ())
        for fault in hub.faults:
            self._finds("error", where, *_about_hooks(fault.cause, fault.remedy))

    def _contract(self, where: str, ref: Any, cls: type) -> None:
        from forge_core.contracts import CONTRACTS

        contract = CONTRACTS[ref.role]
        if not issubclass(cls, contract):
            remedy = f"its author should derive it from forge_core.contracts.{contract.__name__}"
            self._finds("error", where, f"{ref.target} is no {contract.__name__}", remedy)
        elif inspect.isabstract(cls):
            lacks = ", ".join(sorted(cls.__abstractmethods__))
            self._finds("error", where, f"{ref.target} lacks what a {contract.__name__} must do: {lacks}", "its author should write it")

    def _failed(self, where: str, error: BaseException) -> None:
        cause = error.cause if isinstance(error, ForgeError) else f"{type(error).__name__}: {_message(error)}".removesuffix(": ")
        shown = "".join(traceback.format_exception(error))[-TRACEBACK:]
        self._finds("error", where, cause + self._place(error), self._remedy(error), traceback=shown)

    def _finds(self, level: str, where: str, cause: str, remedy: str, **more: str) -> None:
        self.tell("finding", level=level, where=where, cause=cause, remedy=remedy, **more)

    def _place(self, error: BaseException) -> str:
        """The line of the distribution's own that it came from."""
        if isinstance(error, SyntaxError) and error.filename:
            return f", at {_short(error.filename)}:{error.lineno}"
        frames = [(frame, line) for frame, line in traceback.walk_tb(error.__traceback__) if self.own(frame.f_globals.get("__name__", ""))]
        return f", at {_short(frames[-1][0].f_code.co_filename)}:{frames[-1][1]}" if frames else ""

    def _remedy(self, error: BaseException) -> str:
        """What is particular to the error; the parent adds how to do without the distribution."""
        if isinstance(error, ModuleNotFoundError) and error.name and not self.own(error.name):
            root = error.name.partition(".")[0]
            return f"pip install {root}, or what else provides the module {root!r}"
        if isinstance(error, ModuleNotFoundError) and self.version == "local":
            return f"write the module {error.name}, below the project's folder"
        if isinstance(error, ModuleNotFoundError):
            return f"pip install --force-reinstall {self.name}: a module of its own is gone"
        if isinstance(error, ImportError):
            return f"pip install -U {self.name} and what it requires: one of them is too old or too new"
        if isinstance(error, SyntaxError):
            return f"pip install --force-reinstall {self.name}; where that changes nothing, its author should mend the line"
        if isinstance(error, SystemExit):
            return "its author should end no process at import"
        return f"pip install -U {self.name}, or tell its author"


def _about_hooks(cause: str, remedy: str) -> tuple[str, str]:
    """The hub's fault, with what the hook really has."""
    known = {
        name: tuple(inspect.signature(spec.__func__).parameters)
        for subject in SUBJECTS
        for name, spec in vars(subject).items()
        if isinstance(spec, staticmethod)
    }
    definition = re.search(r" hookimpl definition: (\w+)\((.*?)\)", cause)
    if definition and definition[1] in known:
        hook, has = definition[1], known[definition[1]]
        asked = [name for name in re.split(r"[,\s]+", definition[2]) if name not in has]
        cause = f"{hook} asks for {', '.join(asked)}, which the hook of forge-kernel {__version__} does not have" if asked else cause
        return cause, f"its author should write {hook}({', '.join(has)}), or fewer of these"
    near = get_close_matches(next(iter(re.findall(r"forge_\w+", cause)), ""), known, 1)
    return cause.removeprefix("TypeError: "), f"its author should write {near[0]}" if near else remedy


def _roots(modules: list[str]) -> list[str]:
    from forge_core.testing.light import HEAVY

    return sorted({name.partition(".")[0] for name in modules} & set(HEAVY))


def _message(error: BaseException) -> str:
    if isinstance(error, SyntaxError):
        return error.msg
    try:
        said = str(error)
    except Exception:  # whatever a plugin's own exception does
        return "an error that cannot be shown"
    return " ".join(said.split())


def _short(file: str) -> str:
    """A file's path below the place of `sys.path` that it was found in."""
    places = [place for place in sys.path if place and Path(file).is_relative_to(place)]
    return str(Path(file).relative_to(max(places, key=len))) if places else file


def main() -> None:
    task = json.loads(sys.argv.pop())
    report, me = int(task["descriptor"]), os.getpid()
    os.set_inheritable(report, False)

    def tell(kind: str, **fields: Any) -> None:
        data = f"{json.dumps({'kind': kind, **fields})}\n".encode()
        while data and os.getpid() == me:  # a copy of this process, which a plugin forked, has nothing to tell
            data = data[os.write(report, data) :]

    die_with_parent()
    watch_exits()
    faulthandler.enable(report, all_threads=False)
    tell("ready")
    faulthandler.dump_traceback_later(task["limit"] * 0.9, file=report)  # where it is, if it is still there then
    Probed(task, tell).all()
    tell("ended")
    with contextlib.suppress(Exception):  # closed, or not a file any more
        sys.stdout.flush()
    os._exit(0)  # neither threads that were left running nor exit handlers keep it


if __name__ == "__main__":
    main()
