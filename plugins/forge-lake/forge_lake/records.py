"""What the lake says of a data set, as frozen records of JSON, times and other records."""

from __future__ import annotations

from datetime import datetime
from typing import Literal, TypeAlias

from attrs import frozen

from forge_core.records.data import Column, DatasetVersion

Origin: TypeAlias = Literal["forge.yaml", "registered", "found"]


@frozen
class DatasetInfo:
    """A data set without a look at its bytes. `path` is as it was written; empty where the name alone tells the place.

    `registered` is the newest registered version, by label or number; it need not be what lies there now.
    """

    name: str
    origin: Origin
    path: str
    format: str
    partitions: tuple[str, ...] = ()
    target: str | None = None
    versions: int = 0
    registered: str | None = None


@frozen
class DatasetDetails:
    """A data set as it lies there now. `size` is in bytes."""

    info: DatasetInfo
    version: DatasetVersion
    columns: tuple[Column, ...]
    files: int
    size: int


@frozen
class RegisteredVersion:
    """One row of a data set's history. The same content always has the same number; `rows` is None where only a read would tell."""

    dataset: str
    number: int
    digest: str
    label: str | None
    rows: int | None
    files: int
    size: int
    registered_at: datetime
    registered_by: str

    @property
    def name(self) -> str:
        """What a `Query` calls this version."""
        return self.label or str(self.number)


@frozen
class Validation:
    """What reading a whole data set has shown; no problem means that it is valid."""

    version: DatasetVersion
    files: int
    rows: int
    problems: tuple[str, ...] = ()
