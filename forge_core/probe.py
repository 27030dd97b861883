"""Import what is installed, each distribution in a process of its own, and say what that did: for `forge plugins doctor --deep`.

A process has a time limit, and a group of its own that is killed at the limit; what a plugin prints, however much, is counted
and forgotten. Results come through a pipe of their own (`forge_core.probed` writes it).
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from attrs import frozen

from forge_core.catalog import Catalog
from forge_core.diagnosis import Entry, Finding, Probe, misspelt, until_then
from forge_core.hub import PATIENCE
from forge_core.testing.light import BUDGET

START = 60.0  # seconds for Python and forge_core themselves, on a machine that is busy
KEPT = 1_000_000  # bytes of a report, at most
SHOWN = 60  # characters of what was printed
TICK = 0.02
_STACK = re.compile(r'^ +File "(?P<file>.*)", line (?P<line>\d+) in ', re.MULTILINE)
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")


@frozen
class Probed:
    probes: tuple[Probe, ...]
    findings: tuple[Finding, ...]


def probe(catalog: Catalog, limit: float, local: Sequence[str] = (), root: Path | None = None) -> Probed:
    """Every distribution that may be loaded, and the project's `local` modules below `root`; the others are listed as not imported.

    A target that cannot be one is left out: `diagnose` names it.
    """
    names = sorted({(ref.distribution, ref.version) for ref in catalog.refs})
    probes, findings = [], []
    waiting = []
    for name, version in names:
        refs = [ref for ref in catalog.refs if ref.distribution == name]
        refused = next((ref.state for ref in refs if ref.state in ("denied", "incompatible")), "")
        if refused:
            probes.append(Probe(name, version, refused))
        else:
            waiting.append(_task(name, version, [(ref.role, ref.name, ref.target) for ref in refs if not misspelt(ref)], limit))
    waiting += [_task(module, "local", [("plugin", module, module)], limit) for module in local]
    for child in _all(waiting, _environment(root)):
        told = child.findings()
        findings += told
        probes.append(child.probe(told))
    return Probed(tuple(sorted(probes, key=_name)), tuple(sorted(findings, key=_name)))


def _name(one: Probe | Finding) -> str:
    return one.distribution


def _task(name: str, version: str, entries: list[tuple[str, str, str]], limit: float) -> dict[str, Any]:
    return {"distribution": name, "version": version, "entries": entries, "limit": limit}


def _environment(root: Path | None) -> dict[str, str]:
    """This process's path, and the project's folder last, as when a project is opened."""
    path = [*filter(None, sys.path), *([str(root)] if root is not None else [])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path)}


def _all(tasks: Sequence[Mapping[str, Any]], environment: Mapping[str, str]) -> Iterator[_Child]:
    """As many at once as there are processors; none outlives this."""
    waiting, running = list(tasks), list[_Child]()
    with selectors.DefaultSelector() as selector:
        try:
            while waiting or running:
                while waiting and len(running) < _processors():
                    running.append(_Child(waiting.pop(0), environment, selector))
                for key, _ in selector.select(TICK):
                    key.data()
                for child in [one for one in running if one.over()]:
                    running.remove(child)
                    child.end()
                    yield child
        finally:
            for child in running:
                child.end()


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _Child:
    """A running process of `forge_core.probed`, and what it has said."""

    def __init__(self, task: Mapping[str, Any], environment: Mapping[str, str], selector: selectors.BaseSelector) -> None:
        self.name, self.version, self.limit = str(task["distribution"]), str(task["version"]), float(task["limit"])
        self._selector = selector
        self._report = bytearray()
        self._printed, self._head = 0, b""
        down, up = os.pipe()
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "forge_core.probed", json.dumps({**task, "descriptor": up})],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, pass_fds=(up,),
                env=dict(environment), start_new_session=True,
            )  # fmt: skip
        finally:
            os.close(up)
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self._open: dict[int, Callable[[bytes], None]] = {
            down: self._reported,
            self.process.stdout.fileno(): self._says,
            self.process.stderr.fileno(): lambda _data: None,
        }
        self._down = down
        for handle in self._open:
            os.set_blocking(handle, False)
            selector.register(handle, selectors.EVENT_READ, partial(self._read, handle))
        self._ends = time.monotonic() + START
        self._began = False
        self.late = False

    def _read(self, handle: int) -> bool:
        """Take what is there; False where there is nothing more for now."""
        try:
            data = os.read(handle, 1 << 16)
        except BlockingIOError:
            return False
        if data:
            self._open[handle](data)
            return True
        self._selector.unregister(handle)
        del self._open[handle]
        return False

    def _reported(self, data: bytes) -> None:
        if not self._began and b"\n" in data:  # it says that it is ready: from here on it is the plugin's time
            self._began, self._ends = True, time.monotonic() + self.limit
        self._report += data[: KEPT - len(self._report)]

    def _says(self, data: bytes) -> None:
        self._printed += len(data)
        self._head = (self._head + data)[: 4 * SHOWN] if len(self._head) < 4 * SHOWN else self._head

    def over(self) -> bool:
        self.late = self.process.poll() is None and time.monotonic() > self._ends
        return self.late or self.process.returncode is not None

    def end(self) -> None:
        """Kill the group, read what was said until then, and close."""
        with contextlib.suppress(ProcessLookupError, PermissionError):  # it has ended, with all of its group
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        for handle in list(self._open):
            for _ in range(100):  # a pipe's worth, even if somebody who left the group goes on writing
                if not self._read(handle):
                    break
        for handle in list(self._open):
            self._selector.unregister(handle)
        os.close(self._down)
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()

    def _records(self, kind: str) -> list[dict[str, Any]]:
        lines = [line for line in self._report.decode(errors="replace").splitlines() if line.startswith("{")]
        return [one for one in map(_parsed, lines) if one.get("kind") == kind]

    def probe(self, findings: Sequence[Finding]) -> Probe:
        levels = {one.level for one in findings}
        found = self._records("imported")
        plugin = [one for one in found if one["role"] == "plugin"]
        return Probe(
            self.name,
            self.version,
            "broken" if "error" in levels else "warnings" if levels else "well",
            sum(one["seconds"] for one in plugin),
            sum(one["modules"] for one in plugin),
            tuple(sorted({root for one in plugin for root in one["roots"]})),
            self._printed,
            tuple(Entry(one["where"], one["target"], one["seconds"], one["modules"]) for one in found),
        )

    def findings(self) -> list[Finding]:
        told = [
            self._finding(one["level"], one["where"], one["cause"], one["remedy"], one.get("traceback", ""))
            for one in self._records("finding")
        ]
        if not self._records("ended"):
            told.append(self._cut_off())
        for one in self._records("imported"):
            if one["role"] == "plugin":
                told += self._weight(one)
        if self._printed:
            said = _plain(self._head.decode(errors="replace"), SHOWN)
            cause = f"its import wrote {_size(self._printed)} to stdout: {said!r}"
            told.append(self._finding("warning", "stdout", cause, "its author should use logging, which goes to stderr"))
        return told

    def _cut_off(self) -> Finding:
        begun = self._records("begins")
        where, target = (begun[-1]["where"], begun[-1]["target"]) if begun else ("start", "forge_core.probed")
        code, at = self.process.returncode, self._stack()
        if self.late:
            remedy = f"give it longer with --timeout {self.limit * 6:g}, or pip install -U {self.name}"
            return self._finding("error", where, f"{target} is still importing after {self.limit:g} s{at}", remedy)
        if code < 0:
            remedy = f"pip install --force-reinstall {self.name} and what it requires: compiled code may not fit this machine"
            return self._finding("error", where, f"importing {target} ended the process with {_signal(-code)}{at}", remedy)
        return self._finding(
            "error", where, f"importing {target} ended the process with code {code}{at}", "its author should end no process at import"
        )

    def _weight(self, imported: Mapping[str, Any]) -> Iterator[Finding]:
        """The rules of `forge_core.testing.assert_light`, and the hub's patience."""
        where, roots, modules, seconds = imported["where"], imported["roots"], imported["modules"], imported["seconds"]
        remedy = "its author should import that in the driver's module, which is loaded when it is chosen"
        if roots:
            yield self._finding("warning", where, f"its plugin module imports {', '.join(roots)}", remedy)
        elif modules > BUDGET:
            yield self._finding("warning", where, f"its plugin module imports {modules} modules, {BUDGET} are reasonable", remedy)
        if seconds > PATIENCE:
            cause = f"its plugin module takes {seconds:.1f} s to import; a project that is opened waits {PATIENCE:g} s"
            yield self._finding("error", where, cause, remedy)

    def _finding(self, level: str, where: str, cause: str, remedy: str, traceback: str = "") -> Finding:
        if level == "error" and self.version == "local":
            remedy += f"; until then: take {self.name} out of plugins.local"
        elif level == "error":
            remedy += until_then(self.name)
        return Finding(self.name, self.version, level, where, _plain(cause, 1000), _plain(remedy, 1000), traceback)

    def _stack(self) -> str:
        """Where the main thread was, of what `faulthandler` wrote."""
        text = "\n".join(line for line in self._report.decode(errors="replace").splitlines() if not line.startswith("{"))
        last = re.split(r"^(?:Current t|T)hread .*$", text, flags=re.MULTILINE)[-1]
        for frame in _STACK.finditer(last):
            if not frame["file"].startswith("<"):
                return f", at {_below(frame['file'])}:{frame['line']}"
        return ""


def _parsed(line: str) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except ValueError:  # cut off while it was written
        return {}
    return found if isinstance(found, dict) else {}


def _below(file: str) -> str:
    places = [place for place in sys.path if place and Path(file).is_relative_to(place)]
    return str(Path(file).relative_to(max(places, key=len))) if places else file


def _plain(text: str, length: int) -> str:
    """One line without what moves a terminal's cursor."""
    line = " ".join(_ESCAPES.sub("", text).split())
    line = "".join(letter if letter.isprintable() else "?" for letter in line)
    return line if len(line) <= length else f"{line[: length - 3]}..."


def _size(number: int) -> str:
    return f"{number / 1e6:.1f} MB" if number >= 1e6 else f"{number / 1e3:.1f} kB" if number >= 1e3 else f"{number} bytes"


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
