from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from forge_auth import server_key
from forge_core.faults import Refused


def test_a_new_key_is_256_bits_that_only_its_owner_reads(tmp_path: Path) -> None:
    path = tmp_path / ".forge" / "auth.key"
    assert len(server_key.create(path)) == 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [one.name for one in path.parent.iterdir()] == ["auth.key"]


def test_a_key_that_is_there_is_never_replaced(tmp_path: Path) -> None:
    path = tmp_path / "auth.key"
    assert server_key.create(path) == server_key.create(path) == server_key.read(path)


def test_all_who_race_to_make_it_get_one_key(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(lambda _: server_key.create(tmp_path / "auth.key"), range(32)))) == 1


@pytest.mark.parametrize("text", ["", "ab", "z" * 64, "ab" * 31, "ab" * 33, "é" * 64])
def test_a_damaged_key_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "auth.key"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(Refused):
        server_key.read(path)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666])
def test_a_key_open_to_others_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "auth.key"
    server_key.create(path)
    path.chmod(mode)
    with pytest.raises(Refused, match="open to other users"):
        server_key.read(path)
