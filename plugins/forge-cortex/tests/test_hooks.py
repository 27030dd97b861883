"""LitAPI's hooks keep LitServe's meaning; one request's fault is no other's."""

from __future__ import annotations

import json

import litserve
import pytest
from cortex_apis import Echo
from starlette.exceptions import HTTPException

from forge_core.faults import ConfigError, InvalidInput
from forge_cortex.server.frames import Kind, Request
from forge_cortex.server.hooks import Ended, Hooks


def ask(hooks: Hooks, *bodies: object) -> list[tuple[int, object]]:
    requests = [Request(7, 0.0, Kind.JSON, body if isinstance(body, bytes) else json.dumps(body).encode()) for body in bodies]
    return [(one.status, json.loads(one.body) if one.status == 200 else one.body.decode()) for one in hooks.answer(requests)]


class Single(litserve.LitAPI):
    def setup(self, device):
        self.offset = 1 if device == "cpu" else 0

    def predict(self, x, context):
        context["seen"] = x
        if x == 13:
            raise InvalidInput("column 'x' is unlucky", "")
        if x == 14:
            raise HTTPException(418, "short and stout")
        return x + self.offset

    def encode_response(self, output, context):
        return {"y": output, "x": context["seen"]}


def test_an_unbatched_api_is_called_once_a_request_with_its_context():
    assert ask(Hooks(Single()), 1, 2) == [(200, {"predictions": {"y": 2, "x": 1}}), (200, {"predictions": {"y": 3, "x": 2}})]


def test_what_the_model_says_of_its_input_reaches_the_client_and_nothing_else_does():
    assert ask(Hooks(Single()), 13) == [(422, "column 'x' is unlucky")]
    assert ask(Hooks(Single()), 14) == [(418, "short and stout")]
    assert ask(Hooks(Single()), "text") == [(500, "the model failed")]


def test_batch_neighbours_of_a_bad_request_are_unaffected():
    said = ask(Hooks(Echo()), {"x": 1}, {"x": "raise"}, {"y": 1}, b"no json", {"x": 2})
    assert [status for status, _ in said] == [200, 500, 500, 400, 200]
    assert said[4][1] == {"predictions": {"x": 2, "by": 1}}
    assert "secret" not in str(said)


def test_a_model_that_exits_answers_its_batch_first():
    with pytest.raises(Ended) as caught:
        ask(Hooks(Echo()), {"x": 1}, {"x": "exit"})
    assert [one.status for one in caught.value.replies] == [500, 500]


def test_streaming_and_async_apis_are_refused_by_name():
    api = Echo()
    api.stream = True
    with pytest.raises(ConfigError, match="streaming"):
        Hooks(api)


def test_numpy_answers_are_encoded():
    import numpy

    class Numbers(Single):
        def predict(self, x):
            return numpy.arange(x)

        def encode_response(self, output):
            return output

    assert ask(Hooks(Numbers()), 3) == [(200, {"predictions": [0, 1, 2]})]
