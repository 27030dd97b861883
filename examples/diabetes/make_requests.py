"""Write the first rows of the data without their target to `data/requests.jsonl`, as a client would send them.

`python make_requests.py 100` takes a hundred patients; most of them were trained on, so the answers say nothing about
how good the model is. Run `prepare_data.py` first.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pyarrow.csv

SOURCE = Path("data/diabetes/patients.csv")
OUTPUT = Path("data/requests.jsonl")


def main(count: int) -> None:
    patients = pyarrow.csv.read_csv(SOURCE).drop_columns(["progression"]).slice(0, count)
    with OUTPUT.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in patients.to_pylist())
    print(f"{patients.num_rows} patients in {OUTPUT}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100)
