"""Wrong trackers: metrics that are lost, out of order, of others or of another time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import ClassVar

import sqlalchemy as sa

from forge_core.records import JSON
from forge_registry.names import acting_tenant
from forge_registry.tables import METRICS
from forge_registry.tracker import SqlTracker


class LostUpdates(SqlTracker):
    """A batch is written together with all that was there, so that of two at once one is lost."""

    suite: ClassVar[str] = "forge_registry.testing:TestSqlTracker"

    def log_metrics(self, run_id: str, metrics: Sequence[tuple[str, float, int, datetime]]) -> None:
        known = self.metrics(run_id)
        with self._database.transaction() as connection:
            connection.execute(METRICS.delete().where(METRICS.c.tenant == acting_tenant(), METRICS.c.run_id == run_id))
            super().log_metrics(run_id, [*known, *metrics])


class AsLogged(SqlTracker):
    """Metrics come back in the order in which they were logged."""

    suite: ClassVar[str] = "forge_registry.testing:TestSqlTracker"

    def metrics(self, run_id: str) -> Sequence[tuple[str, float, int, datetime]]:
        column = METRICS.c
        known = super().metrics(run_id)
        query = sa.select(column.name, column.step, column.at).where(column.tenant == acting_tenant(), column.run_id == run_id)
        with self._database.read() as connection:
            order = [tuple(row) for row in connection.execute(query.order_by(column.sequence))]
        return sorted(known, key=lambda metric: order.index((metric[0], metric[2], metric[3])))


class BeginsAnew(SqlTracker):
    """Starting a run again drops its metrics."""

    suite: ClassVar[str] = "forge_registry.testing:TestSqlTracker"

    def start(self, experiment: str, run_id: str, parameters: Mapping[str, JSON]) -> None:
        super().start(experiment, run_id, parameters)
        with self._database.transaction() as connection:
            connection.execute(METRICS.delete().where(METRICS.c.tenant == acting_tenant(), METRICS.c.run_id == run_id))


class MetricsOfAnyone(SqlTracker):
    """Metrics are found by their run alone, whoever's it is."""

    suite: ClassVar[str] = "forge_registry.testing:TestSqlTracker"

    def metrics(self, run_id: str) -> Sequence[tuple[str, float, int, datetime]]:
        column = METRICS.c
        query = sa.select(column.name, column.value, column.step, column.at).where(column.run_id == run_id)
        with self._database.read() as connection:
            found = connection.execute(query.order_by(column.name, column.step, column.at, column.sequence)).all()
        return [(name, float("nan") if value is None else value, step, at) for name, value, step, at in found]


class LastOfAStep(SqlTracker):
    """Of several values of one metric at one step only the last is kept."""

    suite: ClassVar[str] = "forge_registry.testing:TestSqlTracker"

    def metrics(self, run_id: str) -> Sequence[tuple[str, float, int, datetime]]:
        return list({(metric[0], metric[2]): metric for metric in super().metrics(run_id)}.values())


class TimesWithoutZone(SqlTracker):
    """Times come back without the zone that they were given with."""

    suite: ClassVar[str] = "forge_registry.testing:TestSqlTracker"

    def metrics(self, run_id: str) -> Sequence[tuple[str, float, int, datetime]]:
        return [(name, value, step, at.replace(tzinfo=None)) for name, value, step, at in super().metrics(run_id)]
