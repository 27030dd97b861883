"""FAULTS V5, as far as a decoder sees it: what does not fit the signature is refused and the field is named."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime

import pytest

from forge_cortex.server.messages import Field
from forge_cortex.server.problems import Problem
from forge_cortex.server.signature import Signature

FIELDS = (
    Field("dep delay", "double", False),
    Field("n", "int8", True),
    Field("carrier", "dictionary<values=string, indices=int32, ordered=0>", True),
    Field("at", "timestamp[us]", False),
    Field("day", "date32[day]", True),
    Field("late", "bool", False),
)
GOOD = {"dep delay": 1, "n": 2, "carrier": "AA", "at": "2013-01-01T05:00:00", "day": "2013-01-01", "late": True}
ROW = (1.0, 2, "AA", datetime(2013, 1, 1, 5), date(2013, 1, 1), True)


def rows(document: object) -> list:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return Signature(FIELDS).rows(body)


def refused(document: object) -> Problem:
    with pytest.raises(Problem) as caught:
        rows(document)
    return caught.value


@pytest.mark.parametrize(
    "payload",
    [
        {"dataframe_records": [GOOD, GOOD]},
        {"dataframe_split": {"columns": list(GOOD), "index": [0, 1], "data": [list(GOOD.values())] * 2}},
        {"dataframe_split": {"columns": ["extra", *reversed(GOOD)], "data": [[{"x": 1}, *reversed(GOOD.values())]] * 2}},
        {"instances": [GOOD, GOOD]},
        {"instances": [list(GOOD.values()), GOOD]},
        {"inputs": [list(GOOD.values())] * 2},
        {"inputs": {name: [value, value] for name, value in GOOD.items()}},
    ],
    ids=["records", "split", "split in another order", "instances", "instances as arrays", "inputs", "inputs by column"],
)
def test_every_payload_gives_the_same_rows(payload):
    assert rows(payload) == [ROW, ROW]


def test_null_is_for_nullable_columns_and_other_columns_are_ignored():
    assert rows({"dataframe_records": [{**GOOD, "n": None, "carrier": None, "id": "x"}]})[0][1:3] == (None, None)
    assert refused({"dataframe_records": [{**GOOD, "dep delay": None}]}).members == {"field": "dep delay", "row": 0}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("dep delay", "1"), ("dep delay", True), ("dep delay", [1]), ("dep delay", {"a": 1}), ("n", 1.5), ("n", 128), ("n", -129), ("n", True),
        ("carrier", 5), ("at", "yesterday"), ("at", "2013-01-01"), ("at", "2013-01-01T05:00:00Z"), ("at", 5), ("day", "2013-02-30"), ("late", 1),
        ("late", "true"), ("carrier", "A\x00B"),
    ],
)  # fmt: skip
def test_v5_a_wrong_value_is_refused_by_name_in_every_payload(name, value):
    bad = {**GOOD, name: value}
    for payload in (
        {"dataframe_records": [GOOD, bad]},
        {"dataframe_split": {"columns": list(GOOD), "data": [list(GOOD.values()), list(bad.values())]}},
        {"instances": [list(GOOD.values()), list(bad.values())]},
        {"inputs": {column: [GOOD[column], bad[column]] for column in GOOD}},
    ):
        problem = refused(payload)
        assert (problem.status, problem.members) == (422, {"field": name, "row": 1})
        assert name in problem.detail


@pytest.mark.parametrize("name", list(GOOD))
def test_v5_a_missing_field_is_named(name):
    less = {column: value for column, value in GOOD.items() if column != name}
    for payload in (
        {"dataframe_records": [less]},
        {"dataframe_split": {"columns": list(less), "data": [list(less.values())]}},
        {"inputs": {column: [value] for column, value in less.items()}},
    ):
        problem = refused(payload)
        assert problem.status == 422
        assert problem.members["field"] == name


@pytest.mark.parametrize("constant", [b"NaN", b"Infinity", b"-Infinity", b"1e999"])
def test_v5_nan_and_infinity_are_refused_by_name(constant):
    values = json.dumps(list(GOOD.values())).encode()
    for body in (
        json.dumps({"dataframe_records": [GOOD]}).encode().replace(b'"dep delay": 1', b'"dep delay": ' + constant),
        b'{"instances":[' + values.replace(b"[1,", b"[" + constant + b",") + b"]}",
        json.dumps({"inputs": {name: [value] for name, value in GOOD.items()}}).encode().replace(b"[1]", b"[" + constant + b"]"),
    ):
        problem = refused(body)
        assert (problem.status, problem.members) == (422, {"field": "dep delay", "row": 0})


@pytest.mark.parametrize(
    "payload",
    [
        {"instances": [[1, 2]]},
        {"instances": [[*GOOD.values(), 5]]},
        {"instances": [5]},
        {"instances": GOOD},
        {"dataframe_records": GOOD},
        {"dataframe_split": {"columns": list(GOOD), "data": [[1]]}},
        {"dataframe_split": {"columns": [*GOOD, "n"], "data": []}},
        {"dataframe_split": {"columns": 5, "data": []}},
        {"dataframe_split": [1]},
        {"inputs": {name: [value] * (2 if name == "n" else 1) for name, value in GOOD.items()}},
        {"instances": [], "inputs": []},
        {},
        [],
        [GOOD],
        "text",
        None,
    ],
)
def test_v5_a_wrong_shape_is_refused(payload):
    assert refused(payload).status == 422


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b'{"instances":[]} x', b'{"x":' + b"[" * 500_000, b"\x00"])
def test_v5_what_is_no_json_is_400(body):
    assert refused(body).status == 400


def test_v5_deep_json_in_a_column_that_is_ignored_is_refused():
    deep = b"[" * 100_000 + b"]" * 100_000
    assert refused(json.dumps({"dataframe_records": [GOOD]}).encode().replace(b'{"dep', b'{"x":' + deep + b',"dep')).status == 400


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        ("int64", 2**63 - 1, 2**63),
        ("uint8", 255, 256),
        ("uint64", 2**64 - 1, -1),
        ("uint64", 0, 2**64),
        ("uint64", 0, 10**40),
        ("float", 3.0e38, 3.5e38),
        ("halffloat", 65504.0, 65505.0),
        ("timestamp[ns, tz=UTC]", "2013-01-01T05:00:00+02:00", "2013-01-01T05:00:00"),
        ("large_string", "x", 1),
    ],
)
def test_each_type_has_its_bounds(kind, good, bad):
    signature = Signature([Field("x", kind, False)])
    signature.rows(json.dumps({"instances": [[good]]}).encode())
    with pytest.raises(Problem) as caught:
        signature.rows(json.dumps({"instances": [[bad]]}).encode())
    assert caught.value.members["field"] == "x"


def test_a_column_that_json_cannot_carry_is_named():
    with pytest.raises(Problem) as caught:
        Signature([Field("embedding", "list<item: float>", False)]).rows(b'{"instances":[]}')
    assert (caught.value.status, caught.value.members["field"]) == (415, "embedding")


def test_zoned_times_keep_their_instant():
    signature = Signature([Field("at", "timestamp[us, tz=Europe/Berlin]", False)])
    assert signature.rows(b'{"instances":[["2013-01-01T05:00:00+01:00"]]}')[0][0] == datetime(2013, 1, 1, 4, tzinfo=UTC)
