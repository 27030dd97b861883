"""`notifier: console`: a line on stderr."""

from __future__ import annotations

import sys

from forge_core.contracts.notifier import Notifier
from forge_core.records.serving import Notice


class ConsoleNotifier(Notifier):
    def notify(self, notice: Notice) -> None:
        sys.stderr.write(f"{notice.severity}: {notice.subject}: {notice.text}\n")
