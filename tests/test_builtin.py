"""The kernel's own drivers, found through entry points like a stranger's."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from forge_core.builtin.auth import NoAuth, is_loopback
from forge_core.builtin.secrets import EnvironmentSecrets
from forge_core.catalog import Catalog
from forge_core.faults import ConfigError, InvalidInput, NotFound
from forge_core.operations import acting_as
from forge_core.records import Notice, Principal, Session


def test_the_kernels_drivers_are_entry_points():
    own = {(ref.role, ref.name) for ref in Catalog.scan(plugins=False).refs}
    assert own == {
        ("plugin", "kernel"),
        ("orchestrator", "local"),
        ("auth", "none"),
        ("secrets", "env"),
        ("notifier", "console"),
        ("monitor", "log"),
    }


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True), ("127.1.2.3", True), ("::1", True), ("[::1]", True), ("localhost", True), ("0.0.0.0", False), ("::", False), ("10.0.0.1", False),
        ("127.0.0.1.evil.com", False), ("localhost.evil.com", False), ("", False), ("2130706433", False), ("::ffff:10.0.0.1", False),
    ],
)  # fmt: skip
def test_loopback_is_told_from_the_rest(host, loopback):
    assert is_loopback(host) is loopback
    assert NoAuth().authorize(Principal("system"), "server:listen", f"address:{host}:8000").allowed is loopback


def test_without_auth_everything_else_is_allowed_to_the_system():
    auth = NoAuth()
    assert auth.authorize(auth.authenticate({"api_key": "anything"}), "model:register", "model:x").allowed


@pytest.mark.parametrize(("ref", "name"), [("db/password", "DB_PASSWORD"), ("a", "A"), ("/x-y.z/", "X_Y_Z")])
def test_a_secret_is_read_from_the_environment(monkeypatch, ref, name):
    monkeypatch.setenv(f"FORGE_SECRET_{name}", "hunter2")
    assert EnvironmentSecrets().read(ref) == "hunter2"


def test_a_missing_secret_says_what_to_export():
    with pytest.raises(NotFound, match="the secret 'db/password' is not in the environment") as caught:
        EnvironmentSecrets().read("db/password")
    assert caught.value.remedy == "export FORGE_SECRET_DB_PASSWORD=..."


def test_a_notice_is_a_line_on_stderr(kernel, capsys):
    kernel.notifier("console").notify(Notice("disk", "is full", "critical"))
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "critical: disk: is full\n")


def test_requests_and_latencies_are_reported_per_version(kernel):
    for version, latency in ((1, [1.0, 2.0, 3.0, 4.0]), (2, [10.0])):
        kernel.monitor.record("churn", version, None, None, latency)
    report = kernel.monitor.report("churn", timedelta(minutes=5))
    assert report["versions"]["1"] == {"requests": 4, "latency_p50": 3.0, "latency_p95": 4.0, "latency_p99": 4.0}
    assert report["versions"]["2"]["requests"] == 1
    assert kernel.monitor.report("churn", timedelta(0))["versions"] == {}
    assert kernel.monitor.report("other", timedelta(minutes=5))["versions"] == {}


def test_one_tenants_numbers_are_not_anothers(kernel):
    with acting_as(Session(Principal("ann", ("admin",), "acme"), "r")):
        kernel.monitor.record("churn", 1, None, None, [1.0])
    assert kernel.monitor.report("churn", timedelta(minutes=5))["versions"] == {}
    with acting_as(Session(Principal("ann", ("admin",), "acme"), "r")):
        assert kernel.monitor.report("churn", timedelta(minutes=5))["versions"]["1"]["requests"] == 1


def test_recording_does_no_io_and_closing_loses_nothing(kernel):
    folder = kernel.project.state / "monitor"
    kernel.monitor.record("churn", 1, None, None, [1.0])
    assert not folder.exists()
    kernel.monitor.feedback("req_1", {"churned": True})
    kernel.close()
    assert json.loads((folder / "default" / "churn.jsonl").read_text())["latency_ms"] == [1.0]
    assert json.loads((folder / "default" / "requests.feedback").read_text())["label"] == {"churned": True}


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".hidden", "x" * 200, "a\x00b", "a\n"])
def test_an_endpoints_name_never_leaves_the_folder(kernel, name):
    with pytest.raises(InvalidInput, match="is no endpoint's name"):
        kernel.monitor.record(name, 1, None, None, [1.0])
    with pytest.raises(InvalidInput):
        kernel.monitor.report(name, timedelta(1))


def test_the_log_monitor_takes_no_monitors(kernel):
    with pytest.raises(ConfigError, match="only counts"):
        kernel.monitor.add_monitor("churn", {})
