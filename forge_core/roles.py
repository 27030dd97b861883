"""The table of roles: what a driver is for, where it is found and where forge.yaml speaks of it."""

from __future__ import annotations

from typing import NamedTuple


class Role(NamedTuple):
    """`section` is a key of `infrastructure` for a role with one driver, a key of its own for one with many.

    `default` names the driver where forge.yaml names none; None means that there is none then.
    """

    name: str
    group: str
    section: str
    many: bool
    default: str | None


ROLES: dict[str, Role] = {
    role.name: role
    for role in (
        Role("connector", "forge.connectors", "connectors", True, "lake"),
        Role("trainer", "forge.trainers", "trainers", True, None),
        Role("flavor", "forge.flavors", "flavors", True, None),
        Role("registry", "forge.registries", "registry", False, "sql"),
        Role("tracker", "forge.trackers", "tracking", False, "sql"),
        Role("deployer", "forge.deployers", "serving", False, "cortex"),
        Role("strategy", "forge.strategies", "strategies", True, "blue_green"),
        Role("monitor", "forge.monitors", "monitoring", False, "log"),
        Role("auth", "forge.auth", "auth", False, "none"),
        Role("orchestrator", "forge.orchestrators", "orchestration", False, "local"),
        Role("transform", "forge.transforms", "transforms", True, None),
        Role("notifier", "forge.notifiers", "notifiers", True, "console"),
        Role("secrets", "forge.secrets", "secrets", False, "env"),
    )
}
PLUGINS = "forge.plugins"
COMMANDS = "forge.commands"
GROUPS: dict[str, str] = {**{role.name: role.group for role in ROLES.values()}, "plugin": PLUGINS, "command": COMMANDS}

KNOWN: dict[tuple[str, str], str] = {
    ("connector", "lake"): "forge-lake",
    ("connector", "stream"): "forge-stream",
    ("trainer", "sklearn"): "forge-tabular",
    ("trainer", "xgboost"): "forge-tabular",
    ("trainer", "lightgbm"): "forge-tabular",
    ("trainer", "lightning"): "forge-lightning",
    ("flavor", "skops"): "forge-tabular",
    ("flavor", "xgboost"): "forge-tabular",
    ("flavor", "lightgbm"): "forge-tabular",
    ("registry", "sql"): "forge-registry",
    ("registry", "mlflow"): "forge-mlflow",
    ("tracker", "sql"): "forge-registry",
    ("tracker", "mlflow"): "forge-mlflow",
    ("deployer", "cortex"): "forge-cortex",
    ("strategy", "blue_green"): "forge-cortex",
    ("auth", "api_keys"): "forge-auth",
    ("orchestrator", "dagster"): "forge-dagster",
    ("orchestrator", "ray"): "forge-ray",
    ("secrets", "vault"): "forge-vault",
    **{("transform", name): "forge-tabular" for name in ("aggregate", "window", "standard_scaler", "pca", "one_hot", "date_parts")},
}
"""Which distribution of this repository offers a name, so that a missing driver can say what to install."""
