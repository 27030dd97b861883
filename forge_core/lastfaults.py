"""The faults of a project's last opening, so that listings can show them without importing anything."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from forge_core.faults import Fault

NAME = "faults.json"


def write(root: Path, faults: Sequence[Fault]) -> None:
    """Replace the record where it changed. Where nothing can be written, nothing is: it is a convenience."""
    folder = root / ".forge"
    data = json.dumps(
        [
            {"where": one.where, "distribution": one.distribution, "version": one.version, "cause": one.cause, "remedy": one.remedy}
            for one in faults
        ]
    )
    path = folder / NAME
    try:
        if (path.read_text(encoding="utf-8") if path.is_file() else "[]") == data:
            return
        folder.mkdir(exist_ok=True)
        beside = path.with_name(f".{NAME}.new")
        beside.write_text(data, encoding="utf-8")
        beside.replace(path)
    except OSError:
        return


def read(root: Path | None) -> tuple[Fault, ...]:
    if root is None:
        return ()
    try:
        return tuple(Fault(**one) for one in json.loads((root / ".forge" / NAME).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return ()
