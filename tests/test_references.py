"""`${...}` is resolved late, names the place where it cannot be, and shows no secret."""

from __future__ import annotations

import pytest

from forge_core.faults import ConfigError
from forge_core.references import Resolved, interpolate


def test_the_environment_is_read_anywhere_in_a_value(monkeypatch):
    monkeypatch.setenv("HOST", "db")
    assert interpolate({"url": "pg://${env:HOST}:${env:PORT:-5432}/x", "n": [1, "${env:HOST}"]}) == {
        "url": "pg://db:5432/x",
        "n": [1, "db"],
    }


def test_what_came_from_a_reference_is_told_apart_and_what_did_not_is_untouched(monkeypatch):
    monkeypatch.setenv("N", "5")
    found = interpolate(["${env:N}", "5", 5, None, True])
    assert [type(one) for one in found] == [Resolved, str, int, type(None), bool]


def test_an_empty_default_is_a_default(monkeypatch):
    monkeypatch.delenv("NOTHING", raising=False)
    assert interpolate("a${env:NOTHING:-}b") == "ab"


def test_a_set_but_empty_variable_wins_over_the_default(monkeypatch):
    monkeypatch.setenv("EMPTY", "")
    assert interpolate("${env:EMPTY:-full}") == ""


def test_a_missing_variable_names_its_place_and_how_to_give_it(monkeypatch):
    monkeypatch.delenv("NOTHING", raising=False)
    with pytest.raises(ConfigError, match="a.1: the environment has no NOTHING") as caught:
        interpolate({"a": ["x", "${env:NOTHING}"]})
    assert caught.value.remedy == "export NOTHING=..., or write ${env:NOTHING:-default}"


def test_a_secret_is_read_by_its_path():
    assert interpolate({"p": "u:${secret:db/password}@"}, {"db/password": "hunter2"}.__getitem__) == {"p": "u:hunter2@"}


def test_a_secret_where_none_may_stand_is_refused():
    with pytest.raises(ConfigError, match="p: a secret may not stand here"):
        interpolate({"p": "${secret:db/password}"})


def test_what_a_reference_gives_is_not_resolved_again(monkeypatch):
    monkeypatch.setenv("TRICK", "${env:HOME}")
    assert interpolate("${env:TRICK}") == "${env:HOME}"


def test_dollars_that_are_no_reference_stay():
    assert interpolate("$HOME ${x} $${env} {a}") == "$HOME ${x} $${env} {a}"
