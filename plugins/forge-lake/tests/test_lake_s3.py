"""The same rows, digests and conflicts from a real S3 server."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from forge_core.faults import Conflict, ForgeError, NotFound
from forge_core.records.data import Condition, DatasetSpec, Query
from forge_lake import LakeServiceConnector

pytestmark = pytest.mark.s3


def test_s3_is_read_like_a_folder(
    s3: dict[str, object], make_lake: Callable[..., LakeServiceConnector], write: Callable[..., Path]
) -> None:
    import s3fs  # only these tests need it

    store = s3fs.S3FileSystem(**s3)

    def put(path: str, columns: dict[str, object]) -> None:
        with store.open(f"lake/{path}", "wb") as file:
            pq.write_table(pa.table(columns), file)

    for month in (1, 2):
        rows = {"x": [month, None], "name": ["a", "b"]}
        put(f"deep/rows/month={month}/a.parquet", rows)
        write(f"rows/month={month}/a.parquet", rows)
    put("deep/single.parquet", {"x": [1]})
    remote, local = make_lake(root="s3://lake/deep", storage_options=s3), make_lake()
    assert remote.datasets() == ["rows", "single"]
    assert remote.resolve(Query("rows")) == local.resolve(Query("rows"))
    query = Query("rows", columns=("x", "name"), where=(Condition("month", ">", 1),), masked={"name": "hash"})
    data = remote.fetch_training_data(query)
    assert data.open().read_all() == local.fetch_training_data(query).open().read_all()
    assert remote.fetch_training_data(Query("single")).open().read_all()["x"].to_pylist() == [1]
    listed = make_lake(DatasetSpec("far", "s3://lake/deep/rows/"), storage_options=s3)
    assert listed.resolve(Query("far")).digest == data.version.digest

    put("deep/rows/month=2/a.parquet", {"x": [3, None], "name": ["a", "b"]})  # of the same size
    with pytest.raises(Conflict, match="month=2"):
        data.open()
    with pytest.raises(NotFound):
        remote.resolve(Query("nothing"))
    with pytest.raises(ForgeError) as caught:
        make_lake(root="s3://lake/deep", storage_options={**s3, "secret": "hunter2"}).resolve(Query("rows"))
    assert "hunter2" not in f"{caught.value.cause} {caught.value.remedy}"
