"""pluggy over the catalog: tell, ask, gate. A plugin that fails is a fault, never the end.

Unlike pluggy's own loading and calling, every import and every call is isolated; pluggy registers, validates and orders.
"""

from __future__ import annotations

import importlib
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any, ParamSpec, TypeVar

import pluggy

from forge_core.catalog import KERNEL, Catalog, Ref, normal
from forge_core.drivers import first_line, quiet_stdout, remedy
from forge_core.faults import Fault, Refused
from forge_core.hookspecs import SUBJECTS
from forge_core.records.auth import Refusal

P = ParamSpec("P")
R = TypeVar("R")
PATIENCE = 3.0  # seconds for one plugin module's import
PATIENCE_FOR_ALL = 5.0  # and for all of them together


class TooSlow(BaseException):
    """Not an Exception, so that a plugin's own `except Exception` does not swallow it."""


@contextmanager
def deadline(seconds: float, name: str) -> Iterator[None]:
    """Interrupt the main thread after so many seconds; elsewhere nothing, since only the main thread gets signals."""
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "setitimer"):
        yield
        return

    rings = 0

    def ring(_signal: int, _frame: FrameType | None) -> None:
        nonlocal rings
        rings += 1
        if rings == 1:  # said here, since what swallows every interrupt never comes back to its caller
            sys.stderr.write(f"forge: {name} is still importing after {seconds:g} s; --no-plugins gets past it\n")
        raise TooSlow(f"still importing after {seconds:g} s")

    before = signal.signal(signal.SIGALRM, ring)
    left, every = signal.setitimer(signal.ITIMER_REAL, seconds, 0.5)  # again: a bare `except:` may swallow the first
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, left, every)
        signal.signal(signal.SIGALRM, before)


class Hub:
    """`required` distributions are imported first and outside the sum of all; their faults are kept in `broken`."""

    def __init__(self, catalog: Catalog, required: Sequence[str] = (), local: Sequence[str] = (), patience: float = PATIENCE) -> None:
        self.faults: list[Fault] = []
        self._refs: dict[str, Ref] = {}
        self._required = {normal(name) for name in required}
        self._pluggy = pluggy.PluginManager("forge")
        for subject in SUBJECTS:
            self._pluggy.add_hookspecs(subject)
        self._import_all(catalog, local, patience)
        self._find_missing(catalog)

    @property
    def broken(self) -> tuple[Fault, ...]:
        """Faults of required distributions: while there is one, no mutation is allowed."""
        return tuple(fault for fault in self.faults if normal(fault.distribution) in self._required)

    def _import_all(self, catalog: Catalog, local: Sequence[str], patience: float) -> None:
        refs = sorted(catalog.ready("plugin"), key=lambda ref: (ref.distribution != KERNEL, normal(ref.distribution) not in self._required))
        ends = time.monotonic() + PATIENCE_FOR_ALL * patience / PATIENCE
        for ref in refs:
            outside = ref.distribution == KERNEL or normal(ref.distribution) in self._required
            self._join(ref, patience if outside else min(patience, ends - time.monotonic()))
            if outside:
                ends = max(ends, time.monotonic() + PATIENCE_FOR_ALL * patience / PATIENCE)
        for module in local:
            self._join(Ref("plugin", module, module, module, "local"), patience)

    def _join(self, ref: Ref, patience: float) -> None:
        if patience <= 0:
            self._fault("import", ref, TooSlow(f"not imported: other plugins took {PATIENCE_FOR_ALL:g} s"))
            return
        try:
            with deadline(patience, ref.distribution), quiet_stdout():
                plugin = ref.entry.load() if ref.version != "local" else importlib.import_module(ref.target)
            name = self._pluggy.register(plugin, name=f"{ref.distribution}/{ref.name}")
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            self._fault("register" if isinstance(error, pluggy.PluginValidationError) else "import", ref, error)
            return
        if name is None:
            return
        problem = self._misuse(plugin)
        if problem:
            self._pluggy.unregister(plugin)
            self._fault("register", ref, TypeError(problem))
            return
        self._refs[name] = ref

    def _misuse(self, plugin: object) -> str:
        """Hooks nobody calls, and wrappers, which an isolating call would go round."""
        for caller in self._pluggy.get_hookcallers(plugin) or ():
            if not caller.has_spec():
                return f"there is no hook {caller.name!r}"
            if any(impl.plugin is plugin and (impl.wrapper or impl.hookwrapper) for impl in caller.get_hookimpls()):
                return f"{caller.name} is a hook wrapper, which is not supported"
        return ""

    def _find_missing(self, catalog: Catalog) -> None:
        """A required distribution that is not there, or not ready, is a fault as well."""
        for name in sorted(self._required):
            offers = [ref for ref in catalog.refs if normal(ref.distribution) == name]
            if not offers:
                self.faults.append(Fault("catalog", name, "", "required by plugins.require, and not installed", f"pip install {name}"))
            elif all(ref.state in ("denied", "incompatible") for ref in offers):
                ref = offers[0]
                self.faults.append(Fault("catalog", name, ref.version, f"{ref.state}: {ref.reason}", f"allow it, or pip install -U {name}"))

    def _fault(self, where: str, ref: Ref, error: BaseException) -> None:
        cause = f"{type(error).__name__}: {' '.join(str(error).split())}" if not isinstance(error, TooSlow) else first_line(error)
        mend = remedy(ref, error) if isinstance(error, ImportError) else f"upgrade {ref.distribution}, or deny it"
        if ref.version == "local":
            mend = f"mend {ref.target}, or take it out of plugins.local"
        elif not isinstance(error, ImportError):
            mend += f": FORGE_PLUGINS_DENY={ref.distribution}"
        fault = Fault(where, ref.distribution, ref.version, cause, mend)
        if fault not in self.faults:
            self.faults.append(fault)

    def listen(self, plugin: object, distribution: str) -> None:
        """Let an object of this process hear hooks too."""
        name = self._pluggy.register(plugin)
        if name is not None:
            self._refs[name] = Ref("plugin", name, "", distribution, "")

    def listeners(self, spec: Callable[..., Any]) -> int:
        return len(getattr(self._pluggy.hook, spec.__name__).get_hookimpls())

    def _heard(self, spec: Callable[..., Any], event: dict[str, Any]) -> Iterator[tuple[Ref, Any, BaseException | None]]:
        for impl in getattr(self._pluggy.hook, spec.__name__).get_hookimpls():
            ref = self._refs[impl.plugin_name]
            try:
                with quiet_stdout():
                    answer = impl.function(*(event[name] for name in impl.argnames))
                    answer = tuple(answer) if isinstance(answer, Iterator) else answer  # what is lazy may fail here and nowhere else
            except KeyboardInterrupt:
                raise
            except BaseException as error:
                yield ref, None, error
            else:
                yield ref, answer, None

    def tell(self, spec: Callable[P, None], *_: P.args, **event: P.kwargs) -> None:
        """Everyone hears; one that raises is a fault and silences nobody."""
        for ref, _answer, error in self._heard(spec, event):
            if error is not None:
                self._fault(spec.__name__, ref, error)

    def ask(self, spec: Callable[P, Iterable[R]], kind: type[R], *_: P.args, **event: P.kwargs) -> tuple[R, ...]:
        """Gather records of one kind; a wrong type, or a name given twice, is a fault of its giver."""
        found: dict[str, R] = {}
        for ref, answer, error in self._heard(spec, event):
            problem = error
            records = answer if isinstance(answer, Sequence | set | frozenset) else ()
            if answer is not None and records is not answer:
                problem = TypeError(f"{spec.__name__} gives a list of {kind.__name__}, not {type(answer).__name__}")
            for record in records:
                if not isinstance(record, kind):
                    problem = TypeError(f"{spec.__name__} gives {kind.__name__}, not {type(record).__name__}")
                elif found.setdefault(getattr(record, "name"), record) is not record:  # noqa: B009 - every record asked for has a name
                    problem = ValueError(f"{getattr(record, 'name')!r} is given twice")  # noqa: B009
            if problem is not None:
                self._fault(spec.__name__, ref, problem)
        return tuple(found[name] for name in sorted(found))

    def gate(self, spec: Callable[P, Refusal | None], *_: P.args, **event: P.kwargs) -> None:
        """Anyone may refuse; an exception, or anything that is not a `Refusal`, refuses too."""
        refusals: list[tuple[Ref, Refusal]] = []
        for ref, answer, error in self._heard(spec, event):
            if error is not None:
                self._fault(spec.__name__, ref, error)
                refusals.append(
                    (
                        ref,
                        Refusal(f"{spec.__name__} failed: {type(error).__name__}: {first_line(error)}", f"mend or deny {ref.distribution}"),
                    )
                )
            elif isinstance(answer, Refusal):
                refusals.append((ref, answer))
            elif answer is not None:
                refusals.append(
                    (ref, Refusal(f"{spec.__name__} gave {type(answer).__name__}, not a Refusal", f"mend or deny {ref.distribution}"))
                )
        if refusals:
            raise Refused("; ".join(f"{ref.distribution}: {refusal.reason}" for ref, refusal in refusals), refusals[0][1].remedy)
