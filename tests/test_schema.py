"""The JSON Schema of forge.yaml follows the installed settings; the check constructs nothing."""

from __future__ import annotations

import pytest

from forge_core import schema
from forge_core.faults import ConfigError

MAIL = """
from typing import Literal
from attrs import frozen
from forge_core.contracts import Notifier
class Mail(Notifier):
    @frozen
    class Settings:
        to: str
        port: int = 25
        how: Literal["plain", "html"] = "plain"
        copies: tuple[str, ...] = ()
    def __init__(self, settings: Settings): raise SystemExit("constructed")
    def notify(self, notice): ...
"""
TRAINER = """
from attrs import frozen
from forge_core.contracts import CONTRACTS
class Forest(CONTRACTS["trainer"]):
    def __init__(self): raise SystemExit("constructed")
    def train(self, *a): ...
    def evaluate(self, *a): ...
"""


@pytest.fixture
def mail(fake_distribution):
    entries = {"forge.notifiers": {"mail": "mail:Mail"}, "forge.trainers": {"forest": "forest:Forest"}, "forge.flavors": {"ill": "ill:Ill"}}
    fake_distribution.add("forge-mail", entries=entries, mail=MAIL, forest=TRAINER, ill="raise SystemExit")


def test_the_settings_of_installed_drivers_are_in_the_schema(mail):
    made = schema.build()
    notifiers = made["properties"]["notifiers"]["additionalProperties"]
    assert notifiers["properties"]["type"]["examples"] == ["console", "mail"]
    (then,) = [one["then"]["properties"] for one in notifiers["allOf"] if one["if"]["properties"]["type"]["const"] == "mail"]
    assert then["how"] == {"enum": ["plain", "html"]}
    assert then["copies"] == {"type": "array", "items": {"type": "string"}}
    assert {"type": "integer"} in then["port"]["anyOf"]


def test_every_section_of_the_document_is_in_the_schema_and_a_broken_driver_does_no_harm(mail):
    made = schema.build()
    assert {"project", "infrastructure", "datasets", "models", "deployment", "pipeline", "plugins", "environments"} <= set(
        made["properties"]
    )
    assert made["additionalProperties"] is False
    assert made["properties"]["infrastructure"]["properties"]["registry"]["type"] == "object"


SOUND = "infrastructure: {registry: {type: x}, tracking: {type: x}, serving: {type: x}}\nnotifiers: {ann: {type: mail, to: ann}}\n"


def test_a_drivers_settings_are_checked_without_constructing_it(mail, open_kernel):
    kernel = open_kernel(SOUND)
    kernel.check_driver("notifier", "ann")
    kernel.check_driver("trainer", "forest")
    with pytest.raises(ConfigError, match="'to' is missing"):
        kernel.check_driver("notifier", "mail")
    with pytest.raises(ConfigError, match="unknown key 'prot'"):
        kernel.check_driver("notifier", "ann", {"prot": 5})
    with pytest.raises(ConfigError, match="trainer 'forest' has no settings"):
        kernel.check_driver("trainer", "forest", {"depth": 1})


def test_a_missing_driver_is_found_by_the_check(mail, open_kernel):
    with pytest.raises(ConfigError, match="no registry is called 'x'"):
        schema.check(open_kernel(SOUND))
