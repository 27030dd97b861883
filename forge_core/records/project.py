"""Resources the kernel injects by annotation, beside contracts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from attrs import field, frozen

from forge_core.records.data import JSON, DatasetSpec


@frozen
class Project:
    """The folder with a forge.yaml; its state lies in `root / ".forge"`."""

    name: str
    root: Path
    version: str = "0"
    description: str = ""
    environment: str | None = None
    datasets: tuple[DatasetSpec, ...] = ()
    read_only: bool = False

    @property
    def state(self) -> Path:
        return self.root / ".forge"


@frozen
class Storage:
    """Where artifacts lie: an fsspec URL (`file:///...`, `s3://bucket/prefix`) and the options of its filesystem."""

    url: str
    options: Mapping[str, JSON] = field(factory=dict, repr=False)


@frozen
class Compute:
    """What data engines may use; `memory_limit` as written, for instance `8GB`."""

    engine: str = "pyarrow"
    memory_limit: str | None = None
    threads: int | None = None


@frozen
class Command:
    """A command of a local plugin: `target` is `module:function` or `module:app`, loaded when it is run."""

    name: str
    help: str
    target: str
