"""Names and paths from outside: what may be one, and what is refused before anything is opened."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Iterable
from urllib.parse import unquote

from forge_core.faults import InvalidInput

_NAME = re.compile(r"\w[\w.-]{0,199}")
_LABEL = re.compile(r"[A-Za-z][\w.+-]{0,99}", re.ASCII)
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_MOST_DECODINGS = 4


def dataset_name(name: str) -> str:
    """The name itself, where it can be a folder's or a file's and nothing more."""
    if not _NAME.fullmatch(name) or unicodedata.normalize("NFKC", name) != name:
        raise InvalidInput(
            f"{_shown(name)} is not a data set's name", "use letters, digits, '_', '-' and '.', and begin with a letter or digit"
        )
    return name


def relative_path(path: str) -> str:
    """The path itself, where it cannot leave the folder that it is relative to, in whatever way it is decoded on its way."""
    plain = _decoded(path)
    escapes = (
        not path
        or any(unicodedata.category(character) in {"Cc", "Cs"} for character in plain)
        or "\\" in plain
        or plain.startswith(("/", "~"))
        or _SCHEME.match(plain) is not None
        or any(part.strip(" ;").startswith(".") for part in plain.split("/"))
    )
    if escapes:
        raise InvalidInput(
            f"{_shown(path)} is not a path inside the connector's root",
            "give a path relative to the root, or list the data set in forge.yaml",
        )
    return path


def version_label(label: str) -> str:
    """The label itself, where it cannot be taken for a number, for a path or for `latest`."""
    if not _LABEL.fullmatch(label) or label == "latest":
        raise InvalidInput(
            f"{_shown(label)} is not a version's label", "begin with a letter, then letters, digits, '.', '_', '+' or '-': v1.2.0"
        )
    return label


def hint(name: str, known: Iterable[str], otherwise: str) -> str:
    """A remedy that names the nearest of what is known."""
    near = difflib.get_close_matches(name, list(known), 1)
    return f"did you mean {near[0]!r}?" if near else otherwise


def _decoded(path: str) -> str:
    """Percent signs and compatibility characters undone as often as somebody on the way may undo them."""
    for _ in range(_MOST_DECODINGS):
        plain = unicodedata.normalize("NFKC", unquote(path))
        if plain == path:
            return plain
        path = plain
    raise InvalidInput("a path is percent-encoded many times over", "write it plainly")


def _shown(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")
