"""A pytest plugin for the runs of the mutants: rules that start processes come last, so that most mutants are caught without any."""

from __future__ import annotations

import inspect

import pytest

BUILT = "test_it_is_built_and_closed_as_the_kernel_does"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=_costs_processes)


def _costs_processes(item: pytest.Item) -> bool:
    """Whoever starts processes asks for the `subject` that they build the driver from."""
    return isinstance(item, pytest.Function) and item.originalname != BUILT and "subject" in inspect.signature(item.function).parameters
