from __future__ import annotations

import math
import socket
from datetime import UTC, date, datetime

import pyarrow as pa
import pytest

from forge_core.faults import ConfigError, InvalidInput, NotFound, Refused, Transient
from forge_cortex import CortexClient

ROW = {"amount": 1.5, "count": 2, "carrier": "AA", "at": "2013-01-01T05:00:00Z", "day": "2013-01-01", "late": True}


@pytest.fixture(scope="module")
def server(shared, summing, echo):
    made = shared(closed=True)
    made.desire(summing, echo(endpoint="open"))
    return made


@pytest.fixture
def client(server):
    with CortexClient(f"http://127.0.0.1:{server.port}/", token="admin") as made:
        yield made


def test_rows_and_arrow_give_the_same_predictions(client):
    answer = client.predict("sum", [ROW, {**ROW, "count": None}])
    assert (answer.predictions, answer.model, answer.version) == ([3.5, 1.5], "summing", 3)
    assert answer.request_id.startswith("req_sum.1.0.")
    table = pa.table(
        {
            "amount": [1.5, 1.5], "count": pa.array([2, None], pa.int8()), "carrier": ["AA", "AA"], "late": [True, True],
            "at": [datetime(2013, 1, 1, 5, tzinfo=UTC)] * 2, "day": [date(2013, 1, 1)] * 2,
        }
    )  # fmt: skip
    assert client.predict("sum", table).predictions == [3.5, 1.5]
    assert client.predict_arrow("sum", table)["prediction"].to_pylist() == [3.5, 1.5]


def test_health_needs_no_key(server):
    with CortexClient(f"http://127.0.0.1:{server.port}") as client:
        assert client.ready()
        assert client.health()["endpoints"]["sum"]["version"] == 3


def test_problems_are_typed_errors(server, client):
    with pytest.raises(InvalidInput, match="'amount'"):
        client.predict("sum", [{**ROW, "amount": "much"}])
    with pytest.raises(NotFound, match="none"):
        client.predict("none", [ROW])
    with CortexClient(f"http://127.0.0.1:{server.port}") as anonymous, pytest.raises(Refused):
        anonymous.predict("sum", [ROW])
    with pytest.raises(ValueError, match="JSON"):
        client.predict("sum", [{**ROW, "amount": math.nan}])
    assert client.predict("sum", [ROW]).predictions == [3.5]  # the connection is still good


def test_a_connection_that_the_server_closed_is_opened_again(client):
    client.predict("sum", [ROW])
    client._connection.sock.shutdown(socket.SHUT_RDWR)
    assert client.predict("sum", [ROW]).predictions == [3.5]


def test_nobody_there_is_transient():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with CortexClient(f"http://127.0.0.1:{port}", timeout=1) as client, pytest.raises(Transient, match="cannot be reached"):
        client.predict("sum", [ROW])


@pytest.mark.parametrize("url", ["", "127.0.0.1:8000", "ftp://x", "http://"])
def test_an_address_that_is_none_is_refused(url):
    with pytest.raises(ConfigError):
        CortexClient(url)
