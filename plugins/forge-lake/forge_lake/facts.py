"""What was found out about single files by reading them, and the file in `.forge/` that remembers it.

A remembered fact is used only where the file's path, size and stamp are those that were read.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
from attrs import asdict, frozen

from forge_lake.files import Entry

_FORMAT = 1
_TICK = 2_000_000_000  # ns; the coarsest clock that a filesystem stamps files with


@frozen
class Facts:
    """One file's hash, schema and rows (None where only a read would tell), as of the time `read_at` in ns."""

    entry: Entry
    sha256: str
    rows: int | None
    schema: pa.Schema
    read_at: int

    def hold_for(self, entry: Entry) -> bool:
        """False on any doubt: a file that changed within the clock's tick before it was read may have changed again unseen."""
        settled = entry.changed is None or self.read_at - entry.changed > _TICK
        return bool(entry.stamp) and entry == self.entry and settled


class FactsCache:
    """A JSON file for each data set's base. Losing one costs a read, so it is not synced; a torn one counts as empty."""

    def __init__(self, state: Path) -> None:
        self._folder = state / "lake"

    def load(self, key: str) -> Mapping[str, Facts]:
        try:
            document = json.loads(self._path(key).read_bytes())
            if document["format"] != _FORMAT:
                return {}
            schemas = [pa.ipc.read_schema(pa.py_buffer(base64.b64decode(text))) for text in document["schemas"]]
            found = [
                Facts(Entry(**row["entry"]), row["sha256"], row["rows"], schemas[row["schema"]], row["read_at"])
                for row in document["files"]
            ]
        except (OSError, ValueError, KeyError, TypeError, IndexError, pa.ArrowException):
            return {}
        return {facts.entry.path: facts for facts in found}

    def save(self, key: str, found: Iterable[Facts]) -> None:
        """Replace what is remembered of this base; nothing is written where the project is read-only."""
        schemas: dict[bytes, int] = {}
        files = [
            {
                "entry": asdict(facts.entry),
                "sha256": facts.sha256,
                "rows": facts.rows,
                "schema": schemas.setdefault(facts.schema.serialize().to_pybytes(), len(schemas)),
                "read_at": facts.read_at,
            }
            for facts in found
        ]
        document = {"format": _FORMAT, "schemas": [base64.b64encode(one).decode() for one in schemas], "files": files}
        path = self._path(key)
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            number, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.stem, suffix=".new")
            try:
                with os.fdopen(number, "w", encoding="utf-8") as file:
                    json.dump(document, file)
                os.replace(temporary, path)
            except OSError:
                os.unlink(temporary)
                raise

    def _path(self, key: str) -> Path:
        return self._folder / f"{hashlib.sha256(key.encode('utf-8', 'surrogateescape')).hexdigest()[:32]}.json"
