"""The contracts of registry and tracker, on SQLite and a folder, and on PostgreSQL and S3."""

from __future__ import annotations

import uuid

import pytest

from forge_registry.testing import TestSqlRegistry, TestSqlTracker


class _Servers:
    @pytest.fixture
    def infrastructure(self, new_postgresql, bucket):
        name, options = bucket
        return {"database": {"url": new_postgresql()}, "storage": {"type": "s3", "bucket": name, "prefix": uuid.uuid4().hex, **options}}


@pytest.mark.postgresql
@pytest.mark.s3
class TestSqlRegistryOnServers(_Servers, TestSqlRegistry):
    pass


@pytest.mark.postgresql
@pytest.mark.s3
class TestSqlTrackerOnServers(_Servers, TestSqlTracker):
    pass
