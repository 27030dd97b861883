"""Small wrong versions of our own drivers, written without a look at the suites: each is caught by its role's."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from conftest import Verdict


def test_a_mutant_is_caught_by_its_suite(verdict: Verdict) -> None:
    assert verdict.built, f"the suite did not come to its rules:\n{verdict.said}"
    assert verdict.killer, f"{verdict.mutant.name} keeps every rule, though: {verdict.mutant.wrong}\n{verdict.said}"
