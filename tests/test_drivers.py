"""One driver is chosen by name and imported then; what cannot be imported names its distribution."""

from __future__ import annotations

import sys

import pytest

from forge_core.catalog import Catalog
from forge_core.drivers import load
from forge_core.faults import ForgeError


def offer(site, source: str, target: str = "driver_module:Forest") -> None:
    site.add(
        "forge-x",
        "2.1",
        {"forge.trainers": {"forest": target, "other": "other_module:Other"}},
        driver_module=source,
        other_module="raise SystemExit",
    )


def test_only_the_chosen_driver_is_imported(fake_distribution):
    offer(fake_distribution, "class Forest: ...")
    assert load(Catalog.scan(), "trainer", "forest") is sys.modules["driver_module"].Forest
    assert "other_module" not in sys.modules


@pytest.mark.parametrize(
    ("source", "cause", "remedy"),
    [
        ("import no_such_library.inner", "ModuleNotFoundError: No module named 'no_such_library'", "pip install no_such_library"),
        ("raise SystemExit(1)", "SystemExit: 1", "pip install --force-reinstall forge-x"),
        ("raise ValueError('first\\nsecond')", "ValueError: first", "pip install --force-reinstall forge-x"),
        ("def broken(:", "SyntaxError", "pip install --force-reinstall forge-x"),
        ("", "AttributeError", "pip install --force-reinstall forge-x"),
    ],
)
def test_a_driver_that_does_not_load_names_distribution_version_cause_and_remedy(fake_distribution, source, cause, remedy):
    offer(fake_distribution, source)
    with pytest.raises(ForgeError) as caught:
        load(Catalog.scan(), "trainer", "forest")
    assert caught.value.cause.startswith(f"trainer 'forest' of forge-x 2.1 does not load: {cause}")
    assert len(caught.value.cause.splitlines()) == 1
    assert caught.value.remedy.startswith(remedy)


def test_a_module_that_is_not_there_is_its_distributions_fault(fake_distribution):
    offer(fake_distribution, "", "gone_module:Forest")
    with pytest.raises(ForgeError) as caught:
        load(Catalog.scan(), "trainer", "forest")
    assert caught.value.remedy.startswith("pip install --force-reinstall forge-x")


def test_ctrl_c_during_an_import_is_not_swallowed(fake_distribution):
    offer(fake_distribution, "raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        load(Catalog.scan(), "trainer", "forest")


def test_what_a_driver_prints_at_import_goes_to_stderr(fake_distribution, capsys):
    offer(fake_distribution, "print('chatty')\nclass Forest: ...")
    load(Catalog.scan(), "trainer", "forest")
    assert capsys.readouterr() == ("", "chatty\n")
