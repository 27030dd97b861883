"""What was predicted beside what came true, as numbers."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from attrs import field, frozen
from numpy.typing import NDArray

from forge_core.contracts import Predictor
from forge_core.faults import InvalidInput
from forge_core.records import JSON, ModelSpec, TaskKind
from forge_tabular.answer import classes_of, probabilities_of
from forge_tabular.columns import Matrix, column_of, table_of
from forge_tabular.target import is_label, plain, read_target


@frozen
class Outcome:
    """For classifiers `actual` and `predicted` are codes into `classes`, the columns of `probabilities`; else amounts."""

    task: TaskKind
    actual: NDArray[np.generic] = field(repr=False, eq=False)
    predicted: NDArray[np.generic] = field(repr=False, eq=False)
    probabilities: Matrix = field(factory=lambda: np.empty((0, 0)), repr=False, eq=False)
    classes: tuple[JSON, ...] = ()


def read_outcome(spec: ModelSpec, predictor: Predictor, table: pa.Table) -> Outcome:
    """Predict the rows of `table` without their target, and set it beside the answer.

    A label that a multiclass model does not know counts as wrong, at probability zero.
    """
    if not len(table):
        raise InvalidInput("there are no rows to evaluate on", "look at the split and the data set's conditions")
    truth = column_of(table, spec.target)
    if truth.null_count:
        raise InvalidInput(
            f"the target {spec.target!r} is null in {truth.null_count} of {len(truth)} rows", f"leave them out: {spec.target} is not null"
        )
    answer = table_of(predictor.predict(table.drop_columns([spec.target])))
    if len(answer) != len(table):
        raise InvalidInput(f"the model answered {len(answer)} rows for {len(table)}", "its predict must give one row for each")
    if "probabilities" not in answer.column_names:
        return Outcome(
            "regression",
            read_target(table, spec.target, "regression").values,
            column_of(answer, "prediction").to_numpy().astype(np.float64),
        )
    return _classified(answer, plain(truth), spec.target)


def _classified(answer: pa.Table, truth: pa.ChunkedArray, name: str) -> Outcome:
    if not is_label(truth.type, "binary"):
        raise InvalidInput(
            f"the target {name!r} is {truth.type}, and the model is a classifier", "evaluate on the column that it was trained on"
        )
    predicted = plain(column_of(answer, "prediction"))
    probabilities = probabilities_of(answer)
    classes = classes_of(answer) or _labels(truth, predicted, probabilities.shape[1])
    known = pa.array(classes)
    try:
        actual = pc.index_in(truth.cast(known.type), value_set=known)
        codes = pc.index_in(predicted.cast(known.type), value_set=known)
    except pa.ArrowInvalid as error:
        raise InvalidInput(
            f"the target {name!r} is {truth.type}, and the model's classes are {known.type}",
            "evaluate on the column that it was trained on",
        ) from error
    if codes.null_count:
        raise InvalidInput("the model predicted a label that is not among its classes", "train it again")
    strange = sorted(pc.unique(truth.filter(pc.is_null(actual))).to_pylist())
    if strange and len(classes) == 2:
        raise InvalidInput(
            f"the target {name!r} has {strange[0]!r}, and the model knows only {classes[0]!r} and {classes[1]!r}", "leave such rows out"
        )
    if strange:
        classes = (*classes, *strange)
        actual = pc.index_in(truth, value_set=pa.array(classes, truth.type))
        probabilities = np.hstack([probabilities, np.zeros((len(truth), len(strange)))])
    task: TaskKind = "binary" if len(classes) == 2 else "multiclass"
    return Outcome(task, actual.to_numpy().astype(np.int64), codes.to_numpy().astype(np.int64), probabilities, classes)


def _labels(truth: pa.ChunkedArray, predicted: pa.ChunkedArray, width: int) -> tuple[JSON, ...]:
    """The classes of an answer that does not tell them: all labels seen, if they are as many as there are probabilities."""
    seen = {*pc.unique(truth).to_pylist(), *pc.unique(predicted).to_pylist()}
    for usual in ([False, True], [0, 1]):
        if width == 2 and seen <= set(usual) and {type(label) for label in seen} == {type(usual[0])}:
            seen = set(usual)
    if len(seen) != width:
        raise InvalidInput(
            f"the model gives {width} probabilities, and these rows have {len(seen)} labels", "evaluate on rows of every class"
        )
    return tuple(sorted(seen))
