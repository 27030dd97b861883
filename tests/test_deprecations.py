"""What goes away says so first, and cannot stay longer than was said."""

from __future__ import annotations

import warnings

import pytest

from forge_core import deprecations
from forge_core.deprecations import ForgeDeprecationWarning, Overdue, deprecated


def test_a_call_warns_at_the_callers_place_and_still_works():
    @deprecated(since="0.9", removed_in="99", instead="new")
    def old(number: int) -> int:
        """Double it."""
        return 2 * number

    with pytest.warns(ForgeDeprecationWarning, match=r"old is deprecated since 0.9 and goes in 99: use new") as told:
        assert old(4) == 8
    assert told[0].filename == __file__
    assert old.__doc__ == "Double it.\n\nDeprecated since 0.9 and goes in 99: use new."


def test_marking_alone_warns_nobody():
    with warnings.catch_warnings():
        warnings.simplefilter("error")

        @deprecated(since="0.9", removed_in="99")
        def old() -> None: ...


@pytest.mark.parametrize(("release", "overdue"), [("1.9.9", False), ("2.0.0.dev1", True), ("2.0", True), ("2.0.1", True), ("10.0", True)])
def test_what_should_be_gone_fails_the_build(monkeypatch, release, overdue):
    monkeypatch.setattr(deprecations, "__version__", release)
    mark = deprecated(since="1.2", removed_in="2.0")
    if not overdue:
        mark(lambda: None)
        return
    with pytest.raises(Overdue, match=f"was to be removed in 2.0, and this is {release}"):
        mark(lambda: None)


def test_an_end_before_its_beginning_is_a_mistake():
    with pytest.raises(ValueError, match="does not come before"):
        deprecated(since="2.0", removed_in="1.0")
