from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from attrs import evolve

from forge_core.faults import InvalidInput
from forge_core.records import Project, RunRecord
from forge_stranger import diary, plugin

RUN = RunRecord("run_1", "species", "done", datetime(2026, 1, 1, tzinfo=UTC), (), "default", datetime(2026, 1, 2, tzinfo=UTC))


def test_every_run_that_ended_is_a_line_in_the_projects_diary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(diary.VARIABLE, raising=False)
    project = Project("p", tmp_path)
    project.state.mkdir()
    plugin.forge_kernel_opened(project)
    plugin.forge_run_finished(RUN)
    plugin.forge_run_finished(evolve(RUN, run_id="run_2", state="failed"))
    plugin.forge_kernel_closed(project)
    found = diary.read(tmp_path / ".forge" / "diary.jsonl")
    assert [(one["run_id"], one["state"]) for one in found] == [("run_1", "done"), ("run_2", "failed")]
    assert found[0]["ended_at"] == "2026-01-02T00:00:00+00:00"


def test_the_environment_names_another_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(diary.VARIABLE, str(tmp_path / "mine.jsonl"))
    assert diary.path(Project("p", tmp_path)) == tmp_path / "mine.jsonl"
    assert diary.read(tmp_path / "mine.jsonl") == []


def test_a_file_that_is_no_diary_is_told(tmp_path: Path) -> None:
    (tmp_path / "d").write_text("hello\n", encoding="utf-8")
    with pytest.raises(InvalidInput):
        diary.read(tmp_path / "d")


def test_the_plugin_module_imports_nothing_heavy() -> None:
    code = "import json, sys, forge_stranger.plugin; print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    loaded = set(json.loads(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True).stdout))
    assert not loaded & {"numpy", "pyarrow", "sqlalchemy", "cyclopts"}
