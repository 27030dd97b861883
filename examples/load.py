"""Send predictions to a served endpoint and print how long they took; exit 1 if one of them failed.

    python load.py --url http://127.0.0.1:8000/predict/flights --input requests.jsonl --count 1000

Needs nothing but Python. `--input` has a raw row a line; each request carries one of them, from the first line again
after the last. The time of a request is from its first byte sent to the last of its answer received, over
connections that are kept open.
"""

from __future__ import annotations

import argparse
import http.client
import itertools
import json
import statistics
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

TIMEOUT = 30.0  # seconds


@dataclass
class Outcome:
    """What one connection saw. `seconds` has an entry an answered request."""

    seconds: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    sample: object = None


def bodies(path: Path, count: int) -> list[bytes]:
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    if not rows:
        raise SystemExit(f"{path} has no rows")
    encoded = [json.dumps({"dataframe_records": [row]}).encode() for row in rows]
    return list(itertools.islice(itertools.cycle(encoded), count))


def send_all(url: SplitResult, requests: Sequence[bytes], outcome: Outcome) -> None:
    """One after the other; a broken connection is one error, and the next request opens it again."""
    connection = http.client.HTTPConnection(url.hostname or "127.0.0.1", url.port or 80, timeout=TIMEOUT)
    for body in requests:
        started = time.perf_counter()
        try:
            connection.request("POST", url.path, body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            answer = response.read()
        except (OSError, http.client.HTTPException) as error:
            outcome.errors.append(f"{type(error).__name__}: {error}")
            connection.close()
            continue
        outcome.seconds.append(time.perf_counter() - started)
        if response.status != http.client.OK:
            outcome.errors.append(f"{response.status} {answer.decode(errors='replace')}")
        elif outcome.sample is None:
            outcome.sample = json.loads(answer)
    connection.close()


def report(outcomes: list[Outcome], elapsed: float) -> dict[str, object]:
    seconds = sorted(second for outcome in outcomes for second in outcome.seconds)
    errors = [error for outcome in outcomes for error in outcome.errors]
    found: dict[str, object] = {"answered": len(seconds), "errors": len(errors), "requests_per_second": round(len(seconds) / elapsed, 1)}
    if len(seconds) > 1:
        percentile = statistics.quantiles(seconds, n=100, method="inclusive")
        found |= {f"p{n}_ms": round(percentile[n - 1] * 1000, 2) for n in (50, 95, 99)}
    found["sample"] = next((outcome.sample for outcome in outcomes if outcome.sample is not None), None)
    if errors:
        found["first_error"] = errors[0]
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description="Send predictions to a served endpoint and print how long they took.")
    parser.add_argument("--url", required=True, help="the endpoint, as in http://127.0.0.1:8000/predict/flights")
    parser.add_argument("--input", required=True, type=Path, help="rows as JSON lines")
    parser.add_argument("--count", type=int, default=1000, help="requests in all (default: %(default)s)")
    parser.add_argument("--connections", type=int, default=4, help="connections side by side (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    options = parser.parse_args()
    url, requests = urlsplit(options.url), bodies(options.input, options.count)
    if url.scheme != "http":
        parser.error("--url begins with http://")
    outcomes = [Outcome() for _ in range(options.connections)]
    threads = [
        threading.Thread(target=send_all, args=(url, requests[number :: len(outcomes)], outcome)) for number, outcome in enumerate(outcomes)
    ]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = report(outcomes, time.perf_counter() - started)
    if options.json:
        print(json.dumps(found))
    else:
        for name, value in found.items():
            print(f"{name:20s} {value if isinstance(value, str | float | int) else json.dumps(value)}")
    return 1 if found["errors"] else 0


if __name__ == "__main__":
    sys.exit(main())
