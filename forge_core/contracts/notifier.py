"""Who is told about it."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

from forge_core.contracts.driver import Driver
from forge_core.operations import operation
from forge_core.records.serving import Notice


class Notifier(Driver):
    role: ClassVar[str] = "notifier"

    @abstractmethod
    @operation("notice:send", resource="notice:{notice.subject}")
    def notify(self, notice: Notice) -> None: ...
