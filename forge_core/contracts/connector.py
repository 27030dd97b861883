"""Where data comes from."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import ClassVar, Literal, Protocol

from forge_core.contracts.driver import Driver
from forge_core.faults import ForgeError
from forge_core.hookspecs import DataHooks
from forge_core.operations import operation
from forge_core.records.data import JSON, ArrowStream, Column, DatasetVersion, Query, TrainingData, Transaction


class Batches(Protocol):
    """Micro-batches of a topic, each with the position after it."""

    def __iter__(self) -> Iterator[tuple[ArrowStream, JSON]]: ...
    def commit(self, position: JSON) -> None: ...


class DataSourceConnector(Driver):
    """Reads data sets by name. Filters and masks of a `Query` are applied inside the scan, never after it."""

    role: ClassVar[str] = "connector"

    @abstractmethod
    @operation("data:describe", resource="dataset:{query.dataset}")
    def resolve(self, query: Query) -> DatasetVersion:
        """The exact version that a fetch would read now. Reads no rows and writes nothing."""

    @abstractmethod
    @operation("data:read", resource="dataset:{query.dataset}", gate=DataHooks.forge_before_fetch, tells=DataHooks.forge_data_fetched)
    def fetch_training_data(self, query: Query, limit: int | None = None) -> TrainingData:
        """Rows of exactly the version resolved, again and again; a pass raises `Conflict` where the version has changed.

        `limit` counts rows after `where`. An unknown column is an error that names the nearest one.
        """

    @abstractmethod
    @operation("data:list", resource="datasets")
    def datasets(self) -> Sequence[str]:
        """Names that can be read, sorted."""

    @abstractmethod
    @operation("data:describe", resource="dataset:{name}")
    def schema(self, name: str) -> tuple[Column, ...]: ...

    @operation("data:write", resource="dataset:{name}", mutates=True, tells=DataHooks.forge_dataset_registered)
    def write(
        self, name: str, data: ArrowStream, mode: Literal["append", "replace", "merge"], transaction: Transaction | None = None
    ) -> DatasetVersion:
        """By `Capability.WRITE`. Repeating a `transaction` changes nothing and returns the current version."""
        raise ForgeError(f"{type(self).__name__} cannot write", "choose a connector with the capability WRITE")

    @operation("data:describe", resource="dataset:{name}")
    def last_transaction(self, name: str, application: str) -> int | None:
        """By `Capability.TRANSACTIONS`: the last sequence number that this application has written."""
        raise ForgeError(f"{type(self).__name__} keeps no transactions", "choose a connector with the capability TRANSACTIONS")

    @operation("data:read", resource="topic:{topic}")
    def subscribe(self, topic: str, group: str, mode: Literal["at_most_once", "at_least_once", "exactly_once"]) -> Batches:
        """By `Capability.SUBSCRIBE`."""
        raise ForgeError(f"{type(self).__name__} has no streams", "choose a connector with the capability SUBSCRIBE")
