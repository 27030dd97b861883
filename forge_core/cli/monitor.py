"""`forge monitor` and `forge trace`."""

from __future__ import annotations

from datetime import timedelta

from forge_core.cli.console import opened, say, table
from forge_core.faults import NotFound
from forge_core.records.data import JSON


def monitor(endpoint: str = "all", /, *, window_minutes: float = 60.0) -> int:
    """Requests and latencies of what is live.

    Parameters
    ----------
    endpoint
        Its name, or `all`.
    window_minutes
        How far back to look.
    """
    with opened() as kernel:
        names = list(kernel.deployer.endpoints()) if endpoint == "all" else [endpoint]
        reports = [dict(kernel.monitor.report(name, timedelta(minutes=window_minutes))) for name in names]
        rows = [_row(report["endpoint"], version, seen) for report in reports for version, seen in report.get("versions", {}).items()]
        say(
            reports,
            lambda: (
                table(("endpoint", "version", "requests", "p50 ms", "p95 ms", "p99 ms"), rows)
                if rows
                else "no requests seen in this window"
            ),
        )
    return 0


def _row(endpoint: str, version: str, seen: JSON) -> tuple[object, ...]:
    return (endpoint, version, seen["requests"], *(f"{seen[f'latency_p{share}']:.2f}" for share in (50, 95, 99)))


def trace(request_id: str, /) -> int:
    """Which version, run, code and data answered a request."""
    with opened() as kernel:
        deployment = kernel.deployer.trace(request_id)
        if not deployment.routes:
            raise NotFound(f"the request {request_id!r} went to an endpoint that routed nowhere", f"forge history {deployment.endpoint}")
        model = kernel.registry.get(f"{deployment.routes[0].model}@{deployment.routes[0].version}")
        found = {"request_id": request_id, "deployment": deployment, "model": model, "lineage": kernel.registry.lineage(model.selector)}
        rows = [
            ("endpoint", f"{deployment.endpoint} revision {deployment.revision}"),
            ("version", model.selector),
            ("run", model.run_id),
            ("code", model.code.commit if model.code else "unknown"),
            ("data", model.training_data_hash),
        ]
        say(found, lambda: table(("", request_id), rows))
    return 0
