"""The suites that forge-lake passes, on a folder of the project: `forge plugins test forge-lake` runs them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from forge_core.records.data import JSON
from forge_core.testing import ConnectorContract
from forge_core.testing.project import ForgeProject
from forge_lake.connector import LakeServiceConnector

_STAMP = (1_600_000_000, 1_600_000_000)
WRITTEN = {"compression": "none", "use_dictionary": ["text", "word"], "row_group_size": 65_536}
"""How files are written here: one value more or less never changes a size, and a row group is small."""


def parts(table: pa.Table) -> Mapping[str, pa.Table]:
    """File names with what lies in each: two files, from a thousand rows."""
    half = table.num_rows // 2 if table.num_rows > 1_000 else table.num_rows
    return {f"part-{number}.parquet": part for number, part in enumerate((table.slice(0, half), table.slice(half))) if number == 0 or part}


class TestLake(ConnectorContract):
    driver_class = LakeServiceConnector

    @pytest.fixture
    def settings(self) -> Mapping[str, JSON]:
        return {"root": "data"}

    @pytest.fixture
    def place(self, forge_project: ForgeProject) -> Callable[[str, pa.Table], None]:
        """Overwrites files in place; their times never change."""

        def put(name: str, table: pa.Table) -> None:
            folder = forge_project / "data" / name
            folder.mkdir(parents=True, exist_ok=True)
            for file, part in parts(table).items():
                pq.write_table(part, folder / file, **WRITTEN)
                os.utime(folder / file, _STAMP)

        return put

    @pytest.fixture
    def rename(self, forge_project: ForgeProject) -> Callable[[str], None]:
        def last(name: str) -> None:
            folder = forge_project / "data" / name
            (folder / "part-0.parquet").rename(folder / "part-2.parquet")

        return last
