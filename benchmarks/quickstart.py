"""The quickstart after its installs: seconds, and the peak memory of all its processes."""

from __future__ import annotations

import re
import subprocess
import sys

from measure import ROOT, verdict


def main() -> int:
    done = subprocess.run([str(ROOT / "tools" / "quickstart")], capture_output=True, text=True, check=True)
    found = re.search(r"this took +(\d+) s and at most ([\d.]+) GB", done.stdout)
    assert found is not None, done.stdout
    return (
        0
        if verdict("make quickstart, time", float(found[1]), 120, "s") & verdict("make quickstart, memory", float(found[2]), 1.5, "GB")
        else 1
    )


if __name__ == "__main__":
    sys.exit(main())
