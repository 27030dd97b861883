"""The four standard stages: short functions over contracts. What passes between them is Arrow files and JSON.

Needs the extra `arrow`. Each stage is a step's function: its arguments are the step's parameters, the outputs of the
steps it needs, its `task` and the `kernel`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
from attrs import evolve, frozen

from forge_core import splits
from forge_core.contracts.flavor import Predictor
from forge_core.contracts.trainer import Trainer
from forge_core.contracts.transform import Transformation
from forge_core.faults import Conflict, ForgeError, InvalidInput, NotFound
from forge_core.files import write_atomically
from forge_core.models import FORMAT, Thresholded, columns_of, load_folder, read_manifest
from forge_core.progress import StepContext
from forge_core.records.data import JSON, ArrowStream, DatasetSpec, DatasetVersion, Query, TrainingData
from forge_core.records.models import FittedTransform, ModelDraft, ModelMetadata, ModelSpec, ModelStatus, TrainedModel, Training
from forge_core.records.runs import DeploymentSpec, Task, TransformSpec
from forge_core.serialize import digest_of, from_json, to_json

if TYPE_CHECKING:
    from forge_core.kernel import Kernel

TARGET_NAMES = ("target", "label", "y")


class RequirementMissed(ForgeError):
    """The version was published as FAILED: it does not reach what `require` asks for."""

    kind = "requirement_missed"


def prepare(
    task: Task,
    kernel: Kernel,
    dataset: Mapping[str, JSON],
    transforms: Sequence[Mapping[str, JSON]],
    target: str,
    features: Sequence[str] | None,
    training: Mapping[str, JSON],
) -> JSON:
    """DATA_PREPARATION: fetch, change rows, split, fit the transforms on the training part alone, apply them to both parts."""
    how, source = from_json(training, Training), from_json(dataset, DatasetSpec)
    data = _fetch(task, kernel, source, target, features, how.order_by)
    opened = data.open()
    read = opened.read_all() if isinstance(opened, pa.RecordBatchReader) else pa.table(opened)  # a C stream loses an error's type
    target = _target(target, read.column_names)
    specs = [from_json(one, TransformSpec) for one in transforms]
    table = _with_target(read, target)
    unlabelled = read.num_rows - table.num_rows
    for spec in specs:
        if not (transform := _transform(kernel, spec, target)).by_row:
            table = _arrow(transform.apply(table, {}))
    raw_train, raw_test = splits.split(table, how)
    if features is not None and how.order_by is not None and how.order_by not in features:
        raw_train, raw_test = raw_train.drop_columns([how.order_by]), raw_test.drop_columns([how.order_by])
    fitted, train_part = fit(kernel, specs, raw_train, target)
    parts = {"raw_train": raw_train, "raw_test": raw_test, "train": train_part, "test": transformed(kernel, fitted, raw_test, target)}
    task.folder.mkdir(parents=True, exist_ok=True)
    for name, part in parts.items():
        _write(part, task.folder / f"{name}.arrow")
    return {
        "dataset": to_json(data.version),
        "query": to_json(data.query),
        "target": target,
        "inputs": to_json([one for one in columns_of(raw_train.schema) if one.name != target]),
        "transforms": to_json(fitted),
        "rows": {"read": read.num_rows, "without_target": unlabelled, "train": raw_train.num_rows, "test": raw_test.num_rows},
    }


def train(
    task: Task, kernel: Kernel, model: Mapping[str, JSON], transforms: Sequence[Mapping[str, JSON]], prepare: Mapping[str, JSON]
) -> JSON:
    """TRAINING: the model on the whole training part, as files; then folds, for cross-validation and the threshold."""
    spec = evolve(from_json(model, ModelSpec), target=prepare["target"])
    trainer = kernel.driver("trainer", spec.type)
    parts = Path(prepare["folder"])
    folds = splits.folds(_read(parts / "raw_train.arrow"), spec)
    task.folder.mkdir(parents=True, exist_ok=True)
    crossed = _Crossed({}, None)
    with StepContext(kernel, task, spec.training.seed, spec.name, to_json(spec.hyperparameters)) as context:
        context.share(0, len(folds) + 1)
        trained = trainer.train(spec, _data(parts / "train.arrow", prepare), context)
        if folds:
            crossed = _cross_validate(kernel, trainer, evolve(spec, task=trained.task), trained.classes, transforms, parts, folds, context)
        context.log_metrics({f"cross_validation_{name}": value for name, value in crossed.metrics.items()}, 0)
    trained = evolve(trained, threshold=crossed.threshold if crossed.threshold is not None else trained.threshold)
    _save(kernel, trained, task.folder / "model", prepare, _read(parts / "train.arrow").slice(0, 100).drop_columns([spec.target]))
    return {
        "flavor": trained.flavor,
        "task": trained.task,
        "metrics": dict(trained.metrics),
        "cross_validation": dict(crossed.metrics),
        "threshold": trained.threshold,
        "parameters": dict(trained.parameters or spec.hyperparameters),
        "dependencies": list(trained.dependencies),
    }


def validate(task: Task, kernel: Kernel, model: Mapping[str, JSON], prepare: Mapping[str, JSON], train: Mapping[str, JSON]) -> JSON:
    """VALIDATION: metrics on untouched rows, through the files that will be served; requirements; then the version is published."""
    spec = from_json(model, ModelSpec)
    spec = evolve(spec, target=prepare["target"], evaluation=evolve(spec.evaluation, threshold_optimization=False))
    trainer = kernel.driver("trainer", spec.type)
    folder = Path(train["folder"]) / "model"
    rows = _read(Path(prepare["folder"]) / "raw_test.arrow")
    metrics = dict(trainer.evaluate(spec, load_folder(kernel, folder), rows))
    short = missed(metrics, spec.evaluation.require, trainer.higher_is_better)
    published = _publish(task, kernel, spec, folder, prepare, train, metrics, ModelStatus.FAILED if short else ModelStatus.VALIDATING)
    if short:
        raise RequirementMissed(
            f"{published.selector} is FAILED: {'; '.join(short)}", "improve the model, or change models.evaluation.require"
        )
    return {
        "model": published.selector,
        "model_id": published.model_id,
        "version": published.version,
        "metrics": metrics,
        "production": _compare(task, kernel, trainer, spec, rows),
    }


def deploy(task: Task, kernel: Kernel, deployment: Mapping[str, JSON], validate: Mapping[str, JSON]) -> JSON:
    """DEPLOYMENT: put the version that was just published behind its endpoint."""
    spec = from_json(deployment, DeploymentSpec)
    name, version = str(validate["model"]).rsplit("@", 1)
    if spec.endpoint in kernel.deployer.endpoints():
        live = kernel.deployer.status(spec.endpoint)
        if [(route.model, route.version, route.weight) for route in live.routes] == [(name, int(version), 100)]:
            return {"endpoint": live.endpoint, "revision": live.revision, "url": live.url}
    strategy = kernel.make("strategy", spec.strategy, spec.config)
    made = kernel.deployer.deploy_model(validate["model"], spec.endpoint, strategy)
    return {"endpoint": made.endpoint, "revision": made.revision, "url": made.url}


def fit(kernel: Kernel, specs: Sequence[TransformSpec], table: pa.Table, target: str) -> tuple[list[FittedTransform], pa.Table]:
    """Fit each by-row transform on what the ones before it made of these rows; the target is put aside."""
    fitted: list[FittedTransform] = []
    rows, label = table.drop_columns([target]), table[target]
    for spec in specs:
        transform = _transform(kernel, spec, None)
        if transform.by_row:
            one = FittedTransform(spec.type, spec.config, dict(transform.fit(rows)))
            rows = _same_rows(transform.apply(rows, one.state), rows, spec.type)
            fitted.append(one)
    return fitted, rows.append_column(target, label)


def transformed(kernel: Kernel, fitted: Sequence[FittedTransform], table: pa.Table, target: str) -> pa.Table:
    rows = table.drop_columns([target])
    for one in fitted:
        rows = _same_rows(_transform(kernel, TransformSpec(one.type, one.config), None).apply(rows, one.state), rows, one.type)
    return rows.append_column(target, table[target])


def missed(metrics: Mapping[str, float], require: Mapping[str, float], higher_is_better: Callable[[str], bool]) -> list[str]:
    """What is not reached, in words; a metric that is absent or not a number is not reached."""
    short = []
    for name, bar in require.items():
        value = metrics.get(name, float("nan"))
        if not (value >= bar if higher_is_better(name) else value <= bar):
            short.append(f"{name} is {value:.4g}, required is {'at least' if higher_is_better(name) else 'at most'} {bar:g}")
    return short


@frozen
class _Crossed:
    metrics: Mapping[str, float]
    threshold: float | None


class _Replay(Predictor):
    """Predictions made before, for rows in the order in which they were made."""

    def __init__(self, predictions: pa.Table) -> None:
        self._predictions = predictions

    def predict(self, data: ArrowStream) -> ArrowStream:
        replayed: ArrowStream = self._predictions
        return replayed


def _cross_validate(
    kernel: Kernel,
    trainer: Trainer,
    spec: ModelSpec,
    classes: Sequence[JSON],
    transforms: Sequence[Mapping[str, JSON]],
    parts: Path,
    folds: Sequence[splits.Fold],
    context: StepContext,
) -> _Crossed:
    """Out-of-fold predictions, each by a model and transforms that have not seen the row; metrics and threshold over all of them.

    Every fold's model must know the same `classes`: probabilities of different ones cannot be put together.
    """
    raw, specs = _read(parts / "raw_train.arrow"), [from_json(one, TransformSpec) for one in transforms]
    rows, told = [], []
    for number, fold in enumerate(folds):
        context.share(number + 1, len(folds) + 1)
        fitted, train_part = fit(kernel, specs, raw.take(fold.train), spec.target)
        test_part = transformed(kernel, fitted, raw.take(fold.test), spec.target)
        quiet = context.quiet(f"fold-{number}")
        trained = trainer.train(spec, _in_memory(train_part), quiet)
        if tuple(trained.classes) != tuple(classes):
            absent = sorted(map(str, set(classes) - set(trained.classes)))
            raise InvalidInput(
                f"fold {number + 1} has no row of {', '.join(absent)}", "validation_strategy: stratified_k_fold, or lower n_splits"
            )
        folder = quiet.folder / "flavor"
        folder.mkdir(parents=True)
        flavor = kernel.driver("flavor", trained.flavor)
        flavor.save(trained, folder, train_part.slice(0, 100).drop_columns([spec.target]))
        told.append(
            _arrow(Thresholded(flavor.load(folder), trained.task, trained.classes, None).predict(test_part.drop_columns([spec.target])))
        )
        rows.append(raw.take(fold.test))
    metrics = dict(trainer.evaluate(spec, _Replay(pa.concat_tables(told)), pa.concat_tables(rows)))
    return _Crossed(metrics, metrics.pop("threshold", None))


def _publish(
    task: Task,
    kernel: Kernel,
    spec: ModelSpec,
    folder: Path,
    prepare: Mapping[str, JSON],
    train: Mapping[str, JSON],
    metrics: Mapping[str, float],
    status: ModelStatus,
) -> ModelMetadata:
    draft = ModelDraft(
        name=spec.name,
        flavor=train["flavor"],
        run_id=task.run_id,
        metrics=metrics,
        parameters=train["parameters"],
        training_data_hash=digest_of([prepare["dataset"]["digest"], prepare["query"]]),
        signature=read_manifest(folder).inputs,
        dependencies=tuple(train["dependencies"]),
        tags={"dataset": prepare["dataset"]["dataset"], "task": train["task"]},
        status=status,
        code=kernel.journal.run(task.run_id).code,
    )
    published = kernel.registry.register_model(folder, draft)
    kernel.registry.track_lineage(published.selector, (), (from_json(prepare["dataset"], DatasetVersion),))
    return published


def _compare(task: Task, kernel: Kernel, trainer: Trainer, spec: ModelSpec, rows: pa.Table) -> JSON:
    """The metrics of the version in production on the same rows, or None; one that no longer fits the data says why.

    `held_out` is true where that version was made from the same preparation, so that it has not seen these rows either.
    """
    try:
        current = kernel.registry.get(f"{spec.name}@production")
    except NotFound:
        return None
    try:
        metrics = dict(trainer.evaluate(spec, kernel.load_model(current.selector), rows))
        return {
            "version": current.version,
            "metrics": metrics,
            "held_out": _prepared(kernel, current.run_id) == _prepared(kernel, task.run_id),
        }
    except Exception as error:  # an old model that cannot answer is no reason to fail the new one
        return {"version": current.version, "error": error.cause if isinstance(error, ForgeError) else type(error).__name__}


def _prepared(kernel: Kernel, run_id: str) -> str | None:
    """The fingerprint of a run's preparation; None for a run that is not known here."""
    try:
        return next((step.fingerprint for step in kernel.journal.run(run_id).steps if step.name == "prepare"), None)
    except NotFound:
        return None


def _fetch(
    task: Task, kernel: Kernel, source: DatasetSpec, target: str, features: Sequence[str] | None, order_by: str | None
) -> TrainingData:
    columns = None
    if features is not None:
        extra = [name for name in (target, order_by) if name and name not in features]
        columns = (*features, *extra)
    data = kernel.connector(source.connector).fetch_training_data(Query(source.name, source.version, columns))
    plan = kernel.journal.plan_of(task.run_id)
    if plan.queries and data.query != plan.queries[0]:
        raise Conflict("who goes on with this run may not read the same rows and columns as who began it", "start a new run: forge train")
    pinned = {one.dataset: one for one in plan.data}.get(source.name)
    if pinned is not None and pinned.digest != data.version.digest:
        raise Conflict(f"the data set {source.name!r} has changed since the run was planned", "start a new run: forge train")
    return data


def _target(named: str, columns: Sequence[str]) -> str:
    if named:
        if named not in columns:
            raise InvalidInput(f"the data has no target column {named!r}", f"columns: {', '.join(columns)}")
        return named
    found = [name for name in TARGET_NAMES if name in columns]
    if len(found) != 1:
        raise InvalidInput(
            "no target is named, and the data has not just one column called target, label or y", "set target on the data set"
        )
    return found[0]


def _with_target(table: pa.Table, target: str) -> pa.Table:
    """Rows whose target is null cannot be learnt from."""
    kept = table.filter(pc.is_valid(table[target])) if table[target].null_count else table
    if kept.num_rows < 2:
        raise InvalidInput(f"only {kept.num_rows} rows have a target", "look at the data set: forge data show")
    return kept


def _transform(kernel: Kernel, spec: TransformSpec, target: str | None) -> Transformation:
    transform: Transformation = kernel.make("transform", spec.type, spec.config, {"target": target} if target is not None else {})
    return transform


def _same_rows(stream: ArrowStream, before: pa.Table, name: str) -> pa.Table:
    after = _arrow(stream)
    if after.num_rows != before.num_rows:
        raise ForgeError(
            f"transform {name!r} made {after.num_rows} rows of {before.num_rows}", "a transform that changes rows sets by_row = False"
        )
    return after


def _save(kernel: Kernel, trained: TrainedModel, folder: Path, prepare: Mapping[str, JSON], sample: pa.Table) -> None:
    (folder / "flavor").mkdir(parents=True)
    kernel.driver("flavor", trained.flavor).save(trained, folder / "flavor", sample)
    manifest = {
        "format": FORMAT, "flavor": trained.flavor, "task": trained.task, "classes": list(trained.classes), "threshold": trained.threshold,
        "inputs": prepare["inputs"], "transforms": prepare["transforms"],
    }  # fmt: skip
    write_atomically(folder / "forge.json", json.dumps(manifest, indent=1, sort_keys=True, allow_nan=False).encode())


def _data(path: Path, prepare: Mapping[str, JSON]) -> TrainingData:
    columns = columns_of(_read(path).schema)
    return TrainingData(from_json(prepare["dataset"], DatasetVersion), from_json(prepare["query"], Query), columns, partial(_read, path))


def _in_memory(table: pa.Table) -> TrainingData:
    return TrainingData(DatasetVersion("fold", "0", ""), Query("fold"), columns_of(table.schema), lambda: table)


def _write(table: pa.Table, path: Path) -> None:
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)


def _read(path: Path) -> pa.Table:
    with pa.memory_map(str(path)) as source:
        return pa.ipc.open_file(source).read_all()


def _arrow(stream: Any) -> pa.Table:
    return pa.table(stream)
