"""Hyperparameters under a library's own names and scikit-learn's: checked strictly, one name for each meaning."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from forge_core.faults import ConfigError
from forge_core.records import JSON
from forge_tabular.columns import nearest


def canonical(given: Mapping[str, JSON], known: Mapping[str, tuple[str, ...]], model: str) -> dict[str, JSON]:
    """`given` under canonical names; `known` maps each to its aliases. Unknown, or one meaning twice, is a `ConfigError`."""
    names = {alias: name for name, aliases in known.items() for alias in (name, *aliases)}
    made: dict[str, JSON] = {}
    said: dict[str, str] = {}
    for key, value in given.items():
        if key not in names:
            raise ConfigError(f"{model} has no hyperparameter {key!r}", nearest(key, names))
        name = names[key]
        if name in said:
            raise ConfigError(f"{said[name]!r} and {key!r} are one hyperparameter of {model}", "give one of them")
        said[name] = key
        made[name] = value
    return made


def choose(value: JSON, allowed: Iterable[str], what: str) -> str:
    """One of the allowed values; another is a `ConfigError` that names the nearest."""
    known = tuple(allowed)
    if not isinstance(value, str) or value not in known:
        raise ConfigError(f"{what} cannot be {value!r}", nearest(str(value), known))
    return value


def signs(value: JSON, features: Sequence[str]) -> tuple[int, ...]:
    """Monotone constraints, `{column: 1 or -1}`, in the order of the features; 0 for those that are not named."""
    if not isinstance(value, Mapping) or any(sign not in (-1, 0, 1) or isinstance(sign, bool) for sign in value.values()):
        raise ConfigError("monotone_constraints maps columns to 1 (rising), -1 (falling) or 0", "monotone_constraints: {distance: 1}")
    for name in value:
        if name not in features:
            raise ConfigError(f"monotone_constraints has {name!r}, which is no feature", nearest(str(name), features))
    return tuple(int(value.get(name, 0)) for name in features)


def rounds(value: JSON, what: str) -> int:
    """How many trees are asked for: a whole number from 1."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigError(f"{what} must be a whole number from 1, not {value!r}", "100 is usual")
    return value
