"""The contracts of registry and tracker: on SQLite and a folder, on PostgreSQL and a folder, on PostgreSQL and S3."""

from __future__ import annotations

import uuid

import pytest

from forge_registry.testing import TestSqlRegistry, TestSqlTracker


class _Postgresql:
    @pytest.fixture
    def infrastructure(self, new_postgresql):
        return {"database": {"url": new_postgresql()}}


@pytest.mark.postgresql
class TestSqlRegistryOnPostgresql(_Postgresql, TestSqlRegistry):
    pass


@pytest.mark.postgresql
class TestSqlTrackerOnPostgresql(_Postgresql, TestSqlTracker):
    pass


class _Servers:
    @pytest.fixture
    def infrastructure(self, new_postgresql, bucket):
        name, options = bucket
        return {"database": {"url": new_postgresql()}, "storage": {"type": "s3", "bucket": name, "prefix": uuid.uuid4().hex, **options}}


@pytest.mark.soak
@pytest.mark.postgresql
@pytest.mark.s3
class TestSqlRegistryOnServers(_Servers, TestSqlRegistry):
    pass


@pytest.mark.soak
@pytest.mark.postgresql
@pytest.mark.s3
class TestSqlTrackerOnServers(_Servers, TestSqlTracker):
    pass
