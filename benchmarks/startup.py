"""`forge --help` beside a bare two-command program on the same library, and beside its peers' version commands."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from measure import BIN, in_turn, interval, peer, process, ratio, verdict

BARE = """import cyclopts
app = cyclopts.App(name="x")
@app.command
def a(n: int = 1):
    "A."
@app.command
def b(n: int = 1):
    "B."
app()
"""
SLOW = "import time\ntime.sleep(2)\n"
RUNS = 21


def dummies(folder: Path) -> None:
    """Thirty distributions whose plugin and driver modules sleep two seconds when they are imported."""
    for number in range(30):
        (folder / f"dummy_{number}.py").write_text(SLOW)
        info = folder / f"forge_dummy_{number}-1.0.dist-info"
        info.mkdir()
        head = f"Metadata-Version: 2.1\nName: forge-dummy-{number}\nVersion: 1.0\nSummary: Sleeps.\nRequires-Dist: forge-kernel<2,>=1.0\n\n"
        (info / "METADATA").write_text(head + "A readme of a usual length.\n" * 200)
        points = f"[forge.plugins]\ndummy = dummy_{number}\n[forge.trainers]\ndummy{number} = dummy_{number}:T\n"
        (info / "entry_points.txt").write_text(points + f"[forge.commands]\nd{number} = dummy_{number}:app\n")


def main() -> int:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bare, planted = folder / "bare.py", folder / "planted"
        bare.write_text(BARE)
        planted.mkdir()
        dummies(planted)
        with_all = {"PYTHONPATH": str(planted)}
        full, without, program = in_turn(
            RUNS,
            lambda: process([BIN / "forge", "--help"], with_all),
            lambda: process([BIN / "forge", "--no-plugins", "--help"]),
            lambda: process([BIN / "python", bare, "--help"]),
        )
        kedro, mlflow = peer("kedro", "kedro"), peer("mlflow", "mlflow>=3.17,<4")
        forge, one, other = in_turn(
            7,
            lambda: process([BIN / "forge", "--help"], with_all),
            lambda: process([kedro / "kedro", "--version"]),
            lambda: process([mlflow / "mlflow", "--version"]),
        )
    middle, low, high = ratio(full, program, "cpu")
    more, least, most = interval([(a.cpu - b.cpu) * 1000 for a, b in zip(full, without, strict=True)])
    reached = [
        verdict("forge --help, all plugins and 30 dummies / bare cyclopts, CPU time", middle, 1.25, "x", f"90 % {low:.2f}-{high:.2f}"),
        verdict("the same, wall time", ratio(full, program)[0], 1.25),
        verdict("CPU time more than with no plugins", more, 10, "ms", f"90 % {least:.1f}-{most:.1f}"),
        verdict("forge --help / kedro --version, wall time", ratio(forge, one)[0], 0.5),
        verdict("forge --help / mlflow --version, wall time", ratio(forge, other)[0], 0.1),
    ]
    return 0 if all(reached) else 1


if __name__ == "__main__":
    sys.exit(main())
