"""A listener to every hook."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from forge_core.hookspecs import SUBJECTS, hookimpl
from forge_core.hub import Hub


class RecordedHooks:
    """`calls` are (hook, arguments) in the order in which they were told."""

    def __init__(self, hub: Hub) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []
        specs = {
            name: member.__func__ for subject in SUBJECTS for name, member in vars(subject).items() if isinstance(member, staticmethod)
        }
        hub.listen(SimpleNamespace(**{name: hookimpl(self._listener(name, spec)) for name, spec in specs.items()}), "the test's own")

    def of(self, hook: str) -> list[dict[str, Any]]:
        return [arguments for name, arguments in self.calls if name == hook]

    def _listener(self, name: str, spec: Callable[..., Any]) -> Callable[..., None]:
        def heard(**arguments: Any) -> None:
            self.calls.append((name, arguments))

        parameters = list(inspect.signature(spec).parameters)
        listener = eval(f"lambda {', '.join(parameters)}: heard({', '.join(f'{one}={one}' for one in parameters)})", {"heard": heard})  # noqa: S307 - pluggy reads argument names from code
        listener.__name__ = name
        made: Callable[..., None] = listener
        return made
