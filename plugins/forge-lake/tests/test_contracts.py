"""The contract suites, on a folder and on a real S3 server."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from forge_core.records.data import JSON
from forge_core.testing import ConnectorContract
from forge_lake import LakeServiceConnector
from forge_lake.testing import WRITTEN, TestLake, parts

__all__ = ["TestLake", "TestLakeOnS3"]


@pytest.mark.s3
class TestLakeOnS3(ConnectorContract):
    driver_class = LakeServiceConnector

    @pytest.fixture
    def settings(self, s3: dict[str, object]) -> Mapping[str, JSON]:
        return {"root": f"s3://lake/{uuid.uuid4().hex}", "storage_options": s3}

    @pytest.fixture
    def store(self, s3: dict[str, object]) -> Any:
        import s3fs  # only these tests need it

        return s3fs.S3FileSystem(**s3)

    @pytest.fixture
    def place(self, settings: Mapping[str, JSON], store: Any) -> Callable[[str, pa.Table], None]:
        def put(name: str, table: pa.Table) -> None:
            for file, part in parts(table).items():
                with store.open(f"{settings['root']}/{name}/{file}", "wb") as sink:
                    pq.write_table(part, sink, **WRITTEN)

        return put

    @pytest.fixture
    def rename(self, settings: Mapping[str, JSON], store: Any) -> Callable[[str], None]:
        def last(name: str) -> None:
            store.mv(f"{settings['root']}/{name}/part-0.parquet", f"{settings['root']}/{name}/part-2.parquet")

        return last
