"""`forge data`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cyclopts import App

from forge_core.cli.console import opened, say, table
from forge_core.faults import InvalidInput
from forge_core.kernel import Kernel

app = App(name="data", help="List, register, show and validate data sets, and their history.", version_flags=())


@app.command(name="list")
def list_() -> int:
    """Data sets that can be read by name: listed in forge.yaml, registered, or found under the root."""
    with opened(read_only=True) as kernel:
        found = [_lake(kernel, name).info(name) for name in kernel.driver("connector", "lake").datasets()]
        rows = [(one.name, one.origin, one.format, one.path, one.registered or "", one.versions or "") for one in found]
        empty = "no data sets: list one under datasets in forge.yaml, or forge data register NAME --path PATH"
        say(found, lambda: table(("data set", "from", "format", "path", "registered", "versions"), rows) if rows else empty)
    return 0


@app.command
def register(dataset: str, /, *, path: str | None = None, format: str | None = None, label: str | None = None) -> int:  # noqa: A002 - the option is called so
    """Record what lies there now as a version of the data set; the same content is the same version.

    Parameters
    ----------
    dataset
        Its name.
    path
        Where it lies under the root, for one that forge.yaml does not list.
    format
        parquet or csv, for one that forge.yaml does not list.
    label
        A name for the version, such as v1.2.0.
    """
    with opened() as kernel:
        made = _lake(kernel, dataset).register_dataset(dataset, path, format, label)
        say(made, f"{made.dataset}@{made.version}: {_count(made.rows)}, digest {made.digest}")
    return 0


@app.command
def show(dataset: str, /, *, version: str = "latest") -> int:
    """What lies there now: version, files, rows, columns.

    Parameters
    ----------
    dataset
        Its name.
    version
        A label, a number or the beginning of a digest; an error where the files are no longer that version.
    """
    with opened() as kernel:
        found = _lake(kernel, dataset).details(dataset, version)
        say(found, lambda: table(("", ""), _lines(found)))
    return 0


@app.command
def validate(dataset: str, /, *, version: str = "latest") -> int:
    """Read all of a data set: every file readable, one schema, some rows, and the declared columns there; exit 1 where not.

    Parameters
    ----------
    dataset
        Its name.
    version
        As in `forge data show`.
    """
    with opened() as kernel:
        found = _lake(kernel, dataset).validate_dataset(dataset, version)
        if found.problems:
            raise InvalidInput(f"{dataset} is not valid: {'; '.join(found.problems)}", "mend the files, or what forge.yaml says of them")
        say(found, f"{dataset}@{found.version.version} is valid: {_count(found.rows)}, files: {found.files}")
    return 0


@app.command
def history(dataset: str, /) -> int:
    """The registered versions of a data set, oldest first."""
    with opened(read_only=True) as kernel:
        found = _lake(kernel, dataset).versions(dataset)
        rows = [
            (
                one.number,
                one.label,
                one.digest[:12],
                "" if one.rows is None else one.rows,
                one.files,
                one.size,
                f"{one.registered_at:%Y-%m-%d %H:%M:%S}",
                one.registered_by,
            )
            for one in found
        ]
        columns = ("version", "label", "digest", "rows", "files", "bytes", "registered (UTC)", "by")
        say(found, lambda: table(columns, rows) if rows else f"no version of {dataset} is registered: forge data register {dataset}")
    return 0


def _lake(kernel: Kernel, dataset: str) -> Any:
    """The guarded connector that forge.yaml names for a data set; `lake` where it lists none of that name."""
    name = next((one.connector for one in kernel.project.datasets if one.name == dataset), "lake")
    driver = kernel.driver("connector", name)
    if not hasattr(driver, "register_dataset"):
        raise InvalidInput(
            f"the connector {name!r} of {dataset!r} keeps no versions of data sets", "forge data is for data sets of the lake"
        )
    return driver


def _lines(found: Any) -> Iterator[tuple[str, str]]:
    yield "data set", f"{found.info.name}@{found.version.version}"
    yield "from", found.info.origin
    yield "path", found.info.path
    yield "format", found.info.format
    yield "digest", found.version.digest
    yield "rows", "" if found.version.rows is None else str(found.version.rows)
    yield "files", f"{found.files}, {found.size} bytes together"
    yield "registered", f"{found.info.registered}, the newest of {found.info.versions}" if found.info.registered else "no"
    for column in found.columns:
        role = "  target" if column.name == found.info.target else ""
        yield column.name, f"{column.type}{role}"


def _count(rows: int | None) -> str:
    return "rows not counted" if rows is None else f"rows: {rows}"
