"""The same model served by LitServe, and by starlette with orjson: `python peers.py litserve|starlette echo|forest PORT`."""

from __future__ import annotations

import sys

import litserve
import numpy
import orjson
import uvicorn
from bench_apis import COLUMNS
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route


def trained():
    from sklearn.ensemble import RandomForestClassifier

    random = numpy.random.default_rng(0)
    x = random.normal(size=(2000, COLUMNS))
    return RandomForestClassifier(100, random_state=0, n_jobs=1).fit(x, x[:, 0] + x[:, 1] > 0)


class Echo(litserve.LitAPI):
    def setup(self, device):
        self.model = None

    def decode_request(self, request):
        return request["instances"]

    def predict(self, x):
        return x

    def encode_response(self, output):
        return {"predictions": output}


class Forest(Echo):
    def setup(self, device):
        self.model = trained()

    def batch(self, inputs):
        return numpy.array([one[0] for one in inputs])

    def predict(self, x):
        return self.model.predict_proba(numpy.asarray(x))[:, 1]

    def unbatch(self, output):
        return [[one] for one in output.tolist()]


def main(peer: str, model: str, port: int) -> None:
    if peer == "litserve":
        api = Echo() if model == "echo" else Forest(max_batch_size=32, batch_timeout=0.002)
        litserve.LitServer(api, accelerator="cpu").run(host="127.0.0.1", port=port, generate_client_file=False, log_level="warning")
        return
    forest = trained() if model == "forest" else None

    async def predict(request):
        rows = orjson.loads(await request.body())["instances"]
        answers = rows if forest is None else forest.predict_proba(numpy.array(rows))[:, 1].tolist()
        return Response(orjson.dumps({"predictions": answers}), media_type="application/json")

    uvicorn.run(
        Starlette(routes=[Route("/predict", predict, methods=["POST"])]), host="127.0.0.1", port=port, log_level="warning", access_log=False
    )


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
