"""Registered versions: numbered without a gap, the same content once, and nobody sees another tenant's."""

from __future__ import annotations

from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa

from forge_core.database import Database
from forge_core.faults import Conflict, InvalidInput, NotFound
from forge_core.operations import acting_as
from forge_core.records.auth import Principal, Session
from forge_core.records.data import DatasetSpec, Query
from forge_core.records.project import Project
from forge_lake import LakeServiceConnector
from forge_lake.history import METADATA, VERSIONS

Write = Callable[..., Path]
MakeLake = Callable[..., LakeServiceConnector]


def test_versions_are_numbered_from_one_and_the_same_content_is_the_same_version(make_lake: MakeLake, write: Write) -> None:
    lake = make_lake()
    made = []
    for content in (1, 1, 2, 3, 1):
        write("rows.parquet", {"x": [content]})
        made.append(lake.register_dataset("rows"))
    assert [one.version for one in made] == ["1", "1", "2", "3", "1"]
    history = make_lake().versions("rows")
    assert [(one.number, one.label, one.rows, one.files, one.registered_by) for one in history] == [
        (number, None, 1, 1, "system") for number in (1, 2, 3)
    ]
    assert [one.digest for one in history] == [made[0].digest, made[2].digest, made[3].digest]


def test_a_label_names_one_version_for_ever(make_lake: MakeLake, write: Write) -> None:
    lake = make_lake()
    write("rows.parquet", {"x": [1]})
    lake.register_dataset("rows")
    assert lake.register_dataset("rows", label="v1.0").version == "v1.0"
    assert lake.register_dataset("rows", label="v1.0") == lake.register_dataset("rows")
    with pytest.raises(Conflict, match=r"v1\.0"):
        lake.register_dataset("rows", label="v1.1")
    write("rows.parquet", {"x": [2]})
    with pytest.raises(Conflict, match=r"v1\.0"):
        lake.register_dataset("rows", label="v1.0")
    assert lake.register_dataset("rows", label="v1.1").version == "v1.1"
    assert [(one.number, one.label, one.name) for one in lake.versions("rows")] == [(1, "v1.0", "v1.0"), (2, "v1.1", "v1.1")]


def test_a_data_set_registered_with_a_path_is_found_later_by_its_name(make_lake: MakeLake, write: Write, root: Path) -> None:
    write("deep/down/a.parquet", {"x": [1, 2]})
    (root / "text").mkdir()
    (root / "text" / "a.csv").write_text("x\n1\n")
    make_lake().register_dataset("flights", "deep/down")
    make_lake().register_dataset("texts", "text", "csv", "v1")
    lake = make_lake()
    assert lake.resolve(Query("flights")).rows == 2
    assert lake.fetch_training_data(Query("texts", "v1")).open().read_all()["x"].to_pylist() == [1]
    assert lake.datasets() == ["flights", "text", "texts"]
    assert [(lake.info(name).origin, lake.info(name).path) for name in lake.datasets()] == [
        ("registered", "deep/down"), ("found", "text"), ("registered", "text")
    ]  # fmt: skip


def test_a_name_stays_where_it_was_registered(make_lake: MakeLake, write: Write) -> None:
    write("a/a.parquet", {"x": [1]})
    write("b/a.parquet", {"x": [2]})
    lake = make_lake()
    lake.register_dataset("rows", "a")
    with pytest.raises(Conflict, match="rows"):
        lake.register_dataset("rows", "b")
    assert lake.register_dataset("rows").version == lake.register_dataset("rows", "a").version == "1"
    listed = make_lake(DatasetSpec("listed", "a"))
    assert listed.register_dataset("listed").version == "1"
    with pytest.raises(InvalidInput, match=r"forge\.yaml"):
        listed.register_dataset("listed", "b")


def test_a_registered_data_set_that_is_listed_later_keeps_its_history(make_lake: MakeLake, write: Write) -> None:
    write("rows/a.parquet", {"x": [1]})
    write("moved/a.parquet", {"x": [2]})
    make_lake().register_dataset("rows")
    assert make_lake(DatasetSpec("rows", "moved")).register_dataset("rows").version == "2"
    assert make_lake(DatasetSpec("rows", "rows")).register_dataset("rows").version == "1"


def test_forge_yaml_goes_before_what_was_registered(make_lake: MakeLake, write: Write) -> None:
    write("a/a.parquet", {"x": [1]})
    write("b/a.parquet", {"x": [2]})
    make_lake().register_dataset("rows", "a")
    assert make_lake(DatasetSpec("rows", "b")).info("rows").path == "b"


def test_history_of_what_is_not_registered_is_empty_and_of_what_is_not_there_is_not_found(lake: LakeServiceConnector, write: Write) -> None:
    write("rows.parquet", {"x": [1]})
    assert lake.versions("rows") == ()
    with pytest.raises(NotFound, match="nothing"):
        lake.versions("nothing")
    lake.register_dataset("rows")
    with pytest.raises(NotFound, match="nothing"):
        lake.register_dataset("nothing")


def test_history_outlives_the_files(make_lake: MakeLake, write: Write) -> None:
    path = write("rows.parquet", {"x": [1]})
    make_lake().register_dataset("rows")
    path.unlink()
    assert make_lake().info("rows").versions == 1
    assert [one.number for one in make_lake().versions("rows")] == [1]


def test_tenants_see_nothing_of_one_another(make_lake: MakeLake, write: Write) -> None:
    write("deep/down/rows.parquet", {"x": [1]})
    for tenant in ("a", "ab", "a/", "A", "a%2Fb"):
        with acting_as(Session(Principal("someone", tenant=tenant), "req_1")):
            lake = make_lake()
            assert lake.datasets() == []
            with pytest.raises(NotFound):
                lake.resolve(Query("rows"))
            assert lake.register_dataset("rows", "deep/down/rows.parquet", label=f"of-{len(tenant)}").version == f"of-{len(tenant)}"
            assert [(one.number, one.registered_by) for one in lake.versions("rows")] == [(1, "someone")]
            assert lake.datasets() == ["rows"]


def test_a_refused_registration_leaves_no_row(make_lake: MakeLake, write: Write, root: Path) -> None:
    write("rows.parquet", {"x": [1]})
    lake = make_lake()
    lake.register_dataset("rows", label="v1")
    write("rows.parquet", {"x": [2]})
    for call in (lambda: lake.register_dataset("rows", label="v1"), lambda: lake.register_dataset("other", "../x")):
        with pytest.raises((Conflict, InvalidInput)):
            call()
    assert len(lake.versions("rows")) == 1
    assert lake.datasets() == ["rows"]


def register_many(arguments: tuple[Path, int, str]) -> list[tuple[str, str]]:
    """In a process of its own: register ten data sets of one shared name, each with other content, the last one alike for all."""
    root, worker, url = arguments
    database = Database(url)
    found = []
    for turn in range(6):
        # a root of its own, so that every process has other content under the same name
        folder = root / f"worker{worker}" / str(turn)
        folder.mkdir(parents=True)
        content = worker * 100 + turn if turn < 5 else -1
        pq.write_table(pa.table({"x": [content]}), folder / "rows.parquet")
        lake = LakeServiceConnector(LakeServiceConnector.Settings(root=str(folder)), project=Project("t", root), database=database)
        made = lake.register_dataset("rows")
        found.append((made.version, made.digest))
    database.close()
    return found


def race(root: Path, url: str) -> None:
    with get_context("fork").Pool(8) as pool:
        found = [pair for pairs in pool.map(register_many, [(root, worker, url) for worker in range(8)]) for pair in pairs]
    assert sorted({int(version) for version, _ in found}) == list(range(1, 42))  # 8 x 5 contents, and one that all share
    assert len(dict(found)) == len({digest for _, digest in found}) == 41


def test_eight_processes_register_at_once_without_a_gap_or_a_double(tmp_path: Path) -> None:
    race(tmp_path, f"sqlite:///{tmp_path / 'forge.db'}")


@pytest.mark.postgresql
def test_eight_processes_register_at_once_on_postgresql(tmp_path: Path, postgresql: str) -> None:
    race(tmp_path, postgresql)


def test_the_tables_guard_numbers_digests_and_labels(tmp_path: Path) -> None:
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'x.db'}")
    METADATA.create_all(engine)
    row = {"tenant": "t", "name": "n", "files": 1, "size": 1, "registered_at": "", "registered_by": ""}
    first = {**row, "number": 1, "digest": "d1", "label": "l1"}
    with engine.begin() as connection:
        connection.execute(VERSIONS.insert().values(first))
    for clash in ({"number": 1}, {"digest": "d1"}, {"label": "l1"}):
        with pytest.raises(sa.exc.IntegrityError), engine.begin() as connection:
            connection.execute(VERSIONS.insert().values({**row, "number": 2, "digest": "d2", "label": "l2", **clash}))
