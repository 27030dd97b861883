"""`forge plugins test` over every distribution of this repository, and over a plugin that was written for the first release."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from environments import DISTRIBUTIONS, ROOT, Environment

FROZEN = ROOT / "tests" / "fixtures" / "forge-first"
FROZEN_DIGEST = "55fd6583c1eb858f69936b279efb8fc81364878779acb863f75df0b83c064400"


def digest(folder: Path) -> str:
    """Over the names and contents of a folder's files."""
    sha = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts):
        sha.update(f"{path.relative_to(folder).as_posix()}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    return sha.hexdigest()


OURS = ("forge-kernel", *(folder.name for folder in DISTRIBUTIONS[1:]))


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("words", ["forge-auth forge-lake", pytest.param("--all", marks=pytest.mark.soak)])
def test_the_distributions_of_this_repository_are_proved(environment: Environment, tmp_path: Path, words: str) -> None:
    """Each driver's class runs in its distribution's own tests as well, so that two of them say enough each time."""
    said = environment.run(f"forge plugins test {words} --json --report proof.html", tmp_path, timeout=1500)
    proofs = {one["distribution"]: one for one in json.loads(said.stdout)}
    ours = set(OURS) if words == "--all" else set(words.split())
    assert ours == set(proofs)
    assert all(proof["passed"] for proof in proofs.values())
    offered = {
        (one["distribution"], role, name)
        for one in environment.json("forge plugins list", tmp_path)
        for role, names in one["roles"].items()
        for name in names
        if role not in ("plugin", "command") and one["distribution"] in ours
    }
    proved = {
        (name, line["role"], driver)
        for name, proof in proofs.items()
        for line in proof["lines"]
        if line["passed"] and not line["failed"]
        for driver in line["name"].split(", ")
    }
    assert offered <= proved
    page = (tmp_path / "proof.html").read_text()
    assert all(name in page for name in ours)
    assert str(tmp_path) not in page


def test_the_plugin_of_the_first_release_was_not_changed() -> None:
    assert digest(FROZEN) == FROZEN_DIGEST, "it is what strangers wrote for 1.0.0: mend the kernel, not the plugin"


def test_the_plugin_of_the_first_release_loads_and_passes(environment: Environment, tmp_path: Path) -> None:
    site = tmp_path / "site"
    environment.run(f"pip install -q --no-deps --no-build-isolation --target {site} {FROZEN}", tmp_path)
    with_it = {"PYTHONPATH": str(site)}
    listed = {one["distribution"]: one for one in environment.json("forge plugins list", tmp_path, **with_it)}
    assert listed["forge-first"]["state"] == "ready"
    said = environment.run("forge plugins test forge-first --json", tmp_path, timeout=600, **with_it)
    proof = json.loads(said.stdout)[0]
    assert proof["passed"]
    assert {line["role"] for line in proof["lines"] if line["passed"]} == set(listed["forge-first"]["roles"]) - {"plugin", "command"}
