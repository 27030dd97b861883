"""Write raw rows of the held-out time range to `data/requests.jsonl`, a JSON object a line, as a client would send them.

`python make_requests.py 1000` takes a thousand flights, evenly spread over the last part of the year, which no model
of this project was trained on. Run `prepare_data.py` first.
"""

from __future__ import annotations

import json
import sys
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow.dataset
import yaml

OUTPUT = Path("data/requests.jsonl")


def main(count: int) -> None:
    project = yaml.safe_load(Path("forge.yaml").read_text(encoding="utf-8"))
    (dataset,), (model,) = project["datasets"], project["models"]
    flights = pyarrow.dataset.dataset(dataset["path"]).to_table(columns=model["features"]).sort_by(model["training"]["order_by"])
    first = round(flights.num_rows * model["training"]["split_ratio"])
    chosen = flights.take(np.linspace(first, flights.num_rows - 1, count).astype(np.int64))
    with OUTPUT.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, default=datetime.isoformat) + "\n" for row in chosen.to_pylist())
    print(f"{count:,} flights of {chosen['scheduled_departure'][0]} to {chosen['scheduled_departure'][-1]} in {OUTPUT}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
