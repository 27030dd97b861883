"""`notifier: journal`: a line in a file for each notice."""

from __future__ import annotations

from attrs import frozen

from forge_core.contracts import Notifier
from forge_core.records import Notice, Project


class JournalNotifier(Notifier):
    @frozen
    class Settings:
        """`file` lies in the project's folder."""

        file: str = "journal.md"

    def __init__(self, settings: Settings, *, project: Project) -> None:
        self._path = project.root / settings.file

    def notify(self, notice: Notice) -> None:
        with self._path.open("a", encoding="utf-8") as journal:
            journal.write(f"- {notice.severity}: {notice.subject}: {notice.text}\n")
