"""A plugin that fails is a fault: named, kept, and nobody else's problem."""

from __future__ import annotations

import subprocess
import sys
import threading
import time

import pytest

from forge_core import hookimpl
from forge_core.catalog import Catalog, Policy
from forge_core.faults import Refused
from forge_core.hookspecs import AuthHooks, KernelHooks
from forge_core.hub import Hub
from forge_core.records import HealthCheck, Principal, Project, Refusal

HEARS = """
from forge_core import hookimpl
heard = []
@hookimpl
def forge_command_started(command):
    heard.append(command)
"""
PRINCIPAL = Principal("ann")


def hub(**options) -> Hub:
    return Hub(Catalog.scan(), **options)


def started(target: Hub, command: str = "train") -> None:
    target.tell(KernelHooks.forge_command_started, command=command)


def authorize(target: Hub) -> None:
    target.gate(AuthHooks.forge_authorize, principal=PRINCIPAL, action="model:read", resource="model:a")


def checks(target: Hub) -> list[str]:
    return [one.name for one in target.ask(KernelHooks.forge_health_checks, HealthCheck)]


# ---- L1: saboteurs at import and at registration


@pytest.mark.parametrize(
    ("source", "where", "cause"),
    [
        ("import no_such_library_anywhere", "import", "ModuleNotFoundError: No module named 'no_such_library_anywhere'"),
        ("from forge_core import no_such_name", "import", "ImportError"),
        ("def broken(:", "import", "SyntaxError"),
        ("raise SystemExit(0)", "import", "SystemExit: 0"),
        ("assert 1 == 2, 'two lines\\nof text'", "import", "AssertionError: two lines of text"),
        ("raise RuntimeError", "import", "RuntimeError"),
        ("raise BaseException('anything')", "import", "BaseException: anything"),
        (HEARS.replace("(command)", "(command, colour)"), "register", "colour"),
        (HEARS.replace("forge_command_started", "forge_comand_started"), "register", "there is no hook 'forge_comand_started'"),
        (HEARS.replace("@hookimpl", "@hookimpl(wrapper=True)").replace("heard.append(command)", "yield"), "register", "wrapper"),
        (HEARS.replace("@hookimpl", "@hookimpl(hookwrapper=True)").replace("heard.append(command)", "yield"), "register", "wrapper"),
    ],
)
def test_a_saboteur_is_a_fault_with_distribution_version_cause_and_remedy_and_the_others_hear(fake_distribution, source, where, cause):
    fake_distribution.plugin("forge-saboteur", source)
    fake_distribution.plugin("forge-well", HEARS)
    opened = hub()
    started(opened)
    assert sys.modules["forge_well"].heard == ["train"]
    (fault,) = opened.faults
    assert (fault.where, fault.distribution, fault.version) == (where, "forge-saboteur", "1.0")
    assert cause in fault.cause
    assert "forge-saboteur" in fault.remedy or "no_such_library" in fault.remedy


@pytest.mark.parametrize(
    "source",
    [
        "while True: pass",
        "import time\ntime.sleep(600)",
        "while True:\n    try:\n        while True: pass\n    except Exception: pass",
        "import time\ntry:\n    time.sleep(600)\nexcept:\n    pass\ntime.sleep(600)",
    ],
    ids=["loop", "sleep", "except Exception", "bare except"],
)
def test_an_endless_import_is_ended_named_on_stderr_and_a_fault(fake_distribution, capsys, source):
    fake_distribution.plugin("forge-endless", source)
    fake_distribution.plugin("forge-well", HEARS)
    before = time.monotonic()
    opened = hub(patience=0.2, required=("forge-well",))
    assert time.monotonic() - before < 3
    started(opened)
    assert sys.modules["forge_well"].heard == ["train"]
    assert [(fault.distribution, fault.cause) for fault in opened.faults] == [("forge-endless", "still importing after 0.2 s")]
    assert "forge-endless is still importing after 0.2 s; --no-plugins gets past it" in capsys.readouterr().err


def test_an_import_that_cannot_be_ended_is_at_least_named(fake_distribution, project, forge):
    fake_distribution.plugin("forge-stubborn", "import time\nwhile True:\n    try:\n        time.sleep(1)\n    except:\n        pass")
    project()
    source = "from forge_core.hub import Hub; from forge_core.catalog import Catalog; Hub(Catalog.scan(), patience=0.2)"
    process = subprocess.Popen([sys.executable, "-c", source], stderr=subprocess.PIPE, text=True)
    try:
        assert "forge-stubborn is still importing after 0.2 s" in process.stderr.readline()
    finally:
        process.kill()
        process.communicate()
    assert forge("config", "show", "--no-plugins").returncode == 0


def test_all_imports_together_have_a_limit_and_required_ones_stand_outside_it(fake_distribution):
    for number in range(5):
        fake_distribution.plugin(f"forge-slow-{number}", "import time\ntime.sleep(0.15)")
    fake_distribution.plugin("forge-zz-required", HEARS)
    opened = hub(patience=0.2, required=("forge-zz-required",))
    late = [fault.distribution for fault in opened.faults]
    assert late
    assert set(late) < {f"forge-slow-{number}" for number in range(5)}
    assert "forge-zz-required" not in late
    assert opened.broken == ()


def test_ctrl_c_during_an_import_is_not_swallowed(fake_distribution):
    fake_distribution.plugin("forge-interrupted", "raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        hub()


def test_a_denied_plugin_is_never_imported(fake_distribution):
    fake_distribution.plugin("forge-denied", "raise SystemExit('imported')")
    opened = Hub(Catalog.scan(Policy(deny=("forge-denied",))))
    assert opened.faults == []
    assert "forge_denied" not in sys.modules


def test_imports_work_outside_the_main_thread_without_a_deadline(fake_distribution):
    fake_distribution.plugin("forge-well", HEARS)
    made: list[Hub] = []
    thread = threading.Thread(target=lambda: made.append(hub()))
    thread.start()
    thread.join()
    assert made[0].faults == []
    assert made[0].listeners(KernelHooks.forge_command_started) == 1


def test_local_modules_are_heard_and_faulted_like_a_distributions(fake_distribution, project):
    fake_distribution.add("holder", local_well=HEARS, local_ill="raise ValueError('oh')")
    opened = hub(local=("local_well", "local_ill"))
    started(opened)
    assert sys.modules["local_well"].heard == ["train"]
    assert [(fault.distribution, fault.remedy) for fault in opened.faults] == [
        ("local_ill", "mend local_ill, or take it out of plugins.local")
    ]


# ---- required distributions


def test_a_required_plugin_that_fails_breaks_the_hub_and_another_does_not(fake_distribution):
    fake_distribution.plugin("forge-guardian", "raise ValueError('no key')")
    assert hub().broken == ()
    assert [fault.cause for fault in hub(required=("Forge.Guardian",)).broken] == ["ValueError: no key"]


def test_a_required_plugin_whose_hook_fails_breaks_the_hub(fake_distribution):
    fake_distribution.plugin("forge-guardian", HEARS.replace("heard.append(command)", "raise ValueError(command)"))
    opened = hub(required=("forge-guardian",))
    assert opened.broken == ()
    started(opened)
    assert [fault.where for fault in opened.broken] == ["forge_command_started"]


@pytest.mark.parametrize("policy", [Policy(), Policy(deny=("forge-guardian",))], ids=["missing", "denied"])
def test_a_required_plugin_that_is_not_there_breaks_the_hub(fake_distribution, policy):
    if policy.deny:
        fake_distribution.plugin("forge-guardian", HEARS)
    (fault,) = Hub(Catalog.scan(policy), required=("forge-guardian",)).broken
    assert (fault.where, fault.distribution) == ("catalog", "forge-guardian")
    assert fault.remedy


# ---- tell


def test_a_listener_that_raises_is_a_fault_once_and_silences_nobody(fake_distribution):
    fake_distribution.plugin("forge-loud", HEARS.replace("heard.append(command)", "raise SystemExit(command)"))
    fake_distribution.plugin("forge-well", HEARS)
    opened = hub()
    for _ in range(3):
        started(opened)
    assert sys.modules["forge_well"].heard == ["train"] * 3
    assert [(fault.where, fault.cause) for fault in opened.faults] == [("forge_command_started", "SystemExit: train")]


def test_a_listener_that_is_a_generator_is_run_to_its_end_and_isolated(fake_distribution):
    fake_distribution.plugin(
        "forge-generator", HEARS.replace("heard.append(command)", "yield\n    heard.append(command)\n    raise ValueError('late')")
    )
    opened = hub()
    started(opened)
    assert sys.modules["forge_generator"].heard == ["train"]
    assert [fault.cause for fault in opened.faults] == ["ValueError: late"]


def test_ctrl_c_in_a_hook_is_not_swallowed(fake_distribution):
    fake_distribution.plugin("forge-interrupted", HEARS.replace("heard.append(command)", "raise KeyboardInterrupt"))
    with pytest.raises(KeyboardInterrupt):
        started(hub())


def test_what_plugins_print_at_import_and_in_hooks_goes_to_stderr(fake_distribution, capsys):
    fake_distribution.plugin("forge-chatty", "print('importing')" + HEARS.replace("heard.append(command)", "print('hearing', command)"))
    started(hub())
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == "importing\nhearing train\n"


def test_an_object_of_this_process_hears_the_arguments_it_names():
    class Listener:
        @hookimpl
        def forge_command_finished(self, exit_code: int) -> None:
            self.code = exit_code

    opened, listener = hub(), Listener()
    opened.listen(listener, "forge-kernel")
    opened.tell(KernelHooks.forge_command_finished, command="train", exit_code=3)
    assert listener.code == 3


# ---- ask


def asking(answer: str) -> str:
    return f"""
    from forge_core import hookimpl
    from forge_core.records import HealthCheck
    @hookimpl
    def forge_health_checks():
        {answer}
    """


@pytest.mark.parametrize(
    "answer",
    [
        "return [HealthCheck('a', True), HealthCheck('b', True)]",
        "yield from (HealthCheck('a', True), HealthCheck('b', True))",
        "return (HealthCheck(name, True) for name in 'ba')",
        "return map(lambda name: HealthCheck(name, True), 'ba')",
        "return {HealthCheck('a', True), HealthCheck('b', True)}",
    ],
)
def test_records_are_gathered_from_any_iterable_sorted_by_name(fake_distribution, answer):
    fake_distribution.plugin("forge-asked", asking(answer))
    opened = hub()
    assert checks(opened) == ["a", "b"]
    assert opened.faults == []


def test_nobody_has_to_answer(fake_distribution):
    fake_distribution.plugin("forge-asked", asking("return None"))
    opened = hub()
    assert checks(opened) == []
    assert opened.faults == []


@pytest.mark.parametrize(
    ("answer", "cause"),
    [
        ("return [('a', True)]", "forge_health_checks gives HealthCheck, not tuple"),
        ("return HealthCheck('a', True)", "forge_health_checks gives"),
        ("return 'healthy'", "forge_health_checks gives"),
        ("return {'name': 'a'}", "forge_health_checks gives"),
        ("raise ValueError('ill')", "ValueError: ill"),
        ("yield HealthCheck('z', True)\n        raise ValueError('ill')", "ValueError: ill"),
    ],
)
def test_a_wrong_answer_is_its_givers_fault_and_the_others_answers_stand(fake_distribution, answer, cause):
    fake_distribution.plugin("forge-wrong", asking(answer))
    fake_distribution.plugin("forge-well", asking("return [HealthCheck('disk', True)]"))
    opened = hub()
    assert checks(opened) == ["disk"]
    assert [fault.distribution for fault in opened.faults] == ["forge-wrong"]
    assert cause in opened.faults[0].cause


def test_a_name_given_twice_is_the_second_givers_fault(fake_distribution):
    fake_distribution.plugin("forge-one", asking("return [HealthCheck('disk', True, 'one')]"))
    fake_distribution.plugin("forge-two", asking("return [HealthCheck('disk', True, 'two')]"))
    opened = hub()
    assert checks(opened) == ["disk"]
    assert [fault.cause for fault in opened.faults] == ["ValueError: 'disk' is given twice"]


# ---- gate


def gating(answer: str) -> str:
    return f"""
    from forge_core import hookimpl
    from forge_core.records import Refusal
    @hookimpl
    def forge_authorize(principal):
        {answer}
    """


def test_nobody_refuses_where_nobody_objects(fake_distribution):
    fake_distribution.plugin("forge-gate", gating("return None"))
    authorize(hub())


def test_one_refusal_is_enough_and_all_reasons_are_told(fake_distribution):
    fake_distribution.plugin("forge-a", gating("return Refusal('closed', 'come tomorrow')"))
    fake_distribution.plugin("forge-b", gating("return None"))
    fake_distribution.plugin("forge-c", gating("return Refusal(principal.name + ' is unknown')"))
    with pytest.raises(Refused) as caught:
        authorize(hub())
    assert sorted(caught.value.cause.split("; ")) == ["forge-a: closed", "forge-c: ann is unknown"]


@pytest.mark.parametrize(
    "answer", ["raise ValueError('down')", "raise SystemExit", "return False", "return True", "return 'no'", "yield None"]
)
def test_an_exception_or_anything_that_is_no_refusal_refuses(fake_distribution, answer):
    fake_distribution.plugin("forge-gate", gating(answer))
    with pytest.raises(Refused, match=r"forge-gate: forge_authorize (failed|gave)") as caught:
        authorize(hub())
    assert caught.value.remedy == "mend or deny forge-gate"


def test_a_refusal_is_a_frozen_record():
    with pytest.raises(AttributeError):
        Refusal("no").reason = "yes"


def test_hooks_that_are_told_carry_records(tmp_path):
    heard = []

    class Listener:
        @hookimpl
        def forge_kernel_opened(self, project: Project) -> None:
            heard.append(project)

    opened = hub()
    opened.listen(Listener(), "forge-kernel")
    opened.tell(KernelHooks.forge_kernel_opened, project=Project("test", tmp_path))
    assert heard == [Project("test", tmp_path)]
