"""How something of the kernel goes away: it warns for a while, and the release that should not have it any more cannot be built with it."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from packaging.version import Version

from forge_core import __version__

P = ParamSpec("P")
R = TypeVar("R")


class ForgeDeprecationWarning(DeprecationWarning):
    """Something of Forge that a later release will not have."""


class Overdue(RuntimeError):
    """Something is still there that this release should not have: remove it, or move its end."""


def deprecated(since: str, removed_in: str, instead: str = "") -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Warn whoever calls it, from the release `since` on; `removed_in` is the first release without it.

    Raises Overdue where the module is imported by that release or a later one, so that its build fails.

    Example::

        @deprecated(since="1.2", removed_in="2.0", instead="Kernel.open")
        def open_kernel(path): ...
    """
    if Version(since) >= Version(removed_in):
        raise ValueError(f"since {since} does not come before removed_in {removed_in}")

    def mark(function: Callable[P, R]) -> Callable[P, R]:
        name = f"{function.__module__}.{function.__qualname__}"
        if Version(__version__).release >= Version(removed_in).release:
            raise Overdue(f"{name} was to be removed in {removed_in}, and this is {__version__}")
        fate = f"eprecated since {since} and goes in {removed_in}" + (f": use {instead}" if instead else "")

        @functools.wraps(function)
        def warned(*args: P.args, **kwargs: P.kwargs) -> R:
            warnings.warn(f"{name} is d{fate}", ForgeDeprecationWarning, stacklevel=2)
            return function(*args, **kwargs)

        warned.__doc__ = f"{function.__doc__ or ''}\n\nD{fate}.".strip()
        return warned

    return mark
