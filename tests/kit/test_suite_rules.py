"""What an author may change about a suite, what not, and what the report says of it. Each case is a pytest session of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

HEAD = """
import pytest
from forge_core.builtin.notifier import ConsoleNotifier
from forge_core.testing import Contract, NotifierContract, needs
from forge_core.contracts import Capability, SecretStore

"""
TEXT = "test_a_notice_arrives_with_its_subject_and_text"


@pytest.fixture
def session(tmp_path: Path):
    def run(source: str, *options: str):
        (tmp_path / "test_it.py").write_text(HEAD + dedent(source))
        report = tmp_path / "report.json"
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "-c",
            "/dev/null",
            "--rootdir",
            str(tmp_path),
            "--forge-report",
            str(report),
            *options,
        ]
        done = subprocess.run([*command, str(tmp_path / "test_it.py")], capture_output=True, text=True, cwd=tmp_path, timeout=120)
        return done, json.loads(report.read_text()) if report.exists() else []

    return run


def outcomes(rows, test):
    return {row["outcome"] for row in rows if row["test"].startswith(test)}


def test_a_class_of_two_lines_is_a_whole_suite(session):
    done, rows = session("class TestIt(NotifierContract):\n    driver_class = ConsoleNotifier\n")
    assert done.returncode == 0, done.stdout
    assert {row["outcome"] for row in rows} == {"passed", "not declared"}  # how it would be made to fail, it does not know
    assert {(row["role"], row["driver"], row["suite"]) for row in rows} == {
        ("notifier", "forge_core.builtin.notifier:ConsoleNotifier", "TestIt")
    }
    assert all(row["rule"] for row in rows)
    assert outcomes(rows, TEXT) == {"passed"}


def test_a_wrong_driver_fails_with_the_rule_that_it_breaks(session):
    done, rows = session("""
        class Silent(ConsoleNotifier):
            def notify(self, notice): ...
        class TestIt(NotifierContract):
            driver_class = Silent
    """)
    assert done.returncode == 1
    assert outcomes(rows, TEXT) == {"failed"}
    assert outcomes(rows, "test_it_fulfils_its_contract") == {"passed"}
    assert all(row["detail"] for row in rows if row["outcome"] == "failed")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (f"def {TEXT}(self): ...", "override fixtures"),
        (f"@pytest.mark.skip\n    def {TEXT}(self): ...", "override fixtures"),
        (f"@pytest.mark.xfail\n    def {TEXT}(self): ...", "override fixtures"),
        (f"{TEXT} = None", "override fixtures"),
        (f"expected_failures = {{'{TEXT}': ' '}}", "gives no reason"),
        ("expected_failures = {'test_of_nothing': 'why'}", "no test of its suite"),
        ("expected_failures = {'driver': 'why'}", "no test of its suite"),
    ],
)
def test_a_rule_cannot_be_taken_out(session, body, said):
    done, _rows = session(f"class TestIt(NotifierContract):\n    driver_class = ConsoleNotifier\n    {body}\n")
    assert done.returncode != 0
    assert said in done.stdout


def test_a_second_level_of_subclasses_cannot_either(session):
    done, _rows = session(f"""
        class Mine(NotifierContract):
            driver_class = ConsoleNotifier
        class TestIt(Mine):
            def {TEXT}(self): ...
    """)
    assert done.returncode != 0
    assert "override fixtures" in done.stdout


@pytest.mark.parametrize(
    "source",
    [
        "@pytest.mark.skip(reason='no time')\nclass TestIt(NotifierContract):\n    driver_class = ConsoleNotifier\n",
        "class TestIt(NotifierContract):\n    driver_class = ConsoleNotifier\n    pytestmark = pytest.mark.skipif(True, reason='no time')\n",
        "class TestIt(NotifierContract):\n    driver_class = ConsoleNotifier\n    @pytest.fixture\n    def received(self): pytest.skip('no time')\n",
        "class TestIt(NotifierContract):\n    driver_class = ConsoleNotifier\n    @pytest.fixture\n    def settings(self): pytest.skip('not declared: no time')\n",
    ],
)
def test_a_skipped_rule_is_a_failed_one(session, source):
    done, rows = session(source)
    assert done.returncode == 1, done.stdout
    assert outcomes(rows, TEXT) == {"failed"}


def test_a_failure_that_is_expected_is_listed_and_one_that_does_not_come_fails(session):
    done, rows = session(f"""
        class Silent(ConsoleNotifier):
            def notify(self, notice): ...
        class TestIt(NotifierContract):
            driver_class = Silent
            expected_failures = {{
                "{TEXT}": "it says nothing", "test_notices_arrive_in_order_and_none_is_lost": "it says nothing",
                "test_any_text_can_be_sent": "it says nothing", "test_it_fulfils_its_contract": "it does",
            }}
    """)
    assert outcomes(rows, TEXT) == {"expected failure"}
    assert outcomes(rows, "test_it_fulfils_its_contract") == {"failed"}
    assert done.returncode == 1


def test_an_xfail_of_pytests_own_with_a_reason_is_as_good(session):
    done, rows = session(f"""
        class TestIt(NotifierContract):
            driver_class = ConsoleNotifier
            @pytest.mark.xfail(reason="the console is deaf")
            def {TEXT}(self): assert False
    """)
    assert done.returncode == 0, done.stdout
    assert outcomes(rows, TEXT) == {"expected failure"}


def test_what_is_not_declared_is_listed_as_such(session):
    done, rows = session(
        """
        from forge_core.builtin.secrets import EnvironmentSecrets
        class Own(Contract):
            contract = SecretStore
            __module__ = "forge_core.testing.of_this_test"
            @needs(Capability.WRAP)
            def test_keys_are_wrapped(self, driver):
                "Wraps."
                assert driver.unwrap(driver.wrap(b"k")) == b"k"
        class TestWithout(Own):
            driver_class = EnvironmentSecrets
        class Claims(EnvironmentSecrets):
            capabilities = frozenset({Capability.WRAP})
        class TestClaims(Own):
            driver_class = Claims
    """,
        "-k",
        "keys_are_wrapped",
    )
    assert {(row["suite"], row["outcome"], row["capability"]) for row in rows} == {
        ("TestWithout", "not declared", "wrap"),
        ("TestClaims", "failed", "wrap"),
    }
    assert done.returncode == 1
