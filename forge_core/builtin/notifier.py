"""`notifier: console`: a line on stderr."""

from __future__ import annotations

import sys

from forge_core.contracts.notifier import Notifier
from forge_core.faults import ForgeError
from forge_core.records.serving import Notice


class ConsoleNotifier(Notifier):
    def notify(self, notice: Notice) -> None:
        try:
            sys.stderr.write(f"{notice.severity}: {notice.subject}: {notice.text}\n")
            sys.stderr.flush()
        except (AttributeError, OSError, ValueError) as error:  # there is none, or it is closed
            raise ForgeError(f"a notice could not be written to stderr: {type(error).__name__}", "choose another notifier") from error
