"""The contracts of registry and tracker, proved of this distribution: on SQLite and a folder, unless `infrastructure` says otherwise.

`pytest --pyargs forge_registry.testing`, or `forge plugins test forge-registry`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pytest
import sqlalchemy as sa
from fsspec.core import url_to_fs

from forge_core import Kernel
from forge_core.identifiers import new_id
from forge_core.records import ModelMetadata
from forge_core.testing import RegistryContract, TrackerContract
from forge_core.testing.tracker import Kept
from forge_registry.registry import SqlRegistry
from forge_registry.tables import FILES
from forge_registry.tracker import SqlTracker


class TestSqlRegistry(RegistryContract):
    driver_class = SqlRegistry

    @pytest.fixture
    def damage(self, kernel: Kernel) -> Callable[[ModelMetadata], None]:
        """Flips a byte of the largest blob of a version, in any storage."""

        def flip(model: ModelMetadata) -> None:
            file = FILES.c
            mine = (file.tenant == model.tenant, file.name == model.name, file.version == model.version)
            with kernel.database.read() as connection:
                digest = connection.execute(sa.select(file.sha256).where(*mine).order_by(file.size.desc()).limit(1)).scalar_one()
            files, root = _stored(kernel)
            key = f"{root}/default/blobs/sha256/{digest[:2]}/{digest}"
            data = bytearray(files.cat_file(key))
            data[len(data) // 2] ^= 1
            files.rm_file(key)  # it may be read only
            files.pipe_file(key, bytes(data))

        return flip

    @pytest.fixture
    def litter(self, kernel: Kernel) -> Callable[[], int]:
        """A blob that no row names, and what is left of an upload."""

        def leave() -> int:
            files, root = _stored(kernel)
            name = os.urandom(32).hex()
            for place in (f"blobs/sha256/{name[:2]}/{name}", f"staging/up_{name}/0"):
                files.makedirs(f"{root}/default/{place.rpartition('/')[0]}", exist_ok=True)
                files.pipe_file(f"{root}/default/{place}", b"litter")
            return 12

        return leave


class TestSqlTracker(TrackerContract):
    driver_class = SqlTracker

    @pytest.fixture
    def kept(self, tmp_path: Path) -> Callable[[Any, str], Kept]:
        """Read by the operations that this tracker has beside its contract."""

        def read(driver: SqlTracker, run_id: str) -> Kept:
            found = driver.run(run_id)
            artifacts = {}
            for name in found.artifacts:
                target = tmp_path / new_id("artifact")
                driver.fetch_artifact(run_id, name, target)
                artifacts[name] = target.read_bytes()
            return Kept(found.experiment, found.parameters, found.state, artifacts)

        return read


def _stored(kernel: Kernel) -> tuple[fsspec.AbstractFileSystem, str]:
    files, root = url_to_fs(kernel.storage.url, **kernel.storage.options)
    return files, root.rstrip("/")
