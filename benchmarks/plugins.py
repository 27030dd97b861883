"""The plugin author's bars: from nothing to a proved plugin, and a hundred slow plugins beside the commands that list them."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measure import BIN, ROOT, in_turn, interval, process, verdict

SLOW = "import time\ntime.sleep(1)\n"
MANY = 100
RUNS = 15


def proved() -> float:
    """Seconds from an empty folder to a green `forge plugins test`: environment, installs, suites. The kernel is a wheel already."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        wheel = [
            sys.executable,
            "-m",
            "pip",
            "wheel",
            "-q",
            "--no-deps",
            "--no-build-isolation",
            "--wheel-dir",
            str(folder / "wheels"),
            str(ROOT),
        ]
        subprocess.run(wheel, check=True)
        bin_ = folder / "env" / "bin"
        install = [
            str(bin_ / "python"),
            "-m",
            "pip",
            "install",
            "-q",
            "--disable-pip-version-check",
            "--find-links",
            str(folder / "wheels"),
        ]
        install += ["-c", str(ROOT / "constraints.txt")]
        began = time.monotonic()
        for command in (
            [sys.executable, "-m", "venv", str(folder / "env")],
            [*install, "forge-kernel"],
            [str(bin_ / "forge"), "plugins", "new", "forge-acme", "--roles", "connector,trainer"],
            [*install, "./forge-acme[testing]"],
            [str(bin_ / "forge"), "plugins", "test", "forge-acme"],
        ):
            subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
        return time.monotonic() - began


def slow_ones(folder: Path) -> None:
    """Distributions whose plugin and driver modules sleep a second when they are imported."""
    for number in range(MANY):
        (folder / f"slow_{number}.py").write_text(SLOW)
        info = folder / f"forge_slow_{number}-1.0.dist-info"
        info.mkdir()
        head = f"Metadata-Version: 2.4\nName: forge-slow-{number}\nVersion: 1.0\nSummary: Sleeps.\nRequires-Dist: forge-kernel<2,>=1.0\n\n"
        (info / "METADATA").write_text(head + "A readme of a usual length.\n" * 200)
        points = f"[forge.plugins]\nslow = slow_{number}\n[forge.trainers]\nslow{number} = slow_{number}:T\n"
        (info / "entry_points.txt").write_text(points)


def main() -> int:
    reached = [verdict("plugins new -> green plugins test, fresh environment", proved(), 60, "s")]
    with tempfile.TemporaryDirectory() as name:
        slow_ones(Path(name))
        with_all = {"PYTHONPATH": name}
        for words in (["--help"], ["plugins", "list"]):
            many, none = in_turn(
                RUNS, lambda words=words: process([BIN / "forge", *words], with_all), lambda words=words: process([BIN / "forge", *words])
            )
            more, low, high = interval([(a.cpu - b.cpu) * 1000 for a, b in zip(many, none, strict=True)])
            shown = f"forge {' '.join(words)}, {MANY} slow plugins, CPU time more than without"
            reached.append(verdict(shown, more, 20, "ms", f"90 % {low:.1f}-{high:.1f}"))
        (doctor,) = in_turn(5, lambda: process([BIN / "forge", "plugins", "doctor"], with_all))
        reached.append(verdict(f"forge plugins doctor, {MANY} slow plugins", interval([one.wall for one in doctor])[0], 1, "s"))
    return 0 if all(reached) else 1


if __name__ == "__main__":
    sys.exit(main())
