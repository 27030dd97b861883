"""stevedore over the catalog: choose one driver by name, import it then and no sooner."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint

from stevedore.driver import DriverManager

from forge_core.catalog import Catalog, Ref
from forge_core.faults import ForgeError
from forge_core.roles import GROUPS


class _Chosen(DriverManager[type]):
    """A DriverManager over one known entry point: stevedore's own disk cache loses `.dist` and imports duplicates."""

    def __init__(self, ref: Ref) -> None:
        self._offers = [ref.entry]  # before super(): it loads in __init__
        super().__init__(ref.entry.group, ref.name)

    def list_entry_points(self) -> list[EntryPoint]:
        return self._offers


def load(catalog: Catalog, role: str, name: str) -> type:
    """The class of a driver. One that cannot be imported is a `ForgeError` that names its distribution."""
    ref = catalog.get(role, name)
    try:
        with quiet_stdout():
            found = _Chosen(ref).driver
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a driver's module may do anything at import, SystemExit included
        raise ForgeError(
            f"{role} {name!r} of {ref.distribution} {ref.version} does not load: {type(error).__name__}: {first_line(error)}",
            remedy(ref, error),
        ) from error
    if not isinstance(found, type):
        raise ForgeError(f"{role} {name!r} of {ref.distribution} {ref.version} is not a class", f"upgrade {ref.distribution}")
    return found


def remedy(ref: Ref, error: BaseException) -> str:
    if ref.role == "plugin":
        return f"pip install --force-reinstall {ref.distribution}; until then: forge plugins disable {ref.distribution}"
    if isinstance(error, ModuleNotFoundError) and error.name and not ref.target.startswith(error.name.partition(".")[0]):
        return f"pip install {error.name.partition('.')[0]}, or {GROUPS[ref.role]} of another distribution"
    return f"pip install --force-reinstall {ref.distribution}, or choose another {ref.role}"


def first_line(error: BaseException) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)


@contextlib.contextmanager
def quiet_stdout() -> Iterator[None]:
    """What a plugin prints while it is imported or heard goes to stderr: stdout belongs to the command's one document."""
    with contextlib.redirect_stdout(sys.stderr):
        yield
