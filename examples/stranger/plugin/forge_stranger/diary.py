"""The diary: a file of JSON lines, one for each run that ended."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from forge_core.faults import InvalidInput
from forge_core.records import JSON, Project, RunRecord

VARIABLE = "FORGE_STRANGER_DIARY"


def path(project: Project) -> Path:
    """The file named in the environment, else one among the project's state."""
    named = os.environ.get(VARIABLE)
    return Path(named) if named else project.state / "diary.jsonl"


def write(file: Path, run: RunRecord) -> None:
    """Append one line; the system keeps the lines of two processes apart."""
    ended = run.ended_at.isoformat() if run.ended_at else None
    line = json.dumps({"run_id": run.run_id, "name": run.name, "state": run.state, "ended_at": ended}) + "\n"
    with file.open("ab", buffering=0) as diary:
        diary.write(line.encode())


def read(file: Path) -> Sequence[Mapping[str, JSON]]:
    """Oldest first; empty where nothing was written yet."""
    if not file.exists():
        return []
    try:
        return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    except ValueError:
        raise InvalidInput("the diary is not made of JSON lines", f"look at {VARIABLE}, or remove the file") from None
