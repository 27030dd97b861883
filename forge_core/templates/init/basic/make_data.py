"""Write data/customers.csv: two thousand made-up customers. Replace it by your own data."""

from __future__ import annotations

import csv
import math
import random
from pathlib import Path


def main() -> None:
    draw = random.Random(0)
    Path("data").mkdir(exist_ok=True)
    with Path("data/customers.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["plan", "months", "calls", "monthly_fee", "churned"])
        for _ in range(2000):
            plan, months, calls = draw.choice(["basic", "plus", "family"]), draw.randint(1, 72), draw.randint(0, 9)
            fee = round(draw.uniform(10, 90), 2)
            leaning = 0.5 * calls - 0.06 * months + 0.02 * fee + (0.8 if plan == "basic" else 0) - 1.5
            writer.writerow([plan, months, calls, fee, int(draw.random() < 1 / (1 + math.exp(-leaning)))])


if __name__ == "__main__":
    main()
