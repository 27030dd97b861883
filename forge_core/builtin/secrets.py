"""`secrets: env`: `${secret:db/password}` reads FORGE_SECRET_DB_PASSWORD."""

from __future__ import annotations

import os
import re

from forge_core.contracts.secrets import SecretStore
from forge_core.faults import NotFound


class EnvironmentSecrets(SecretStore):
    def read(self, ref: str) -> str:
        name = "FORGE_SECRET_" + re.sub(r"[^A-Za-z0-9]+", "_", ref).strip("_").upper()
        if name not in os.environ:
            raise NotFound(f"the secret {ref!r} is not in the environment", f"export {name}=...")
        return os.environ[name]
