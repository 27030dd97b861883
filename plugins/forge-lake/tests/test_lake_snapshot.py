"""A digest tells content exactly, what was hashed is not read again, and a pass never mixes two contents."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from forge_core.faults import Conflict, InvalidInput, NotFound
from forge_core.records.data import DatasetSpec, Query
from forge_lake import LakeServiceConnector

Write = Callable[..., Path]
MakeLake = Callable[..., LakeServiceConnector]


def digest(make_lake: MakeLake, name: str = "rows") -> str:
    return make_lake().resolve(Query(name)).digest


def test_the_digest_changes_with_any_byte(make_lake: MakeLake, root: Path) -> None:
    file = root / "rows.csv"
    file.write_text("a,b\n1,2\n")
    seen = set()
    for position in range(7):
        content = bytearray(b"name\n12\n")
        content[position] ^= 0x40  # no line end, no comma
        file.write_bytes(content)
        seen.add(digest(make_lake))
    assert len(seen) == 7


def test_the_digest_changes_with_a_name_and_not_with_a_place_or_a_time(make_lake: MakeLake, root: Path, write: Write) -> None:
    file = write("rows/a.parquet", {"x": [1]})
    write("rows/b.parquet", {"x": [2]})
    before = digest(make_lake)
    os.utime(file, (1, 1))
    assert digest(make_lake) == before
    shutil.copytree(root / "rows", root / "copy")
    assert digest(make_lake, "copy") == before
    file.rename(root / "rows" / "c.parquet")
    assert digest(make_lake) != before


def test_files_that_swap_their_content_are_another_version(make_lake: MakeLake, root: Path, write: Write) -> None:
    write("rows/a.parquet", {"x": [1]})
    write("rows/b.parquet", {"x": [2]})
    before = digest(make_lake)
    write("rows/a.parquet", {"x": [2]})
    write("rows/b.parquet", {"x": [1]})
    assert digest(make_lake) != before


def test_hidden_files_and_files_of_another_kind_do_not_count(make_lake: MakeLake, root: Path, write: Write) -> None:
    write("rows/a.parquet", {"x": [1]})
    before = digest(make_lake)
    for name in ("_SUCCESS", ".a.parquet.crc", "_metadata", "README.md", ".b.parquet"):
        (root / "rows" / name).write_text("x")
    assert digest(make_lake) == before


def settle() -> None:
    """Until no file's stamp is so young that another write could hide behind it."""
    time.sleep(2.05)


def test_a_file_that_was_hashed_is_not_opened_again(make_lake: MakeLake, write: Write, opens: list[str]) -> None:
    paths = [write(f"rows/{part}.parquet", {"x": [part]}) for part in range(3)]
    settle()
    make_lake().fetch_training_data(Query("rows"))
    assert {path for path in opens if path.endswith(".parquet")} == set(map(str, paths))
    opens.clear()
    again = make_lake().resolve(Query("rows"))
    assert (again.rows, [path for path in opens if path.endswith(".parquet")]) == (3, [])
    os.utime(paths[1], (5, 5))
    changed = make_lake().resolve(Query("rows"))
    assert changed.digest == again.digest
    assert [path for path in opens if path.endswith(".parquet")] == [str(paths[1])]


def test_a_file_that_was_hashed_at_once_after_it_was_written_is_hashed_again(make_lake: MakeLake, write: Write, opens: list[str]) -> None:
    path = write("rows.parquet", {"x": [1]})
    make_lake().fetch_training_data(Query("rows"))
    opens.clear()
    make_lake().fetch_training_data(Query("rows"))
    assert str(path) in opens


def test_bytes_that_change_behind_a_time_that_was_set_back_are_seen(make_lake: MakeLake, root: Path) -> None:
    file = root / "rows.csv"
    file.write_text("a\n1\n")
    os.utime(file, (1_000_000_000, 1_000_000_000))
    settle()
    lake = make_lake()
    before = lake.fetch_training_data(Query("rows")).version
    file.write_text("a\n2\n")
    os.utime(file, (1_000_000_000, 1_000_000_000))
    assert lake.resolve(Query("rows")).digest != before.digest


def test_resolving_writes_nothing(make_lake: MakeLake, root: Path, write: Write) -> None:
    write("rows.parquet", {"x": [1]})
    lake = make_lake()
    lake.resolve(Query("rows"))
    lake.datasets()
    lake.schema("rows")
    assert [path.name for path in root.parent.iterdir()] == ["data"]


def test_a_read_only_project_is_read_and_left_alone(make_lake: MakeLake, root: Path, write: Write) -> None:
    write("rows.parquet", {"x": [1]})
    assert make_lake(read_only=True).fetch_training_data(Query("rows")).open().read_all().num_rows == 1
    assert [path.name for path in root.parent.iterdir()] == ["data"]


def test_a_state_folder_that_cannot_be_written_costs_only_the_cache(make_lake: MakeLake, root: Path, write: Write) -> None:
    write("rows.parquet", {"x": [1]})
    (root.parent / ".forge").write_text("a file where a folder should be")
    assert make_lake().fetch_training_data(Query("rows")).open().read_all().num_rows == 1


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"format": 1, "schemas": ["xx"], "files": []}', b'{"format": 99}', b"\xff"])
def test_a_damaged_cache_counts_as_empty(make_lake: MakeLake, root: Path, write: Write, damage: bytes) -> None:
    write("rows.parquet", {"x": [1]})
    before = make_lake().fetch_training_data(Query("rows")).version
    (cache,) = (root.parent / ".forge" / "lake").iterdir()
    cache.write_bytes(damage)
    assert make_lake().fetch_training_data(Query("rows")).version == before
    assert json.loads(cache.read_bytes())["files"]


@pytest.mark.parametrize("change", ["bytes", "new file", "removed file", "renamed file", "all gone"])
def test_a_pass_over_files_that_changed_is_a_conflict(make_lake: MakeLake, root: Path, write: Write, change: str) -> None:
    write("rows/a.parquet", {"x": [1]})
    write("rows/b.parquet", {"x": [2]})
    data = make_lake().fetch_training_data(Query("rows"))
    assert data.open().read_all()["x"].to_pylist() == [1, 2]
    match change:
        case "bytes":
            write("rows/b.parquet", {"x": [3]})
        case "new file":
            write("rows/c.parquet", {"x": [3]})
        case "removed file":
            (root / "rows" / "b.parquet").unlink()
        case "renamed file":
            (root / "rows" / "b.parquet").rename(root / "rows" / "c.parquet")
        case "all gone":
            shutil.rmtree(root / "rows")
    with pytest.raises(Conflict, match="rows"):
        data.open()
    with pytest.raises(Conflict, match="rows"):
        pa.table(data)


def test_a_pass_during_which_files_change_ends_in_a_conflict(make_lake: MakeLake, write: Write) -> None:
    write("rows/a.parquet", {"x": range(10)})
    write("rows/b.parquet", {"x": range(10)})
    reader = make_lake().fetch_training_data(Query("rows")).open()
    reader.read_next_batch()
    write("rows/b.parquet", {"x": range(10, 20)})
    with pytest.raises(Conflict, match=r"b\.parquet"):
        reader.read_all()


def test_files_that_were_only_touched_or_copied_back_are_the_same_version(make_lake: MakeLake, root: Path, write: Write) -> None:
    file = write("rows/a.parquet", {"x": [1]})
    data = make_lake().fetch_training_data(Query("rows"))
    os.utime(file, (1, 1))
    shutil.copy(file, root / "aside")
    file.unlink()
    shutil.move(root / "aside", file)
    assert data.open().read_all()["x"].to_pylist() == [1]


def test_an_earlier_version_is_a_conflict_and_an_unknown_one_is_not_found(make_lake: MakeLake, write: Write) -> None:
    write("rows.parquet", {"x": [1]})
    lake = make_lake()
    first = lake.register_dataset("rows", label="v1.0")
    for name in ("latest", "v1.0", "1", first.digest, first.digest[:12], first.digest[:8]):
        assert lake.resolve(Query("rows", name)) == first
    write("rows.parquet", {"x": [2]})
    for name in ("v1.0", "1", first.digest, first.digest[:12]):
        for call in (lake.resolve, lake.fetch_training_data):
            with pytest.raises(Conflict, match="no longer"):
                call(Query("rows", name))
    for name in ("v2.0", "2", "", "zzzzzzzzzzzz", first.digest[:4]):
        with pytest.raises(NotFound):
            lake.resolve(Query("rows", name))
    now = lake.resolve(Query("rows"))
    assert now.version == now.digest[:12]


def test_latest_is_what_forge_yaml_pins(make_lake: MakeLake, write: Write) -> None:
    write("rows.parquet", {"x": [1]})
    make_lake().register_dataset("rows", label="v1")
    pinned = make_lake(DatasetSpec("rows", "rows.parquet", version="v1"))
    assert pinned.resolve(Query("rows")).version == "v1"
    write("rows.parquet", {"x": [2]})
    with pytest.raises(Conflict):
        pinned.resolve(Query("rows"))


def test_what_is_not_there_or_empty_or_damaged_is_a_typed_error(make_lake: MakeLake, root: Path, write: Write) -> None:
    write("flights.parquet", {"x": [1]})
    (root / "empty").mkdir()
    (root / "text.parquet").write_text("this is no parquet")
    (root / "half.parquet").write_bytes((root / "flights.parquet").read_bytes()[:-5])
    (root / "nothing.csv").write_text("")
    lake = make_lake(DatasetSpec("gone", "nowhere"))
    with pytest.raises(NotFound) as caught:
        lake.resolve(Query("flihgts"))
    assert "flights" in caught.value.remedy
    for name in ("empty", "gone"):
        with pytest.raises(NotFound, match=name):
            lake.resolve(Query(name))
    for name in ("text", "half", "nothing"):
        with pytest.raises(InvalidInput) as wrong:
            lake.resolve(Query(name))
        assert str(root) not in wrong.value.cause


def test_a_parquet_file_damaged_in_the_middle_is_found_by_the_pass(make_lake: MakeLake, root: Path, write: Write) -> None:
    file = write("rows.parquet", pa.table({"x": [str(number) for number in range(20_000)]}), compression="zstd")
    content = bytearray(file.read_bytes())
    content[2000:2400] = bytes(400)
    file.write_bytes(content)
    with pytest.raises(InvalidInput, match="rows") as caught:
        make_lake().fetch_training_data(Query("rows")).open().read_all()
    assert str(root) not in caught.value.cause


def test_rows_are_counted_from_the_footers_alone(make_lake: MakeLake, root: Path, write: Write) -> None:
    write("rows/a.parquet", {"x": [1, 2]})
    write("rows/b.parquet", {"x": [3]})
    (root / "text.csv").write_text("a\n1\n")
    assert (make_lake().resolve(Query("rows")).rows, make_lake().resolve(Query("text")).rows) == (3, None)
    assert pq.read_metadata(root / "rows" / "a.parquet").num_rows == 2
