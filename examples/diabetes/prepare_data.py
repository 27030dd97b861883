"""Write scikit-learn's bundled diabetes data, in its original units, to `data/diabetes/patients.csv`.

Run it in the project's folder: `python prepare_data.py`. No network; the same bytes each time.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path

from sklearn.datasets import load_diabetes

OUTPUT = Path("data/diabetes/patients.csv")
# scikit-learn calls the six blood serum measurements s1 to s6; these are the names of their source.
COLUMNS = ("age", "sex", "bmi", "blood_pressure", "tc", "ldl", "hdl", "tch", "ltg", "glu", "progression")


def main() -> None:
    patients = load_diabetes(scaled=False)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for measured, progression in zip(patients.data, patients.target, strict=True):
        writer.writerow(f"{value:.10g}" for value in (*measured, progression))  # 157, not 157.0: what was counted stays whole
    content = text.getvalue().encode()
    OUTPUT.parent.mkdir(parents=True, exist_ok=True)
    if not OUTPUT.exists() or OUTPUT.read_bytes() != content:
        new = OUTPUT.with_suffix(".new")
        new.write_bytes(content)
        new.replace(OUTPUT)
    print(f"{len(patients.target)} patients in {OUTPUT}")


if __name__ == "__main__":
    main()
