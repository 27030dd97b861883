"""`forge plugins`: what is installed and what is wrong with it, importing nothing foreign."""

from __future__ import annotations

import sys

import pytest

SABOTEURS = {
    "forge-raises": "raise ValueError('boom')",
    "forge-exits": "raise SystemExit",
    "forge-asserts": "assert False, 'never'",
    "forge-syntax": "def broken(:",
    "forge-hook": "from forge_core import hookimpl\n@hookimpl\ndef forge_run_finished(run, colour): ...",
}


def ours(found: list[dict]) -> dict[str, dict]:
    return {one["distribution"]: one for one in found if one["distribution"].startswith("forge-") and "About" in one["summary"]}


def test_the_list_tells_distribution_version_state_reason_roles_summary_and_faults(fake_distribution, project, command):
    fake_distribution.add("forge-ready", "1.5", {"forge.trainers": {"a": "m:A", "b": "m:B"}, "forge.flavors": {"a": "m:F"}})
    fake_distribution.add("forge-old", entries={"forge.trainers": {"old": "m:A"}}, requires=("forge-kernel<1",))
    fake_distribution.add("forge-denied", entries={"forge.trainers": {"denied": "m:A"}})
    for name in ("forge-clash-a", "forge-clash-b"):
        fake_distribution.add(name, entries={"forge.trainers": {"same": "m:A"}})
    project("plugins: {deny: [forge-denied]}")
    said = command("plugins", "list", "--json")
    assert said.code == 0
    found = ours(said.json)
    assert found["forge-ready"] == {
        "distribution": "forge-ready", "version": "1.5", "state": "ready", "reason": "", "roles": {"flavor": ["a"], "trainer": ["a", "b"]},
        "summary": "About forge-ready.", "faults": [],
    }  # fmt: skip
    assert {name: one["state"] for name, one in found.items()} == {
        "forge-ready": "ready", "forge-old": "incompatible", "forge-denied": "denied", "forge-clash-a": "clash", "forge-clash-b": "clash",
    }  # fmt: skip
    assert found["forge-old"]["reason"] == "wants forge-kernel<1, this is forge-kernel 1.0.0"
    assert found["forge-clash-a"]["reason"] == "also offered by forge-clash-b"
    text = command("plugins", "list").out
    assert all(name in text for name in found)


def test_l1_saboteurs_are_named_after_an_opening_and_the_work_went_on(fake_distribution, project, command):
    for name, source in SABOTEURS.items():
        fake_distribution.plugin(name, source)
    project("pipeline: {steps: [{name: s, stage: TRAINING, target: 'well:fine'}]}", well="def fine(): ...")
    before = ours(command("plugins", "list", "--json").json)
    assert {one["state"] for one in before.values()} == {"ready"}
    trained = command("train")
    assert trained.code == 0
    assert all(f"forge: warning: {name} 1.0: " in trained.err for name in SABOTEURS)
    after = ours(command("plugins", "list", "--json").json)
    assert set(after) == set(SABOTEURS)
    for name, one in after.items():
        assert (one["state"], [fault["distribution"] for fault in one["faults"]]) == ("faulty", [name])
        assert one["faults"][0]["cause"]
        assert name in one["faults"][0]["remedy"]
    doctor = command("plugins", "doctor")
    assert doctor.code == 1
    assert "forge-raises 1.0: import: ValueError: boom\n  " in doctor.out


def test_a_fault_of_another_version_is_forgotten(fake_distribution, project, command):
    fake_distribution.plugin("forge-raises", "raise ValueError")
    project()
    command("runs", "list")
    info = fake_distribution.folder / "forge_raises-1.0.dist-info"
    (info / "METADATA").write_text((info / "METADATA").read_text().replace("Version: 1.0", "Version: 1.1"))
    assert ours(command("plugins", "list", "--json").json)["forge-raises"]["state"] == "ready"


def test_one_distribution_is_shown_with_each_of_its_entry_points(fake_distribution, project, command):
    fake_distribution.add("forge-ready", "1.5", {"forge.trainers": {"a": "m:A"}, "forge.flavors": {"a": "m:F"}})
    project()
    assert [(ref["role"], ref["name"], ref["target"]) for ref in command("plugins", "show", "Forge_Ready", "--json").json] == [
        ("flavor", "a", "m:F"),
        ("trainer", "a", "m:A"),
    ]
    said = command("plugins", "show", "forge-nowhere")
    assert (said.code, said.err) == (1, "forge: forge-nowhere is not installed, or offers nothing to Forge\n  forge plugins list\n")


@pytest.mark.parametrize(
    "argv",
    [
        ("plugins", "list"),
        ("plugins", "doctor"),
        ("plugins", "show", "forge-canary"),
        ("--help",),
        ("plugins", "--help"),
        ("config", "show"),
    ],
)
def test_nothing_foreign_is_imported(fake_distribution, project, command, argv):
    groups = ("forge.plugins", "forge.trainers", "forge.commands", "forge.auth")
    fake_distribution.add(
        "forge-canary", entries={group: {"canary": "canary_of_commands:x"} for group in groups}, canary_of_commands="raise SystemExit(9)"
    )
    project()
    assert command(*argv).code in (0, 1)
    assert "canary_of_commands" not in sys.modules


def test_a_project_that_cannot_be_read_does_not_stop_the_listing(fake_distribution, project, command):
    project("projet: {}")
    said = command("plugins", "list", "--json")
    assert said.code == 0
    assert "forge: warning: forge.yaml:1:1: projet: unknown key 'projet'" in said.err
    assert command("plugins", "list", "--config", "forge.yaml").code == 2


def test_the_environment_denies_on_the_command_line_too(fake_distribution, project, command, monkeypatch):
    fake_distribution.plugin("forge-raises", "raise ValueError")
    monkeypatch.setenv("FORGE_PLUGINS_DENY", "forge-raises")
    project()
    assert ours(command("plugins", "list", "--json").json)["forge-raises"]["state"] == "denied"
    assert "warning" not in command("runs", "list").err


def test_l2_with_a_broken_required_plugin_changes_are_refused_and_the_rest_works(fake_distribution, project, command):
    fake_distribution.plugin("forge-guardian", "raise ValueError('no key')")
    project(
        "plugins: {require: [forge-guardian]}\npipeline: {steps: [{name: s, stage: TRAINING, target: 'well:fine'}]}", well="def fine(): ..."
    )
    refused = command("train")
    assert refused.code == 3
    assert "nothing may be changed while forge-guardian 1.0 is faulty: ValueError: no key" in refused.err
    for argv in (("plan",), ("runs", "list"), ("config", "show"), ("plugins", "list")):
        assert command(*argv).code == 0


def test_l2_no_plugins_gets_past_everything_but_the_requirement(fake_distribution, project, command):
    fake_distribution.plugin("forge-hangs", "while True: pass")
    project("pipeline: {steps: [{name: s, stage: TRAINING, target: 'well:fine'}]}", well="def fine(): ...")
    assert command("runs", "list", "--no-plugins").code == 0
    assert command("train", "--no-plugins").code == 0
