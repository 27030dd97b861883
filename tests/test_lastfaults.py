"""Faults of the last opening are kept for listings, and are never a reason to fail."""

from __future__ import annotations

import pytest

from forge_core.faults import Fault
from forge_core.lastfaults import read, write

FAULT = Fault("import", "forge-x", "1.0", "ValueError: ü", "upgrade it")


def test_faults_come_back_and_a_sound_opening_clears_them(tmp_path):
    write(tmp_path, [FAULT, FAULT])
    assert read(tmp_path) == (FAULT, FAULT)
    write(tmp_path, [])
    assert read(tmp_path) == ()


def test_where_there_never_was_a_fault_nothing_is_written(tmp_path):
    write(tmp_path, [])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", ["", "{", "[1]", '[{"where": "x"}]', "null", '"text"', "5"])
def test_a_record_that_cannot_be_read_is_none(tmp_path, content):
    (tmp_path / ".forge").mkdir()
    (tmp_path / ".forge" / "faults.json").write_text(content)
    assert read(tmp_path) == ()
    write(tmp_path, [FAULT])
    assert read(tmp_path) == (FAULT,)


def test_a_folder_that_cannot_be_written_is_left_alone(tmp_path):
    (tmp_path / ".forge").write_text("a file where a folder should be")
    write(tmp_path, [FAULT])
    assert read(tmp_path) == ()
    assert read(None) == ()
