"""What may be a name: patterns so narrow that no name is a path, a selector or an option of something else."""

from __future__ import annotations

import hashlib
import re

from attrs import frozen

from forge_core.faults import InvalidInput
from forge_core.operations import current

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}")
_ALIAS = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,99}")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:/-]{0,199}")
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+=@-]{0,199}")
_VERSION = re.compile(r"[1-9][0-9]{0,8}")
_LAST_VERSION = 999_999_999
_TENANT_FOLDER = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")  # no text column keeps NUL, no UTF-8 a lone surrogate
_DEPTH = 16


@frozen
class Selector:
    """`name@3`, `name@alias`, `name@latest` or `name`; the last two have neither version nor alias."""

    name: str
    version: int | None = None
    alias: str | None = None

    @classmethod
    def parse(cls, text: str) -> Selector:
        name, at, which = text.partition("@")
        model_name(name)
        if not at or which == "latest":
            return cls(name)
        if _VERSION.fullmatch(which):
            return cls(name, version=int(which))
        if _ALIAS.fullmatch(which):
            return cls(name, alias=which)
        raise InvalidInput(f"{which[:100]!r} is neither a version nor an alias", "write NAME@3, NAME@latest or NAME@ALIAS")

    def __str__(self) -> str:
        return f"{self.name}@{self.version or self.alias or 'latest'}"


def model_name(name: str) -> str:
    return _matched(_NAME, name, "a model's name", "letters, digits, dot, dash and underscore, at most 200")


def alias_name(alias: str) -> str:
    if alias == "latest":
        raise InvalidInput("'latest' is not an alias: it follows the versions by itself", "choose another name")
    return _matched(_ALIAS, alias, "an alias", "a letter first, then letters, digits, dot, dash and underscore, at most 100")


def version_number(version: int) -> int:
    """A number as the columns of every database can keep it; whether there is such a version is another question."""
    if isinstance(version, bool) or not isinstance(version, int) or abs(version) > _LAST_VERSION:
        raise InvalidInput(f"{str(version)[:100]!r} may not be a version", f"a whole number from 1 to {_LAST_VERSION}")
    return version


def run_id(run: str) -> str:
    return _matched(_NAME, run, "a run's id", "letters, digits, dot, dash and underscore, at most 200")


def tag_key(key: str) -> str:
    return _matched(_TAG, key, "a tag's key", "letters, digits and . - _ : / after the first, at most 200")


def text(value: str, what: str, limit: int = 5000) -> str:
    """Free text as a database of any kind can keep it."""
    if not isinstance(value, str) or len(value) > limit or _UNPRINTABLE.search(value):
        raise InvalidInput(f"{what} is not a text of at most {limit} printable characters", "shorten it, or take control characters out")
    return value


def file_path(path: str) -> str:
    """A path inside a model's folder: parts joined by `/`, none of which can lead out of it."""
    parts = path.split("/")
    if len(parts) > _DEPTH or not all(_PART.fullmatch(part) for part in parts):
        raise InvalidInput(
            f"{path[:200]!r} may not be the name of a model's file",
            f"letters, digits and . + = @ - _ after the first of each part, at most {_DEPTH} folders deep",
        )
    return path


def acting_tenant() -> str:
    """The tenant of the session that acts; it stands in every row, key and path."""
    return text(current().principal.tenant, "a tenant", 100)


def tenant_folder(tenant: str) -> str:
    """One folder a tenant, whatever its name: what is not plain lower-case ASCII is named by its digest."""
    if _TENANT_FOLDER.fullmatch(tenant):
        return tenant
    return "~" + hashlib.sha256(tenant.encode()).hexdigest()


def _matched(pattern: re.Pattern[str], value: str, what: str, rule: str) -> str:
    if not isinstance(value, str) or pattern.fullmatch(value) is None:
        raise InvalidInput(f"{str(value)[:200]!r} may not be {what}", rule)
    return value
