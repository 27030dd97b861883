"""Every error a person sees has a cause, a remedy, an exit code, and survives a process boundary."""

from __future__ import annotations

import pickle

import pytest

from forge_core import faults
from forge_core.faults import ForgeError

KINDS = [one for one in vars(faults).values() if isinstance(one, type) and issubclass(one, ForgeError)]


@pytest.mark.parametrize("kind", KINDS, ids=lambda one: one.__name__)
def test_an_error_keeps_its_parts_through_a_pickle(kind):
    again = pickle.loads(pickle.dumps(kind("the cause", "the remedy")))
    assert (type(again), again.cause, again.remedy, str(again)) == (kind, "the cause", "the remedy", "the cause")


def test_exit_codes_are_1_for_work_2_for_configuration_3_for_refusals():
    codes = {one.__name__: one.exit_code for one in KINDS}
    assert {name for name, code in codes.items() if code != 1} == {"ConfigError", "Refused"}
    assert (codes["ConfigError"], codes["Refused"]) == (2, 3)


def test_kinds_are_told_apart():
    assert len({one.kind for one in KINDS}) == len(KINDS)
