"""The driver `api_keys`, proved by the suite of its role."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from forge_auth import token
from forge_auth.provider import ApiKeyAuth
from forge_auth.store import IssuedKey
from forge_core import Kernel
from forge_core.records.auth import Principal
from forge_core.testing import AuthContract, Subject
from forge_core.testing.contract import tenant


class TestApiKeys(AuthContract):
    """On SQLite, in the suite's own project."""

    driver_class = ApiKeyAuth

    @pytest.fixture
    def issued(self, driver: Any) -> IssuedKey:
        """Ana's key, an admin's of the tenant acme: the first one."""
        with tenant("acme"):
            made: IssuedKey = driver.create_key("ana", "admin")
        return made

    @pytest.fixture
    def credentials(self, issued: IssuedKey) -> Mapping[str, str]:
        return {"api_key": issued.secret.reveal()}

    @pytest.fixture
    def principal(self) -> Principal:
        return Principal("ana", ("admin",), "acme")

    @pytest.fixture
    def wrong_credentials(self, driver: Any, issued: IssuedKey) -> tuple[Mapping[str, str], ...]:
        """A wrong secret with a right checksum, a key of nobody, one that is expired, and both kinds of each."""
        expired = driver.create_key("visitor", "admin", timedelta(microseconds=1))
        revoked = driver.create_key("left", "admin")
        driver.revoke_key(revoked.key.key_id)
        wrong = (token.issue("local", issued.key.key_id).text, token.issue("local", "key_" + "f" * 22).text, expired.secret, revoked.secret)
        return tuple({kind: one.reveal()} for kind in ("api_key", "bearer") for one in wrong)

    @pytest.fixture
    def limited(self, driver: Any, issued: IssuedKey) -> Mapping[str, str]:
        return {"bearer": driver.create_key("dashboard").secret.reveal()}

    @pytest.fixture
    def revoke(self, driver: Any, issued: IssuedKey) -> Callable[[], None]:
        def revoke() -> None:
            with tenant("acme"):
                driver.revoke_key(issued.key.key_id)

        return revoke

    @pytest.fixture
    def break_storage(self, kernel: Kernel, subject: Subject) -> Callable[[], None]:
        """The database becomes something else."""

        def damage() -> None:
            kernel.database.close()  # its last connection moves the write-ahead log into the file
            Path(subject.root, ".forge", "forge.db").write_bytes(b"not a database at all" * 400)

        return damage
