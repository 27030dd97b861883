"""Identifiers sort as they were made."""

from __future__ import annotations

import time

from forge_core.identifiers import new_id


def test_identifiers_are_prefixed_unique_and_sort_by_time():
    made = []
    for _ in range(20):
        made.append(new_id("run"))
        time.sleep(0.002)
    assert made == sorted(made)
    assert all(one.startswith("run_") and len(one) == 26 for one in made)
    assert len({new_id("run") for _ in range(10_000)}) == 10_000
