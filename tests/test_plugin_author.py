"""`forge plugins new` makes packages, `forge plugins test` proves installed ones."""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import sys
import time
import tomllib
from html.parser import HTMLParser
from pathlib import Path

import pytest

from forge_core.cli.plugin_author import TEMPLATE
from forge_core.contracts import CONTRACTS
from forge_core.roles import ROLES
from forge_core.testing import SUITES, proof
from forge_core.testing.proof import Proof, Rule
from forge_core.testing.report import page

NOTIFIER = """
import sys
from forge_core.contracts import Notifier

class Prints(Notifier):
    def notify(self, notice):
        sys.stdout.write(f"{notice.severity} {notice.subject} {notice.text}\\n")

class Mute(Notifier):
    def notify(self, notice):
        pass
"""
DRIVER = {"forge.notifiers": {"prints": "acme_notes:Prints"}}


def files(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


def imports_of(text: str) -> set[str]:
    return set(re.findall(r"^(?:from|import) (forge_[a-z_]+\.\w+)", text, re.MULTILINE))


# ---- new


@pytest.mark.parametrize("roles", [*([role] for role in ROLES), list(ROLES), ["connector", "trainer"], ["auth", "secrets", "transform"]])
def test_a_package_offers_the_roles_asked_for_and_no_other(command, tmp_path, roles):
    said = command("plugins", "new", "forge-night-owl", "--roles", ",".join(roles), "--path", str(tmp_path / "made"), "--json")
    assert said.code == 0
    pair = {"trainer", "flavor"}
    offered = set(roles) | (pair if pair & set(roles) else set())
    assert (set(said.json["roles"]), set(said.json["added"])) == (offered, offered - set(roles))
    made = files(tmp_path / "made")
    project = tomllib.loads(made["pyproject.toml"])
    points = project["project"]["entry-points"]
    assert set(points) == {ROLES[role].group for role in offered} | {"forge.plugins", "forge.contracts"}
    assert {name for group in points.values() for name in group} == {"night_owl"}
    for role in offered:
        module, _, cls = points[ROLES[role].group]["night_owl"].partition(":")
        source = made[f"{module.replace('.', '/')}.py"]
        assert f"class {cls}({CONTRACTS[role].__name__})" in source
        assert f"class Test{cls}({SUITES[role]})" in made["forge_night_owl/testing.py"]
        assert f"    Test{cls},\n" in made["tests/test_contracts.py"] or f"import Test{cls}\n" in made["tests/test_contracts.py"]
        assert re.search(rf"^\| {role}: ", made["README.md"], re.MULTILINE)
    assert not {f"forge_night_owl/{role}.py" for role in set(ROLES) - offered} & set(made)


def test_nothing_of_the_template_shows_in_what_was_made(command, tmp_path):
    command("plugins", "new", "forge-x", "--roles", ",".join(ROLES), "--path", str(tmp_path / "made"))
    for name, text in files(tmp_path / "made").items():
        assert "acme" not in f"{name} {text}".lower(), name
        assert not re.search(r"(#|<!--) <[a-z /]+>", text), name
        assert name.endswith("py.typed") == (text == "")
    assert {".gitignore", ".github/workflows/ci.yml", "LICENSE", "tox.ini", "forge_x/py.typed"} <= set(files(tmp_path / "made"))


def test_every_file_of_the_template_is_used_and_caches_are_not(command, tmp_path):
    cache = TEMPLATE / "forge_acme" / "__pycache__"
    there = cache.exists()
    cache.mkdir(exist_ok=True)
    (cache / "junk.pyc").write_bytes(b"\xff\xfe")
    try:
        command("plugins", "new", "forge-x", "--roles", ",".join(ROLES), "--path", str(tmp_path / "made"))
    finally:
        (cache / "junk.pyc").unlink()
        if not there:
            cache.rmdir()
    kept = [path.relative_to(TEMPLATE).as_posix() for path in TEMPLATE.rglob("*") if path.is_file()]
    wanted = {name.replace("forge_acme", "forge_x") for name in kept if "_cache" not in name and "__pycache__" not in name}
    assert set(files(tmp_path / "made")) == wanted


def test_modules_import_nothing_that_was_left_out(command, tmp_path):
    pairs = [*itertools.combinations([role for role in ROLES if role != "flavor"], 2)]
    for number, roles in enumerate(pairs):
        command("plugins", "new", "forge-x", "--roles", ",".join(roles), "--path", str(tmp_path / str(number)))
        made = files(tmp_path / str(number))
        modules = {name.removesuffix(".py").replace("/", ".") for name in made}
        for name, text in made.items():
            if name.endswith(".py"):
                compile(text, name, "exec")
                assert {one for one in imports_of(text) if one.startswith("forge_x.")} <= modules, (roles, name)
                assert "\n\n\n\n" not in text, (roles, name)


def test_a_long_name_makes_no_line_too_long(command, tmp_path):
    name = "forge-" + "-".join(["abcdefgh"] * 3)
    assert len(name) == 32
    assert command("plugins", "new", name, "--roles", ",".join(ROLES), "--path", str(tmp_path / "made")).code == 0
    for file, text in files(tmp_path / "made").items():
        if file.endswith(".py"):
            assert max(map(len, text.splitlines()), default=0) <= 120, file


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("acme", "did you mean 'forge-acme'?"),
        ("forge_acme", "did you mean 'forge-acme'?"),
        ("Forge.ACME", "did you mean 'forge-acme'?"),
        ("forge-", "a letter after forge-"),
        ("forge", "a letter after forge-"),
        ("forge-1", "a letter after forge-"),
        ("forge-a--b", "did you mean 'forge-a-b'?"),
        ("forge-a-", "did you mean 'forge-a'?"),
        ("forge-\u00e9", "a letter after forge-"),
        ("forge-x/../../y", "did you mean 'forge-x-y'?"),
        ("forge-x\n", "did you mean 'forge-x'?"),
        ("forge-" + "x" * 40, "at most 32"),
        ("", "small letters"),
    ],
)
def test_a_name_that_is_none_is_refused_with_the_nearest(command, tmp_path, monkeypatch, name, remedy):
    monkeypatch.chdir(tmp_path)
    said = command("plugins", "new", name, "--roles", "notifier")
    assert said.code == 2
    assert remedy in said.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "role", "cause"),
    [
        ("forge-kernel", "notifier", "a distribution of Forge itself"),
        ("forge-core", "notifier", "a distribution of Forge itself"),
        ("forge-lake", "notifier", "a distribution of Forge itself"),
        ("forge-console", "notifier", "a notifier 'console' already"),
        ("forge-xgboost", "trainer", "a trainer 'xgboost' already"),
        ("forge-blue-green", "strategy", "a strategy 'blue_green' already"),
        ("forge-model", "registry", "called like its contract"),
        ("forge-data-source", "connector", "called like its contract"),
    ],
)
def test_a_name_that_is_taken_is_refused(command, tmp_path, monkeypatch, name, role, cause):
    monkeypatch.chdir(tmp_path)
    said = command("plugins", "new", name, "--roles", role)
    assert said.code == 1
    assert cause in said.err
    assert list(tmp_path.iterdir()) == []
    assert name in {"forge-kernel", "forge-core", "forge-lake"} or command("plugins", "new", name, "--roles", "auth").code == 0


@pytest.mark.parametrize(
    ("roles", "remedy"), [("conector", "did you mean 'connector'?"), ("notifier,zzz", "roles: connector,"), (" , ", "roles:")]
)
def test_an_unknown_role_names_the_nearest(command, tmp_path, monkeypatch, roles, remedy):
    monkeypatch.chdir(tmp_path)
    said = command("plugins", "new", "forge-x", "--roles", roles)
    assert said.code == 2
    assert remedy in said.err
    assert list(tmp_path.iterdir()) == []


def test_what_exists_is_not_overwritten(command, tmp_path, monkeypatch):
    full, file, link = tmp_path / "full", tmp_path / "file", tmp_path / "link"
    full.mkdir()
    (full / "mine").write_text("kept")
    file.write_text("kept")
    link.symlink_to(tmp_path / "nowhere")
    for place in (full, file, link):
        said = command("plugins", "new", "forge-x", "--roles", "notifier", "--path", str(place))
        assert said.code == 1
        assert "exists and is not empty" in said.err
    assert files(tmp_path) == {"full/mine": "kept", "file": "kept"}
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    said = command("plugins", "new", "forge-x", "--roles", "notifier", "--path", ".")
    assert (said.code, "--path empty" in said.err) == (1, True)
    monkeypatch.chdir(tmp_path)
    assert command("plugins", "new", "forge-x", "--roles", "notifier", "--path", str(tmp_path / "empty")).code == 0
    assert (tmp_path / "empty" / "pyproject.toml").is_file()


def test_what_fails_half_way_leaves_nothing(command, tmp_path, monkeypatch):
    written = []
    write = Path.write_text

    def fails(path, *args, **kwargs):
        written.append(path)
        if len(written) == 5:
            raise OSError(28, "No space left on device", str(path))
        return write(path, *args, **kwargs)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_text", fails)
        said = command("plugins", "new", "forge-x", "--roles", "notifier", "--path", str(tmp_path / "made"))
    assert said.code == 1
    assert "No space left on device" in said.err
    assert len(written) == 5
    assert list(tmp_path.iterdir()) == []


# ---- test


def of(said, capability=""):
    """The counts of the first line with this capability."""
    (one,) = said.json
    line = next(line for line in one["lines"] if line["capability"] == capability)
    return {count: line[count] for count in proof.OUTCOMES}


def test_a_driver_without_suites_of_its_own_is_tested_by_its_roles(fake_distribution, command):
    fake_distribution.add("forge-notes", "2.5", DRIVER, acme_notes=NOTIFIER)
    said = command("plugins", "test", "forge-notes", "--json")
    (one,) = said.json
    assert (said.code, one["distribution"], one["version"], one["passed"], one["troubles"]) == (0, "forge-notes", "2.5", True, [])
    assert one["kernel"] == "1.0.0"
    assert of(said)["passed"] > 5
    assert of(said)["failed"] == 0
    assert {rule["suite"] for rule in one["rules"]} == {"TestPrints"}
    assert all(rule["rule"] for rule in one["rules"])
    shown = command("plugins", "test", "Forge_Notes")
    assert shown.code == 0
    row = next(line.split() for line in shown.out.splitlines() if line.startswith("forge-notes"))
    assert row[:4] == ["forge-notes", "notifier", "prints", str(of(said)["passed"])]


def test_suites_of_ones_own_are_used_with_their_fixtures_and_the_rest_has_the_roles(fake_distribution, command):
    suites = """
    import pytest
    from forge_core.testing import NotifierContract
    from acme_notes import Mute, Prints

    @pytest.fixture
    def nothing():
        return ""

    class TestMuteOne(NotifierContract):
        driver_class = Mute
        expected_failures = {"test_notices_arrive_in_order_and_none_is_lost": "nobody hears it"}

        @pytest.fixture
        def received(self, nothing):
            return lambda: nothing
    """
    fake_distribution.add(
        "forge-notes",
        entries={
            "forge.notifiers": {"mute": "acme_notes:Mute", "prints": "acme_notes:Prints", "too": "acme_notes:Prints"},
            "forge.contracts": {"notes": "acme_suites"},
        },
        acme_notes=NOTIFIER,
        acme_suites=suites,
    )
    said = command("plugins", "test", "forge-notes", "--json")
    (one,) = said.json
    assert said.code == 1
    assert {(rule["suite"], rule["name"]) for rule in one["rules"]} == {("TestMuteOne", "mute"), ("TestPrints", "prints, too")}
    assert [line["name"] for line in one["lines"] if not line["capability"]] == ["mute", "prints, too"]
    mute, prints = one["lines"][0], next(line for line in one["lines"] if line["name"] != "mute")
    assert mute["expected_failures"] == 1
    assert mute["failed"] > 3
    assert prints["failed"] == 0
    shown = command("plugins", "test", "forge-notes").out
    failed = next(rule for rule in one["rules"] if rule["outcome"] == "failed")
    assert failed["rule"] in " ".join(shown.split())
    assert "AssertionError" in failed["cause"] or "assert" in failed["cause"]
    assert len(failed["cause"]) <= 500


@pytest.mark.parametrize(
    ("source", "cause", "remedy"),
    [
        (
            "import a_module_that_nobody_has",
            "ModuleNotFoundError: No module named 'a_module_that_nobody_has'",
            "add it to the dependencies",
        ),
        ("raise SystemExit(3)", "SystemExit: 3", "mend forge-broken"),
        ("def broken(:", "SyntaxError", "mend forge-broken"),
        ("class Prints: ...", "TypeError: acme_broken:Prints is no subclass of Notifier", "mend forge-broken"),
        ("", "AttributeError", "mend forge-broken"),
    ],
)
def test_a_driver_that_cannot_be_imported_is_told_and_the_others_are_tested(fake_distribution, command, source, cause, remedy):
    drivers = {"broken": "acme_broken:Prints", "fine": "acme_notes:Prints"}
    fake_distribution.add("forge-broken", entries={"forge.notifiers": drivers}, acme_broken=source, acme_notes=NOTIFIER)
    said = command("plugins", "test", "forge-broken")
    assert said.code == 1
    assert f"forge-broken 1.0: notifier broken: {cause}" in said.out
    assert remedy in said.out
    assert "Traceback" not in said.out + said.err
    counts = {line.split()[2]: line.split()[3] for line in said.out.splitlines() if line.startswith("forge-broken  ")}
    assert counts["broken"] == "0"
    assert int(counts["fine"]) > 5


def test_suites_that_cannot_be_imported_are_told(fake_distribution, command):
    entries = {**DRIVER, "forge.contracts": {"notes": "acme_suites"}}
    fake_distribution.add("forge-notes", entries=entries, acme_notes=NOTIFIER, acme_suites="raise SystemExit('no')")
    said = command("plugins", "test", "forge-notes", "--json")
    assert said.code == 1
    assert [(one["what"], one["cause"]) for one in said.json[0]["troubles"]] == [("acme_suites", "SystemExit: no")]
    assert said.json[0]["rules"] == []


@pytest.mark.parametrize("missing", ["pytest", "pyarrow"])
def test_what_the_suites_need_is_named_where_it_is_missing(fake_distribution, command, missing):
    gone = f"raise ModuleNotFoundError(\"No module named '{missing}'\", name='{missing}')"
    transform = "from forge_core.contracts import Transformation\nclass Same(Transformation):\n    def fit(self, data): ...\n"
    entries = {"forge.transforms": {"same": "acme_same:Same"}}
    fake_distribution.add("forge-same", entries=entries, acme_same=transform, **{missing: gone})
    said = command("plugins", "test", "forge-same")
    assert said.code == 1
    assert f"No module named '{missing}'" in said.out
    assert "pip install 'forge-kernel[testing]'" in said.out
    assert "Traceback" not in said.out + said.err


def test_a_distribution_that_hangs_is_ended_with_its_children_and_what_it_did_before_is_told(fake_distribution, command, tmp_path):
    hangs = """
    import os, subprocess, sys, time
    from forge_core.contracts import Notifier

    class Hangs(Notifier):
        def notify(self, notice):
            child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"], start_new_session=True)
            with open(os.environ["ACME_PID"], "a") as file:
                file.write(f"{child.pid}\\n")
            time.sleep(300)
    """
    pids = tmp_path / "pids"
    os.environ["ACME_PID"] = str(pids)
    try:
        fake_distribution.add("forge-hangs", entries={"forge.notifiers": {"hangs": "acme_hangs:Hangs"}}, acme_hangs=hangs)
        began = time.monotonic()
        said = command("plugins", "test", "forge-hangs", "--timeout", "8", "--json")
        assert time.monotonic() - began < 40
    finally:
        del os.environ["ACME_PID"]
    (one,) = said.json
    assert said.code == 1
    (trouble,) = one["troubles"]
    assert re.search(r"it did not end within 8 s, while TestHangs::test_\w+", trouble["cause"])
    assert [rule["outcome"] for rule in one["rules"]] == ["passed"] * len(one["rules"])
    assert pids.read_text()
    for pid in pids.read_text().split():
        assert not Path("/proc", pid, "cmdline").exists() or b"sleep(300)" not in Path("/proc", pid, "cmdline").read_bytes()


def test_a_process_that_dies_is_told_with_what_it_did(fake_distribution, command):
    dies = (
        "import os\nfrom forge_core.contracts import Notifier\nclass Dies(Notifier):\n    def notify(self, notice):\n        os.abort()\n"
    )
    fake_distribution.add("forge-dies", entries={"forge.notifiers": {"dies": "acme_dies:Dies"}}, acme_dies=dies)
    said = command("plugins", "test", "forge-dies")
    assert said.code == 1
    assert "the process of its suites was ended by SIGABRT, while TestDies::test_" in said.out


def test_a_distribution_for_another_kernel_is_not_run(fake_distribution, command, tmp_path):
    touches = f"open({str(tmp_path / 'imported')!r}, 'w')"
    fake_distribution.add("forge-late", entries=DRIVER, requires=("forge-kernel>=99",), acme_notes=touches)
    said = command("plugins", "test", "forge-late")
    assert said.code == 1
    assert "wants forge-kernel>=99" in said.out
    assert not (tmp_path / "imported").exists()


def test_the_projects_environment_and_folder_do_not_matter(fake_distribution, command, project, monkeypatch):
    asks = "import os, acme_truth\nfrom acme_truth import Prints\nassert not [name for name in os.environ if name.startswith('FORGE_')]\n"
    fake_distribution.add("forge-notes", entries={"forge.notifiers": {"p": "acme_asks:Prints"}}, acme_asks=asks, acme_truth=NOTIFIER)
    project("plugins: {deny: [forge-notes]}\n", acme_truth="raise SystemExit('of the working directory')")
    monkeypatch.setenv("FORGE_PLUGINS_DENY", "forge-notes")
    monkeypatch.setenv("PYTEST_ADDOPTS", "--no-such-option")
    assert command("plugins", "test", "forge-notes").code == 0


def test_the_distributions_are_named_or_all_are_asked_for(fake_distribution, command):
    fake_distribution.add("forge-notes", entries=DRIVER, acme_notes=NOTIFIER)
    for argv, code, told in (
        (("forge-note",), 1, "did you mean forge-notes?"),
        (("pytest",), 1, "is not installed, or offers no driver"),
        ((), 2, "or --all"),
        (("--all", "forge-notes"), 2, "or --all"),
    ):
        said = command("plugins", "test", *argv)
        assert (said.code, told in said.err) == (code, True), said.err


# ---- the page


class Reader(HTMLParser):
    """Tags that are open at the end, the tags that there were, and what is outside."""

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.outside, self.text = [], set(), [], []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.outside += [value for name, value in attrs if name in ("src", "href", "srcset")]
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def test_the_page_says_what_was_tested_and_needs_nothing_else(fake_distribution, command, tmp_path):
    fake_distribution.add("forge-notes", "2.5", {"forge.notifiers": {"mute": "acme_notes:Mute"}}, acme_notes=NOTIFIER)
    said = command("plugins", "test", "forge-notes", "--report", str(tmp_path / "deep" / "report.html"), "--json")
    text = (tmp_path / "deep" / "report.html").read_text()
    reader = Reader()
    reader.feed(text)
    assert reader.open == []
    assert reader.outside == []
    assert not reader.tags & {"script", "link", "img", "iframe"}
    assert "http:" not in text.replace("url(", "http:")
    assert "@import" not in text
    assert "prefers-color-scheme: dark" in text
    shown = " ".join("".join(reader.text).split())
    (one,) = said.json
    for wanted in ("forge-notes 2.5", "forge-kernel 1.0.0", f"Python {one['python']}", one["at"][:10], "red", "notifier mute"):
        assert wanted in shown
    for rule in one["rules"]:
        assert rule["rule"] in shown
        assert f"{rule['suite']}::{rule['test']}" in shown
        assert rule["cause"] in shown or " ".join(rule["cause"].split()) in shown


def test_what_a_plugin_says_is_text_on_the_page():
    hostile = "<script>alert(1)</script>&\"'"
    rule = Rule("notifier", hostile, hostile, hostile, hostile, "failed", hostile, hostile, 0.1)
    line = proof.Line("notifier", hostile, hostile, 0, 1, 0, 0)
    trouble = proof.Trouble(hostile, hostile, hostile)
    at = proof.datetime.now(proof.UTC)
    text = page([Proof(hostile, hostile, hostile, hostile, at, 1.0, False, (line,), (rule,), (trouble,))])
    reader = Reader()
    reader.feed(text)
    assert "script" not in reader.tags
    assert reader.open == []
    assert "".join(reader.text).count(hostile) >= 12


def test_help_of_plugins_imports_no_suite(tmp_path):
    probe = "import sys; from forge_core.cli import app; app.run(['plugins', '--help']); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert not {"forge_core.testing", "forge_core.cli.plugin_author", "pytest"} & set(done.stdout.split())
