"""A registered model version as a LitAPI: raw rows or Arrow streams in, predictions out, one Arrow table a batch."""

from __future__ import annotations

import time
from collections.abc import Sequence

import litserve
import pyarrow as pa
from attrs import frozen

from forge_core.kernel import Kernel
from forge_core.operations import acting_as
from forge_core.records.auth import Session
from forge_core.records.data import JSON
from forge_core.records.runs import KernelSpec
from forge_core.serialize import from_json
from forge_cortex.server import arrow
from forge_cortex.server.frames import Kind
from forge_cortex.server.hooks import Answer, Input
from forge_cortex.server.messages import Field
from forge_cortex.server.signature import Row


@frozen
class Part:
    """One request's rows, as they came, or its share of the batch's answers; `kind` is how it wants to be answered."""

    kind: Kind
    rows: list[Row] | pa.Table


@frozen
class Batch:
    """Requests as one table: `parts` tells the kind and the number of rows of each, in order."""

    table: pa.Table
    parts: Sequence[tuple[Kind, int]]


class RegistryLitAPI(litserve.LitAPI):  # type: ignore[misc]
    """Loads `selector` through a kernel of its own, so that what guards models guards this one.

    The project's monitor is given every batch with its inputs, its answers and the model's own time for it.
    """

    def __init__(self, spec: KernelSpec, session: Session, endpoint: str, selector: str, max_batch_size: int) -> None:
        super().__init__(max_batch_size=max_batch_size)
        self._spec_of_kernel, self._session, self._endpoint, self._selector = spec, session, endpoint, selector
        self._warm = False
        self.signature: tuple[Field, ...] = ()

    def setup(self, device: str) -> None:
        kernel = Kernel.from_spec(self._spec_of_kernel)
        with acting_as(self._session):
            self._model = kernel.load_model(self._selector)
            self._monitor = kernel.monitor
        self.signature = tuple(Field(column.name, column.type, column.nullable) for column in self._model.manifest.inputs)
        self._reader = arrow.Reader(self.signature)

    def example(self) -> Input:
        return Input(Kind.STREAM, arrow.to_stream(self._reader.example()))

    def decode_request(self, request: Input) -> Part:
        rows = self._reader.unpack(request.body) if request.kind == Kind.ROWS else self._reader.stream(request.body)
        return Part(request.kind, rows)

    def batch(self, inputs: Sequence[Part]) -> Batch:
        tables: list[pa.Table] = []
        rows: list[Row] = []
        for part in inputs:
            if isinstance(part.rows, list):
                rows += part.rows
                continue
            if rows:
                tables.append(self._reader.table(rows))
                rows = []
            tables.append(part.rows)
        if rows or not tables:
            tables.append(self._reader.table(rows))
        table = tables[0] if len(tables) == 1 else pa.concat_tables(tables).combine_chunks()
        return Batch(table, [(part.kind, len(part.rows)) for part in inputs])

    def predict(self, x: Part | Batch) -> Part | Batch:
        if isinstance(x, Part):
            return self.unbatch(self._predicted(self.batch([x])))[0]
        return self._predicted(x)

    def unbatch(self, output: Batch) -> list[Part]:
        """Slices of the answers. The common case, JSON all through, takes them out of Arrow once."""
        parts, at = [], 0
        columns = None
        for kind, count in output.parts:
            if kind == Kind.ARROW:
                parts.append(Part(kind, output.table.slice(at, count)))
            else:
                if columns is None:
                    columns = [
                        output.table.column(name).to_pylist()
                        for name in ("prediction", "probabilities")
                        if name in output.table.column_names
                    ]
                parts.append(Part(kind, [tuple(column[at : at + count]) for column in columns]))
            at += count
        return parts

    def encode_response(self, output: Part) -> Answer | bytes:
        if isinstance(output.rows, pa.Table):
            return arrow.to_stream(output.rows)
        return Answer(*output.rows)

    def _predicted(self, batch: Batch) -> Batch:
        began = time.perf_counter()
        with acting_as(self._session):
            answers = pa.table(self._model.predict(batch.table))
            if len(answers) != len(batch.table):
                raise RuntimeError("the model did not answer each row once")
            if self._warm:  # the first prediction is the one that warms up
                took = (time.perf_counter() - began) * 1000
                self._monitor.record(self._endpoint, self._model.metadata.version, batch.table, answers, [took] * len(batch.parts))
        self._warm = True
        return Batch(answers, batch.parts)


def registry_api(spec: JSON, session: JSON, endpoint: str, selector: str, max_batch_size: int) -> RegistryLitAPI:
    """The factory that a `WorkerSpec` names; its arguments are JSON."""
    return RegistryLitAPI(from_json(spec, KernelSpec), from_json(session, Session), endpoint, selector, max_batch_size)
