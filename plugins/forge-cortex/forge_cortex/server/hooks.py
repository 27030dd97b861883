"""Runs the hooks of a `litserve.LitAPI` over what is waiting: setup, decode_request, batch, predict, unbatch, encode_response.

LitServe's meaning of them is kept (batch and unbatch where `max_batch_size` is above one, `context` where a hook asks for it);
its server, queue and loops are not used.
"""

from __future__ import annotations

import inspect
import logging
import traceback
from collections.abc import Callable, Sequence
from typing import Any

import litserve
import msgspec
from starlette.exceptions import HTTPException

from forge_core.faults import ConfigError, InvalidInput
from forge_cortex.server.frames import LARGEST, Kind, Reply, Request
from forge_cortex.server.messages import Field

logger = logging.getLogger(__name__)
_ENCODE = msgspec.json.Encoder(enc_hook=lambda value: value.tolist()).encode  # numpy's arrays and scalars
FATAL = (SystemExit, KeyboardInterrupt, MemoryError)


class Answer(msgspec.Struct, omit_defaults=True):
    """The members of an answer that come from the model; a LitAPI's own output stands in `predictions`."""

    predictions: Any
    probabilities: Any = None


class Input(msgspec.Struct):
    """What an API with a signature is given to decode."""

    kind: Kind
    body: bytes


class Ended(BaseException):
    """The model ended or exhausted the process: the batch is answered, the worker has to go."""

    def __init__(self, replies: list[Reply]) -> None:
        super().__init__()
        self.replies = replies


class Hooks:
    """One API, set up. An API with the attribute `signature` is given `Input`s, any other the request's JSON."""

    def __init__(self, api: litserve.LitAPI, device: str = "cpu") -> None:
        if api.stream or api.enable_async:
            raise ConfigError("streaming and async LitAPIs cannot be served yet", "give stream=False and enable_async=False")
        self._api = api
        api.pre_setup()
        api.device = device
        api.setup(device)
        self.signature: tuple[Field, ...] | None = getattr(api, "signature", None)
        self._batched = api.max_batch_size > 1
        self.limit = api.max_batch_size
        self._takes_context = {
            name: "context" in inspect.signature(getattr(api, name)).parameters
            for name in ("decode_request", "batch", "predict", "unbatch", "encode_response")
        }

    def warm_up(self) -> None:
        """Predict once where the API knows an example; complaints about the example's values alone are not held against the model."""
        example: Callable[[], Input] | None = getattr(self._api, "example", None)
        if example is None:
            return
        given = example()
        try:
            context: dict[str, Any] = {}
            self._outputs([self._decoded(Request(0, 0.0, given.kind, given.body), context)], [context])
        except (InvalidInput, ValueError) as error:
            logger.warning("the model refuses the row it was warmed up with: %s", type(error).__name__)

    def answer(self, requests: Sequence[Request]) -> list[Reply]:
        """A reply for each, in order; one that cannot be answered does not harm the others. Raises `Ended`."""
        try:
            return self._answer(requests)
        except FATAL as error:
            logger.error("the model ended its worker: %s", type(error).__name__)
            raise Ended([Reply(one.number, 500, Kind.JSON, b"the model failed") for one in requests]) from None

    def _answer(self, requests: Sequence[Request]) -> list[Reply]:
        replies: dict[int, Reply] = {}
        waiting, inputs, contexts = [], [], []
        for place, one in enumerate(requests):
            context: dict[str, Any] = {}
            try:
                inputs.append(self._decoded(one, context))
            except Exception as error:
                replies[place] = _failure(one, error)
            else:
                waiting.append(place)
                contexts.append(context)
        if waiting:
            try:
                outputs = self._outputs(inputs, contexts)
            except Exception as error:
                alone = len(waiting) == 1  # else find out whose fault it was
                for place in waiting:
                    replies[place] = _failure(requests[place], error) if alone else self._answer((requests[place],))[0]
            else:
                for place, output, context in zip(waiting, outputs, contexts, strict=True):
                    replies[place] = self._encoded(requests[place], output, context)
        return [replies[place] for place in range(len(requests))]

    def _decoded(self, one: Request, context: dict[str, Any]) -> Any:
        given = Input(Kind(one.kind), one.body) if self.signature is not None else msgspec.json.decode(one.body)
        return self._call("decode_request", context, request=given)  # LitServe calls it by this name

    def _outputs(self, inputs: list[Any], contexts: list[dict[str, Any]]) -> Sequence[Any]:
        if not self._batched:
            return [self._call("predict", context, one) for one, context in zip(inputs, contexts, strict=True)]
        made = self._call("predict", contexts, self._call("batch", contexts, inputs))
        outputs: Sequence[Any] = self._call("unbatch", contexts, made)
        if len(outputs) != len(inputs):
            raise RuntimeError(f"unbatch gave {len(outputs)} outputs for {len(inputs)} inputs")
        return outputs

    def _encoded(self, one: Request, output: Any, context: dict[str, Any]) -> Reply:
        try:
            encoded = self._call("encode_response", context, output)
            if one.kind == Kind.ARROW:
                kind, body = Kind.ARROW, encoded
            else:
                kind, body = Kind.JSON, _ENCODE(encoded if isinstance(encoded, Answer) else Answer(encoded))
            if len(body) > LARGEST // 2:
                return Reply(one.number, 413, Kind.JSON, b"the answer is too large: ask for fewer rows")
            return Reply(one.number, 200, kind, body)
        except Exception as error:
            return _failure(one, error)

    def _call(self, name: str, context: Any, *args: Any, **kwargs: Any) -> Any:
        hook = getattr(self._api, name)
        return hook(*args, **kwargs, context=context) if self._takes_context[name] else hook(*args, **kwargs)


def _failure(one: Request, error: Exception) -> Reply:
    """What a client may know: complaints about its input as they are, of anything else only that it happened."""
    if isinstance(error, InvalidInput):
        return Reply(one.number, 422, Kind.JSON, error.cause.encode())
    if isinstance(error, msgspec.DecodeError | RecursionError) and one.kind == Kind.JSON:
        return Reply(one.number, 400, Kind.JSON, b"the body is not JSON that this model can read")
    if isinstance(error, HTTPException) and 400 <= error.status_code < 600:
        return Reply(one.number, error.status_code, Kind.JSON, str(error.detail).encode())
    place = traceback.extract_tb(error.__traceback__)[-1]
    logger.error("the model failed: %s at %s:%s", type(error).__name__, place.filename, place.lineno)  # its text may hold a secret
    return Reply(one.number, 500, Kind.JSON, b"the model failed")
