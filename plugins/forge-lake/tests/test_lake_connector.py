"""The driver as the kernel hands it out: chosen by name, behind the guard, told of by hooks."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from attrs import evolve

from forge_core import Kernel
from forge_core.contracts import Capability, DataSourceConnector
from forge_core.faults import ConfigError
from forge_core.operations import bare, oblige, operations_of
from forge_core.records.auth import Decision
from forge_core.records.data import Column, Condition, Query
from forge_lake import LakeServiceConnector

Write = Callable[..., Path]
YAML = """
project: {name: demo}
connectors:
  lake: {root: data, batch_rows: 1000}
  raw: {type: lake, root: data/raw}
datasets:
  - {name: flights, path: flights, partitions: [month], target: late}
"""


@pytest.fixture
def project(root: Path, write: Write) -> Path:
    file = root.parent / "forge.yaml"
    file.write_text(YAML)
    for month in (1, 2):
        write(f"flights/month={month}/a.parquet", {"late": [True, False], "delay": [1.5, None], "tail": ["N1", "N2"]})
    write("raw/planes.parquet", {"tail": ["N1"]})
    return file


def test_importing_the_package_or_its_plugin_imports_nothing_heavy() -> None:
    code = "import sys, forge_lake, forge_lake.plugin; print([m for m in ('pyarrow', 'numpy', 'fsspec', 'sqlalchemy', 'cyclopts') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_the_kernel_hands_it_out_by_its_name_and_by_an_instances(project: Path) -> None:
    with Kernel.open(project) as kernel:
        lake = kernel.driver("connector", "lake")
        assert isinstance(lake, DataSourceConnector)
        assert lake.schema("flights")[-1] == Column("month", "int32")
        assert kernel.driver("connector", "raw").resolve(Query("planes")).rows == 1
        assert "hunter2" not in repr(lake)


def test_a_wrong_setting_names_the_nearest(project: Path) -> None:
    project.write_text("project: {name: demo}\nconnectors: {lake: {rooot: data}}\n")
    with Kernel.open(project) as kernel, pytest.raises(ConfigError, match="rooot"):
        kernel.driver("connector", "lake")


def test_every_public_method_is_an_operation(project: Path) -> None:
    table = operations_of(LakeServiceConnector)
    public = {name for name in vars(LakeServiceConnector) if not name.startswith("_") and callable(getattr(LakeServiceConnector, name))}
    assert public - {"Settings"} <= table.keys()
    assert {name for name, one in table.items() if one.mutates} == {"register_dataset", "write"}
    assert Capability.WRITE not in LakeServiceConnector.capabilities


LISTENER = """
from forge_core import hookimpl

told = []

@hookimpl
def forge_dataset_registered(dataset, session):
    told.append((dataset, session.principal.name))
"""


def test_registering_is_one_event_and_told_once(project: Path) -> None:
    (project.parent / "lake_listener.py").write_text(LISTENER)
    project.write_text(YAML + "plugins: {local: [lake_listener]}\n")
    with Kernel.open(project) as kernel:
        lake = kernel.driver("connector", "lake")
        made = lake.register_dataset("flights", label="v1")
        assert lake.register_dataset("flights", label="v1") == made
        events = [event for _, event in kernel.database.events() if event.action == "data:register"]
    assert [dataset for dataset, _ in importlib.import_module("lake_listener").told] == [made]
    assert [(event.resource, event.before, event.after["number"], event.after["label"]) for event in events] == [
        ("dataset:flights", None, 1, "v1")
    ]


def test_row_filters_and_masks_of_a_decision_are_applied_in_the_scan(project: Path) -> None:
    with Kernel.open(project) as kernel:
        lake = bare(kernel.driver("connector", "lake"))
        decision = Decision(True, filters=(Condition("month", "==", 2),), masks={"tail": "hash", "delay": "null"})
        data = lake.fetch_training_data(oblige(Query("flights"), decision, type(lake)))
        table = data.open().read_all()
    assert set(table["month"].to_pylist()) == {2}
    assert table["delay"].null_count == table.num_rows == 2
    assert all(len(value) == 64 for value in table["tail"].to_pylist())


def test_the_query_that_was_asked_stays_with_the_data(project: Path) -> None:
    with Kernel.open(project) as kernel:
        query = Query("flights", columns=("late",))
        data = kernel.driver("connector", "lake").fetch_training_data(query, limit=3)
    assert (data.query, data.version.dataset) == (query, "flights")
    assert evolve(data.query, columns=None) == Query("flights")


def test_write_is_not_offered(project: Path) -> None:
    with Kernel.open(project) as kernel, pytest.raises(Exception, match="cannot write"):
        kernel.driver("connector", "lake").write("flights", None, "append")


def forge(project: Path, capfd: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    from forge_core.cli.app import run  # cyclopts is not needed by the tests above

    code = run([*words, "--config", str(project)])
    said = capfd.readouterr()
    return code, said.out, said.err


def test_the_commands_from_list_to_history(project: Path, root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert "flights" in forge(project, capfd, "data", "list")[1]
    code, out, _ = forge(project, capfd, "data", "register", "flights", "--label", "v1", "--json")
    made = json.loads(out)
    assert (code, made["dataset"], made["version"], made["rows"]) == (0, "flights", "v1", 4)
    code, out, _ = forge(project, capfd, "data", "register", "planes", "--path", "raw/planes.parquet")
    assert (code, out.startswith("planes@1: rows: 1, digest ")) == (0, True)
    shown = json.loads(forge(project, capfd, "data", "show", "flights", "--version", "v1", "--json")[1])
    assert shown["info"]["target"] == "late"
    assert shown["version"]["digest"] == made["digest"]
    assert [column["name"] for column in shown["columns"]] == ["late", "delay", "tail", "month"]
    assert "v1" in forge(project, capfd, "data", "show", "flights")[1]
    assert forge(project, capfd, "data", "validate", "flights")[:2] == (0, "flights@v1 is valid: rows: 4, files: 2\n")
    (version,) = json.loads(forge(project, capfd, "data", "history", "flights", "--json")[1])
    assert (version["number"], version["label"], version["digest"]) == (1, "v1", made["digest"])
    assert "v1" in forge(project, capfd, "data", "history", "flights")[1]
    listed = json.loads(forge(project, capfd, "data", "list", "--json")[1])
    assert [(one["name"], one["origin"], one["versions"]) for one in listed] == [
        ("flights", "forge.yaml", 1),
        ("planes", "registered", 1),
        ("raw", "found", 0),
    ]


def test_what_is_wrong_is_one_line_of_cause_and_one_of_remedy(project: Path, write: Write, capfd: pytest.CaptureFixture[str]) -> None:
    for words, cause in (
        (("show", "fligts"), "fligts"),
        (("show", "../../etc/passwd"), "not a data set's name"),
        (("show", "flights", "--version", "v9"), "v9"),
        (("history", "nothing"), "nothing"),
        (("register", "x", "--path", "../x"), "not a path inside"),
        (("register", "flights", "--label", "latest"), "label"),
    ):
        code, out, err = forge(project, capfd, "data", *words)
        assert (code, out, len(err.splitlines())) == (1, "", 2)
        assert cause in err.splitlines()[0]


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (lambda root, write: write("flights/month=3/a.parquet", {"late": ["yes"]}), "'late'"),
        (lambda root, write: write("flights/a.parquet", {"late": [True], "delay": [1.0], "tail": ["x"]}), "month="),
        (lambda root, write: (root / "flights" / "month=1" / "a.parquet").write_bytes(b"PAR1 not really PAR1"), "parquet"),
        (lambda root, write: [write(f"flights/month={m}/a.parquet", {"late": [], "delay": [], "tail": []}) for m in (1, 2)], "no rows"),
        (lambda root, write: [write(f"flights/month={m}/a.parquet", {"delay": [1.0]}) for m in (1, 2)], "target column 'late'"),
        (lambda root, write: write("flights/month=2/a.parquet", {"late": [True], "delay": [1.5]}), "'tail'"),
    ],
)
def test_validate_tells_what_is_wrong_and_exits_1(
    project: Path, root: Path, write: Write, capfd: pytest.CaptureFixture[str], spoil: Callable[[Path, Write], object], problem: str
) -> None:
    spoil(root, write)
    code, out, err = forge(project, capfd, "data", "validate", "flights")
    assert (code, out) == (1, "")
    assert problem in err.splitlines()[0]


def test_validate_reads_what_a_footer_does_not_tell(project: Path, root: Path, write: Write, capfd: pytest.CaptureFixture[str]) -> None:
    file = write("damaged.parquet", {"x": [str(number) for number in range(20_000)]}, compression="zstd")
    content = bytearray(file.read_bytes())
    content[2000:2400] = bytes(400)
    file.write_bytes(content)
    code, _, err = forge(project, capfd, "data", "validate", "damaged")
    assert (code, str(root) in err) == (1, False)
    assert "damaged" in err


def test_a_declared_partition_that_is_not_there_is_a_problem(project: Path, capfd: pytest.CaptureFixture[str]) -> None:
    project.write_text(YAML.replace("[month]", "[year, month]"))
    code, _, err = forge(project, capfd, "data", "validate", "flights")
    assert (code, "'year'" in err) == (1, True)


def test_a_data_set_of_another_connector_is_said_to_be_one(project: Path, root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    project.write_text("project: {name: demo}\ndatasets: [{name: topic, connector: nosuch}]\n")
    code, _, err = forge(project, capfd, "data", "register", "topic")
    assert code != 0
    assert "nosuch" in err
