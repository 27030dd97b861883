"""Parquet and CSV, folders and single files, hive partitions, and stores behind a URL."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from forge_core.faults import ConfigError, ForgeError, InvalidInput, NotFound, Transient
from forge_core.records.data import Column, Condition, DatasetSpec, Query
from forge_lake import LakeServiceConnector

Write = Callable[..., Path]
MakeLake = Callable[..., LakeServiceConnector]


def fetched(lake: LakeServiceConnector, name: str, *where: Condition) -> pa.Table:
    return lake.fetch_training_data(Query(name, where=where)).open().read_all()


def test_csv_has_types_nulls_and_quotes(make_lake: MakeLake, root: Path) -> None:
    (root / "rows.csv").write_text('n,day,name,empty\n1,2013-01-01,NA,\n,2013-01-02,"NA",\n3,,"two\nlines, and a comma",\n')
    lake = make_lake()
    assert [column.type for column in lake.schema("rows")] == ["int64", "date32[day]", "string", "string"]
    assert fetched(lake, "rows").to_pydict() == {
        "n": [1, None, 3],
        "day": [date(2013, 1, 1), date(2013, 1, 2), None],
        "name": [None, "NA", "two\nlines, and a comma"],
        "empty": [None, None, None],
    }
    assert fetched(lake, "rows", Condition("n", ">", 1)).num_rows == 1


def test_a_folder_of_csv_widens_numbers_and_reads_compressed_files(make_lake: MakeLake, root: Path) -> None:
    (root / "rows").mkdir()
    (root / "rows" / "a.csv").write_text("x,y\n1,a\n")
    (root / "rows" / "b.csv.gz").write_bytes(gzip.compress(b"y,x\nb,2.5\n"))
    lake = make_lake(DatasetSpec("rows", "rows", format="csv"))
    assert fetched(lake, "rows").to_pydict() == {"x": [1.0, 2.5], "y": ["a", "b"]}


def test_csv_whose_values_turn_out_otherwise_is_a_typed_error(make_lake: MakeLake, root: Path) -> None:
    (root / "rows.csv").write_text("x\n" + "1\n" * 5_000_000 + "late\n")
    with pytest.raises(InvalidInput, match="late"):
        fetched(make_lake(), "rows")


def test_a_files_suffix_tells_its_format_and_a_folders_is_said(make_lake: MakeLake, root: Path, write: Write) -> None:
    (root / "one.csv").write_text("a\n1\n")
    (root / "many").mkdir()
    (root / "many" / "a.csv").write_text("a\n1\n")
    lake = make_lake(DatasetSpec("one", "one.csv"), DatasetSpec("many", "many"), DatasetSpec("wrong", "one.csv", format="xls"))
    assert fetched(lake, "one").num_rows == 1
    with pytest.raises(NotFound, match="parquet") as caught:
        lake.resolve(Query("many"))
    assert "format" in caught.value.remedy
    assert fetched(make_lake(), "many").num_rows == 1  # not listed: found with what it holds
    with pytest.raises(InvalidInput, match="xls"):
        lake.resolve(Query("wrong"))


def test_hive_partitions_are_columns(make_lake: MakeLake, write: Write) -> None:
    write("rows/year=2013/month=1/a.parquet", {"x": [1]})
    write("rows/year=2013/month=02/a.parquet", {"x": [2]})
    write("rows/year=2014/month=__HIVE_DEFAULT_PARTITION__/a.parquet", {"x": [3]})
    lake = make_lake()
    assert lake.schema("rows") == (Column("x", "int64"), Column("year", "int32"), Column("month", "int32"))
    rows = sorted(fetched(lake, "rows").to_pylist(), key=lambda row: row["x"])
    assert rows == [{"x": 1, "year": 2013, "month": 1}, {"x": 2, "year": 2013, "month": 2}, {"x": 3, "year": 2014, "month": None}]
    assert fetched(lake, "rows", Condition("month", "==", 2))["x"].to_pylist() == [2]
    assert fetched(lake, "rows", Condition("month", "is_null"))["x"].to_pylist() == [3]
    assert fetched(lake, "rows", Condition("month", "not_in", [1]))["x"].to_pylist() == [2]
    assert fetched(lake, "rows", Condition("year", ">", 2013.5), Condition("x", "<", 9))["x"].to_pylist() == [3]


def test_partition_values_are_text_where_not_all_are_numbers(make_lake: MakeLake, write: Write) -> None:
    write("rows/city=S%C3%A3o%20Paulo/a.parquet", {"x": [1]})
    write("rows/city=7/a.parquet", {"x": [2]})
    write("big/n=5000000000/a.parquet", {"x": [1]})
    lake = make_lake()
    assert fetched(lake, "rows", Condition("city", "==", "São Paulo"))["x"].to_pylist() == [1]
    assert lake.schema("big")[1] == Column("n", "int64")


def test_a_partition_column_that_is_in_the_files_too_keeps_its_type(make_lake: MakeLake, write: Write) -> None:
    write("rows/month=1/a.parquet", pa.table({"x": [1], "month": pa.array([1], pa.int64())}))
    write("bad/month=soon/a.parquet", pa.table({"x": [1], "month": pa.array([1], pa.int64())}))
    lake = make_lake()
    assert lake.schema("rows") == (Column("x", "int64"), Column("month", "int64"))
    assert fetched(lake, "rows").to_pydict() == {"x": [1], "month": [1]}
    with pytest.raises(InvalidInput, match="month=soon"):
        fetched(lake, "bad")


def test_files_with_more_or_wider_columns_are_read_together(make_lake: MakeLake, write: Write) -> None:
    write("rows/a.parquet", pa.table({"x": pa.array([1], pa.int32())}))
    write("rows/b.parquet", pa.table({"x": pa.array([2**40], pa.int64()), "y": ["new"]}))
    write("rows/c.parquet", pa.table({"x": pa.array([2.5], pa.float64())}))
    lake = make_lake()
    assert lake.schema("rows") == (Column("x", "double"), Column("y", "string"))
    assert fetched(lake, "rows").to_pydict() == {"x": [1.0, float(2**40), 2.5], "y": [None, "new", None]}


def test_files_whose_types_contradict_name_the_column_and_both_files(make_lake: MakeLake, write: Write) -> None:
    write("rows/a.parquet", {"x": [1], "y": [1]})
    write("rows/b.parquet", {"x": [1], "y": ["1"]})
    with pytest.raises(InvalidInput, match=r"'y' is int64 in a\.parquet and string in b\.parquet"):
        make_lake().schema("rows")


def test_a_column_that_comes_twice_is_refused(make_lake: MakeLake, root: Path) -> None:
    pq.write_table(pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["x", "x"]), root / "rows.parquet")
    with pytest.raises(InvalidInput, match="twice"):
        make_lake().schema("rows")


def test_views_are_read_as_plain_text_and_can_be_filtered(make_lake: MakeLake, write: Write) -> None:
    write("rows/a.parquet", pa.table({"x": pa.array(["a", "b"], pa.string_view())}))
    write("rows/b.parquet", pa.table({"x": pa.array(["b", None], pa.string_view())}))
    write("rows/c.parquet", {"x": ["b"]})
    lake = make_lake()
    assert lake.schema("rows") == (Column("x", "string"),)
    for condition, count in (
        (Condition("x", "==", "b"), 3), (Condition("x", "in", ["b"]), 3), (Condition("x", "<", "b"), 1), (Condition("x", "!=", "b"), 1), (Condition("x", "is_null"), 1)
    ):  # fmt: skip
        assert fetched(lake, "rows", condition).num_rows == count


def test_names_are_what_can_be_read(make_lake: MakeLake, root: Path, write: Write) -> None:
    write("folder/a.parquet", {"x": [1]})
    write("parts/month=1/a.parquet", {"x": [1]})
    write("single.parquet", {"x": [1]})
    (root / "text.csv").write_text("a\n1\n")
    write("nested/deeper/a.parquet", {"x": [1]})
    write("_hidden/a.parquet", {"x": [1]})
    (root / "notes.txt").write_text("x")
    lake = make_lake(DatasetSpec("listed", "nested/deeper"), DatasetSpec("elsewhere", "x", connector="stream"))
    names = lake.datasets()
    assert names == ["folder", "listed", "parts", "single", "text"]
    for name in names:
        assert lake.resolve(Query(name)).dataset == name
        assert lake.schema(name)


def test_a_root_that_is_not_there_has_no_data_sets(make_lake: MakeLake) -> None:
    lake = make_lake(root="nowhere")
    assert lake.datasets() == []
    with pytest.raises(NotFound):
        lake.resolve(Query("x"))


@pytest.fixture
def memory() -> Iterator[fsspec.AbstractFileSystem]:
    filesystem = fsspec.filesystem("memory")
    yield filesystem
    filesystem.store.clear()


def put(filesystem: fsspec.AbstractFileSystem, path: str, columns: dict[str, object]) -> None:
    with filesystem.open(path, "wb") as file:
        pq.write_table(pa.table(columns), file)


def test_a_root_behind_a_url_is_read_like_a_folder(make_lake: MakeLake, memory: fsspec.AbstractFileSystem, write: Write) -> None:
    for month in (1, 2):
        put(memory, f"/bucket/lake/rows/month={month}/a.parquet", {"x": [month, None]})
        write(f"rows/month={month}/a.parquet", {"x": [month, None]})
    put(memory, "/bucket/lake/single.parquet", {"x": [5]})
    memory.pipe("/bucket/lake/text.csv", b"a,b\n1,x\n")
    memory.pipe("/bucket/lake/rows/_SUCCESS", b"")
    remote, local = make_lake(root="memory://bucket/lake"), make_lake()
    assert remote.datasets() == ["rows", "single", "text"]
    assert remote.resolve(Query("rows")) == local.resolve(Query("rows"))
    assert fetched(remote, "rows", Condition("month", "==", 2)) == fetched(local, "rows", Condition("month", "==", 2))
    assert fetched(remote, "single")["x"].to_pylist() == [5]
    assert fetched(remote, "text").to_pydict() == {"a": [1], "b": ["x"]}
    for name in ("../lake/rows", "rows/../../x", "nothing"):
        with pytest.raises(ForgeError):
            remote.resolve(Query(name))


def test_a_store_whose_file_changes_is_a_conflict(make_lake: MakeLake, memory: fsspec.AbstractFileSystem) -> None:
    put(memory, "/bucket/rows/a.parquet", {"x": [1]})
    data = make_lake(root="memory://bucket").fetch_training_data(Query("rows"))
    assert data.open().read_all()["x"].to_pylist() == [1]
    put(memory, "/bucket/rows/a.parquet", {"x": [2]})
    with pytest.raises(ForgeError, match=r"a\.parquet") as caught:
        data.open()
    assert caught.value.kind == "conflict"


def test_a_listed_url_is_read_whatever_the_root(make_lake: MakeLake, memory: fsspec.AbstractFileSystem, root: Path, write: Write) -> None:
    put(memory, "/bucket/rows/a.parquet", {"x": [1]})
    write("here/a.parquet", {"x": [2]})
    lake = make_lake(
        DatasetSpec("far", "memory://bucket/rows"),
        DatasetSpec("near", (root / "here").as_uri()),
        DatasetSpec("file", f"file://{root}/here/a.parquet"),
    )
    assert [fetched(lake, name)["x"].to_pylist() for name in ("far", "near", "file")] == [[1], [2], [2]]
    assert make_lake(root=root.as_uri()).datasets() == ["here"]


def test_a_url_is_shown_without_its_secrets(make_lake: MakeLake, memory: fsspec.AbstractFileSystem) -> None:
    put(memory, "/user:hunter2@host/rows/a.parquet", {"x": [1]})
    info = make_lake(DatasetSpec("rows", "memory://user:hunter2@host/rows")).info("rows")
    assert info.path == "memory://host/rows"
    signed = make_lake(DatasetSpec("rows", "memory://host/none?sig=hunter2")).info("rows")
    assert signed.path == "memory://host/none"


class Unreachable(MemoryFileSystem):
    """What a store looks like that nobody answers for: an error of a library that we do not know, with a secret in its text."""

    protocol = "unreachable"

    def find(self, path: str, **options: object) -> object:
        raise RuntimeError("could not connect to https://user:hunter2@host/?sig=hunter3")


def test_a_filesystem_that_is_not_known_or_not_reachable_is_a_typed_error(make_lake: MakeLake) -> None:
    with pytest.raises(ConfigError, match="nosuch"):
        make_lake(root="nosuch://x").resolve(Query("rows"))
    fsspec.register_implementation("unreachable", Unreachable, clobber=True)
    lake = make_lake(root="unreachable://bucket/x", storage_options={"secret": "hunter2"})
    for call in (lambda: lake.resolve(Query("rows")), lake.datasets):
        with pytest.raises(Transient) as caught:
            call()
        assert "hunter" not in f"{caught.value.cause} {caught.value.remedy}"
