"""Failures kept as values, and the errors a person sees: one line of cause, one of remedy.

Exit codes of the command line follow the class: 1 the work failed, 2 usage or configuration, 3 refused.
"""

from __future__ import annotations

from attrs import frozen


@frozen
class Fault:
    """A failure that hurt nobody: where it happened, whose it is, and what to do about it."""

    where: str
    distribution: str
    version: str
    cause: str
    remedy: str


class ForgeError(Exception):
    """The work failed. `remedy` is the line that tells what to do."""

    exit_code = 1
    kind = "failed"

    def __init__(self, cause: str, remedy: str = "") -> None:
        super().__init__(cause)
        self.cause = cause
        self.remedy = remedy

    def __reduce__(self) -> tuple[type[ForgeError], tuple[str, str]]:
        return type(self), (self.cause, self.remedy)


class ConfigError(ForgeError):
    """forge.yaml, an option or an argument is wrong; nothing was started."""

    exit_code = 2
    kind = "configuration"


class Refused(ForgeError):
    """A gate or the authorization said no."""

    exit_code = 3
    kind = "refused"


class NotFound(ForgeError):
    """What was named does not exist, or belongs to another tenant."""

    kind = "not_found"


class Conflict(ForgeError):
    """The current value is not the expected one; nothing was overwritten."""

    kind = "conflict"


class InvalidInput(ForgeError):
    """Data does not fit what was declared; the message names the field."""

    kind = "invalid_input"


class UnsafeFormat(ForgeError):
    """An artifact would execute code or leave its folder; it was not opened."""

    kind = "unsafe_format"


class DigestMismatch(ForgeError):
    """Stored bytes are not those that were published."""

    kind = "digest_mismatch"


class Transient(ForgeError):
    """Trying again may help; a retry policy retries this by default."""

    kind = "transient"


class Cancelled(ForgeError):
    """The run was cancelled; raised inside a trainer by `context.progress`."""

    kind = "cancelled"
