"""What a `Query` calls a version, and what lies there now."""

from __future__ import annotations

import re
from collections.abc import Sequence

from forge_core.faults import Conflict, NotFound
from forge_core.records.data import DatasetVersion
from forge_lake.names import hint
from forge_lake.records import RegisteredVersion
from forge_lake.snapshot import Snapshot

_PREFIX = re.compile(r"[0-9a-f]{8,64}")
_SHORT = 12


def current_version(snapshot: Snapshot, history: Sequence[RegisteredVersion]) -> DatasetVersion:
    """Named by its label, by its number where it has none, and by the beginning of its digest where it is not registered."""
    registered = next((one for one in history if one.digest == snapshot.digest), None)
    name = registered.name if registered is not None else snapshot.digest[:_SHORT]
    return DatasetVersion(snapshot.name, name, snapshot.digest, snapshot.rows)


def require_version(wanted: str, snapshot: Snapshot, history: Sequence[RegisteredVersion]) -> None:
    """`wanted` is `latest`, a label, a number or the beginning of a digest, of eight digits or more.

    Nobody keeps the files of earlier versions, so only what lies there now can be read. `Conflict` where the version is,
    or may be, an earlier one; `NotFound` where none is called so.
    """
    if wanted == "latest":
        return
    named = next((one for one in history if wanted in {one.label, str(one.number)}), None)
    if named is None and not _PREFIX.fullmatch(wanted):
        known = [one.name for one in history]
        raise NotFound(
            f"the data set {snapshot.name!r} has no version {wanted!r}", hint(wanted, known, f"forge data history {snapshot.name}")
        )
    digest = wanted if named is None else named.digest
    if not snapshot.digest.startswith(digest):
        now = current_version(snapshot, history)
        raise Conflict(
            f"the files of {snapshot.name!r} are no longer version {wanted!r}, they are {now.version!r} now",
            "put the files of that version back, or ask for latest",
        )
