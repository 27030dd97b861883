"""What other people's code is written against changes only in ways that do not break it, unless the major version moves."""

from __future__ import annotations

import copy
import importlib
import importlib.util
import json
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from forge_core.contracts import CONTRACTS

_SPEC = importlib.util.spec_from_file_location("signatures", Path(__file__).with_name("signatures.py"))
signatures = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(signatures)
RECORDED = json.loads(signatures.RECORDED.read_text())


def test_nothing_that_was_promised_is_broken():
    now = signatures.now()
    assert signatures.major(now) != signatures.major(RECORDED) or list(signatures.breaks(RECORDED, now)) == []


def test_the_recorded_surface_is_the_present_one():
    assert signatures.now() == RECORDED, "python tests/signatures.py records it; read the difference first"


def _changed(*path, to):
    after = copy.deepcopy(RECORDED)
    at = after
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = to
    return after


NEW = {"name": "new", "kind": "POSITIONAL_OR_KEYWORD", "optional": False, "type": "int"}
TRAIN = ("contracts", "trainer", "methods", "train")
HOOK = ("hooks", "forge_run_started")
QUERY = ("records", "Query")


def _at(path):
    at = RECORDED
    for key in path:
        at = at[key]
    return copy.deepcopy(at)


@pytest.mark.parametrize(
    ("path", "to", "said"),
    [
        (("contracts", "trainer", "stable"), False, "contract trainer was stable"),
        (("contracts", "trainer", "class"), "x:Y", "contract trainer was forge_core"),
        (("contracts", "trainer", "methods"), {}, "trainer.train is gone"),
        ((*TRAIN, "parameters"), _at((*TRAIN, "parameters"))[:-1], "trainer.train took context"),
        ((*TRAIN, "parameters"), [*_at((*TRAIN, "parameters")), NEW], "trainer.train(new) is new and not optional"),
        ((*TRAIN, "returns"), "None", "trainer.train returned TrainedModel"),
        (("contracts", "trainer", "methods", "higher_is_better", "abstract"), True, "trainer.higher_is_better had a body"),
        (
            ("contracts", "trainer", "methods", "other"),
            {"parameters": [], "returns": "None", "abstract": True},
            "trainer.other is new and abstract",
        ),
        ((*HOOK, "parameters"), [], "hook forge_run_started gave run"),
        (("hooks",), {}, "hook forge_alert_raised is gone"),
        (QUERY, _at(QUERY)[1:], "Query had dataset"),
        (QUERY, [*_at(QUERY), NEW], "Query.new is new and not optional"),
        (("choices", "ModelStatus"), [], "ModelStatus.ARCHIVED is gone"),
        (("groups", "trainer"), ["forge.trainer", "trainers"], "role trainer was forge.trainers and trainers"),
    ],
)
def test_a_change_that_breaks_somebody_is_named(path, to, said):
    broken = list(signatures.breaks(RECORDED, _changed(*path, to=to)))
    assert any(one.startswith(said) for one in broken), broken


@pytest.mark.parametrize(
    ("path", "to"),
    [
        ((*TRAIN, "parameters"), [*_at((*TRAIN, "parameters")), {**NEW, "optional": True}]),
        (("contracts", "trainer", "methods", "other"), {"parameters": [], "returns": "None", "abstract": False}),
        (("contracts", "registry", "methods"), {}),  # provisional
        ((*HOOK, "parameters"), [*_at((*HOOK, "parameters")), NEW]),
        (QUERY, [*_at(QUERY), {**NEW, "optional": True}]),
        (("choices", "Capability"), [*_at(("choices", "Capability")), "NEW"]),
        (("records", "Another"), [NEW]),
    ],
)
def test_growth_breaks_nobody(path, to):
    assert list(signatures.breaks(RECORDED, _changed(*path, to=to))) == []


def test_a_breaking_change_is_not_recorded_within_a_major_version(monkeypatch, tmp_path, capsys):
    kept = tmp_path / "signatures.json"
    monkeypatch.setattr(signatures, "RECORDED", kept)
    before = _changed(*QUERY, to=[*_at(QUERY), {**NEW, "name": "gone"}])
    kept.write_text(json.dumps(before))
    assert signatures.main() == 1
    assert "Query had gone: int" in capsys.readouterr().err
    assert json.loads(kept.read_text()) == before
    kept.write_text(json.dumps({**before, "version": "0.9.0"}))
    assert signatures.main() == 0
    assert json.loads(kept.read_text()) == signatures.now()


def test_a_contract_is_stable_as_soon_as_two_drivers_pass_its_suite():
    """The classes that our distributions prove themselves by; those are run by their own tests."""
    drivers = {role: set() for role in CONTRACTS}
    for entry in entry_points(group="forge.contracts"):
        for suite in vars(importlib.import_module(entry.value)).values():
            if isinstance(suite, type) and suite.__name__.startswith("Test") and hasattr(suite, "driver_class"):
                drivers[suite.contract.role].add(suite.driver_class)
    assert {role: len(found) >= 2 for role, found in drivers.items()} == {role: made.stable for role, made in CONTRACTS.items()}
