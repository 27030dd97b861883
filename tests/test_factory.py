"""A project's own trainers, by the same names as installed ones."""

from __future__ import annotations

import pytest
from attrs import frozen

from forge_core import ModelFactory, register_model
from forge_core.contracts import ModelRegistry, Trainer
from forge_core.factory import name_of
from forge_core.faults import ConfigError, Conflict

INSTALLED = """
from forge_core.contracts import Trainer
class Forest(Trainer):
    def train(self, spec, data, context): ...
    def evaluate(self, spec, predictor, data): ...
"""


class Mean(Trainer):
    @frozen
    class Settings:
        depth: int = 1

    def __init__(self, settings: Settings) -> None:
        self.depth = settings.depth

    def train(self, spec, data, context): ...

    def evaluate(self, spec, predictor, data): ...


class Needy(Mean):
    def __init__(self, *, registry: ModelRegistry) -> None: ...


@pytest.fixture
def forest(fake_distribution):
    fake_distribution.add("acme", entries={"forge.trainers": {"forest": "acme_forest:Forest"}}, acme_forest=INSTALLED)


def test_local_and_installed_names_are_one_list(forest):
    assert register_model("mean")(Mean) is Mean
    assert ModelFactory.list_available() == ("forest", "mean")
    assert ModelFactory.modules() == {"mean": __name__}


def test_a_trainer_is_created_with_its_settings(forest):
    register_model("mean")(Mean)
    assert ModelFactory.create("mean", depth=5).depth == 5
    assert type(ModelFactory.create("forest")).__name__ == "Forest"
    with pytest.raises(ConfigError, match="unknown key 'dept'"):
        ModelFactory.create("mean", dept=5)
    with pytest.raises(ConfigError, match="no trainer is called 'oak'"):
        ModelFactory.create("oak")


def test_a_trainer_that_needs_a_project_says_so():
    register_model("needy")(Needy)
    with pytest.raises(ConfigError, match="the model 'needy' needs") as caught:
        ModelFactory.create("needy")
    assert "Kernel.open" in caught.value.remedy


def test_the_same_class_may_come_again_and_another_may_not():
    ModelFactory.register("mean", Mean)
    ModelFactory.register("mean", Mean)
    with pytest.raises(Conflict, match="already .*Mean"):
        ModelFactory.register("mean", Needy)


def test_a_local_name_may_not_hide_an_installed_one(forest):
    with pytest.raises(Conflict, match="the trainer 'forest' is offered by acme"):
        ModelFactory.register("forest", Mean)


@pytest.mark.parametrize("thing", [object, dict, Mean.Settings])
def test_what_is_no_trainer_is_refused(thing):
    with pytest.raises(ConfigError, match="'thing' is no Trainer"):
        ModelFactory.register("thing", thing)
    assert "thing" not in ModelFactory.list_available()


def test_a_class_or_an_instance_knows_its_name(forest):
    from acme_forest import Forest

    register_model("mean")(Mean)
    assert (name_of(Mean), name_of(Mean(Mean.Settings())), name_of(Forest)) == ("mean", "mean", "forest")
    with pytest.raises(ConfigError, match="Needy is not a registered model"):
        name_of(Needy)
