from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from forge_core.faults import Conflict, ForgeError, InvalidInput, NotFound
from forge_core.records import Condition, DatasetSpec, Project, Query
from forge_stranger.connector import JsonLinesConnector

ROWS = [
    {"name": "c", "size": 3, "seen": "2024-05-01T10:00:00"},
    {"name": "a", "size": 1, "seen": "2024-05-03T10:00:00"},
    {"name": "b", "size": None, "seen": "2024-05-02T10:00:00"},
    {"name": "d", "size": 2, "seen": None},
]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    data = tmp_path / "data"
    data.mkdir()
    write(data / "things.jsonl", ROWS)
    return tmp_path


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def connector(root: Path, *listed: DatasetSpec) -> JsonLinesConnector:
    return JsonLinesConnector(JsonLinesConnector.Settings(), project=Project("p", root, datasets=listed))


def names(data: object) -> list[str]:
    found: list[str] = pa.table(data)["name"].to_pylist()
    return found


def test_conditions_come_first_then_order_then_limit_then_columns(root: Path) -> None:
    query = Query("things", columns=("name",), where=(Condition("size", ">", 1),), order_by=("size",))
    data = connector(root).fetch_training_data(query, limit=1)
    assert pa.table(data).to_pylist() == [{"name": "d"}]
    assert [column.name for column in data.columns] == ["name"]


@pytest.mark.parametrize(
    ("operator", "value", "expected"),
    [
        ("==", 3, "c"), ("!=", 3, "ad"), ("<", 2.5, "ad"), ("<=", 2, "ad"), (">", 1, "cd"), (">=", 2, "cd"),
        ("in", [1, 3, 7], "ca"), ("not_in", [1, 3], "d"), ("is_null", None, "b"), ("not_null", None, "cad"),
    ],
)  # fmt: skip
def test_a_null_meets_no_condition_but_is_null(root: Path, operator: Any, value: object, expected: str) -> None:
    query = Query("things", where=(Condition("size", operator, value),))
    assert "".join(names(connector(root).fetch_training_data(query))) == expected


def test_times_are_compared_as_times(root: Path) -> None:
    query = Query("things", where=(Condition("seen", ">=", "2024-05-02"),))
    assert names(connector(root).fetch_training_data(query)) == ["a", "b"]


@pytest.mark.parametrize("value", ["large", None, [1]])
def test_a_value_that_does_not_suit_its_column_is_refused_by_name(root: Path, value: object) -> None:
    with pytest.raises(InvalidInput, match="size == "):
        connector(root).fetch_training_data(Query("things", where=(Condition("size", "==", value),)))


def test_data_are_read_again_and_again_until_they_change(root: Path) -> None:
    data = connector(root).fetch_training_data(Query("things"))
    assert pa.table(data).equals(pa.table(data))
    write(root / "data" / "things.jsonl", ROWS[:1])
    with pytest.raises(Conflict):
        pa.table(data)


def test_the_version_is_the_digest_and_only_the_present_one_can_be_had(root: Path) -> None:
    driver = connector(root)
    before = driver.resolve(Query("things"))
    assert driver.resolve(Query("things", before.version)) == before
    write(root / "data" / "things.jsonl", ROWS[:1])
    assert driver.resolve(Query("things")).digest != before.digest
    with pytest.raises(NotFound):
        driver.resolve(Query("things", before.version))


@pytest.mark.parametrize("name", ["../secret", "..", "/etc/passwd", "deeper/../../secret", "a\0b", "link"])
def test_nothing_outside_the_root_is_read(root: Path, name: str) -> None:
    write(root / "secret.jsonl", ROWS)
    (root / "data" / "link.jsonl").symlink_to(root / "secret.jsonl")
    with pytest.raises(ForgeError):
        connector(root).fetch_training_data(Query(name))
    with pytest.raises(InvalidInput):
        connector(root, DatasetSpec("listed", path="../secret.jsonl")).fetch_training_data(Query("listed"))


def test_an_unknown_column_names_the_nearest_one(root: Path) -> None:
    with pytest.raises(InvalidInput) as caught:
        connector(root).fetch_training_data(Query("things", columns=("nam",)))
    assert "'name'" in caught.value.remedy


def test_what_is_not_declared_is_refused(root: Path) -> None:
    for query in (Query("things", sample=0.5), Query("things", masked={"name": "null"})):
        with pytest.raises(InvalidInput):
            connector(root).fetch_training_data(query)


def test_files_and_what_the_project_lists_are_the_data_sets(root: Path) -> None:
    listed = (DatasetSpec("mine", path="things.jsonl"), DatasetSpec("other", path="data/other"))
    assert connector(root, *listed).datasets() == ["mine", "things"]
    assert [column.name for column in connector(root, *listed).schema("mine")] == ["name", "size", "seen"]


def test_lines_that_are_no_json_are_told(root: Path) -> None:
    (root / "data" / "broken.jsonl").write_text("{no json\n", encoding="utf-8")
    with pytest.raises(InvalidInput, match="broken"):
        connector(root).fetch_training_data(Query("broken"))
