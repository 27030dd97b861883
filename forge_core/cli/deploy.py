"""`forge deploy`, `promote`, `rollback` and `history`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from forge_core.cli.console import Usage, opened, say, table
from forge_core.faults import ConfigError
from forge_core.kernel import Kernel
from forge_core.records.serving import Deployment


def deploy(model: str, /, *, version: str = "latest", endpoint: str | None = None, strategy: str | None = None) -> int:
    """Put a version of a model behind an endpoint.

    Parameters
    ----------
    model
        A model's name, or a selector such as `churn@3`.
    version
        A number, `latest` or an alias.
    endpoint
        Its name; where it is not given, the endpoint that forge.yaml lists for the model, or `default`.
    strategy
        How it takes over; where it is not given, what forge.yaml says under deployment.
    """
    with opened() as kernel:
        selector = model if "@" in model else f"{model}@{version}"
        said = kernel.document.deployment
        name = endpoint or next((one.name for one in said.endpoints if one.model == model.partition("@")[0]), "default")
        chosen = strategy or said.strategy
        config = said.config if chosen == said.strategy else {}
        made = kernel.deployer.deploy_model(selector, name, kernel.make("strategy", chosen, config))
        say(made, f"{made.endpoint} revision {made.revision}: {_routes(made)}\n{made.url}")
    return 0


def promote(endpoint: str, /, *, reason: str = "") -> int:
    """Give an endpoint's new version all traffic, and the alias production, in one step."""
    with opened() as kernel:
        _known(kernel, endpoint)
        made = kernel.deployer.promote(endpoint, reason)
        say(made, f"{made.endpoint} revision {made.revision}: {_routes(made)} is production")
    return 0


def rollback(endpoint: str, /, *, reason: str = "") -> int:
    """Take an endpoint back to what it routed to before."""
    with opened() as kernel:
        _known(kernel, endpoint)
        made = kernel.deployer.rollback(endpoint, reason)
        say(made, f"{made.endpoint} revision {made.revision}: back to {_routes(made)}")
    return 0


def history(endpoint: str, /, *, at: str | None = None) -> int:
    """What an endpoint routed to, newest first; `--at` shows what was live then.

    Parameters
    ----------
    endpoint
        Its name.
    at
        A time such as 2026-11-22T15:00, UTC where no zone is given.
    """
    with opened() as kernel:
        found = kernel.deployer.history(endpoint, _time(at) if at else None)
        say(list(found), lambda: _table(found))
    return 0


def _table(found: Sequence[Deployment]) -> Any:
    rows = [(one.revision, f"{one.at:%Y-%m-%d %H:%M:%S}", one.strategy, _routes(one), one.status, one.actor, one.reason) for one in found]
    return table(("revision", "at (UTC)", "strategy", "routes", "status", "by", "reason"), rows) if rows else "nothing was live"


def _routes(deployment: Deployment) -> str:
    return " + ".join(f"{one.model}@{one.version} {one.weight}%" for one in deployment.routes) or "nothing"


def _time(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise Usage(f"--at {text!r} is no time", "for instance 2026-11-22T15:00") from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _known(kernel: Kernel, endpoint: str) -> None:
    names = kernel.deployer.endpoints()
    if endpoint not in names:
        raise ConfigError(f"there is no endpoint {endpoint!r}", f"endpoints: {', '.join(names) or 'none; forge deploy MODEL'}")
