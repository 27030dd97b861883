"""Masked columns: nothing of their values leaves the scan but nulls, or a keyed hash that joins and groups still work on."""

from __future__ import annotations

import hmac
import os
import secrets
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from forge_core.faults import ForgeError, InvalidInput


class MaskKey:
    """The project's key: a setting, else `.forge/lake-mask.key`, made at first need and readable by its owner alone."""

    def __init__(self, state: Path, setting: str | None) -> None:
        self._path = state / "lake-mask.key"
        self._setting = setting

    def read(self) -> bytes:
        if self._setting:
            return self._setting.encode()
        try:
            return self._read() or self._make()
        except OSError as error:
            raise ForgeError(
                f"the key of masked columns cannot be read or made: {error.strerror}", "make the project's .forge writable, or set mask_key"
            ) from error

    def _read(self) -> bytes | None:
        try:
            return bytes.fromhex(self._path.read_text(encoding="ascii").strip())
        except FileNotFoundError:
            return None
        except ValueError:
            raise ForgeError(
                "the key of masked columns is damaged", "restore .forge/lake-mask.key; without it old hashes cannot be made again"
            ) from None

    def _make(self) -> bytes:
        """Whoever links its file first has made the key; everybody reads that one."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._path.with_name(f"{self._path.name}.{secrets.token_hex(8)}")
        number = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(number, "w", encoding="ascii") as file:
                file.write(secrets.token_hex(32))
                file.flush()
                os.fsync(number)
            with suppress(FileExistsError):
                self._path.hardlink_to(temporary)
        finally:
            temporary.unlink()
        found = self._read()
        assert found is not None
        return found


def require_hashable(field: pa.Field) -> None:
    """`InvalidInput` for a type that has no text to hash."""
    if pa.types.is_binary(field.type) or pa.types.is_large_binary(field.type):
        return
    try:
        pc.cast(pa.nulls(0, field.type), pa.string())
    except pa.ArrowException:
        raise InvalidInput(f"column {field.name!r} of type {field.type} cannot be masked by a hash", "mask it to null") from None


def hashed(values: pa.Array, key: bytes) -> pa.Array:
    """HMAC-SHA256 as hexadecimal over each value's text in UTF-8, as Arrow writes it; a null stays null."""
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    if not (pa.types.is_binary(values.type) or pa.types.is_large_binary(values.type)):
        values = pc.cast(values, pa.string()).cast(pa.binary())
    encoded = values.dictionary_encode()
    digests = pa.array([hmac.digest(key, value, "sha256").hex() for value in encoded.dictionary.to_pylist()], pa.string())
    return digests.take(encoded.indices)
