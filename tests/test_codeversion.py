"""What a run was made by: the commit, and all that is not committed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from forge_core import codeversion

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="needs git")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A commit with one file, and a .gitignore."""
    (tmp_path / "steps.py").write_text("X = 1\n")
    (tmp_path / ".gitignore").write_text(".forge/\n")
    for arguments in (("init", "-q"), ("add", "."), ("-c", "user.name=t", "-c", "user.email=t@t", "commit", "-q", "-m", "one")):
        subprocess.run(["git", "-C", str(tmp_path), *arguments], check=True)
    return tmp_path


def test_what_is_all_committed_has_no_difference(checkout):
    found = codeversion.of(checkout)
    assert found.commit is not None
    assert (len(found.commit), found.diff_digest) == (40, None)


def test_a_changed_file_is_a_difference(checkout):
    (checkout / "steps.py").write_text("X = 2\n")
    assert codeversion.of(checkout).diff_digest is not None


def test_an_untracked_file_is_a_difference_by_its_name_and_its_content(checkout):
    digests = [codeversion.of(checkout).diff_digest]
    for name, source in (("new_step.py", "Y = 1\n"), ("new_step.py", "Y = 2\n"), ("a folder/ünïcode.py", "Y = 2\n")):
        (checkout / name).parent.mkdir(exist_ok=True)
        (checkout / name).write_text(source)
        digests.append(codeversion.of(checkout).diff_digest)
    assert len(set(digests)) == 4


def test_an_ignored_file_is_no_difference(checkout):
    (checkout / ".forge").mkdir()
    (checkout / ".forge" / "forge.db").write_text("state")
    assert codeversion.of(checkout).diff_digest is None


def test_outside_a_checkout_there_is_neither(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    found = codeversion.of(tmp_path)
    assert (found.commit, found.diff_digest) == (None, None)
    assert found.environment_digest
