"""forge-kernel installed alone: how many distributions, how many megabytes."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from measure import ROOT, verdict


def main() -> int:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
        subprocess.run([*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", name, str(ROOT)], check=True)
        wheel = next(folder.glob("*.whl"))
        constraints = str(ROOT / "constraints.txt")
        subprocess.run([*pip, "install", "--no-compile", "--target", str(folder / "alone"), "-c", constraints, str(wheel)], check=True)
        distributions = len(list((folder / "alone").glob("*.dist-info")))
        size = sum(path.stat().st_size for path in (folder / "alone").rglob("*") if path.is_file()) / 1e6
    return (
        0
        if verdict("forge-kernel alone, distributions", distributions, 20, "") & verdict("forge-kernel alone, size", size, 55, "MB")
        else 1
    )


if __name__ == "__main__":
    sys.exit(main())
