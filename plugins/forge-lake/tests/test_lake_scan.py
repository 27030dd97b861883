"""What a query gives: columns, sample, order, limit and masks, on every pass alike."""

from __future__ import annotations

import hashlib
import hmac
import math
import stat
from collections.abc import Callable, Iterator
from multiprocessing import get_context
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from forge_core.faults import ConfigError, ForgeError, InvalidInput
from forge_core.records.data import Column, Condition, Query, TrainingData
from forge_lake import LakeServiceConnector
from forge_lake.masks import MaskKey

Write = Callable[..., Path]
MakeLake = Callable[..., LakeServiceConnector]


def fetched(lake: LakeServiceConnector, query: Query, limit: int | None = None) -> pa.Table:
    return lake.fetch_training_data(query, limit).open().read_all()


def test_data_can_be_read_again_and_again(lake: LakeServiceConnector, write: Write) -> None:
    write("rows.parquet", {"x": [1, 2, 3]})
    data = lake.fetch_training_data(Query("rows"))
    assert [pa.table(data)["x"].to_pylist() for _ in range(3)] == [[1, 2, 3]] * 3
    assert isinstance(data.open(), pa.RecordBatchReader)


def test_columns_come_in_the_order_asked_for_with_the_types_arrow_gives_them(lake: LakeServiceConnector, write: Write) -> None:
    table = pa.table({"a": pa.array([1], pa.int16()), "b": pa.array([0], pa.timestamp("us", "UTC")), "c": ["x"]})
    write("rows.parquet", table)
    data = lake.fetch_training_data(Query("rows", columns=("c", "b")))
    assert data.columns == (Column("c", "string"), Column("b", "timestamp[us, tz=UTC]"))
    assert data.open().read_all().column_names == ["c", "b"]
    assert lake.schema("rows")[0] == Column("a", "int16")


@pytest.mark.parametrize(
    "query",
    [
        Query("rows", columns=("dep_dely",)),
        Query("rows", where=(Condition("dep_dely", ">", 1),)),
        Query("rows", order_by=("dep_dely",)),
    ],
)
def test_an_unknown_column_is_invalid_and_the_nearest_is_named(lake: LakeServiceConnector, write: Write, query: Query) -> None:
    write("rows.parquet", {"dep_delay": [1], "carrier": ["AA"]})
    with pytest.raises(InvalidInput, match="dep_dely") as caught:
        lake.fetch_training_data(query)
    assert "dep_delay" in caught.value.remedy


@pytest.mark.parametrize(
    ("query", "limit"),
    [
        (Query("rows", sample=0.0), None), (Query("rows", sample=1.5), None), (Query("rows", sample=math.nan), None), (Query("rows"), -1),
        (Query("rows", columns=()), None), (Query("rows", columns=("x", "x")), None), (Query("rows", order_by=("many",)), None),
        (Query("rows", masked={"many": "hash"}), None), (Query("rows", masked={"x": "blur"}), None),  # type: ignore[dict-item]
    ],
)  # fmt: skip
def test_a_query_that_makes_no_sense_is_refused_before_a_row_is_read(
    lake: LakeServiceConnector, write: Write, query: Query, limit: int | None
) -> None:
    write("rows.parquet", {"x": [1], "many": [[1]]})
    with pytest.raises(InvalidInput) as caught:
        lake.fetch_training_data(query, limit)
    assert caught.value.remedy


def test_limit_counts_rows_after_where(lake: LakeServiceConnector, write: Write) -> None:
    write("rows.parquet", {"x": range(100)}, row_group_size=7)
    where = (Condition("x", ">=", 50),)
    for limit, expected in ((0, []), (1, [50]), (9, list(range(50, 59))), (1000, list(range(50, 100)))):
        assert fetched(lake, Query("rows", where=where), limit)["x"].to_pylist() == expected


class Counted(MemoryFileSystem):
    """Memory that remembers which files were opened."""

    protocol = "counted"
    opened: list[str] = []  # noqa: RUF012
    store: dict[str, object] = {}  # noqa: RUF012
    pseudo_dirs = [""]  # noqa: RUF012

    def find(self, path: str, **options: object) -> object:
        found = super().find(path, **options)
        for info in found.values() if options.get("detail") else ():
            info["ETag"] = hashlib.md5(self.store[info["name"]].getvalue()).hexdigest()  # as S3 has it
        return found

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return str(MemoryFileSystem._strip_protocol(path.replace("counted://", "memory://")))

    def _open(self, path: str, mode: str = "rb", **options: object) -> object:
        self.opened.append(path)
        return super()._open(path, mode, **options)


@pytest.fixture
def counted() -> Iterator[Counted]:
    fsspec.register_implementation("counted", Counted, clobber=True)
    Counted.store.clear()
    filesystem = Counted(skip_instance_cache=True)
    for part in range(30):
        with filesystem.open(f"/lake/rows/part={part}/a.parquet", "wb") as file:
            pq.write_table(pa.table({"x": range(1000)}), file, row_group_size=100)
    Counted.opened.clear()
    yield filesystem
    Counted.store.clear()


def opened(data: TrainingData) -> set[str]:
    Counted.opened.clear()
    data.open().read_all()
    return set(Counted.opened)


def test_a_limit_opens_only_the_files_it_needs(make_lake: MakeLake, counted: Counted) -> None:
    lake = make_lake(root="counted://lake")
    assert len(opened(lake.fetch_training_data(Query("rows")))) == 30
    assert len(opened(lake.fetch_training_data(Query("rows"), 1500))) < 15  # two, and what Arrow reads ahead
    assert len(opened(lake.fetch_training_data(Query("rows", where=(Condition("x", "<", 10),)), 5))) < 15


def test_a_condition_on_a_partition_opens_only_its_files(make_lake: MakeLake, counted: Counted) -> None:
    data = make_lake(root="counted://lake").fetch_training_data(Query("rows", where=(Condition("part", "in", [3, 4]),)))
    assert opened(data) == {"/lake/rows/part=3/a.parquet", "/lake/rows/part=4/a.parquet"}


def test_a_file_whose_etag_is_known_is_not_opened_to_resolve(make_lake: MakeLake, counted: Counted) -> None:
    before = make_lake(root="counted://lake").fetch_training_data(Query("rows")).version
    assert len(set(counted.opened)) == 30
    counted.opened.clear()
    assert make_lake(root="counted://lake").resolve(Query("rows")) == before
    assert counted.opened == []


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(-(2**70), 2**70), st.sampled_from([0.1, 0.5, 0.9]), st.integers(1, 300), st.integers(1, 200))
def test_a_sample_depends_on_its_seed_and_not_on_how_rows_are_batched(
    make_lake: MakeLake, write: Write, seed: int, part: float, batch_rows: int, group: int
) -> None:
    write("whole.parquet", {"x": range(500)})
    write("cut.parquet", {"x": range(500)}, row_group_size=group)
    query = Query("whole", sample=part, seed=seed, where=(Condition("x", ">=", 100),))
    whole = fetched(make_lake(), query)["x"].to_pylist()
    cut = fetched(make_lake(batch_rows=batch_rows), Query("cut", sample=part, seed=seed, where=query.where))["x"].to_pylist()
    assert whole == cut == sorted(set(whole))
    assert abs(len(whole) - 400 * part) < 6 * math.sqrt(400 * part * (1 - part))


def test_a_larger_sample_holds_the_smaller_and_another_seed_is_another_sample(lake: LakeServiceConnector, write: Write) -> None:
    write("rows.parquet", {"x": range(2000)})
    small, large, other = (
        set(fetched(lake, Query("rows", sample=part, seed=seed))["x"].to_pylist()) for part, seed in ((0.2, 1), (0.6, 1), (0.2, 2))
    )
    assert small < large
    assert small != other
    assert len(fetched(lake, Query("rows", sample=1.0))) == 2000


def test_order_is_ascending_stable_and_puts_nulls_last(make_lake: MakeLake, write: Write) -> None:
    write("rows/a.parquet", {"x": [3, None, 1], "y": ["a", "b", "c"]})
    write("rows/b.parquet", {"x": [1, 3, 2], "y": ["d", "e", "f"]})
    for batch_rows in (1, 4, 100):
        lake = make_lake(batch_rows=batch_rows)
        assert fetched(lake, Query("rows", columns=("y",), order_by=("x",)))["y"].to_pylist() == ["c", "d", "f", "a", "e", "b"]
        assert fetched(lake, Query("rows", columns=("y",), order_by=("x",)), 3)["y"].to_pylist() == ["c", "d", "f"]
    assert fetched(make_lake(), Query("rows", where=(Condition("x", ">", 9),), order_by=("x",))).num_rows == 0


def test_a_batch_has_at_most_the_rows_that_were_set(make_lake: MakeLake, write: Write) -> None:
    write("rows.parquet", {"x": range(1000)})
    for query in (Query("rows"), Query("rows", order_by=("x",))):
        batches = list(make_lake(batch_rows=64).fetch_training_data(query).open())
        assert max(batch.num_rows for batch in batches) <= 64
    with pytest.raises(ConfigError):
        make_lake(batch_rows=0)


def text_of(key: bytes, value: str) -> str:
    return hmac.new(key, value.encode(), hashlib.sha256).hexdigest()


def test_masks_leave_nulls_or_keyed_hashes(lake: LakeServiceConnector, write: Write, root: Path) -> None:
    table = pa.table(
        {"id": [7, None, 7], "name": ["Zoë", "b", None], "kind": pa.array(["p", "q", "p"]).dictionary_encode(), "x": [1.5, 2.0, 3.0]}
    )
    write("rows.parquet", table)
    query = Query("rows", masked={"id": "hash", "name": "hash", "kind": "hash", "x": "null", "not there": "null"})
    data = lake.fetch_training_data(query)
    key = bytes.fromhex((root.parent / ".forge" / "lake-mask.key").read_text())
    assert data.columns == (Column("id", "string"), Column("name", "string"), Column("kind", "string"), Column("x", "double"))
    assert data.open().read_all().to_pydict() == {
        "id": [text_of(key, "7"), None, text_of(key, "7")],
        "name": [text_of(key, "Zoë"), text_of(key, "b"), None],
        "kind": [text_of(key, "p"), text_of(key, "q"), text_of(key, "p")],
        "x": [None, None, None],
    }


@pytest.mark.parametrize(
    "kind", [pa.int8(), pa.float64(), pa.bool_(), pa.date32(), pa.timestamp("us", "UTC"), pa.decimal128(5, 2), pa.binary(), pa.large_string(), pa.string_view()]
)  # fmt: skip
def test_every_flat_type_can_be_masked(lake: LakeServiceConnector, write: Write, kind: pa.DataType) -> None:
    write("rows.parquet", pa.table({"x": pa.nulls(3, kind), "y": [1, 2, 3]}))
    for mask in ("hash", "null"):
        assert fetched(lake, Query("rows", masked={"x": mask}))["x"].null_count == 3  # type: ignore[dict-item]


def test_a_nested_column_is_masked_to_null_even_where_it_may_not_be_null(lake: LakeServiceConnector, write: Write) -> None:
    schema = pa.schema([pa.field("x", pa.list_(pa.int64()), nullable=False), pa.field("y", pa.int64())])
    write("rows.parquet", pa.table({"x": [[1], [2]], "y": [1, 2]}, schema=schema))
    data = lake.fetch_training_data(Query("rows", masked={"x": "null"}))
    assert data.columns[0].nullable
    assert data.open().read_all()["x"].to_pylist() == [None, None]


def test_a_masked_column_chooses_and_orders_nothing(lake: LakeServiceConnector, write: Write) -> None:
    write("rows.parquet", {"salary": [1, 2], "x": [1, 2]})
    for query in (
        Query("rows", where=(Condition("salary", ">", 1),), masked={"salary": "null"}),
        Query("rows", order_by=("salary",), columns=("x",), masked={"salary": "hash"}),
    ):
        with pytest.raises(InvalidInput, match="salary"):
            lake.fetch_training_data(query)


def test_the_mask_key_is_made_once_and_for_its_owner_alone(make_lake: MakeLake, write: Write, root: Path) -> None:
    write("rows.parquet", {"x": ["a"]})
    query = Query("rows", masked={"x": "hash"})
    first = fetched(make_lake(), query)
    path = root.parent / ".forge" / "lake-mask.key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert fetched(make_lake(), query) == first
    assert [one.name for one in path.parent.iterdir() if "mask" in one.name] == ["lake-mask.key"]
    assert fetched(make_lake(mask_key="k"), query)["x"].to_pylist() == [text_of(b"k", "a")]
    path.write_text("not hexadecimal")
    with pytest.raises(ForgeError, match="damaged"):
        make_lake().fetch_training_data(query)


def read_key(state: Path) -> bytes:
    return MaskKey(state, None).read()


def test_processes_that_race_for_the_mask_key_get_one(tmp_path: Path) -> None:
    with get_context("fork").Pool(4) as pool:
        assert len(set(pool.map(read_key, [tmp_path / "state"] * 16))) == 1


def test_no_secret_is_shown(make_lake: MakeLake) -> None:
    shown = repr(LakeServiceConnector.Settings(storage_options={"secret": "hunter2"}, mask_key="hunter3"))
    assert "hunter" not in shown
