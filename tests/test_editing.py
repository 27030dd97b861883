"""`plugins.deny` is changed in place: every other byte of forge.yaml stays, and what cannot be changed safely is refused."""

from __future__ import annotations

import os
import stat
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge_core import editing, reader
from forge_core.faults import ConfigError, ForgeError

DENIED = [
    ("", "plugins:\n  deny: [forge-acme]\n"),
    ("# a project of mine\n", "# a project of mine\nplugins:\n  deny: [forge-acme]\n"),
    ("---\n", "---\nplugins:\n  deny: [forge-acme]\n"),
    ("project: {name: x}\n", "project: {name: x}\nplugins:\n  deny: [forge-acme]\n"),
    ("project: {name: x}", "project: {name: x}\nplugins:\n  deny: [forge-acme]"),
    ("project: {name: x}\r\n", "project: {name: x}\r\nplugins:\r\n  deny: [forge-acme]\r\n"),
    ("project: {name: x}\n...\n", "project: {name: x}\nplugins:\n  deny: [forge-acme]\n...\n"),
    ("  project: {name: x}\n# the end", "  project: {name: x}\n# the end\n  plugins:\n    deny: [forge-acme]"),
    ("{project: {name: x}}\n", "{plugins: {deny: [forge-acme]}, project: {name: x}}\n"),
    ("{}", "{plugins: {deny: [forge-acme]}}"),
    ("plugins:\n", "plugins: {deny: [forge-acme]}\n"),
    ("plugins:   # nothing yet\nproject: {}\n", "plugins: {deny: [forge-acme]}   # nothing yet\nproject: {}\n"),
    ("plugins: ~\n", "plugins: {deny: [forge-acme]}\n"),
    ("plugins: null # none\n", "plugins: {deny: [forge-acme]} # none\n"),
    ("plugins: &p\n", "plugins: &p {deny: [forge-acme]}\n"),
    ("plugins: {}\n", "plugins: {deny: [forge-acme]}\n"),
    ("plugins: &p { require: [a] } # so\n", "plugins: &p {deny: [forge-acme],  require: [a] } # so\n"),
    (
        "plugins:  # what is here\n    # these must be\n    require: [a]\n\nproject: {}\n",
        "plugins:  # what is here\n    deny: [forge-acme]\n    # these must be\n    require: [a]\n\nproject: {}\n",
    ),
    ("plugins: &p\r\n  require:\r\n  - a\r\n", "plugins: &p\r\n  deny: [forge-acme]\r\n  require:\r\n  - a\r\n"),
    ("plugins:\n  deny:\n  require: [a]\n", "plugins:\n  deny: [forge-acme]\n  require: [a]\n"),
    ("plugins: {deny: , require: [a]}\n", "plugins: {deny: [forge-acme] , require: [a]}\n"),
    ("plugins: {deny: null}\n", "plugins: {deny: [forge-acme]}\n"),
    ("plugins: {deny: []}\n", "plugins: {deny: [forge-acme]}\n"),
    ("plugins: {deny: [ ]}\n", "plugins: {deny: [forge-acme ]}\n"),
    ("plugins: {deny: ['b', \"c\"]}  # why\n", "plugins: {deny: ['b', \"c\", forge-acme]}  # why\n"),
    ("plugins: {deny: [b, ]}\n", "plugins: {deny: [b, forge-acme, ]}\n"),
    ("plugins:\n  deny: [\n    b,  # why b\n    c\n  ]\n", "plugins:\n  deny: [\n    b,  # why b\n    c,\n    forge-acme\n  ]\n"),
    ("plugins:\n  deny: [\n    b,\n  ]\n", "plugins:\n  deny: [\n    b,\n    forge-acme,\n  ]\n"),
    ("plugins:\n  deny: [\n    b  # why b\n  ]\n", "plugins:\n  deny: [\n    b, forge-acme  # why b\n  ]\n"),
    ("plugins:\n  deny:\n    - b  # why b\n\n# next\nproject: {}\n", "plugins:\n  deny:\n    - b  # why b\n    - forge-acme\n\n# next\nproject: {}\n"),
    ("plugins:\n  deny: &d\n  -   'b'", "plugins:\n  deny: &d\n  -   'b'\n  - forge-acme"),
    ("plugins:\r\n  deny:\r\n  - b\r\n  require: []\r\n", "plugins:\r\n  deny:\r\n  - b\r\n  - forge-acme\r\n  require: []\r\n"),
    ("\ufeffplugins: {deny: [b]}\n", "\ufeffplugins: {deny: [b, forge-acme]}\n"),
    ("project: {name: 'ö😀'}\nplugins: {deny: [b]}\n", "project: {name: 'ö😀'}\nplugins: {deny: [b, forge-acme]}\n"),
    ("? plugins\n: deny:\n  - b\n", "? plugins\n: deny:\n  - b\n  - forge-acme\n"),
    ("\"plugins\": {'deny': [b]}\n", "\"plugins\": {'deny': [b, forge-acme]}\n"),
    (
        "environments: {production: {plugins: {deny: [z]}}}\nplugins: {deny: [b]}\n",
        "environments: {production: {plugins: {deny: [z]}}}\nplugins: {deny: [b, forge-acme]}\n",
    ),
    ("pipeline: {timeout: .inf}\nplugins: {deny: [b]}\n", "pipeline: {timeout: .inf}\nplugins: {deny: [b, forge-acme]}\n"),
    ("models: [{name: m, hyperparameters: {x: .nan}}]\n", "models: [{name: m, hyperparameters: {x: .nan}}]\nplugins:\n  deny: [forge-acme]\n"),
]  # fmt: skip

ALLOWED = [
    ("plugins: {deny: [forge-acme]}  # why\n", "plugins: {deny: []}  # why\n"),
    ("plugins: {deny: [forge-acme, b]}\n", "plugins: {deny: [b]}\n"),
    ("plugins: {deny: [b, forge-acme, c]}\n", "plugins: {deny: [b, c]}\n"),
    ("plugins: {deny: [b, forge-acme]}\n", "plugins: {deny: [b]}\n"),
    ("plugins: {deny: [b, forge-acme, ]}\n", "plugins: {deny: [b, ]}\n"),
    ("plugins: {deny: [Forge.Acme, b, 'forge_acme']}\n", "plugins: {deny: [b]}\n"),
    ("plugins:\n  deny: [\n    b,  # why b\n    forge-acme\n  ]\n", "plugins:\n  deny: [\n    b,  # why b\n  ]\n"),
    ("plugins:\n  deny: [\n    forge-acme,\n    b\n  ]\n", "plugins:\n  deny: [\n    b\n  ]\n"),
    ("plugins:\n  deny: [\n    b,\n    forge-acme,  # why\n  ]\n", "plugins:\n  deny: [\n    b,\n    # why\n  ]\n"),
    ("plugins:\n  deny:\n    - forge-acme\n    - b\n", "plugins:\n  deny:\n    - b\n"),
    ("plugins:\n  deny:\n    - b\n    - forge-acme\n  require: []\n", "plugins:\n  deny:\n    - b\n  require: []\n"),
    ("plugins:\n  deny:\n    - b\n    - forge-acme", "plugins:\n  deny:\n    - b"),
    ("plugins:\r\n  deny:\r\n    - b\r\n    - forge-acme\r\n", "plugins:\r\n  deny:\r\n    - b\r\n"),
    ("plugins:\r\n  deny:\r\n    - b\r\n    - forge-acme", "plugins:\r\n  deny:\r\n    - b"),
    ("plugins:\n  deny:\n    - b\n    - forge-acme  # hangs\n", "plugins:\n  deny:\n    - b\n    # hangs\n"),
    ("plugins:\n  deny:  # those\n    - forge-acme\nproject: {}\n", "plugins:\n  deny: []  # those\nproject: {}\n"),
    ("plugins:\n  deny: &d\n  - forge-acme\n  - forge_acme\n", "plugins:\n  deny: &d []\n"),
    ("plugins:\n  deny:\n    - \"forge-acme\"   # why\n", "plugins:\n  deny: []\n    # why\n"),
]  # fmt: skip


@pytest.fixture
def written(tmp_path):
    def write(text: str):
        file = tmp_path / "forge.yaml"
        file.write_bytes(text.encode())
        return file

    return write


@pytest.mark.parametrize(("before", "after"), DENIED)
def test_a_name_is_added_and_every_other_byte_stays(written, before, after):
    file = written(before)
    assert editing.deny(file, "forge-acme") is True
    assert file.read_bytes().decode() == after
    assert reader.read(file, {})["plugins"]["deny"][-1] == "forge-acme"


@pytest.mark.parametrize(("before", "after"), ALLOWED)
def test_a_name_is_taken_out_in_each_spelling_and_comments_stay(written, before, after):
    file = written(before)
    assert editing.allow(file, "forge-acme") is True
    assert file.read_bytes().decode() == after
    assert "forge-acme" not in (reader.read(file, {})["plugins"]["deny"])


@pytest.mark.parametrize("text", ["plugins: {deny: [Forge_Acme]}\n", "plugins:\n  deny:\n  - forge.acme # x\n"])
def test_what_is_denied_already_is_left_alone(written, text):
    file = written(text)
    before = file.stat()
    assert editing.deny(file, "forge-acme") is False
    assert (file.read_text(), file.stat().st_ino, file.stat().st_mtime_ns) == (text, before.st_ino, before.st_mtime_ns)


@pytest.mark.parametrize("text", ["", "plugins:\n", "plugins: {deny: [b]}\n", "project: {name: x}"])
def test_what_is_not_denied_is_left_alone(written, text):
    file = written(text)
    assert editing.allow(file, "forge-acme") is False
    assert file.read_text() == text


@pytest.mark.parametrize(
    "text",
    [
        "plugins: {deny: &d [b]}\nmodels: *d\n",  # another place means the same list
        "plugins: &p {require: [b]}\nmodels: *p\n",
        "plugins: {require: &d [b], deny: *d}\n",
        "plugins: {require: [&n b], deny: [*n]}\n",
        "{plugins}\n",
        "notes: |\n  a line more would be another text",
    ],
)
def test_what_cannot_be_changed_safely_is_refused_and_nothing_is_written(written, text):
    file = written(text)
    with pytest.raises(ForgeError, match=r"forge\.yaml: .* cannot be changed safely; nothing was changed") as caught:
        editing.deny(file, "forge-acme")
    assert caught.value.remedy.startswith("write it by hand: plugins: {deny: [")
    assert "forge-acme]}" in caught.value.remedy
    assert file.read_text() == text


def test_taking_out_of_a_list_that_another_place_shares_is_refused(written):
    file = written("plugins: {deny: &d [b, c]}\nmodels: *d\n")
    with pytest.raises(ForgeError, match="cannot be changed safely") as caught:
        editing.allow(file, "b")
    assert caught.value.remedy == "write it by hand: plugins: {deny: [c]}"
    assert file.read_text() == "plugins: {deny: &d [b, c]}\nmodels: *d\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("plugins: [a]\n", "plugins is no mapping"),
        ("plugins: {deny: forge-acme}\n", "plugins.deny is not a list of names"),
        ("plugins: {deny: [1]}\n", "plugins.deny is not a list of names"),
        ("plugins: {deny: [a\n", "forge.yaml:"),
        ("- a\n", "expected a mapping"),
    ],
)
def test_a_file_that_means_something_else_is_a_configuration_error(written, text, said):
    file = written(text)
    for edit in (editing.deny, editing.allow):
        with pytest.raises(ConfigError, match=said):
            edit(file, "forge-acme")
    assert file.read_text() == text


@pytest.mark.parametrize("name", ["null", "123", "1e5", "true", "0x1f"])
def test_a_name_that_yaml_would_take_for_something_else_is_quoted(written, name):
    file = written("plugins: {deny: [b]}\n")
    assert editing.deny(file, name)
    assert reader.read(file, {})["plugins"]["deny"] == ["b", name]
    assert editing.allow(file, name)
    assert file.read_text() == "plugins: {deny: [b]}\n"


def test_mode_and_link_are_kept_and_no_file_is_left_beside(written, tmp_path):
    file = written("project: {}\n")
    file.chmod(0o664)
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "elsewhere" / "forge.yaml"
    link.symlink_to(file)
    assert editing.deny(link, "forge-acme")
    assert link.is_symlink()
    assert stat.S_IMODE(file.stat().st_mode) == 0o664
    assert "forge-acme" in file.read_text()
    assert sorted(one.name for one in tmp_path.iterdir()) == ["elsewhere", "forge.yaml"]


@pytest.mark.parametrize("step", ["open", "fsync", "replace"])
def test_a_step_that_fails_leaves_the_old_file_and_nothing_beside(written, tmp_path, monkeypatch, step):
    file = written("project: {}\n")

    def fails(*_arguments, **_named):
        raise OSError(28, "No space left on device")

    opens = os.open
    if step == "open":
        monkeypatch.setattr(os, "open", lambda path, flags, *more: fails() if flags & os.O_CREAT else opens(path, flags, *more))
    else:
        monkeypatch.setattr(os, step, fails)
    with pytest.raises(ForgeError, match=r"forge\.yaml cannot be written: No space left on device"):
        editing.deny(file, "forge-acme")
    monkeypatch.undo()
    assert file.read_text() == "project: {}\n"
    assert [one.name for one in tmp_path.iterdir()] == ["forge.yaml"]


def test_of_four_processes_that_edit_at_once_no_edit_is_lost(written):
    file = written("project: {name: x}  # mine\n")
    source = """if True:
        import sys
        from pathlib import Path
        from forge_core.editing import deny
        print("ready", flush=True)
        sys.stdin.readline()
        for number in range(20):
            deny(Path(sys.argv[1]), f"forge-{sys.argv[2]}-{number}")
    """
    command = [sys.executable, "-c", source, str(file)]
    running = [subprocess.Popen([*command, str(one)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for one in range(4)]
    for one in running:
        assert one.stdout.readline() == "ready\n"
    for one in running:
        one.stdin.write("go\n")
        one.stdin.close()
    assert [one.wait(60) for one in running] == [0] * 4
    for one in running:
        one.stdout.close()
    assert sorted(reader.read(file, {})["plugins"]["deny"]) == sorted(f"forge-{one}-{number}" for one in range(4) for number in range(20))
    assert file.read_text().startswith("project: {name: x}  # mine\n")


NAMES = st.sampled_from(["b", "'c'", '"forge-d"', "Forge_E", "f.g"])
COMMENT = st.sampled_from(["", "  # note", " # [x], {y}: - z"])


@st.composite
def files(draw):
    """forge.yaml in many spellings, with `forge-acme` in the list or not."""
    names = draw(st.lists(NAMES, unique=True, max_size=4))
    newline, pad = draw(st.sampled_from(["\n", "\r\n"])), " " * draw(st.integers(1, 4))
    if draw(st.booleans()):
        names.insert(draw(st.integers(0, len(names))), draw(st.sampled_from(["forge-acme", "'forge_acme'", "Forge.Acme"])))
    style = draw(st.sampled_from(["flow", "lines", "block", "dedented", "one"]))
    if style == "one":
        section = [f"plugins: {{deny: [{', '.join(names)}], require: [r]}}{draw(COMMENT)}"]
    else:
        if style == "flow":
            value = [f"deny: [{', '.join(names)}]{draw(COMMENT)}"]
        elif style == "lines":
            value = ["deny: [", *(f"  {name},{draw(COMMENT)}" for name in names), "]"]
        else:
            value = [f"deny:{draw(COMMENT)}" if names else "deny: []"]
            value += [f"{'' if style == 'dedented' else '  '}- {name}{draw(COMMENT)}" for name in names]
        value = [*value, "require: [r]"] if draw(st.booleans()) else ["# r", "require: [r]", *value]
        section = [f"plugins:{draw(COMMENT)}", *(pad + line for line in value)]
    before = draw(st.lists(st.sampled_from(["# head", "", "project: {name: 'ö'}"]), unique=True))
    after = draw(st.lists(st.sampled_from(["", "# tail", "datasets: []  # none", "deployment:\n  strategy: x"]), unique=True))
    text = newline.join(line for part in ([*before, *section, *after]) for line in part.split("\n"))
    return text + draw(st.sampled_from(["", newline]))


@given(files())
def test_denying_inserts_and_allowing_removes_and_nothing_else_changes(tmp_path_factory, text):
    file = tmp_path_factory.mktemp("edited") / "forge.yaml"
    file.write_bytes(text.encode())
    names = reader.read(file, {})["plugins"]["deny"]
    had = [one for one in names if editing.normal(one) == "forge-acme"]
    assert editing.deny(file, "forge-acme") is not bool(had)
    made = file.read_bytes().decode()
    if not had:
        same = next((at for at, (one, other) in enumerate(zip(text, made, strict=False)) if one != other), len(text))
        assert made.endswith(text[same:])  # an insertion, and nothing else
    assert editing.allow(file, "forge-acme") is True
    left = file.read_bytes().decode()
    assert reader.read(file, {}) == {
        **reader.read_text(text, ""),
        "plugins": {"require": ["r"], "deny": [one for one in names if one not in had]},
    }
    assert _comments(left) == _comments(text)
    assert ("\r\n" in left) == ("\r\n" in text)


def _comments(text: str) -> list[str]:
    return [line.partition(" #")[2] for line in text.splitlines() if " #" in f" {line}"]
