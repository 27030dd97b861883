"""HTTP as a client sees it, over real TCP: FAULTS V5, answers, limits, access, pages."""

from __future__ import annotations

import json
import socket
import threading
import time

import pyarrow as pa
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from forge_cortex.server import arrow
from forge_cortex.server.listeners import InUse, listen

ARROW = "application/vnd.apache.arrow.stream"
ROW = {"amount": 1.5, "count": 2, "carrier": "AA", "at": "2013-01-01T05:00:00Z", "day": "2013-01-01", "late": True}
TABLE = pa.table({"amount": [1.5, 2.5], "count": [2, None], "carrier": ["AA", None], "late": [True, False]}).append_column(
    "at", pa.array([0, 1], pa.timestamp("us", "UTC"))
).append_column("day", pa.array([0, 1], pa.date32()))  # fmt: skip


@pytest.fixture(scope="module")
def server(shared, summing, echo):
    made = shared(limits={"body": 200_000})
    made.desire(summing, echo())
    return made


def summed(server, body, **headers):
    return server.post("/predict/sum", body, **headers)


def test_each_answer_names_version_and_request(server):
    for payload in (
        {"dataframe_records": [ROW, {**ROW, "count": None}]},
        {"dataframe_split": {"columns": list(ROW), "data": [list(ROW.values()), [1.5, None, *list(ROW.values())[2:]]]}},
        {"inputs": {name: [value, None if name == "count" else value] for name, value in ROW.items()}},
    ):
        answered = summed(server, payload)
        assert answered.status == 200
        said = answered.json
        assert said.pop("request_id") == answered.headers["x-request-id"]
        assert said == {"predictions": [3.5, 1.5], "model": "summing", "version": 3}
        assert answered.headers["x-request-id"].startswith("req_sum.1.0.")
    assert summed(server, {"instances": []}).json["predictions"] == []
    assert server.post("/invocations", {"instances": [ROW]}).json["model"] == "summing"
    assert server.post("/predict/e", {"x": [1, {"y": None}]}).json["predictions"] == {"x": [1, {"y": None}], "by": 1}


def test_arrow_streams_are_answered_in_json_or_arrow(server):
    answered = server.post("/predict/sum", arrow.to_stream(TABLE), ARROW)
    assert (answered.status, answered.json["predictions"]) == (200, [3.5, 2.5])
    answered = server.post("/predict/sum", arrow.to_stream(TABLE), ARROW, accept=ARROW)
    assert answered.headers["content-type"] == ARROW
    assert pa.ipc.open_stream(answered.body).read_all().to_pydict() == {"prediction": [3.5, 2.5]}
    assert (answered.headers["x-forge-model"], answered.headers["x-forge-version"]) == ("summing", "3")
    assert answered.headers["x-request-id"].startswith("req_sum.1.0.")
    refused = server.post("/predict/sum", arrow.to_stream(TABLE.drop_columns(["late"])), ARROW, accept=ARROW)
    assert (refused.status, refused.headers["content-type"]) == (422, "application/problem+json")
    assert "'late'" in refused.json["detail"]


def test_v5_bad_requests_are_problem_documents_that_name_the_field(server):
    good = json.dumps({"dataframe_records": [ROW]}).encode()
    table = [
        (good.replace(b"1.5", b'"much"'), "application/json", 422, "amount"),
        (good.replace(b"1.5", b"NaN"), "application/json", 422, "amount"),
        (good.replace(b"1.5", b"1e999"), "application/json", 422, "amount"),
        (good.replace(b"1.5", b"null"), "application/json", 422, "amount"),
        (good.replace(b'"amount"', b'"amuont"'), "application/json", 422, "amount"),
        (good.replace(b"AA", b"A\\u0000A"), "application/json", 422, "carrier"),
        (good.replace(b"2,", b"2.5,"), "application/json", 422, "count"),
        (good.replace(b"05:00:00Z", b"05:00:00"), "application/json", 422, "at"),
        (b'{"instances": [[1, 2]]}', "application/json", 422, None),
        (b'{"instances": ' + b"[" * 90_000, "application/json", 422, "amount"),
        (b'{"junk": ' + b"[" * 90_000, "application/json", 400, None),
        (b"", "application/json", 400, None),
        (b"{", "application/json", 400, None),
        (good, "text/csv", 415, None),
        (good, "", 415, None),
        (b"not arrow", ARROW, 422, None),
        (b" " * 200_001, "application/json", 413, None),
        (b" " * 800_000, "application/json", 413, None),
    ]
    for body, content_type, status, field in table:
        answered = summed(server, body, content_type=content_type)
        problem = answered.json
        assert answered.headers["content-type"] == "application/problem+json"
        assert (answered.status, problem["status"], problem.get("field")) == (status, status, field), (body[:80], problem)
        assert problem["request_id"] == answered.headers["x-request-id"]
        assert field is None or field in problem["detail"]
    assert summed(server, good).status == 200
    chunked = (b" " * 1000 for _ in range(300))
    assert server.request("POST", "/predict/sum", chunked, {"content-type": "application/json"}).status == 413


def test_v5_batch_neighbours_of_a_request_that_fails_are_unaffected(server):
    wrong, results = {**ROW, "amount": 666.0}, {}

    def ask(number: int) -> None:
        row = wrong if number % 5 == 0 else {**ROW, "amount": float(number), "count": None}
        stream = number % 7 == 0
        for _ in range(20):
            body = arrow.to_stream(TABLE.slice(0, 1)) if stream else {"dataframe_records": [row]}
            answered = server.post("/predict/sum", body, ARROW if stream else "application/json")
            results.setdefault(number, []).append((answered.status, answered.json.get("predictions")))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(1, 17)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    for number, answers in results.items():
        expected = (200, [3.5]) if number % 7 == 0 else (500, None) if number % 5 == 0 else (200, [float(number)])
        assert answers == [expected] * 20


def test_v10_a_failure_of_the_model_shows_an_id_and_no_secret(server):
    answered = server.post("/predict/e", {"x": "raise"})
    assert (answered.status, answered.json["detail"]) == (500, "the model failed")
    assert b"7f3a" not in answered.body
    assert server.post("/predict/e", {"x": "exit"}).status == 500
    while (status := server.post("/predict/e", {"x": 1}).status) != 200:
        assert status == 503


def test_methods_paths_and_hostile_names(server):
    answered = server.get("/predict/e")
    assert (answered.status, answered.headers["allow"]) == (405, "POST")
    for path in (
        "/predict/none",
        "/predict/",
        "/predict/..%2f..%2fetc%2fpasswd",
        "/predict/e%00",
        "/predict/e/",
        "/predict/E",
        "/predict/" + "a" * 5000,
        "/nowhere",
    ):
        assert server.post(path, {"x": 1}).status == 404, path
    assert server.post("/healthz", {}).status == 405


def test_a_full_queue_is_429_and_a_late_answer_504(serving, echo):
    server = serving(limits={"timeout": 1.0, "queue": 4, "batch": 1})
    server.desire(echo(sleep=0.7))
    seen, lock = [], threading.Lock()

    def ask() -> None:
        begun = time.monotonic()
        answered = server.post("/predict/e", {"x": 1})
        with lock:
            seen.append((answered.status, time.monotonic() - begun, answered.headers.get("retry-after")))

    threads = [threading.Thread(target=ask) for _ in range(12)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    statuses = [status for status, _, _ in seen]
    assert statuses.count(429) >= 12 - 5 - 1
    assert 200 in statuses
    assert 504 in statuses
    assert all(took < 0.5 and wait == "1" for status, took, wait in seen if status == 429)
    assert all(1.0 <= took < 1.5 for status, took, _ in seen if status == 504)


def test_a_body_that_never_comes_is_408(serving, echo):
    server = serving(limits={"timeout": 0.5})
    server.desire(echo())
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(b"POST /predict/e HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{")
        client.settimeout(3)
        assert client.recv(1000).startswith(b"HTTP/1.1 408")


def test_access_is_asked_for_each_endpoint_and_page(serving, echo):
    server = serving(closed=True)
    server.desire(echo(endpoint="open"), echo(endpoint="other"))
    good, admin = {"authorization": "Bearer good"}, {"authorization": "Bearer admin"}
    body = {"x": 1}
    missing = server.post("/predict/open", body)
    assert (missing.status, missing.headers["www-authenticate"]) == (401, "Bearer")
    assert missing.headers["content-type"] == "application/problem+json"
    assert server.post("/predict/open", body, authorization="Bearer wrong").status == 401
    assert server.post("/predict/open", body, authorization="Basic Z29vZA==").status == 401
    for _ in range(3):
        assert server.post("/predict/open", body, **good).status == 200
        assert server.post("/predict/other", body, **good).status == 403
        assert server.post("/predict/none", body, **good).status == 403
        assert server.post("/predict/none", body, **admin).status == 404
        assert server.post("/predict/open", body).status == 401
    for page in ("/metrics", "/docs", "/openapi.json"):
        assert (server.get(page).status, server.get(page, **good).status, server.get(page, **admin).status) == (401, 403, 200)
    for page in ("/healthz", "/readyz", "/ping", "/version"):
        assert server.get(page).status == 200


def test_metrics_are_right_across_gateways_and_workers(serving, echo):
    server = serving(gateways=2, workers=2)
    server.desire(echo())

    def ask(number: int) -> None:
        for turn in range(10):
            server.post("/predict/e", {"x": 1} if (number + turn) % 2 else b"{")

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(12)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    values = {
        (one.name, one.labels.get("code", "")): one.value
        for family in text_string_to_metric_families(server.get("/metrics").body.decode())
        for one in family.samples
        if one.labels.get("endpoint") != "-" and "le" not in one.labels
    }
    assert values["forge_requests_total", "200"] == 60
    assert values["forge_requests_total", "400"] == 60
    assert values["forge_request_duration_seconds_count", ""] == 120
    assert values["forge_requests_in_flight", ""] == 0
    assert values["forge_batched_requests_total", ""] == 120
    assert values["forge_ready", ""] == 1


def test_the_openapi_document_describes_each_signature(server):
    said = server.get("/openapi.json").json
    payloads = said["paths"]["/predict/sum"]["post"]["requestBody"]["content"]["application/json"]["schema"]["oneOf"]
    row = payloads[0]["properties"]["dataframe_records"]["items"]
    assert row["required"] == list(ROW)
    assert row["properties"]["amount"] == {"type": "number"}
    assert b"<code>carrier</code> string or null" in server.get("/docs").body


def test_one_answer_does_not_wait_for_a_timer(server):
    server.post("/predict/e", {"x": 1})
    begun = time.monotonic()
    for _ in range(200):
        assert server.post("/predict/e", {"x": 1}).status == 200
    assert time.monotonic() - begun < 200 * 0.02  # Nagle's algorithm alone would take 0.04 each


def test_a_port_in_use_is_told_and_no_strangers_server_is_joined():
    taken = listen("127.0.0.1", 0, 2)
    assert len({one.getsockname() for one in taken}) == 1
    for count in (1, 2):
        with pytest.raises(InUse, match="in use"):
            listen("127.0.0.1", taken[0].getsockname()[1], count)
    for one in taken:
        one.close()
