"""`forge`. `--version` answers before anything else is imported."""

from __future__ import annotations

import io
import os
import sys


def main() -> None:
    """The console script."""
    if sys.stdout is None:  # closed by whoever started us
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - lives as long as the process
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # LANG=C can print everything, if not prettily
    if sys.argv[1:] in (["--version"], ["-V"]):
        from forge_core import __version__  # alone, so that nothing else is paid for

        sys.stdout.write(f"{__version__}\n")
        return
    from forge_core.cli.app import run

    sys.exit(run(sys.argv[1:]))
