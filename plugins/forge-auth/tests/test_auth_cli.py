"""The commands as a user types them, in a project that chose `api_keys`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from forge_core import Kernel
from forge_core.faults import Refused

FORGE = Path(sys.executable).with_name("forge")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "forge.yaml").write_text("project: {name: demo}\ninfrastructure: {auth: {backend: api_keys}}\n")
    return tmp_path


def forge(project: Path, *words: str, key: str = "") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "FORGE_API_KEY": key}
    return subprocess.run([FORGE, *words], cwd=project, env=environment, capture_output=True, text=True, timeout=60, check=False)


def document(project: Path, *words: str, key: str = "") -> Any:
    done = forge(project, "--json", *words, key=key)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def made(project: Path, name: str, role: str, by: str = "") -> str:
    with Kernel.open(project, credentials={"api_key": by}) as kernel:
        return kernel.driver("auth").create_key(name, role).secret.reveal()


def test_from_the_first_key_to_a_revoked_one(project: Path) -> None:
    admin = document(project, "auth", "keys", "create", "ana", "--role", "admin")["secret"]
    issued = document(project, "auth", "keys", "create", "dashboard", "--expires", "90d", key=admin)
    viewer = issued["secret"]
    assert document(project, "auth", "whoami", key=viewer) == {"name": "dashboard", "roles": ["viewer"], "tenant": "default"}
    assert not document(project, "auth", "check", "dashboard", "endpoint:deploy", "endpoint:x", key=admin)["allowed"]
    assert document(project, "auth", "keys", "revoke", issued["key"]["key_id"], key=admin)["revoked_at"]
    listed = forge(project, "auth", "keys", "list", "--all", key=admin)
    assert listed.stdout.count("revoked") == 1
    assert viewer not in listed.stdout


def test_a_key_from_a_file_is_used_and_never_repeated(project: Path) -> None:
    viewer = made(project, "dashboard", "viewer", by=made(project, "ana", "admin"))
    (project / "key.txt").write_text(viewer + "\n")
    denied = forge(project, "--api-key-file", "key.txt", "auth", "keys", "create", "mallory", "--role", "admin")
    assert denied.returncode == 3
    assert "dashboard may not key:create" in denied.stderr
    assert viewer not in denied.stdout + denied.stderr


def test_a_project_without_a_key_says_how_to_make_the_first(project: Path) -> None:
    refused = forge(project, "runs", "list")
    assert refused.returncode == 3
    assert "forge auth keys create NAME --role admin" in refused.stderr


def test_the_kernels_guard_asks_for_every_operation(project: Path) -> None:
    admin = made(project, "ana", "admin")
    viewer = made(project, "dashboard", "viewer", by=admin)
    with Kernel.open(project, credentials={"api_key": viewer}) as kernel:
        keys = kernel.driver("auth")
        with pytest.raises(Refused, match="needs the role admin"):
            keys.list_keys()
        for closed in ("authenticate", "authorize"):
            with pytest.raises(AttributeError, match="only the kernel calls it"):
                getattr(keys, closed)
    with Kernel.open(project, credentials={"api_key": admin}) as kernel:
        assert [key.name for key in kernel.driver("auth").list_keys()] == ["ana", "dashboard"]


def test_u8_a_damaged_store_lets_nobody_read(project: Path) -> None:
    admin = made(project, "ana", "admin")
    (project / ".forge" / "auth.key").write_text("cut")
    refused = forge(project, "runs", "list", key=admin)
    assert refused.returncode == 3
    assert "the server key .forge/auth.key is damaged" in refused.stderr
    assert "Traceback" not in refused.stderr
    with Kernel.open(project) as kernel, pytest.raises(Refused, match="damaged"):
        kernel.runs()
