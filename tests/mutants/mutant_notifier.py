"""Wrong notifiers: notices that are not told, or break on what is in them."""

from __future__ import annotations

from typing import ClassVar

from attrs import evolve

from forge_core.builtin.notifier import ConsoleNotifier
from forge_core.records.serving import Notice


class TextAsTemplate(ConsoleNotifier):
    """A notice's text is taken for a template, so that a brace in it raises."""

    suite: ClassVar[str] = "forge_core.builtin.testing:TestConsoleNotifier"

    def notify(self, notice: Notice) -> None:
        super().notify(evolve(notice, text=notice.text.format(subject=notice.subject)))


class AlwaysTimed(ConsoleNotifier):
    """A notice without a time raises."""

    suite: ClassVar[str] = "forge_core.builtin.testing:TestConsoleNotifier"

    def notify(self, notice: Notice) -> None:
        super().notify(evolve(notice, text=f"{notice.at.isoformat()} {notice.text}"))  # type: ignore[union-attr]


class InfoDropped(ConsoleNotifier):
    """Notices that are no warnings are not told."""

    suite: ClassVar[str] = "forge_core.builtin.testing:TestConsoleNotifier"

    def notify(self, notice: Notice) -> None:
        if notice.severity != "info":
            super().notify(notice)
