"""`secrets: acme`: a file for each secret, as Docker and Kubernetes mount them."""

from __future__ import annotations

import re
from pathlib import Path

from attrs import frozen
from forge_core.contracts import SecretStore
from forge_core.faults import NotFound

_REF = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*(/[A-Za-z0-9_-][A-Za-z0-9_.-]*)*")
_MAX_BYTES = 1_000_000


class AcmeSecrets(SecretStore):
    @frozen
    class Settings:
        """`${secret:db/password}` is what stands in the file `db/password` of this folder."""

        folder: str = "/run/secrets"

    def __init__(self, settings: Settings) -> None:
        self._root = Path(settings.folder)

    def read(self, ref: str) -> str:
        """The file's text, as it stands there, line ends included."""
        try:
            root = self._root.resolve()
            path = (root / ref).resolve()
            if _REF.fullmatch(ref) and path.is_relative_to(root) and path.stat().st_size <= _MAX_BYTES:
                return path.read_bytes().decode()
        except (OSError, ValueError, RuntimeError):  # not there, not text, a circle of links
            pass
        raise NotFound(f"there is no secret {ref[:200]!r}", f"put it into a file of {self._root}") from None
