"""Damage a model's file again and again, load it and ask it: `python damage.py MODULE:FLAVOR FOLDER TIMES SEED`.

Each time the answer is a ForgeError or a prediction; anything else ends this process with its seed on stdout.
"""

from __future__ import annotations

import importlib
import io
import json
import random
import sys
import zipfile
from pathlib import Path

import pyarrow as pa

from forge_core.faults import ForgeError


def damaged(data: bytes, chance: random.Random) -> bytes:
    if data.startswith(b"PK"):
        return _member(data, chance)
    if chance.random() < 0.1:
        return data[: chance.randrange(len(data))]
    made = bytearray(data)
    for _ in range(chance.choice([1, 1, 2, 8])):
        made[chance.randrange(len(made))] = chance.randrange(256) if chance.random() < 0.5 else ord(chance.choice("0123456789-. \n=e"))
    return bytes(made)


def _member(data: bytes, chance: random.Random) -> bytes:
    """One member of a zip damaged, its checksum made right again: arrays behind their headers, the schema anywhere."""
    target = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(target, "w") as made:
        chosen = chance.choice(source.namelist()) if chance.random() < 0.7 else "schema.json"
        for name in source.namelist():
            member = bytearray(source.read(name))
            if name == chosen:
                for _ in range(chance.choice([1, 2, 4])):
                    at = chance.randrange(min(128, len(member) - 1) if name.endswith(".npy") else 0, len(member))
                    member[at] = chance.randrange(256) if name.endswith(".npy") else ord(chance.choice('0123456789"{}[],-.'))
            made.writestr(name, bytes(member))
    return target.getvalue()


def main(flavor: str, folder: str, times: str, seed: str) -> None:
    module, _, name = flavor.partition(":")
    made = getattr(importlib.import_module(module), name)()
    path = Path(folder) / made.file
    data = path.read_bytes()
    features = json.loads((Path(folder) / "flavor.json").read_text())["features"]
    rows = pa.table({feature: [0.0, -2.5, None] for feature in features})
    told = {"refused": 0, "answered": 0}
    for number in range(int(times)):
        print(f"seed {seed}, damage {number}", flush=True)
        path.write_bytes(damaged(data, random.Random(f"{seed}-{number}")))
        try:
            made.load(Path(folder)).predict(rows)
            told["answered"] += 1
        except ForgeError:
            told["refused"] += 1
    print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
