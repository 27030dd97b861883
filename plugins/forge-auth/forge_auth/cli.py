"""`forge auth`: who am I, what may they do, and the keys."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated

from cyclopts import App, Parameter

from forge_auth.provider import ApiKeyAuth
from forge_auth.store import ApiKey, IssuedKey
from forge_core.cli.console import opened, say, table
from forge_core.faults import Refused
from forge_core.kernel import Kernel
from forge_core.records.auth import Decision, Session
from forge_core.serialize import to_json

app = App(name="auth", help="Who may do what: make and revoke API keys, ask why something is allowed.", version_flags=())
keys = App(name="keys", help="Make, list and revoke API keys.", version_flags=())
app.command(keys)


@app.command
def whoami() -> None:
    """Who these credentials make you."""
    with opened() as kernel:
        principal = kernel.session.principal
        roles = ", ".join(principal.roles) or "no role"
        say(principal, f"{principal.name} ({roles}) of the tenant {principal.tenant}")


@app.command
def check(principal: str, action: str, resource: str = "") -> None:
    """May they do that, and why.

    Parameters
    ----------
    principal
        A key's name, or anonymous.
    action
        For instance model:register; the table of operations lists all.
    resource
        For instance model:churn.
    """
    with opened() as kernel:
        asked = Session(_driver(kernel).principal_of(principal), kernel.session.request_id)
        try:
            decision = kernel.authorize(asked, action, resource)
        except Refused as refused:
            decision = Decision(False, refused.cause)
        say(decision, f"{'yes' if decision.allowed else 'no'}: {decision.reason}")


@keys.command
def create(name: str, *, role: str = "viewer", expires: timedelta | None = None) -> None:
    """Make a key and show it, this once.

    Parameters
    ----------
    name
        Whose it is; actors in the audit trail have this name, so it is never used again.
    role
        viewer looks and predicts, admin does everything.
    expires
        After how long it ends, such as 90d or 12h; never, where it is left out.
    """
    with opened() as kernel:
        issued = _driver(kernel).create_key(name, role, expires)
        document = {"key": to_json(issued.key), "secret": issued.secret.reveal()}
        say(document, lambda: _shown(issued))


@keys.command(name="list")
def list_(*, everything: Annotated[bool, Parameter(name="--all", negative="")] = False) -> None:
    """The keys that are active; with --all those that are expired or revoked too."""
    with opened() as kernel:
        now = datetime.now(UTC)
        found = [key for key in _driver(kernel).list_keys() if everything or key.state(now) == "active"]
        columns = ("id", "name", "role", "state", "created", "by", "expires")
        say(found, table(columns, [_row(key, now) for key in found]) if found else "no key")


@keys.command
def revoke(key_id: str) -> None:
    """Refuse a key for ever, in every process within five seconds.

    Parameters
    ----------
    key_id
        As `forge auth keys list` shows it (`key_...`); not the key itself.
    """
    with opened() as kernel:
        key = _driver(kernel).revoke_key(key_id)
        say(key, f"{key.key_id} of {key.name} is revoked")


def _driver(kernel: Kernel) -> ApiKeyAuth:
    driver = kernel.driver("auth", "api_keys")
    assert isinstance(driver, ApiKeyAuth)
    return driver


def _row(key: ApiKey, now: datetime) -> tuple[str, ...]:
    expires = f"{key.expires_at:%Y-%m-%d %H:%M}" if key.expires_at else "never"
    return key.key_id, key.name, key.role, key.state(now), f"{key.created_at:%Y-%m-%d %H:%M}", key.created_by, expires


def _shown(issued: IssuedKey) -> str:
    return f"{issued.secret.reveal()}\n\nThis is shown once. Use it as FORGE_API_KEY, by --api-key-file or as Authorization: Bearer."
