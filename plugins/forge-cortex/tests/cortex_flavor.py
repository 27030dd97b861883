"""A flavor for the tests: a line in JSON. Installed as a distribution of its own by the fixture `project`."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from forge_core.contracts.flavor import Flavor, Predictor
from forge_core.faults import InvalidInput


class Line(Predictor):
    def __init__(self, slope: float) -> None:
        self.slope = slope

    def predict(self, data):
        x = pa.table(data)["x"]
        return pa.table({"prediction": pc.multiply(x, self.slope)})


class LineFlavor(Flavor):
    def save(self, trained, folder, sample):
        (folder / "line.json").write_text(json.dumps({"slope": trained.model}))

    def load(self, folder: Path) -> Predictor:
        try:
            return Line(float(json.loads((folder / "line.json").read_bytes())["slope"]))
        except (ValueError, KeyError):
            raise InvalidInput("line.json is no line", "train again") from None
