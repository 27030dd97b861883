"""The builder, another spelling of forge.yaml, and the steps that a pipeline is made of."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar, cast, get_args

import attrs
from attrs import evolve

from forge_core.faults import ConfigError
from forge_core.records.data import JSON, DatasetSpec
from forge_core.records.models import Evaluation, ModelSpec, TaskKind, Training, ValidationStrategy
from forge_core.records.runs import DeploymentSpec, PipelineConfig, PipelineStage, RetryPolicy, Step, TransformSpec
from forge_core.serialize import to_json

F = TypeVar("F", bound=Callable[..., Any])
STAGES = tuple(stage.value for stage in PipelineStage)


class PipelineBuilder:
    """Says in Python what forge.yaml says, and builds the same `PipelineConfig`.

    Example::

        pipeline = (
            Pipeline("churn")
            .with_dataset("customers", path="data/customers", target="churned")
            .with_feature_engineering([{"type": "standard_scaler"}])
            .with_training("xgboost", {"max_depth": 5}, split_ratio=0.8)
            .with_evaluation(["auc_roc"], require={"auc_roc": 0.8})
            .build()
        )
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._datasets: tuple[DatasetSpec, ...] = ()
        self._transforms: tuple[TransformSpec, ...] = ()
        self._model: ModelSpec | None = None
        self._evaluation = Evaluation()
        self._deployment: DeploymentSpec | None = None
        self._steps: tuple[Step, ...] = ()
        self._parameters: Mapping[str, JSON] = {}
        self._timeout: float | None = None
        self._retry = RetryPolicy()
        self._notifications: tuple[str, ...] = ()

    def with_dataset(self, dataset: str | DatasetSpec, version: str | None = None, **fields: Any) -> PipelineBuilder:
        """Add a data set by name (with `path`, `format`, `partitions`, `target`, `connector`) or as a record. The last is trained on."""
        spec = DatasetSpec(dataset, **_tuples(fields)) if isinstance(dataset, str) else evolve(dataset, **_tuples(fields))
        self._datasets = (*self._datasets, spec if version is None else evolve(spec, version=version))
        return self

    def with_feature_engineering(self, transformations: Sequence[str | Mapping[str, JSON] | TransformSpec]) -> PipelineBuilder:
        """Add transforms in their order: a name, `{"type": .., "config": ..}` or a `TransformSpec`."""
        self._transforms = (*self._transforms, *(_transform(one) for one in transformations))
        return self

    def with_training(
        self,
        model: str | type | object,
        hyperparameters: Mapping[str, JSON] | None = None,
        split_ratio: float = 0.8,
        validation_strategy: str | None = None,
        n_splits: int | None = None,
        *,
        target: str = "",
        features: Sequence[str] | None = None,
        task: TaskKind | None = None,
        order_by: str | None = None,
        seed: int = 0,
    ) -> PipelineBuilder:
        """What to train: a trainer's name, a `Trainer` class, or a configured instance of one registered by `register_model`."""
        kind = model if isinstance(model, str) else _registered_name(model)
        training = Training(split_ratio=float(split_ratio), seed=seed, order_by=order_by)
        if validation_strategy is not None:
            training = evolve(training, validation_strategy=cast("ValidationStrategy", validation_strategy))
        if n_splits is not None:
            training = evolve(training, n_splits=n_splits)
        chosen = tuple(features) if features is not None else None
        self._model = ModelSpec(
            self._name, kind, target=target, features=chosen, task=task, hyperparameters=dict(hyperparameters or {}), training=training
        )
        return self

    def with_evaluation(
        self, metrics: Sequence[str], require: Mapping[str, float] | None = None, threshold_optimization: bool = False
    ) -> PipelineBuilder:
        bars = {name: float(bar) for name, bar in (require or {}).items()}
        self._evaluation = Evaluation(tuple(metrics), bars, threshold_optimization)
        return self

    def with_deployment(self, strategy: str, endpoint: str | None = None, **config: JSON) -> PipelineBuilder:
        """Deploy each version that passes its validation."""
        self._deployment = DeploymentSpec(strategy, endpoint or "default", True, config)
        return self

    def with_step(self, function: Callable[..., Any], stage: str | PipelineStage, **parameters: JSON) -> PipelineBuilder:
        """Add a step of one's own: an importable function; its arguments are found by name (see `forge_core.worker.perform`)."""
        said: Mapping[str, Any] = getattr(function, "__forge_step__", {})
        phase = stage.value if isinstance(stage, PipelineStage) else stage
        target = target_of(function)
        own = Step(said.get("name", function.__name__), phase, target, parameters, timeout=said.get("timeout"))
        self._steps = (*self._steps, own)
        return self

    def with_options(
        self,
        *,
        timeout: float | None = None,
        retry_policy: RetryPolicy | None = None,
        notifications: Sequence[str] = (),
        parameters: Mapping[str, JSON] | None = None,
    ) -> PipelineBuilder:
        """What forge.yaml says under `pipeline`."""
        self._timeout, self._retry = timeout, retry_policy or RetryPolicy()
        self._notifications, self._parameters = tuple(notifications), dict(parameters or {})
        return self

    def build(self) -> PipelineConfig:
        """The pipeline, checked: importable steps, a target, known stages, no two steps of one name."""
        model = self._model
        if model is not None:
            model = complete(evolve(model, evaluation=self._evaluation), self._datasets)
        config = PipelineConfig(
            name=self._name,
            model=model,
            datasets=self._datasets if model is None else chosen(model, self._datasets),
            transforms=self._transforms,
            deployment=self._deployment,
            stages=self._steps,
            parameters=self._parameters,
            timeout=self._timeout,
            retry_policy=self._retry,
            notifications=self._notifications,
        )
        steps(config)
        return config


def Pipeline(name: str) -> PipelineBuilder:  # noqa: N802 - reads as the thing that it starts
    """Start a pipeline; it is named by its model."""
    return PipelineBuilder(name)


def step(name: str | None = None, *, timeout: float | None = None) -> Callable[[F], F]:
    """Mark a function as a pipeline's step, with a name or a time limit in seconds of its own."""

    def mark(function: F) -> F:
        function.__forge_step__ = {"name": name or function.__name__, "timeout": timeout}  # type: ignore[attr-defined]
        return function

    return mark


def chosen(model: ModelSpec, datasets: Sequence[DatasetSpec]) -> tuple[DatasetSpec, ...]:
    """The data set a model is trained on."""
    return tuple(one for one in datasets if one.name == model.dataset)


def complete(model: ModelSpec, datasets: Sequence[DatasetSpec]) -> ModelSpec:
    """The model with its data set and target filled in: the last data set listed, and that one's target.

    A target that nobody names stays empty: the stages take the one column called target, label or y.
    """
    if not datasets:
        raise ConfigError(f"model {model.name!r} has no data set", "list one under datasets")
    name = model.dataset or datasets[-1].name
    found = next((one for one in datasets if one.name == name), None)
    if found is None:
        raise ConfigError(f"model {model.name!r} wants the data set {name!r}", f"listed: {', '.join(one.name for one in datasets)}")
    return evolve(model, dataset=name, target=model.target or found.target or "")


def steps(config: PipelineConfig) -> tuple[Step, ...]:
    """The four standard stages of a model with a project's own steps between them, in the order of execution.

    A step of one's own comes after its stage's standard one, but in VALIDATION before it, since that one publishes: a
    version that fails a check of one's own is not published. Later steps need the earlier ones.
    """
    standard = _standard(config) if config.model is not None else {}
    ordered: list[Step] = []
    for stage in STAGES:
        own = [one for one in config.stages if one.stage == stage]
        if stage in standard:
            own.insert(len(own) if stage == "VALIDATION" else 0, standard[stage])
        for one in own:
            bounded = one.timeout is not None or config.timeout is not None  # only a process can be ended
            needs = one.needs or tuple(earlier.name for earlier in ordered)
            ordered.append(evolve(one, needs=needs, isolation="process" if bounded else one.isolation))
    ordered.extend(one for one in config.stages if one.stage not in STAGES)  # which the check refuses
    _check(config, ordered)
    return tuple(ordered)


def _standard(config: PipelineConfig) -> dict[str, Step]:
    assert config.model is not None
    model, timeout = to_json(config.model), config.timeout
    transforms = [to_json(one) for one in config.transforms]
    said: dict[str, Mapping[str, JSON]] = {
        "DATA_PREPARATION": {
            "dataset": to_json(config.datasets[-1]), "transforms": transforms, "target": model["target"], "features": model["features"],
            "training": model["training"],
        },
        "TRAINING": {"model": {**model, "evaluation": {**model["evaluation"], "require": {}}}, "transforms": transforms},
        "VALIDATION": {"model": model},
    }  # fmt: skip
    if config.deployment is not None and config.deployment.automatic:
        said["DEPLOYMENT"] = {"model": config.model.name, "deployment": to_json(config.deployment)}
    names = {"DATA_PREPARATION": "prepare", "TRAINING": "train", "VALIDATION": "validate", "DEPLOYMENT": "deploy"}
    return {
        stage: Step(names[stage], stage, f"forge_core.stages:{names[stage]}", given, timeout=timeout, isolation="process")
        for stage, given in said.items()
    }


def check_training(how: Training) -> None:
    known = get_args(ValidationStrategy)
    if how.validation_strategy not in known:
        raise ConfigError(f"there is no validation_strategy {how.validation_strategy!r}", f"one of {', '.join(known)}")
    if not 0 < how.split_ratio < 1:
        raise ConfigError(f"split_ratio is {how.split_ratio:g}", "between 0 and 1, for instance 0.8")
    if how.n_splits < 2:
        raise ConfigError(f"n_splits is {how.n_splits}", "2 or more")


def _check(config: PipelineConfig, ordered: Sequence[Step]) -> None:
    if config.model is not None:
        check_training(config.model.training)
    for own in config.stages:
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}", own.name):  # it names a log file
            raise ConfigError(f"{own.name!r} is no step's name", "letters, digits, _ . -")
        if not re.fullmatch(r"[\w.]+:[\w.]+", own.target):
            raise ConfigError(f"step {own.name!r} has the target {own.target!r}", "write module:function")
        if own.stage not in STAGES:
            raise ConfigError(f"step {own.name!r} is of an unknown stage {own.stage!r}", f"one of {', '.join(STAGES)}")
    seen: set[str] = set()
    for one in ordered:
        if one.name in seen:
            raise ConfigError(f"two steps are called {one.name!r}", "give one of them another name: @step('name')")
        missing = [need for need in one.needs if need not in {other.name for other in ordered}]
        if missing:
            raise ConfigError(
                f"step {one.name!r} needs {missing[0]!r}, which is no step", f"steps: {', '.join(other.name for other in ordered)}"
            )
        late = [need for need in one.needs if need not in seen]
        if late:
            raise ConfigError(f"step {one.name!r} needs {late[0]!r}, which comes after it", "steps run in the order of their stages")
        seen.add(one.name)


def target_of(function: Callable[..., Any]) -> str:
    """`module:function` of something another process can import; a lambda or an inner function is refused."""
    module, name = getattr(function, "__module__", ""), getattr(function, "__qualname__", "")
    if not name or "<" in name:
        raise ConfigError(f"{name or function!r} cannot be imported by another process", "define it at the top of a module")
    if module == "__main__":
        spec = getattr(sys.modules["__main__"], "__spec__", None)
        if spec is None:
            raise ConfigError(f"{name} is defined in a script", "put it into a module that can be imported")
        module = spec.name
    return f"{module}:{name}"


def imported(target: str) -> Any:
    """What `module:name` names."""
    module, _, name = target.partition(":")
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"{target} cannot be imported: {error}", "look at the name, and at plugins.local") from error
    return found


def _registered_name(model: type | object) -> str:
    from forge_core.factory import name_of  # the factory knows drivers; the builder is used without any

    return name_of(model)


def _transform(one: str | Mapping[str, JSON] | TransformSpec) -> TransformSpec:
    if isinstance(one, TransformSpec):
        return one
    if isinstance(one, str):
        return TransformSpec(one)
    unknown = set(one) - {"type", "config"}
    if unknown or "type" not in one:
        raise ConfigError(
            f"a transformation has the keys type and config, not {', '.join(sorted(unknown)) or 'none'}", "{'type': .., 'config': ..}"
        )
    return TransformSpec(one["type"], dict(one.get("config") or {}))


def _tuples(fields: Mapping[str, Any]) -> dict[str, Any]:
    known = {one.name for one in attrs.fields(DatasetSpec)}
    unknown = set(fields) - known
    if unknown:
        raise ConfigError(f"a data set has no {min(unknown)!r}", f"known: {', '.join(sorted(known))}")
    return {key: tuple(value) if isinstance(value, list) else value for key, value in fields.items()}
