"""The kernel's drivers through the suites of their roles."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import sqlalchemy as sa

from forge_core.builtin.secrets import EnvironmentSecrets
from forge_core.builtin.testing import (  # noqa: F401 - pytest collects them here
    TestConsoleNotifier,
    TestEnvironmentSecrets,
    TestLocalOrchestrator,
    TestLogMonitor,
    TestNoAuth,
)
from forge_core.contracts import Capability
from forge_core.faults import InvalidInput
from forge_core.records.data import JSON


@pytest.mark.soak
@pytest.mark.postgresql
class TestLocalOrchestratorOnPostgresql(TestLocalOrchestrator):
    @pytest.fixture
    def infrastructure(self, postgresql_url: str) -> Iterator[Mapping[str, JSON]]:
        """A database of the test's own."""
        url, name = sa.make_url(postgresql_url), f"test_{secrets.token_hex(6)}"
        server = sa.create_engine(url, isolation_level="AUTOCOMMIT")
        with server.connect() as connection:
            connection.execute(sa.text(f"CREATE DATABASE {name}"))
        yield {"database": {"url": url.set(database=name).render_as_string(hide_password=False)}}
        with server.connect() as connection:
            connection.execute(sa.text(f"DROP DATABASE {name} WITH (FORCE)"))
        server.dispose()


class WrappingSecrets(EnvironmentSecrets):
    """What no driver of this repository does, so that the rules about it are executed: keys under a stream of HMACs, with one over all."""

    capabilities = frozenset({Capability.WRAP})
    _secret = b"of this test"

    def wrap(self, key: bytes) -> bytes:
        nonce = secrets.token_bytes(16)
        sealed = nonce + self._mixed(nonce, key)
        return sealed + hmac.digest(self._secret, sealed, "sha256")

    def unwrap(self, key: bytes) -> bytes:
        sealed, seal = key[:-32], key[-32:]
        if not hmac.compare_digest(seal, hmac.digest(self._secret, sealed, "sha256")):
            raise InvalidInput("this is no key that was wrapped here")
        return self._mixed(sealed[:16], sealed[16:])

    def _mixed(self, nonce: bytes, text: bytes) -> bytes:
        stream = hashlib.shake_256(self._secret + nonce).digest(len(text))
        return bytes(a ^ b for a, b in zip(text, stream, strict=True))


class TestWrappingSecrets(TestEnvironmentSecrets):
    driver_class = WrappingSecrets

    @pytest.fixture
    def settings(self, monkeypatch: pytest.MonkeyPatch) -> Mapping[str, JSON]:
        """None; but other processes import the driver from here."""
        monkeypatch.syspath_prepend(str(Path(__file__).parents[__name__.count(".")]))
        return {}
