"""Wrong secret stores: secrets that are told, changed, invented or missed without a word of Forge's."""

from __future__ import annotations

import os
import re
from typing import ClassVar

from forge_core.builtin.secrets import EnvironmentSecrets
from forge_core.faults import NotFound


class ValuesNamed(EnvironmentSecrets):
    """The error for a secret that is not there tells those that are, values and all."""

    suite: ClassVar[str] = "forge_core.builtin.testing:TestEnvironmentSecrets"

    def read(self, ref: str) -> str:
        try:
            return super().read(ref)
        except NotFound as error:
            there = {name: value for name, value in os.environ.items() if name.startswith("FORGE_SECRET_")}
            raise NotFound(f"{error.cause}, which has {there}", error.remedy) from None


class MissingIsEmpty(EnvironmentSecrets):
    """A secret that is not there is an empty text."""

    suite: ClassVar[str] = "forge_core.builtin.testing:TestEnvironmentSecrets"

    def read(self, ref: str) -> str:
        try:
            return super().read(ref)
        except NotFound:
            return ""


class Stripped(EnvironmentSecrets):
    """A secret loses the blanks around it."""

    suite: ClassVar[str] = "forge_core.builtin.testing:TestEnvironmentSecrets"

    def read(self, ref: str) -> str:
        return super().read(ref).strip()


class MissingIsKeyError(EnvironmentSecrets):
    """A secret that is not there is a KeyError."""

    suite: ClassVar[str] = "forge_core.builtin.testing:TestEnvironmentSecrets"

    def read(self, ref: str) -> str:
        return os.environ["FORGE_SECRET_" + re.sub(r"[^A-Za-z0-9]+", "_", ref).strip("_").upper()]
