"""`notifier: acme`: a line of JSON for each notice, in a file of the project."""

from __future__ import annotations

import json
import os

from attrs import frozen
from forge_core.contracts import Notifier
from forge_core.faults import ConfigError, ForgeError
from forge_core.records import Notice, Project


class AcmeNotifier(Notifier):
    @frozen
    class Settings:
        """`file` lies in the project's folder."""

        file: str = "acme-notices.jsonl"

    def __init__(self, settings: Settings, *, project: Project) -> None:
        self._path = (project.root / settings.file).resolve()
        if not self._path.is_relative_to(project.root.resolve()):
            raise ConfigError(f"notifiers: {settings.file!r} lies outside the project", "name a file inside it")

    def notify(self, notice: Notice) -> None:
        at = notice.at.isoformat() if notice.at is not None else None
        said = {"at": at, "severity": notice.severity, "subject": notice.subject, "text": notice.text}
        line = json.dumps(said).encode() + b"\n"
        try:
            file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            try:
                os.write(file, line)  # one write: several processes append to one file
            finally:
                os.close(file)
        except OSError as error:
            raise ForgeError(f"{self._path.name}: {error.strerror}", "look at notifiers in forge.yaml") from None
