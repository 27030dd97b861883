from __future__ import annotations

from forge_auth.permissions import ADMIN_ONLY, DRIVERS_OWN, VIEWER, decide
from forge_auth.provider import ApiKeyAuth
from forge_core.contracts import CONTRACTS
from forge_core.operations import operations_of, permissions
from forge_core.records.auth import Principal

TABLE = [*(found for _role, found in permissions(CONTRACTS)), *operations_of(ApiKeyAuth).values()]


def test_every_operation_is_classified_and_nothing_else_is() -> None:
    actions = {found.action for found in TABLE}
    assert actions - (VIEWER | ADMIN_ONLY) == set(), "put the new action into VIEWER or ADMIN_ONLY"
    assert (VIEWER | ADMIN_ONLY) - DRIVERS_OWN - actions == set(), "this action is no operation's any more"
    assert VIEWER.isdisjoint(ADMIN_ONLY)


def test_a_viewer_may_do_nothing_that_mutates() -> None:
    assert {found.action for found in TABLE if found.mutates} & VIEWER == set()


def test_an_action_that_nobody_classified_is_the_admins() -> None:
    ana, dashboard = Principal("ana", ("admin",)), Principal("dashboard", ("viewer",))
    assert decide(ana, ana.roles, "moon:land").allowed
    assert not decide(dashboard, dashboard.roles, "moon:land").allowed


def test_without_a_role_nothing_is_allowed() -> None:
    nobody = Principal("nobody")
    assert not any(decide(nobody, (), found.action).allowed for found in TABLE)
    assert not any(decide(nobody, ("root",), found.action).allowed for found in TABLE)


def test_a_decision_says_why() -> None:
    dashboard = Principal("dashboard", ("viewer",))
    assert (
        decide(dashboard, dashboard.roles, "endpoint:deploy").reason
        == "dashboard has the role viewer, and endpoint:deploy needs the role admin"
    )
    assert decide(dashboard, dashboard.roles, "endpoint:predict").reason == "dashboard has the role viewer, which may endpoint:predict"
