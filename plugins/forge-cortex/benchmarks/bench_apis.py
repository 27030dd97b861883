"""What is measured: an echo of 30 floats, typed for Forge, and a forest of 100 trees on 30 columns."""

from __future__ import annotations

import litserve
import numpy

from forge_cortex.server.frames import Kind
from forge_cortex.server.hooks import Input
from forge_cortex.server.messages import Field
from forge_cortex.server.problems import Problem
from forge_cortex.server.signature import Signature, row_type

COLUMNS = 30
FIELDS = tuple(Field(f"x{index}", "double", False) for index in range(COLUMNS))


class Typed(litserve.LitAPI):
    """Rows that the gateway has validated."""

    def __init__(self) -> None:
        import msgspec

        super().__init__(max_batch_size=64)
        self.signature = FIELDS
        self._decode = msgspec.msgpack.Decoder(list[row_type(FIELDS)]).decode

    def setup(self, device):
        pass

    def example(self):
        return Input(Kind.ROWS, Signature(FIELDS).pack([(0.0,) * COLUMNS]))

    def decode_request(self, request):
        return self._decode(request.body)

    def batch(self, inputs):
        return inputs

    def predict(self, x):
        return x

    def unbatch(self, output):
        return output

    def encode_response(self, output):
        return output


class Forest(Typed):
    def setup(self, device):
        from sklearn.ensemble import RandomForestClassifier

        random = numpy.random.default_rng(0)
        x = random.normal(size=(2000, COLUMNS))
        self.model = RandomForestClassifier(100, random_state=0, n_jobs=1).fit(x, x[:, 0] + x[:, 1] > 0)

    def predict(self, x):
        rows = [row for part in x for row in part]
        answers, at, out = self.model.predict_proba(numpy.array(rows))[:, 1].tolist(), 0, []
        for part in x:
            out.append(answers[at : at + len(part)])
            at += len(part)
        return out


class Keys:
    def check(self, token, action, resource):
        if token != "good":
            raise Problem(401, "a key is needed")
        return True


def echo() -> Typed:
    return Typed()


def forest() -> Forest:
    return Forest()


def keys() -> Keys:
    return Keys()
