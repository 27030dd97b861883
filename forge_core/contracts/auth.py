"""Who may do what."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import ClassVar

from forge_core.contracts.driver import Driver
from forge_core.records.auth import Decision, Principal


class AuthProvider(Driver):
    """Asked by the kernel's one `authorize()`. Its two methods are no operations: they are what guards operations."""

    role: ClassVar[str] = "auth"
    stable: ClassVar[bool] = True

    @abstractmethod
    def authenticate(self, credentials: Mapping[str, str]) -> Principal:
        """The principal that `credentials` (`api_key`, `bearer`) prove. Wrong ones are `Refused`; none at all give the anonymous one."""

    @abstractmethod
    def authorize(self, principal: Principal, action: str, resource: str) -> Decision:
        """A hot path: answers from memory."""
