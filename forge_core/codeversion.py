"""Which code a run was made by: the commit, what is not committed, and the environment."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

from forge_core.records.models import CodeVersion


def of(root: Path) -> CodeVersion:
    """`commit` and `diff_digest` are None outside a git checkout, `diff_digest` also where all is committed."""
    commit = _git(root, "rev-parse", "HEAD")
    return CodeVersion(commit.decode().strip() if commit else None, _uncommitted(root) if commit else None, environment_digest())


def _uncommitted(root: Path) -> str | None:
    """Over what differs from the commit below `root`, and the sources that git does not know yet and does not ignore."""
    sha, empty = hashlib.sha256(diff := _git(root, "diff", "HEAD", "--", ".") or b""), True
    for name in sorted((_git(root, "ls-files", "-z", "--others", "--exclude-standard", "--", "*.py", "*.yaml") or b"").split(b"\0")):
        path = root / os.fsdecode(name)
        if name and path.is_file():
            empty = False
            sha.update(name + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return None if empty and not diff else sha.hexdigest()


def environment_digest() -> str:
    """Over Python's version and the names and versions of all installed distributions, from their folders' names."""
    names: set[str] = set()
    for place in sys.path:
        try:
            names.update(entry.name for entry in os.scandir(place or ".") if entry.name.endswith(".dist-info"))
        except OSError:
            continue
    return hashlib.sha256("\n".join([sys.version, *sorted(names)]).encode()).hexdigest()


def _git(root: Path, *arguments: str) -> bytes | None:
    try:
        done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, timeout=10, check=False)  # noqa: S607
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
