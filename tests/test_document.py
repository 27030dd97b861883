"""forge.yaml as a whole: what its parts may not say together."""

from __future__ import annotations

import pytest

from forge_core import Kernel
from forge_core.faults import ConfigError

DATA = "datasets: [{name: d, path: d.csv, target: y}]\n"


@pytest.mark.parametrize(
    "text",
    [
        DATA + "models: [{name: twin, type: a}, {name: other, type: a}, {name: twin, type: b}]\n",
        "datasets: [{name: twin, path: a.csv}, {name: twin, path: b.csv}]\n",
        "deployment: {endpoints: [{name: twin, model: a}, {name: twin, model: b}]}\n",
    ],
    ids=["models", "datasets", "endpoints"],
)
def test_a_name_given_twice_is_an_error(project, command, text):
    project(f"project: {{name: test}}\n{text}")
    with pytest.raises(ConfigError, match="twin"):
        Kernel.open()
    said = command("train")
    assert (said.code, "twin" in said.err) == (2, True)


def test_a_model_and_a_data_set_may_have_one_name(project):
    project("project: {name: test}\ndatasets: [{name: m, path: d.csv, target: y}]\nmodels: [{name: m, type: a}]\n")
    with Kernel.open() as kernel:
        assert kernel.pipeline().name == "m"
