from __future__ import annotations

import os

from prometheus_client.openmetrics.parser import text_string_to_metric_families

from forge_cortex.server.metrics import BUCKETS, Board, exposition


def test_numbers_of_several_processes_are_summed_and_parse_as_openmetrics():
    board, labels = Board(4), [("-", "", 0), ("churn", 'a"b\\c', 3), ("", 'a"b\\c', 3)]
    for slot in range(3):
        if os.fork() == 0:
            for _ in range(100 * (slot + 1)):
                board.series(slot, 1).started()
                board.series(slot, 1).finished(200 if slot else 422, 0.004)
            board.series(slot, 2).batch(8, 0.5)
            os._exit(0)
    for _ in range(3):
        os.wait()
    board.series(3, 1).started()
    text = exposition(board, labels, [("forge_ready", "Ready.", 1.0)]).decode()
    samples = {
        (one.name, one.labels.get("code") or one.labels.get("le")): one
        for family in text_string_to_metric_families(text)
        for one in family.samples
        if one.labels.get("endpoint") != "-"
    }
    assert samples["forge_requests_total", "200"].value == 500
    assert samples["forge_requests_total", "422"].value == 100
    assert samples["forge_requests_total", "200"].labels == {"endpoint": "churn", "model": 'a"b\\c', "version": "3", "code": "200"}
    assert samples["forge_request_duration_seconds_bucket", str(BUCKETS[1])].value == 0
    assert samples["forge_request_duration_seconds_bucket", str(BUCKETS[2])].value == 600
    assert samples["forge_request_duration_seconds_count", None].value == 600
    assert samples["forge_requests_in_flight", None].value == 1
    assert samples["forge_batched_requests_total", None].value == 24


def test_what_a_dead_process_had_in_flight_is_forgotten():
    board = Board(1)
    board.series(0, 5).started()
    board.settle(0)
    assert "in_flight{" not in exposition(board, [("-", "", 0)], []).decode().replace('in_flight{endpoint="-"} 0', "")
