"""FAULTS A1: no name and no path from outside leaves the root, whatever it is spelled like."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from forge_core.faults import ConfigError, ForgeError, InvalidInput, UnsafeFormat
from forge_core.records.data import DatasetSpec, Query
from forge_lake import LakeServiceConnector

HOSTILE = [
    "", ".", "..", "../x", "../../etc/passwd", "x/../../y", "./x", "x/..", "..\\x", "..\\..\\windows\\win.ini", "x\\..\\y",
    "%2e%2e%2f", "%2e%2e/x", "..%2fx", "%2e%2e%5cx", "%252e%252e%252fx", "%25252e%25252e%25252fx", "%c0%ae%c0%ae/x", "%2fetc%2fpasswd", "x%00.parquet",
    ";/../x", "x;/../../y", "..;/x", "\0", "x\0.parquet", "/", "//", "/etc/passwd", "/etc", "//host/share/x", "\\\\host\\share\\x", "\\\\?\\C:\\x",
    "C:\\x", "C:x", "file:x", "file:/etc/passwd", "file:///etc/passwd", "FILE:///etc/passwd", "local:///etc/passwd", "http://127.0.0.1/x", "s3://bucket/x",
    "memory://x", "simplecache::file:///etc/passwd", "filecache::s3://x", "~", "~/x", "~root/x", "\uff0e\uff0e/x", "\uff0e\uff0e\uff0fx", "\u2025/x", "\u2026/x", "\u2024\u2024/x", "x\uff0f..\uff0fy",
    "x\n", "x\r\ny", "\x1b[2J", " ..", ".. /x", ".forge", ".forge/forge.db", "x/.forge", ".ssh/id_rsa", "x" * 5000, "\ud800", "link", "link/secret.parquet", "linked.parquet",
]  # fmt: skip


@pytest.fixture
def outside(root: Path) -> Path:
    """A data set that lies outside the root, with links to it inside."""
    folder = root.parent.parent / "outside"
    folder.mkdir()
    pq.write_table(pa.table({"secret": [1]}), folder / "secret.parquet")
    (folder / "secret.csv").write_text("secret\n1\n")
    (root / "link").symlink_to(folder)
    (root / "linked.parquet").symlink_to(folder / "secret.parquet")
    return folder


def left_behind(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root.parent)) for path in root.parent.rglob("*") if not path.is_symlink())


@pytest.mark.parametrize("hostile", HOSTILE, ids=lambda text: ascii(text)[:40])
def test_a_hostile_name_or_path_is_refused_and_opens_nothing(
    hostile: str, root: Path, outside: Path, lake: LakeServiceConnector, opens: list[str]
) -> None:
    before = left_behind(root)
    calls: list[Callable[[], object]] = [
        lambda: lake.resolve(Query(hostile)),
        lambda: lake.fetch_training_data(Query(hostile)),
        lambda: lake.schema(hostile),
        lambda: lake.info(hostile),
        lambda: lake.details(hostile),
        lambda: lake.versions(hostile),
        lambda: lake.validate_dataset(hostile),
        lambda: lake.register_dataset(hostile),
        lambda: lake.register_dataset("harmless", hostile),
        lambda: lake.register_dataset("harmless", hostile, "csv"),
    ]
    opens.clear()
    for call in calls:
        with pytest.raises(ForgeError) as caught:
            call()
        assert "\n" not in caught.value.cause
        assert caught.value.remedy
        assert str(outside.parent) not in str(caught.value)
    expected = (f"{root}", f"{root.parent}/.forge/lake/")  # the data, and the cache of its hashes
    strangers = [path for path in opens if not os.path.normpath(path).startswith(expected)]
    assert strangers == []
    assert left_behind(root) == before


@pytest.mark.parametrize("hostile", [*HOSTILE[1:40], "1", "latest", "a b", "a/b"], ids=lambda text: ascii(text)[:40])
def test_a_hostile_label_or_format_is_refused(hostile: str, lake: LakeServiceConnector, write: Callable[..., Path]) -> None:
    write("rows.parquet", {"x": [1]})
    with pytest.raises(InvalidInput):
        lake.register_dataset("rows", label=hostile)
    with pytest.raises(InvalidInput):
        lake.register_dataset("rows", "rows.parquet", hostile)


@pytest.mark.parametrize("name", ["flights", "Flights_2013", "v1.2-rc", "données", "航班", "1st", "_x"])
def test_a_plain_name_is_a_data_set(name: str, lake: LakeServiceConnector, write: Callable[..., Path]) -> None:
    write(f"{name}/a.parquet", {"x": [1]})
    assert lake.resolve(Query(name)).rows == 1


def test_a_link_inside_a_data_set_that_leaves_the_root_is_refused(
    root: Path, outside: Path, lake: LakeServiceConnector, write: Callable[..., Path]
) -> None:
    write("rows/a.parquet", {"x": [1]})
    (root / "rows" / "b.parquet").symlink_to(outside / "secret.parquet")
    with pytest.raises(UnsafeFormat, match=r"b\.parquet"):
        lake.resolve(Query("rows"))
    (root / "rows" / "b.parquet").unlink()
    (root / "rows" / "month=1").symlink_to(outside)
    with pytest.raises(UnsafeFormat, match="month=1"):
        lake.resolve(Query("rows"))


def test_a_link_that_stays_inside_the_root_is_followed(root: Path, lake: LakeServiceConnector, write: Callable[..., Path]) -> None:
    write("store/a.parquet", {"x": [1, 2]})
    (root / "rows").mkdir()
    (root / "rows" / "a.parquet").symlink_to(root / "store" / "a.parquet")
    assert lake.resolve(Query("rows")).digest == lake.resolve(Query("store")).digest


def test_a_link_in_a_circle_ends(root: Path, lake: LakeServiceConnector, write: Callable[..., Path]) -> None:
    write("rows/a.parquet", {"x": [1]})
    (root / "rows" / "again").symlink_to(root / "rows")
    with pytest.raises(UnsafeFormat, match="again"):
        lake.resolve(Query("rows"))


def test_a_link_to_itself_and_a_name_that_is_no_text_are_typed_errors(
    root: Path, lake: LakeServiceConnector, write: Callable[..., Path]
) -> None:
    (root / "loop").symlink_to("loop")
    write("rows/a.parquet", {"x": [1]})
    (root / "rows" / os.fsdecode(b"\xff.parquet")).write_bytes(b"")
    with pytest.raises(ForgeError, match="loop"):
        lake.resolve(Query("loop"))
    with pytest.raises(InvalidInput, match="UTF-8"):
        lake.resolve(Query("rows"))


def test_a_pipe_among_the_files_is_refused_and_not_waited_for(root: Path, lake: LakeServiceConnector, write: Callable[..., Path]) -> None:
    write("rows/a.parquet", {"x": [1]})
    os.mkfifo(root / "rows" / "b.parquet")
    with pytest.raises(UnsafeFormat, match="regular"):
        lake.resolve(Query("rows"))


def test_the_author_of_forge_yaml_may_name_any_place(outside: Path, make_lake: Callable[..., LakeServiceConnector]) -> None:
    lake = make_lake(
        DatasetSpec("absolute", str(outside)),
        DatasetSpec("relative", "../../outside/secret.parquet"),
        DatasetSpec("linked", "link"),
        DatasetSpec("url", outside.as_uri()),
        DatasetSpec("text", str(outside), format="csv"),
    )
    for name in ("absolute", "relative", "linked", "url", "text"):
        assert [column.name for column in lake.schema(name)] == ["secret"]


def test_an_impossible_path_in_forge_yaml_is_a_typed_error(make_lake: Callable[..., LakeServiceConnector]) -> None:
    lake = make_lake(DatasetSpec("nul", "a\0b"), DatasetSpec("long", "x" * 5000), DatasetSpec("strange", "nosuch://x/y"))
    for name in ("nul", "long", "strange"):
        with pytest.raises(ForgeError):
            lake.resolve(Query(name))
    with pytest.raises(ConfigError):
        lake.resolve(Query("nul"))
