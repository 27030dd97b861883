"""What each role may do: an explicit list of actions, and no for everything else.

Every action of the kernel's contracts, and those that drivers of this repository add, stands in one of the two sets below; a
test compares them with the table of permissions, so that a new operation is classified before it ships.
"""

from __future__ import annotations

from forge_core.records.auth import Decision, Principal

VIEWER = frozenset(
    {
        "data:describe",
        "data:list",
        "data:read",
        "data:validate",
        "endpoint:list",
        "endpoint:predict",
        "endpoint:read",
        "model:evaluate",
        "model:list",
        "model:load",
        "model:read",
        "model:verify",
        "run:list",
        "run:read",
        "server:read",  # a gateway's metrics and its description
        "transform:apply",  # predicting and evaluating apply the transforms that travel with a model
    }
)
"""Looking, and asking a model."""

ADMIN_ONLY = frozenset(
    {
        "data:register",
        "data:write",
        "endpoint:deploy",
        "endpoint:feedback",  # labels move the figures that others decide by
        "endpoint:monitor",
        "endpoint:promote",
        "endpoint:record",  # so does what was logged
        "endpoint:retire",
        "endpoint:rollback",
        "key:create",
        "key:list",
        "key:read",
        "key:revoke",
        "model:alias",
        "model:gc",
        "model:lineage",
        "model:register",
        "model:save",
        "model:train",  # changes nothing, and takes the machine for hours
        "model:transition",
        "notice:send",  # reaches people outside
        "run:cancel",
        "run:resume",
        "run:start",
        "run:track",
        "server:listen",
        "strategy:advance",  # a part of moving traffic
        "strategy:plan",
        "transform:fit",  # a part of training
    }
)
"""Everything that changes something, costs much or reaches outside."""

DRIVERS_OWN = frozenset({"data:register", "data:validate", "run:list", "server:read"})
"""Those of the above that a driver or a gateway asks about beyond its contract."""

ADMIN = "admin"
ROLES = ("viewer", ADMIN)


def decide(principal: Principal, roles: tuple[str, ...], action: str) -> Decision:
    """May a principal who has `roles` do `action`? An action that nobody has classified is the admin's."""
    if ADMIN in roles:
        return Decision(True, f"{principal.name} has the role admin, which may do everything")
    if "viewer" in roles and action in VIEWER:
        return Decision(True, f"{principal.name} has the role viewer, which may {action}")
    if not roles:
        return Decision(False, f"{principal.name} has no role, so nothing is allowed")
    return Decision(False, f"{principal.name} has the role {', '.join(roles)}, and {action} needs the role admin")
