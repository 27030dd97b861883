"""What an API key looks like: `forge_<env>_<id>_<secret><checksum>`.

The prefix lets scanners find leaked keys; the id finds the row without searching by secret; the secret has 256 random
bits; the checksum (CRC-32 in base 62, as GitHub's tokens have) tells a typo without asking the database.
"""

from __future__ import annotations

import re
import secrets
import string
import zlib

from attrs import frozen

from forge_core.faults import Refused

ALPHABET = string.digits + string.ascii_letters
SECRET_LENGTH = 43  # 62 ** 43 > 2 ** 256
CHECKSUM_LENGTH = 6  # 62 ** 6 > 2 ** 32
_SHAPE = re.compile(rf"(forge_[a-z0-9]{{1,32}}_([0-9a-f]{{22}})_[0-9A-Za-z]{{{SECRET_LENGTH}}})([0-9A-Za-z]{{{CHECKSUM_LENGTH}}})")
REMEDY = "give the whole key, as `forge auth keys create` showed it"


class Secret:
    """Text that prints as `***` everywhere; `reveal()` is the one way to it."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return "***"

    __str__ = __repr__

    def __format__(self, specification: str) -> str:
        return format("***", specification)

    def __reduce__(self) -> str:
        raise TypeError("a secret is not pickled")

    def reveal(self) -> str:
        return self._text


@frozen
class Token:
    """A key that is well-formed. Whether it is anyone's is for the store to say."""

    key_id: str
    text: Secret


def issue(environment: str, key_id: str) -> Token:
    """A new key for the row `key_id` (`key_` and 22 hexadecimal digits)."""
    plain = re.sub(r"[^a-z0-9]", "", environment.lower())[:32] or "local"
    secret = "".join(secrets.choice(ALPHABET) for _ in range(SECRET_LENGTH))
    body = f"forge_{plain}_{key_id.removeprefix('key_')}_{secret}"
    return Token(key_id, Secret(body + checksum(body)))


def parse(text: str) -> Token:
    """The token in `text`; `Refused` where it is none, without naming what was given."""
    found = _SHAPE.fullmatch(text.strip()) if len(text) < 256 else None
    if found is None:
        raise Refused("this is not an API key of Forge", REMEDY)
    body, hexadecimal, check = found.groups()
    if check != checksum(body):
        raise Refused("the API key has a typo: its checksum does not fit", REMEDY)
    return Token(f"key_{hexadecimal}", Secret(body + check))


def checksum(body: str) -> str:
    number, digits = zlib.crc32(body.encode()), ""
    for _ in range(CHECKSUM_LENGTH):
        number, digit = divmod(number, len(ALPHABET))
        digits = ALPHABET[digit] + digits
    return digits
