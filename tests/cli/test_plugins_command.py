"""`forge plugins`: what is installed and what is wrong with it, importing nothing foreign."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import termios

import pytest

FORGE = "import sys; from forge_core.cli import main; sys.argv[0] = 'forge'; main()"

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


def test_a_project_that_is_wrong_elsewhere_still_denies(fake_distribution, project, command):
    fake_distribution.plugin("forge-raises", "raise ValueError")
    project("projet: {}\nplugins: {deny: [forge-raises]}\n")
    said = command("plugins", "list", "--json")
    assert said.code == 0
    assert ours(said.json)["forge-raises"]["state"] == "denied"


def test_a_project_that_cannot_be_read_does_not_stop_the_listing(fake_distribution, project, command):
    project("plugins: {denied: []}")
    said = command("plugins", "list", "--json")
    assert said.code == 0
    assert "forge: warning: forge.yaml:1:11: plugins.denied: unknown key 'denied'" in said.err
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


def test_doctor_says_that_all_is_well_and_how_deep_it_looked(fake_distribution, project, command):
    fake_distribution.plugin("forge-acme", "from forge_core import hookimpl")
    project()
    said = command("plugins", "doctor")
    assert (said.code, said.out) == (0, "all plugins are well, as far as metadata tells; --deep imports each of them\n")
    deep = command("plugins", "doctor", "--deep")
    assert deep.code == 0
    assert [line.split()[:3] for line in deep.out.splitlines() if " well" in line] == [
        ["forge-acme", "1.0", "well"],
        ["forge-kernel", "1.0.0", "well"],
        ["all", "plugins", "are"],
    ]
    assert deep.out.endswith("\n\nall plugins are well\n")


def test_doctor_prints_one_document_whose_keys_are_attributes(fake_distribution, project, command):
    fake_distribution.plugin("forge-acme", "print('hello')\nraise ValueError('boom')")
    fake_distribution.add("forge-typo", entries={"forge.trainer": {"a": "m:A"}})
    project()
    assert command("plugins", "doctor", "--json").json["findings"] == [
        {
            "distribution": "forge-typo", "version": "1.0", "level": "error", "where": "forge.trainer",
            "cause": "the entry-point group 'forge.trainer' means nothing to Forge", "remedy": "its author should write 'forge.trainers'",
        }
    ]  # fmt: skip
    said = command("plugins", "doctor", "--deep", "--json")
    assert said.code == 1
    assert set(said.json) == {"distributions", "findings", "probes"}
    assert [(one["distribution"], one["level"], one["cause"]) for one in said.json["findings"]] == [
        ("forge-acme", "error", "ValueError: boom, at forge_acme.py:2"),
        ("forge-acme", "warning", "its import wrote 6 bytes to stdout: 'hello'"),
        ("forge-typo", "error", "the entry-point group 'forge.trainer' means nothing to Forge"),
    ]
    acme = next(one for one in said.json["probes"] if one["distribution"] == "forge-acme")
    assert (acme["result"], acme["printed"], acme["heavy"], acme["entries"][0]["target"]) == ("broken", 6, [], "forge_acme")
    assert said.json["distributions"] == len(said.json["probes"])


def test_doctor_calls_one_broken_whose_metadata_is_and_imports_the_rest_of_it(fake_distribution, project, command):
    entries = {"forge.notifiers": {"a": "acme_a", "b": "acme_a:B C"}, "forge.plugins": {"acme": "acme_a"}}
    fake_distribution.add("forge-acme", entries=entries, acme_a="x = 1")
    project()
    said = command("plugins", "doctor", "--deep", "--json").json
    acme = next(one for one in said["probes"] if one["distribution"] == "forge-acme")
    assert (acme["result"], [entry["name"] for entry in acme["entries"]]) == ("broken", ["plugin acme"])
    assert [one["where"] for one in said["findings"]] == ["notifier a", "notifier b"]


def test_doctor_ends_with_0_where_there_are_warnings_alone(fake_distribution, project, command):
    fake_distribution.plugin("forge-acme", "print('hello')")
    project("plugins: {deny: [forge-gone]}")
    said = command("plugins", "doctor", "--deep")
    assert said.code == 0
    assert "\nforge-acme 1.0: warning: stdout: its import wrote 6 bytes to stdout: 'hello'\n  its author should use logging" in said.out
    assert (
        "\nforge-gone: warning: forge.yaml:1:18: plugins.deny.0: forge-gone is not installed\n  take it out of plugins.deny\n" in said.out
    )
    assert said.out.endswith("\n\nno errors, 2 warnings\n")


def test_doctor_shows_a_traceback_with_debug_alone(fake_distribution, project, command):
    fake_distribution.plugin("forge-acme", "def inner():\n    raise ValueError('boom')\ninner()")
    project()
    said = command("plugins", "doctor", "--deep")
    assert "Traceback" not in said.out + said.err
    with_debug = command("plugins", "doctor", "--deep", "--debug")
    assert with_debug.out.partition("\n\n")[2] == said.out.partition("\n\n")[2]
    assert "\nforge-acme 1.0: plugin forge-acme\nTraceback (most recent call last):\n" in with_debug.err
    assert "in inner\n" in with_debug.err


def test_doctor_imports_nothing_while_it_is_not_known_who_is_denied(fake_distribution, project, command, tmp_path):
    fake_distribution.plugin("forge-acme", f"open({str(tmp_path / 'touched')!r}, 'w')")
    for text in ("plugins: {deny: [forge-acme\n", "plugins: {deny: forge-acme}\n"):
        project(text)
        shallow = command("plugins", "doctor")
        assert (shallow.code, shallow.err.startswith("forge: warning: forge.yaml:")) == (0, True)
        assert command("plugins", "doctor", "--deep").code == 2
        assert not (tmp_path / "touched").exists()
    project("projet: {}\nplugins: {deny: [forge-acme]}\n")  # wrong elsewhere: what is denied is known
    assert command("plugins", "doctor", "--deep").code == 0
    assert not (tmp_path / "touched").exists()


def test_doctor_takes_a_time_limit_above_0(project, command):
    project()
    for seconds in ("0", "-1", "nan"):
        said = command("plugins", "doctor", "--deep", f"--timeout={seconds}")
        assert (said.code, "above 0" in said.err) == (2, True)


def test_doctor_looks_at_a_projects_local_modules(project, command):
    project("plugins: {local: [mine]}\n", mine="raise ValueError('no')")
    said = command("plugins", "doctor", "--deep")
    assert said.code == 1
    assert "mine local: plugin mine: ValueError: no, at mine.py:1\n" in said.out


@pytest.mark.parametrize("columns", [80, 200])
def test_doctor_fits_the_terminal(fake_distribution, project, columns):
    fake_distribution.plugin("forge-acme-with-a-longer-name", "raise ValueError('a cause ' * 30)")
    project()
    lines = on_a_terminal(columns, "plugins", "doctor", "--deep")
    assert any(line.startswith("forge-acme-with-a-longer-name 1.0: plugin ") for line in lines)
    assert max(map(len, lines)) <= columns
    assert any(line.startswith("    ") and "a cause" in line for line in lines)


def on_a_terminal(columns: int, *argv: str) -> list[str]:
    """What `forge` shows there, without its colours."""
    outer, inner = pty.openpty()
    termios.tcsetwinsize(inner, (50, columns))
    with subprocess.Popen([sys.executable, "-c", FORGE, *argv], stdout=inner, stderr=subprocess.DEVNULL, stdin=inner) as process:
        os.close(inner)
        shown = b""
        while True:
            try:
                data = os.read(outer, 4096)
            except OSError:  # the other side was closed
                break
            if not data:
                break
            shown += data
        process.wait(30)
    os.close(outer)
    return [line.rstrip() for line in re.sub(r"\x1b\[[0-9;]*m", "", shown.decode()).splitlines()]


@pytest.fixture
def acme(fake_distribution):
    fake_distribution.plugin("forge-acme", "raise ValueError('boom')")
    return fake_distribution


def test_disabling_keeps_a_plugin_from_being_loaded_and_enabling_brings_it_back(acme, project, command):
    folder = project("project: {name: x}  # mine\n")
    assert "forge: warning: forge-acme" in command("runs", "list").err
    said = command("plugins", "disable", "Forge_Acme")
    assert (said.code, said.out, said.err) == (0, "forge-acme is disabled: plugins.deny of forge.yaml names it\n", "")
    assert (folder / "forge.yaml").read_text() == "project: {name: x}  # mine\nplugins:\n  deny: [forge-acme]\n"
    assert command("runs", "list").err == ""
    assert command("plugins", "doctor", "--deep").code == 0
    assert command("plugins", "enable", "forge.acme").out == "forge-acme is enabled: plugins.deny of forge.yaml does not name it any more\n"
    assert (folder / "forge.yaml").read_text() == "project: {name: x}  # mine\nplugins:\n  deny: []\n"
    assert "forge: warning: forge-acme" in command("runs", "list").err


def test_what_is_done_already_is_said_and_changes_nothing(acme, project, command):
    folder = project("plugins: {deny: [forge-acme]}\n")
    before = (folder / "forge.yaml").stat().st_mtime_ns
    said = command("plugins", "disable", "forge-acme")
    assert (said.code, said.out) == (0, "forge-acme is disabled already: nothing was changed\n")
    said = command("plugins", "enable", "forge-other")
    assert (said.code, said.out) == (0, "plugins.deny of forge.yaml does not name forge-other: nothing was changed\n")
    assert (folder / "forge.yaml").stat().st_mtime_ns == before


def test_both_report_as_a_document(acme, project, command):
    file = project() / "forge.yaml"
    assert command("plugins", "disable", "forge-acme", "--json").json == {
        "distribution": "forge-acme", "denied": True, "changed": True, "file": str(file.relative_to(file.parent)), "note": "",
    }  # fmt: skip
    assert command("plugins", "disable", "forge-acme", "--json").json["changed"] is False
    said = command("plugins", "enable", "forge-acme", "--json").json
    assert (said["denied"], said["changed"]) == (False, True)


def test_an_unknown_name_is_an_error_with_the_nearest_one_and_may_be_enabled_always(acme, project, command):
    folder = project("plugins: {deny: [forge-gone]}\n")
    said = command("plugins", "disable", "forge-acne")
    assert (said.code, said.err) == (1, "forge: forge-acne is not installed, or offers nothing to Forge\n  did you mean forge-acme?\n")
    said = command("plugins", "disable", "zzz")
    assert (said.code, said.err) == (1, "forge: zzz is not installed, or offers nothing to Forge\n  forge plugins list\n")
    assert command("plugins", "disable", "forge-gone").code == 0  # it stands there
    assert command("plugins", "enable", "forge-gone").code == 0
    assert (folder / "forge.yaml").read_text() == "plugins: {deny: []}\n"


def test_the_kernel_and_what_is_required_cannot_be_disabled(acme, project, command):
    text = "plugins: {require: [Forge.Acme]}\n"
    folder = project(text)
    said = command("plugins", "disable", "forge-kernel")
    assert (said.code, said.err.splitlines()[0]) == (
        2,
        "forge: forge-kernel cannot be disabled: it is what everything else is plugged into",
    )
    said = command("plugins", "disable", "forge-acme")
    assert (said.code, said.err) == (
        2,
        "forge: forge-acme is named in plugins.require: nothing may be changed without it\n  take it out of plugins.require first\n",
    )
    assert (folder / "forge.yaml").read_text() == text
    project("environments: {production: {plugins: {require: [forge-acme]}}}\n")
    assert "environments.production.plugins.require" in command("plugins", "disable", "forge-acme").err


def test_without_a_file_the_environment_is_named(acme, command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for verb in ("disable", "enable"):
        said = command("plugins", verb, "Forge_Acme")
        assert said.code == 2
        assert said.err == (
            "forge: there is no forge.yaml here\n  change to a project's folder, or do without a file: FORGE_PLUGINS_DENY=forge-acme\n"
        )
    assert command("plugins", "disable", "forge-acme", "--config", "other.yaml").err.startswith("forge: there is no other.yaml\n")


def test_the_file_that_is_there_is_the_one_that_is_changed(acme, project, command):
    folder = project()
    (folder / "forge.yaml").rename(folder / "mlforge.yaml")
    assert command("plugins", "disable", "forge-acme").out == "forge-acme is disabled: plugins.deny of mlforge.yaml names it\n"
    (folder / "other.yaml").write_text("")
    assert command("plugins", "disable", "forge-acme", "--config", "other.yaml", "--json").json["file"] == "other.yaml"
    assert (folder / "other.yaml").read_text() == "plugins:\n  deny: [forge-acme]\n"


def test_a_file_that_is_wrong_elsewhere_can_be_changed(acme, project, command):
    folder = project("projet: {name: x}\nmodels: 3\n")
    assert command("plugins", "disable", "forge-acme").code == 0
    assert (folder / "forge.yaml").read_text() == "projet: {name: x}\nmodels: 3\nplugins:\n  deny: [forge-acme]\n"


def test_what_else_bears_on_it_is_said(acme, project, command, monkeypatch):
    project("environments: {production: {plugins: {deny: [b]}}}\n")
    assert command("plugins", "disable", "forge-acme").out.splitlines()[1] == (
        "  environments.production.plugins.deny replaces that list in its environment, and does not name it"
    )
    project("plugins: {deny: [forge-acme], allow: [b]}\n")
    said = command("plugins", "enable", "forge-acme", "--json").json
    assert (said["denied"], said["note"]) == (True, "plugins.allow does not name it: only what stands there is loaded")
    project("plugins: {deny: [forge-acme]}\nenvironments: {production: {plugins: {deny: [forge-acme]}}}\n")
    assert command("plugins", "enable", "forge-acme").out.splitlines()[1].startswith("  environments.production.plugins.deny names it")
    project("plugins: {deny: [forge-acme]}\n")
    monkeypatch.setenv("FORGE_PLUGINS_DENY", "forge_acme")
    assert command("plugins", "enable", "forge-acme").out.splitlines()[1] == "  FORGE_PLUGINS_DENY names it, and is asked as well"


def test_it_works_when_every_plugin_is_broken_and_opens_no_project(fake_distribution, project, forge, tmp_path):
    for number in range(5):
        fake_distribution.plugin(f"forge-{number}-broken", f"open({str(tmp_path / 'touched')!r}, 'w')\nimport os\nos._exit(9)")
    folder = project("plugins: {local: [mine]}\n", mine="import os\nos._exit(9)")
    for verb in ("disable", "enable"):
        done = forge("plugins", verb, "forge-3-broken")
        assert (done.returncode, done.stderr) == (0, "")
    assert not (tmp_path / "touched").exists()
    assert not (folder / ".forge").exists()
