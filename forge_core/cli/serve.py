"""`forge serve` and `forge predict`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from forge_core.cli.console import opened, say


def serve(
    *endpoints: str,
    host: str | None = None,
    port: int | None = None,
    workers: Annotated[int, Parameter(help="Inference workers a version.")] = 1,
) -> int:
    """Answer predictions over HTTP until interrupted.

    Parameters
    ----------
    endpoints
        Their names; all where none is given.
    host
        An address; forge.yaml's where it is not given. Only loopback while auth is none.
    port
        Forge.yaml's where it is not given.
    """
    with opened() as kernel:
        said = kernel.config.raw["infrastructure"]["serving"]
        kernel.deployer.serve(
            endpoints, host or str(said.get("host", "127.0.0.1")), port if port is not None else int(said.get("port", 8000)), workers
        )
    return 0


def predict(name: str, /, *, input: Path, output: Path | None = None) -> int:  # noqa: A002 - the option is called --input
    """Predict a file of rows with an endpoint or a version.

    Parameters
    ----------
    name
        An endpoint, or a selector such as `churn@3`.
    input
        Parquet, CSV or JSON lines.
    output
        Parquet, CSV or JSON lines; printed as JSON lines where it is not given.
    """
    from forge_core import batch  # needs pyarrow

    with opened() as kernel:
        report = batch.predict(kernel, name, input, output)
        say(report, f"{report['rows']:,} rows -> {output}" if output is not None else str(report["lines"]))
    return 0
