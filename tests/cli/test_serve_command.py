"""`forge serve`: while auth is none, only a loopback address is listened on."""

from __future__ import annotations

import pytest

DEPLOYER = """
from pathlib import Path
from forge_core.contracts import CONTRACTS
Deployer = CONTRACTS["deployer"]
class Fake(type("Fake", (Deployer,), {name: (lambda self, *a, **k: None) for name in Deployer.__abstractmethods__})):
    def serve(self, endpoints, host, port, workers):
        Path("served.txt").write_text(f"{host} {port} {workers} {list(endpoints)}")
"""
OPEN_AUTH = """
from forge_core.contracts import AuthProvider
from forge_core.records import Decision, Principal
class Keys(AuthProvider):
    def authenticate(self, credentials): return Principal("ann", ("admin",))
    def authorize(self, principal, action, resource): return Decision(True)
"""


@pytest.fixture
def served(fake_distribution, project):
    """Makes a project with a deployer that writes down where it would listen; returns what it wrote."""
    fake_distribution.add("forge-fake", entries={"forge.deployers": {"fake": "fake_deployer:Fake"}}, fake_deployer=DEPLOYER)
    fake_distribution.add("forge-keys", entries={"forge.auth": {"keys": "fake_keys:Keys"}}, fake_keys=OPEN_AUTH)

    def make(auth: str = "none"):
        folder = project(f"infrastructure: {{serving: {{type: fake}}, auth: {{type: {auth}}}}}")
        return lambda: (folder / "served.txt").read_text() if (folder / "served.txt").exists() else ""

    return make


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.8.9.10"])
def test_a_loopback_address_is_served(served, command, host):
    look = served()
    assert command("serve", "churn", "--host", host, "--port", "9000", "--workers", "3").code == 0
    assert look() == f"{host} 9000 3 ['churn']"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.com", "", "127.0.0.1.example.com", "localhost.example.com"])
def test_any_other_address_is_refused_while_auth_is_none(served, command, host):
    look = served()
    said = command("serve", "--host", host)
    assert look() in ("", "127.0.0.1 8000 1 []")  # an empty --host is no address at all
    if host:
        assert said.code == 3
        assert "auth is none, so only a loopback address may be served; configure infrastructure.auth" in said.err


def test_with_an_auth_driver_any_address_is_served(served, command):
    look = served("keys")
    assert command("serve", "--host", "0.0.0.0").code == 0
    assert look().startswith("0.0.0.0 8000")


def test_nothing_listens_while_the_gates_are_not_sound(served, command):
    look = served("nowhere")
    said = command("serve")
    assert (said.code, look()) == (3, "")
