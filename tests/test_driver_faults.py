"""A driver of a stranger may raise anything, anywhere: it is named, and it ends nothing."""

from __future__ import annotations

import shutil
import sys
import threading
from pathlib import Path

import pytest

from forge_core import Kernel
from forge_core.faults import ForgeError

YAML = "project: {name: test}\ninfrastructure: {registry: {type: slow}}\n"


@pytest.fixture(autouse=True)
def _tiny(fake_distribution):
    shutil.copytree(Path(__file__).with_name("tiny"), fake_distribution.folder, dirs_exist_ok=True)


@pytest.mark.parametrize("name", ["unmade", "unopened"])
def test_a_driver_that_cannot_be_made_is_named_with_its_distribution(kernel, name):
    with pytest.raises(ForgeError) as caught:
        kernel.notifier(name)
    assert f"notifier '{name}'" in caught.value.cause
    assert "ValueError: no room" in caught.value.cause
    assert "forge-tiny" in f"{caught.value.cause} {caught.value.remedy}"
    assert isinstance(caught.value.__cause__, ValueError)


def test_a_driver_that_could_not_be_made_does_not_hinder_the_next(kernel):
    for name in ("unmade", "unopened", "unmade"):
        with pytest.raises(ForgeError, match="no room"):
            kernel.notifier(name)
    kernel.notifier("tidy")


def test_a_driver_that_exits_when_it_is_closed_ends_nothing(project):
    project()
    with Kernel.open() as kernel:
        kernel.notifier("tidy")
        kernel.notifier("rude")  # closed first
    assert Path("closed.txt").read_text() == "tidy"
    (fault,) = kernel.faults
    assert (fault.where, fault.cause) == ("close", "SystemExit: 7")


def test_eight_threads_that_ask_at_once_get_one_driver(open_kernel):
    kernel = open_kernel(YAML)
    ready, found, failures = threading.Barrier(8), [], []

    def ask() -> None:
        ready.wait()
        try:
            found.append(kernel.registry)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert failures == []
    assert (len(found), len({id(one) for one in found})) == (8, 1)
    assert sys.modules["tiny"].Slow.made == 1
