"""The command line: exit codes, one line of cause and one of remedy, and one JSON document where it is promised."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from forge_core import __version__
from forge_core.cli.overview import CORE, OPTIONS, words

FORGE = "import sys; from forge_core.cli import main; sys.argv[0] = 'forge'; main()"
STEPS = """
def fine(): return {"n": 1}
def fails(): raise ValueError("no")
def interrupted(): raise KeyboardInterrupt
"""
YAML = "project: {name: test}\npipeline: {steps: [{name: s, stage: TRAINING, target: 'cli_steps:%s'}]}\n"


# ---- exit codes


def test_0_what_was_asked_is_done(project, command):
    project(YAML % "fine", cli_steps=STEPS)
    said = command("train")
    assert said.code == 0
    assert "done" in said.out


def test_1_the_work_failed(project, command):
    project(YAML % "fails", cli_steps=STEPS)
    said = command("train")
    assert said.code == 1
    assert "forge: step 's': ValueError: no\n  forge runs logs run_" in said.err


@pytest.mark.parametrize(
    ("argv", "cause"),
    [
        (("nonsense",), "there is no command 'nonsense'"),
        (("config", "show", "--zzz"), "zzz"),
        (("runs", "show"), "run"),
        (("runs", "list", "--limit", "many"), "many"),
        (("train", "--config", "nowhere.yaml"), "there is no nowhere.yaml"),
        (("train", "--set", "nonsense"), "--set 'nonsense' is not key=value"),
        (("train", "--env", "nowhere"), "there is no environment 'nowhere'"),
        (("train", "nobody"), "nobody"),
        (("init", "../escape"), "'../escape' is no project's name"),
    ],
)
def test_2_the_command_line_or_the_project_is_wrong(project, command, argv, cause):
    project()
    said = command(*argv)
    assert said.code == 2
    assert said.out == ""
    assert cause in said.err
    assert said.err.startswith("forge: ")
    assert len(said.err.splitlines()) <= 2
    assert not Path(".forge").exists()


def test_3_a_gate_refused(project, command, fake_distribution):
    fake_distribution.plugin(
        "forge-closed",
        "from forge_core import hookimpl\nfrom forge_core.records import Refusal\n@hookimpl\n"
        "def forge_before_run(config):\n    return Refusal('closed on Sundays', 'come tomorrow')",
    )
    project(YAML % "fine", cli_steps=STEPS)
    said = command("train")
    assert (said.code, said.err) == (3, "forge: forge-closed: closed on Sundays\n  come tomorrow\n")


def test_130_interrupted(project, command):
    project(YAML % "interrupted", cli_steps=STEPS)
    assert command("train").code == 130
    (run,) = command("runs", "list", "--json").json
    assert run["state"] == "cancelled"


def test_outside_a_project_a_command_says_how_to_make_one(tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    said = command("train")
    assert (said.code, "forge init NAME" in said.err) == (2, True)


@pytest.mark.parametrize(("typed", "meant"), [("trian", "train"), ("model", "models"), ("plugin", "plugins"), ("dpeloy", "deploy")])
def test_a_mistyped_command_is_answered_with_the_nearest(tmp_path, monkeypatch, command, typed, meant):
    monkeypatch.chdir(tmp_path)
    assert f"did you mean `forge {meant}`?" in command(typed).err


def test_a_traceback_is_shown_with_debug_and_never_without(project, command):
    project(YAML % "fails", cli_steps=STEPS)
    assert "Traceback" not in command("train").err
    shown = command("train", "--debug").err
    assert "Traceback" in shown
    assert "ValueError: no" in shown


def test_an_error_nobody_thought_of_is_one_line_and_exit_1(project, command, fake_distribution):
    fake_distribution.add(
        "forge-odd", entries={"forge.commands": {"odd": "odd_command:odd"}}, odd_command="def odd():\n    raise KeyError('what')\n"
    )
    project()
    said = command("odd")
    assert said.code == 1
    assert said.err == "forge: KeyError: 'what'\n  this should not happen: --debug shows where\n"
    assert "Traceback" in command("odd", "--debug").err


@pytest.mark.parametrize(("code", "expected"), [("None", 0), ("0", 0), ("5", 5), ("'text'", 1)])
def test_a_command_that_exits_sets_the_exit_code(project, command, fake_distribution, code, expected):
    source = f"import sys\ndef leave():\n    sys.exit({code})\n"
    fake_distribution.add("forge-leaving", entries={"forge.commands": {"leave": "leaving:leave"}}, leaving=source)
    assert command("leave").code == expected


# ---- help, version, options


def test_the_version_is_that_of_the_kernel(command):
    assert command("--version").out.strip() == __version__


def test_help_names_every_core_command_and_those_of_distributions(command, fake_distribution):
    fake_distribution.add("forge-hello", entries={"forge.commands": {"hello": "hello:hello"}}, hello="raise SystemExit('imported')")
    said = command("--help")
    assert said.code == 0
    for name in (*CORE, "hello"):
        assert f"{name} " in said.out
    assert "About forge-hello." in said.out


def test_the_overview_names_the_options_that_the_parser_takes(command):
    taken = set(re.findall(r"^│ (--[a-z-]+)", command("plan", "--help").out, re.MULTILINE))
    assert {word.split()[0] for word in OPTIONS} == taken | {"--version"}


def test_the_overview_comes_without_the_parser():
    code = "import sys; from forge_core.cli.app import run; run(['--help']); sys.exit('cyclopts' in sys.modules or 'rich' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", sorted(set(CORE) - {"serve"}))
def test_every_command_has_help(command, name):
    said = command(name, "--help")
    assert said.code == 0
    assert said.out.startswith("Usage: forge")


def test_a_plugin_cannot_replace_a_core_command(command, fake_distribution, project):
    fake_distribution.add("forge-thief", entries={"forge.commands": {"config": "thief:app"}}, thief="raise SystemExit(9)")
    project()
    assert command("config", "show").code == 0


def test_two_distributions_with_one_command_do_not_break_the_others(command, fake_distribution):
    for name in ("forge-a", "forge-b"):
        module = name.replace("-", "_")
        fake_distribution.add(
            name,
            entries={"forge.commands": {"both": f"{module}:run", module: f"{module}:run"}},
            **{module: "def run() -> None:\n    print('ran')\n"},
        )
    assert command("forge_a").out == "ran\n"
    said = command("both")
    assert said.code == 2
    assert "there is no command 'both'" in said.err or ("forge-a" in said.err and "forge-b" in said.err)


def test_global_options_stand_before_or_after_the_command(project, command):
    project()
    for argv in (("--json", "config", "show", "--set", "project.name=other"), ("--set", "project.name=other", "config", "show", "--json")):
        assert command(*argv).json["project"]["name"] == "other"


def test_words_are_told_from_options():
    assert words(["--set", "a=b", "--json", "models", "show", "x", "--env", "e"]) == ["models", "show", "x"]


def test_commands_of_a_projects_own_plugin_are_found(project, command):
    source = """
    from forge_core import hookimpl
    from forge_core.records import Command
    @hookimpl
    def forge_commands():
        return [Command("greet", "Greet.", "local_plugin:greet")]
    def greet(name: str = "you"):
        print("hello", name)
    """
    project("plugins: {local: [local_plugin]}", local_plugin=source)
    assert command("greet", "--name", "ann").out == "hello ann\n"


def test_hooks_hear_a_command_start_and_end(project, command, fake_distribution):
    fake_distribution.plugin(
        "forge-listening",
        """
        from pathlib import Path
        from forge_core import hookimpl
        def note(*words):
            with open("heard.txt", "a") as file:
                print(*words, file=file)
        @hookimpl
        def forge_command_started(command):
            note("start", command)
        @hookimpl
        def forge_command_finished(command, exit_code):
            note("end", command, exit_code)
        """,
    )
    project()
    command("runs", "list", "--limit", "3")
    command("runs", "show", "run_nobody")
    assert Path("heard.txt").read_text().splitlines() == ["start runs list", "end runs list 0", "start runs show", "end runs show 1"]


# ---- X4: one JSON document


CHATTY = """
import os, warnings
print("importing")
from forge_core import hookimpl
@hookimpl
def forge_kernel_opened(project):
    print("opened")
    os.write(1, b"from C\\n")
    warnings.warn("careful")
@hookimpl
def forge_step_finished(step):
    print("step", step.name)
"""


@pytest.mark.faults
@pytest.mark.parametrize(
    "argv", [("plan",), ("runs", "list"), ("config", "show"), ("config", "validate"), ("config", "schema"), ("plugins", "list"), ("plugins", "doctor"), ("db", "current")]
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:careful")
def test_x4_json_is_one_document_under_chatty_and_broken_plugins(project, command, fake_distribution, argv):
    fake_distribution.plugin("forge-chatty", CHATTY)
    fake_distribution.plugin("forge-broken", "print('half a'); raise ValueError")
    project(
        "infrastructure: {registry: {type: gone}, tracking: {type: gone}, serving: {type: gone}}\n" + YAML % "fine",
        cli_steps="print('steps')\n" + STEPS,
    )
    said = command(*argv, "--json")
    assert "Traceback" not in said.err
    if argv in (("config", "validate"), ("plugins", "doctor")):  # they found what is wrong: a missing driver, a broken plugin
        assert said.code in (1, 2)
    else:
        assert said.code == 0
    if said.code < 2:
        json.loads(said.out)
        assert len(said.out.splitlines()) == 1
    else:
        assert said.out == ""
    if argv in (("plan",), ("runs", "list")):
        assert "opened\n" in said.err
        assert "from C\n" in said.err


@pytest.mark.faults
def test_x4_json_of_a_typed_command_is_alone_on_stdout(project, forge, fake_distribution):
    fake_distribution.plugin("forge-chatty", CHATTY)
    project(YAML % "fine", cli_steps="print('steps')\n" + STEPS)
    said = forge("train", "--json")
    assert json.loads(said.stdout)["state"] == "done"
    assert len(said.stdout.splitlines()) == 1


@pytest.mark.faults
def test_x4_a_failing_command_leaves_stdout_empty(project, forge):
    project(YAML % "fails", cli_steps=STEPS)
    said = forge("train", "--json")
    assert (said.returncode, said.stdout) == (1, "")


# ---- X1: strange surroundings


SURROUNDINGS = {
    "no HOME, 20 columns, dumb terminal": {"HOME": "", "XDG_CACHE_HOME": "", "COLUMNS": "20", "TERM": "dumb"},
    "C locale": {"LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0"},
}


@pytest.mark.faults
@pytest.mark.parametrize("surroundings", SURROUNDINGS.values(), ids=SURROUNDINGS)
def test_x1_strange_surroundings_change_no_exit_code_and_show_no_traceback(project, forge, surroundings):
    project("project: {name: tëst, description: '日本'}\n" + (YAML % "fine").partition("\n")[2], cli_steps=STEPS)
    for argv, code in ((("--help",), 0), (("train",), 0), (("config", "show"), 0)):
        said = forge(*argv, env=surroundings)
        assert (said.returncode, "Traceback" in said.stderr) == (code, False), argv


@pytest.mark.faults
@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize(("argv", "code"), [("config show --json", 0), ("train", 0), ("nonsense", 2), ("--version", 0)])
def test_x1_closed_streams_change_no_exit_code_and_show_no_traceback(project, closed, argv, code):
    project(YAML % "fine", cli_steps=STEPS)
    said = subprocess.run(
        ["sh", "-c", f'exec "$0" -c "$1" {argv} {closed}', sys.executable, FORGE], capture_output=True, text=True, timeout=60
    )
    assert (said.returncode, said.stderr if "Traceback" in said.stderr else "") == (code, "")


@pytest.mark.faults
def test_x1_a_reader_that_has_gone_is_no_failure(project, fake_distribution):
    project()
    said = subprocess.run(
        ["bash", "-o", "pipefail", "-c", '"$0" -c "$1" config schema | head -c 1 > /dev/null', sys.executable, FORGE],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "Traceback" not in said.stderr
    assert "Exception" not in said.stderr


@pytest.mark.faults
def test_x1_a_folder_that_cannot_be_written_is_a_typed_error(project, command):
    folder = project(YAML % "fine", cli_steps=STEPS)
    (folder / ".forge").write_text("a file where the state's folder should be")  # root may write into any folder
    for argv, code in ((("config", "show"), 0), (("plugins", "list"), 0), (("train",), 1)):
        said = command(*argv)
        assert (said.code, "Traceback" in said.err, "this should not happen" in said.err) == (code, False, False), said.err


# ---- X2: Ctrl-C


def interruptible() -> None:
    """Who starts the tests in the background lets every child inherit that SIGINT is ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.faults
@pytest.mark.parametrize("isolation", ["inline", "process"])
def test_x2_ctrl_c_in_a_step_is_130_and_the_run_can_be_resumed(project, forge, isolation):
    project(
        (YAML % "waits") + f"infrastructure: {{orchestration: {{isolation: {isolation}}}}}\n",
        cli_steps="import time\nfrom pathlib import Path\ndef waits():\n    Path('here').touch()\n    while not Path('go').exists(): time.sleep(0.02)\n",
    )
    process = subprocess.Popen(
        [sys.executable, "-c", FORGE, "train"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=interruptible,
    )
    ends = time.monotonic() + 20
    while not Path("here").exists():
        assert time.monotonic() < ends
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)
    _out, err = process.communicate(timeout=20)
    assert (process.returncode, "Traceback" in err) == (130, False)
    (run,) = json.loads(forge("runs", "list", "--json").stdout)
    assert run["state"] == "cancelled"
    Path("go").touch()
    assert forge("runs", "resume", run["run_id"]).returncode == 0


@pytest.mark.faults
@pytest.mark.parametrize("delay", [0.2, 0.8])
def test_x2_ctrl_c_at_any_time_is_130(project, delay):
    project(YAML % "waits", cli_steps="import time\ndef waits():\n    time.sleep(30)\n")
    process = subprocess.Popen([sys.executable, "-c", FORGE, "train"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    time.sleep(delay)
    process.send_signal(signal.SIGINT)
    _out, err = process.communicate(timeout=20)
    assert process.returncode in (130, -signal.SIGINT), err  # before the interpreter has started, Python itself answers
