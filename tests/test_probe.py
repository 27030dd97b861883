"""Each distribution is imported in a process of its own: whatever it does there, its cause is named, and nobody else notices."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from forge_core import probe as probing
from forge_core.catalog import Catalog, Policy
from forge_core.probe import probe
from forge_core.serialize import to_json

HOOK = "from forge_core import hookimpl\n@hookimpl\n"
BROKEN = {
    "import-error": ("import a_module_that_nobody_has", "ModuleNotFoundError: No module named 'a_module_that_nobody_has', at forge_import_error.py:1", "pip install a_module_that_nobody_has"),
    "old-import": ("from forge_core import hookimplementation", "ImportError: cannot import name 'hookimplementation' from 'forge_core'", "pip install -U forge-old-import and what it requires"),
    "syntax-error": ("fine = 1\ndef broken(:", "SyntaxError: invalid syntax, at forge_syntax_error.py:2", "pip install --force-reinstall forge-syntax-error"),
    "system-exit": ("import sys\nsys.exit(7)", "SystemExit: 7, at forge_system_exit.py:2", "its author should end no process at import"),
    "failing-assert": ("def check():\n    assert 1 == 2, 'never'\ncheck()", "AssertionError: never, at forge_failing_assert.py:2", "pip install -U forge-failing-assert"),
    "bare-assert": ("assert False", "AssertionError, at forge_bare_assert.py:1", "pip install -U forge-bare-assert"),
    "interrupts": ("raise KeyboardInterrupt", "KeyboardInterrupt, at forge_interrupts.py:1", "pip install -U forge-interrupts"),
    "unspeakable": ("class Odd(Exception):\n    def __str__(self): raise self\nraise Odd", "Odd: an error that cannot be shown, at forge_unspeakable.py:3", "pip install -U forge-unspeakable"),
    "coloured": ("raise ValueError('\\x1b[2Jred\\x07\\nand more')", "ValueError: red? and more, at forge_coloured.py:1", "pip install -U forge-coloured"),
    "wrong-argument": (HOOK + "def forge_run_finished(run, colour): ...", "forge_run_finished asks for colour, which the hook of forge-kernel 1.0.0 does not have", "its author should write forge_run_finished(run), or fewer of these"),
    "wrong-hook": (HOOK + "def forge_run_finishd(run): ...", "there is no hook 'forge_run_finishd'", "its author should write forge_run_finished"),
    "wrapper": ("import pluggy\n@pluggy.HookimplMarker('forge')(wrapper=True)\ndef forge_run_finished(run):\n    yield", "forge_run_finished is a hook wrapper, which is not supported", "its author should write forge_run_finished"),
    "segfault": ("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)", "importing forge_segfault ended the process with SIGSEGV, at forge_segfault.py:2", "pip install --force-reinstall forge-segfault and what it requires"),
    "leaves": ("import os\nos._exit(0)", "importing forge_leaves ended the process with code 0", "its author should end no process at import"),
}  # fmt: skip


def found_in(one, level):
    return [(finding.cause, finding.remedy) for finding in one.findings if finding.level == level]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_every_way_to_fail_is_named_with_its_cause_and_remedy(fake_distribution):
    for name, (source, _, _) in BROKEN.items():
        fake_distribution.plugin(f"forge-{name}", source)
    fake_distribution.plugin("forge-well", HOOK + "def forge_run_finished(run): ...")
    found = probe(Catalog.scan(), 10)
    results = {one.distribution: one.result for one in found.probes}
    assert {results[f"forge-{name}"] for name in BROKEN} == {"broken"}
    assert (results["forge-well"], results["forge-kernel"]) == ("well", "well")
    errors = {one.distribution: one for one in found.findings}
    assert set(errors) == {f"forge-{name}" for name in BROKEN}
    assert len(found.findings) == len(BROKEN)
    for name, (_, cause, remedy) in BROKEN.items():
        one = errors[f"forge-{name}"]
        assert (one.version, one.level, one.where) == ("1.0", "error", f"plugin forge-{name}")
        assert one.cause.startswith(cause), name
        assert one.remedy.startswith(remedy), name
        assert one.remedy.endswith(f"; until then: forge plugins disable forge-{name}")
        assert "Traceback" not in one.cause + one.remedy
    assert 'forge_failing_assert.py", line 2' in errors["forge-failing-assert"].traceback
    assert "traceback" not in to_json(errors["forge-failing-assert"])


@pytest.mark.parametrize(
    ("source", "line"),
    [
        ("def spin():\n    while True:\n        pass\nspin()", r"[23]"),
        ("while True:\n    try:\n        while True: pass\n    except BaseException: pass", r"[34]"),
        ("import time\ntime.sleep(1e6)", r"2"),
        ("import ctypes\nctypes.PyDLL(None).sleep(10**6)", r"2"),  # in C, without giving up the interpreter's lock
        ("import signal\nfor one in (1, 2, 14, 15): signal.signal(one, signal.SIG_IGN)\nwhile True: pass", r"3"),
        ("print('x' * 10**6)\nwhile True: print('more ' * 1000)", r"2"),
    ],
    ids=["loops", "swallows", "sleeps", "holds-the-lock", "ignores-signals", "prints"],
)  # fmt: skip
def test_an_endless_import_is_killed_at_the_limit_with_all_of_its_group_and_its_line_is_named(fake_distribution, tmp_path, source, line):
    note = tmp_path / "children"
    child = f"import os, subprocess\nopen({str(note)!r}, 'w').write(f\"{{os.getpid()}} {{subprocess.Popen(['sleep', '600']).pid}}\")\n"
    fake_distribution.plugin("forge-endless", "exec('''" + child + "''')\n" + source)
    began = time.monotonic()
    found = probe(Catalog.scan(), 1.5)
    (one,) = (one for one in found.findings if one.level == "error" and one.distribution == "forge-endless")
    assert time.monotonic() - began < 30
    at = [number + child.count("\n") + 1 for number in map(int, line.strip("[]"))]
    assert one.cause in [f"forge_endless is still importing after 1.5 s, at forge_endless.py:{number}" for number in at]
    assert one.remedy == (
        "give it longer with --timeout 9, or pip install -U forge-endless; until then: forge plugins disable forge-endless"
    )
    leader, below = map(int, note.read_text().split())
    assert not alive(leader)
    ends = time.monotonic() + 1
    while alive(below):
        assert time.monotonic() < ends
        time.sleep(0.01)


def test_what_an_import_changes_is_a_warning_each_and_what_it_prints_is_counted(fake_distribution):
    source = """
        import atexit, ctypes, locale, os, signal, sys, threading, time, far_library
        signal.signal(signal.SIGUSR1, lambda *_: None)
        ctypes.CDLL(None).signal(signal.SIGUSR2, ctypes.c_void_p(1))  # ignored, unknown to Python
        locale.setlocale(locale.LC_ALL, "C.UTF-8" if locale.setlocale(locale.LC_ALL) != "C.UTF-8" else "C")
        os.chdir("/")
        sys.path.insert(0, "/nowhere")
        threading.Thread(target=time.sleep, args=(600,), name="poller").start()
        @atexit.register
        def bye():
            time.sleep(600)
        for _ in range(3000):
            print("hello " * 200)
        os.write(1, b"from C")
    """
    fake_distribution.plugin("forge-rude", source)
    (fake_distribution.folder / "far_library.py").write_text("import atexit\n@atexit.register\ndef far(): ...\n")
    began = time.monotonic()
    found = probe(Catalog.scan(), 60)
    assert time.monotonic() - began < 40  # neither the thread nor the exit handler is waited for
    rude = next(one for one in found.probes if one.distribution == "forge-rude")
    assert (rude.result, rude.printed) == ("warnings", 3000 * 1201 + 6)
    causes = dict(found_in(found, "warning"))
    assert list(causes) == [
        "its import changed what happens on SIGUSR1, SIGUSR2",
        "its import set the locale to C.UTF-8" if "its import set the locale to C.UTF-8" in causes else "its import set the locale to C",
        "its import changed the working directory to /",
        "its import added /nowhere to sys.path",
        "its import left 1 thread running: poller",
        "its import registered for the exit: forge_rude:bye",
        "its import wrote 3.6 MB to stdout: 'hello hello hello hello hello hello hello hello hello hel...'",
    ]
    assert all(causes.values())
    assert found_in(found, "error") == []


def test_a_heavy_plugin_module_is_a_warning_and_a_heavy_driver_is_not(fake_distribution):
    driver = """
        import numpy
        from forge_core.contracts import Notifier
        class Bell(Notifier):
            def notify(self, notice): ...
    """
    entries = {"forge.plugins": {"a": "light_one"}, "forge.notifiers": {"bell": "heavy_driver:Bell"}}
    fake_distribution.add("forge-good", entries=entries, light_one=HOOK + "def forge_run_finished(run): ...", heavy_driver=driver)
    fake_distribution.plugin("forge-heavy", "import numpy")
    fake_distribution.plugin("forge-many", "import " + ", ".join(f"many_{number}" for number in range(61)))
    for number in range(61):
        (fake_distribution.folder / f"many_{number}.py").write_text("")
    found = probe(Catalog.scan(), 20)
    good, heavy, many = (next(one for one in found.probes if one.distribution == f"forge-{name}") for name in ("good", "heavy", "many"))
    assert (good.result, good.heavy, good.modules) == ("well", (), 1)
    assert [entry.name for entry in good.entries] == ["plugin a", "notifier bell"]
    assert good.entries[1].modules > 50
    assert (heavy.result, heavy.heavy) == ("warnings", ("numpy",))
    assert heavy.seconds > 0
    assert many.modules == 62
    assert [cause for cause, _ in found_in(found, "warning")] == [
        "its plugin module imports numpy",
        "its plugin module imports 62 modules, 60 are reasonable",
    ]


def test_a_plugin_module_that_a_project_would_not_wait_for_is_an_error(fake_distribution, monkeypatch):
    monkeypatch.setattr(probing, "PATIENCE", 0.2)
    fake_distribution.plugin("forge-slow", "import time\ntime.sleep(0.4)")
    (found,) = probe(Catalog.scan(), 20).findings
    assert (found.distribution, found.level) == ("forge-slow", "error")
    assert found.cause == "its plugin module takes 0.4 s to import; a project that is opened waits 0.2 s"


def test_drivers_and_commands_are_checked_against_what_they_must_be(fake_distribution):
    source = """
        from forge_core.contracts import Notifier
        class Whole(Notifier):
            def notify(self, notice): ...
        class Half(Notifier): ...
        class Stranger:
            def notify(self, notice): ...
        instance, text = Whole(), "text"
    """
    notifiers = {name.lower(): f"all_of_them:{name}" for name in ("Whole", "Half", "Stranger", "instance", "Absent")}
    entries = {"forge.notifiers": notifiers, "forge.commands": {"good": "all_of_them:Whole", "bad": "all_of_them:text"}}
    fake_distribution.add("forge-acme", entries=entries, all_of_them=source)
    found = {one.where: (one.level, one.cause) for one in probe(Catalog.scan(), 20).findings}
    assert found == {
        "notifier half": ("error", "all_of_them:Half lacks what a Notifier must do: notify"),
        "notifier stranger": ("error", "all_of_them:Stranger is no Notifier"),
        "notifier instance": ("error", "notifier 'instance' of forge-acme 1.0 is not a class"),
        "notifier absent": ("error", "AttributeError: module 'all_of_them' has no attribute 'Absent'"),
        "command bad": ("error", "all_of_them:text is no command"),
    }


def test_a_driver_that_fails_leaves_the_others_of_its_distribution_looked_at(fake_distribution):
    entries = {
        "forge.plugins": {"a": "well_a"},
        "forge.notifiers": {"one": "gone_one:A", "two": "dies_two:A"},
        "forge.commands": {"three": "well_a:x"},
    }
    fake_distribution.add("forge-acme", entries=entries, well_a="def x(): ...", dies_two="raise ValueError('two')")
    found = probe(Catalog.scan(), 20)
    assert {one.where: one.cause for one in found.findings} == {
        "notifier one": "ModuleNotFoundError: No module named 'gone_one'",
        "notifier two": "ValueError: two, at dies_two.py:1",
    }
    assert "a module of its own is gone" in next(one.remedy for one in found.findings if one.where == "notifier one")


def test_denied_and_incompatible_ones_are_listed_and_never_imported(fake_distribution, tmp_path):
    touch = f"open({str(tmp_path / 'touched')!r}, 'w')"
    fake_distribution.plugin("forge-denied", touch)
    fake_distribution.add("forge-future", entries={"forge.plugins": {"f": "future"}}, requires=("forge-kernel>=99",), future=touch)
    found = probe(Catalog.scan(Policy(deny=("forge-denied",))), 20)
    results = {one.distribution: (one.result, one.entries) for one in found.probes}
    assert results["forge-denied"] == ("denied", ())
    assert results["forge-future"] == ("incompatible", ())
    assert not (tmp_path / "touched").exists()
    fake_distribution.plugin("forge-canary", touch)
    probe(Catalog.scan(Policy(deny=("forge-denied",))), 20)
    assert (tmp_path / "touched").exists()


def test_a_copy_of_the_process_that_a_plugin_forks_tells_nothing(fake_distribution):
    fake_distribution.plugin("forge-forks", "import os\nos.fork()")
    found = probe(Catalog.scan(), 20)
    (one,) = (one for one in found.probes if one.distribution == "forge-forks")
    assert (one.result, [entry.target for entry in one.entries]) == ("well", ["forge_forks"])


def test_two_that_clash_are_both_imported(fake_distribution):
    for name in ("forge-one", "forge-two"):
        module = name.replace("-", "_")
        fake_distribution.add(
            name,
            entries={"forge.notifiers": {"same": f"{module}:N"}},
            **{module: "from forge_core.contracts import Notifier\nclass N(Notifier):\n    def notify(self, notice): ..."},
        )
    found = probe(Catalog.scan(), 20)
    assert {one.distribution: one.result for one in found.probes if one.entries} == {
        "forge-kernel": "well",
        "forge-one": "well",
        "forge-two": "well",
    }


def test_a_projects_local_module_is_looked_at_like_a_distribution(fake_distribution, project):
    folder = project(well="x = 1", ill="raise ValueError('no')", mine=HOOK + "def forge_run_finishd(run): ...")
    found = probe(Catalog.scan(), 20, ("well", "ill", "mine"), folder)
    results = {one.distribution: one.result for one in found.probes if one.version == "local"}
    assert results == {"well": "well", "ill": "broken", "mine": "broken"}
    assert {(one.distribution, one.cause) for one in found.findings} == {
        ("ill", "ValueError: no, at ill.py:1"),
        ("mine", "there is no hook 'forge_run_finishd'"),
    }
    assert all(one.remedy.endswith(f"; until then: take {one.distribution} out of plugins.local") for one in found.findings)


def test_at_most_as_many_run_at_once_as_there_are_processors(fake_distribution, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _process: {0, 1})
    source = f"""
        import os, pathlib, time
        here = pathlib.Path({str(tmp_path)!r}) / f"running-{{os.getpid()}}"
        here.touch()
        time.sleep(0.4)
        (here.parent / "counts").open("a").write(f"{{len(list(here.parent.glob('running-*')))}} ")
        here.unlink()
    """
    for number in range(5):
        fake_distribution.plugin(f"forge-{number}-counts", source)
    probe(Catalog.scan(), 20)
    counts = (tmp_path / "counts").read_text().split()
    assert len(counts) == 5
    assert set(counts) <= {"1", "2"}


def test_an_interrupted_probe_leaves_no_process(fake_distribution, tmp_path, monkeypatch):
    note = tmp_path / "pid"
    fake_distribution.plugin("forge-endless", f"import os\nopen({str(note)!r}, 'w').write(str(os.getpid()))\nwhile True: pass")

    def interrupted(child):
        if note.exists() and note.read_text():
            raise KeyboardInterrupt
        return child.process.poll() is not None

    monkeypatch.setattr(probing._Child, "over", interrupted)
    with pytest.raises(KeyboardInterrupt):
        probe(Catalog.scan(), 60)
    assert not alive(int(note.read_text()))


def test_this_process_is_as_it_was(fake_distribution):
    fake_distribution.plugin("forge-rude", "import os, sys\nos.chdir('/')\nsys.path.clear()\nprint('x' * 10**6)")
    before = (os.getcwd(), len(os.listdir("/proc/self/fd")))
    probe(Catalog.scan(), 20)
    assert (os.getcwd(), len(os.listdir("/proc/self/fd"))) == before
