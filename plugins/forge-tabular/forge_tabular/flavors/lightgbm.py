"""LightGBM models in its own text format, whose every number and index is checked before LightGBM sees it."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import lightgbm
import numpy as np
from numpy.typing import NDArray

from forge_core.faults import InvalidInput
from forge_tabular.columns import Matrix
from forge_tabular.flavors import lightgbm_text
from forge_tabular.flavors.flavor import Loaded, TabularFlavor, damaged
from forge_tabular.flavors.sidecar import Sidecar
from forge_tabular.flavors.sniff import read_magic

FEW = 1_024
"""Rows up to which one thread is asked: waking others takes longer than the trees."""


class LightGBMFlavor(TabularFlavor):
    """Boosters over numbers."""

    file: ClassVar[str] = "model.txt"

    def write(self, model: object, path: Path) -> None:
        if not isinstance(model, lightgbm.Booster):
            raise InvalidInput(f"the lightgbm flavor cannot hold a {type(model).__name__}", "it holds a lightgbm.Booster")
        path.write_bytes(lightgbm_text.trees_only(model.model_to_string(num_iteration=-1)).encode())

    def read(self, path: Path, sidecar: Sidecar) -> Loaded:
        data = read_magic(path, b"tree\n", "a LightGBM model in text")
        try:
            text = data.decode("ascii")
        except UnicodeDecodeError as error:
            raise damaged("it is no plain text") from error
        lightgbm_text.check(text, sidecar)
        try:
            booster = lightgbm.Booster(model_str=text)
        except lightgbm.basic.LightGBMError as error:
            raise damaged("LightGBM cannot load it") from error

        def score(values: Matrix) -> NDArray[np.floating]:
            found = np.asarray(booster.predict(values, num_threads=1 if len(values) <= FEW else 0), np.float64)
            return np.column_stack([1 - found, found]) if sidecar.task == "binary" else found

        return Loaded(score, np.float64)
