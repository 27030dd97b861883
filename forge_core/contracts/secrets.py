"""Where secrets lie."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

from forge_core.contracts.driver import Driver
from forge_core.faults import ForgeError


class SecretStore(Driver):
    """Read by the kernel alone, where `${secret:path}` stands; so its methods are no operations."""

    role: ClassVar[str] = "secrets"

    @abstractmethod
    def read(self, ref: str) -> str:
        """The secret's text; `NotFound` names `ref`, never a value."""

    def wrap(self, key: bytes) -> bytes:
        """By `Capability.WRAP`: an encryption key, encrypted."""
        raise ForgeError(f"{type(self).__name__} wraps no keys", "choose a secret store with the capability WRAP")

    def unwrap(self, key: bytes) -> bytes:
        raise ForgeError(f"{type(self).__name__} wraps no keys", "choose a secret store with the capability WRAP")
