"""A file has its old bytes or its new ones."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from forge_core.files import file_digest, sync_tree, write_atomically


def test_a_file_is_written_and_replaced_with_its_mode(tmp_path):
    path = tmp_path / "a"
    write_atomically(path, b"one", 0o600)
    write_atomically(path, b"two", 0o600)
    assert path.read_bytes() == b"two"
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_where_a_step_fails_the_old_bytes_stay_and_nothing_is_left_beside(tmp_path, monkeypatch, step):
    path = tmp_path / "a"
    write_atomically(path, b"one")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched, pytest.raises(OSError, match="No space"):
        patched.setattr(os, step, full)
        write_atomically(path, b"two")
    assert path.read_bytes() == b"one"
    assert list(tmp_path.iterdir()) == [path]


def test_bytes_are_synced_before_they_get_their_name(tmp_path, monkeypatch):
    order: list[str] = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda handle: (order.append(os.path.basename(os.readlink(f"/proc/self/fd/{handle}"))), fsync(handle)))
    monkeypatch.setattr(os, "replace", lambda *names: (order.append("rename"), replace(*names)))
    write_atomically(tmp_path / "a", b"one")
    assert order[0].startswith(".a.")
    assert order[1:] == ["rename", tmp_path.name]


def test_a_tree_is_synced_from_its_leaves_to_its_parent(tmp_path, monkeypatch):
    (tmp_path / "top" / "inner").mkdir(parents=True)
    (tmp_path / "top" / "inner" / "leaf").write_bytes(b"x")
    seen: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda handle: seen.append(Path(os.readlink(f"/proc/self/fd/{handle}")).name))
    sync_tree(tmp_path / "top")
    assert seen == ["leaf", "inner", "top", tmp_path.name]


def test_a_digest_is_over_the_bytes(tmp_path):
    (tmp_path / "a").write_bytes(b"x" * 1_000_000)
    assert file_digest(tmp_path / "a") == hashlib.sha256(b"x" * 1_000_000).hexdigest()
