"""What the kernel injects that is neither a contract's driver nor plain data."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from forge_core import codeversion
from forge_core.contracts.flavor import ServedModel
from forge_core.factory import ModelFactory
from forge_core.faults import ForgeError, InvalidInput
from forge_core.files import folder_name
from forge_core.hookspecs import TrainingHooks
from forge_core.hub import Hub
from forge_core.journal import Listener, Result
from forge_core.operations import current, oblige
from forge_core.planner import Planner
from forge_core.records.auth import Session
from forge_core.records.data import JSON, DatasetVersion, Query
from forge_core.records.models import CodeVersion
from forge_core.records.runs import KernelSpec, PipelineConfig, Plan, RunRecord, StepRecord, Task
from forge_core.roles import ROLES
from forge_core.worker import perform

if TYPE_CHECKING:
    from forge_core.kernel import Kernel


class DriversByName(Mapping[str, Any]):
    """Drivers of a role by name, built when asked for: what a collaborator annotated `Mapping[str, Flavor]` gets."""

    def __init__(self, kernel: Kernel, role: str) -> None:
        self._kernel, self._role = kernel, role

    def __getitem__(self, name: str) -> Any:
        if name not in set(self):
            raise KeyError(name)
        return self._kernel.driver(self._role, name)

    def __iter__(self) -> Iterator[str]:
        named = self._kernel.config.raw.get(ROLES[self._role].section) or {}
        return iter(
            sorted({ref.name for ref in self._kernel.catalog.ready(self._role)} | (set(named) if ROLES[self._role].many else set()))
        )

    def __len__(self) -> int:
        return sum(1 for _ in self)


class KernelModels:
    """`Models`: the kernel's one place where models are loaded."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel

    def load_model(self, selector: str) -> ServedModel:
        return self._kernel.load_model(selector)


class KernelRuntime:
    """`Runtime`: what an orchestrator gets."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self.journal = kernel.journal
        self._steps = kernel.project.state / "steps"

    def plan(self, pipeline: PipelineConfig, session: Session) -> Plan:
        kernel = self._kernel.knowing(pipeline)

        def resolve(connector: str, query: Query) -> tuple[DatasetVersion, Query]:
            decision = kernel.decide(session, "data:read", f"dataset:{query.dataset}")
            live = kernel.connector(connector)
            return live.resolve(query), oblige(query, decision, type(live))

        made = self._planner(kernel, resolve).plan(pipeline)
        if pipeline.model is not None:
            _check_columns(kernel, pipeline)
        return made

    def replan(self, plan: Plan, finished: Collection[str]) -> Plan:
        kernel, session = self._kernel.knowing(plan.pipeline), current()

        def pinned(connector: str, query: Query) -> tuple[DatasetVersion, Query]:
            decision = kernel.decide(session, "data:read", f"dataset:{query.dataset}")
            found = next(one for one in plan.data if one.dataset == query.dataset)
            return found, oblige(query, decision, type(kernel.connector(connector)))

        return self._planner(kernel, pinned).replan(plan, finished)

    def _planner(self, kernel: Kernel, resolve: Callable[[str, Query], tuple[DatasetVersion, Query]]) -> Planner:
        def known(fingerprints: Sequence[str]) -> Mapping[str, tuple[str, bool]]:
            found = self.journal.results(fingerprints)
            return {one: (result.run_id, self._intact(one, result)) for one, result in found.items()}

        return Planner(kernel.catalog, kernel.config.root, resolve, known, ModelFactory.modules(), kernel.section)

    def _intact(self, fingerprint: str, result: Result) -> bool:
        """Files that a step left are there, and so is the version it published, as far as the registry knows."""
        if result.files and not self.folder(fingerprint).is_dir():
            return False
        if "model_id" not in result.outputs or "model" not in result.outputs:
            return True
        try:
            selector, registry = str(result.outputs["model"]), self._kernel.registry
            return registry.get(selector).model_id == result.outputs["model_id"] and registry.intact(selector)
        except ForgeError:
            return False

    @property
    def spec(self) -> KernelSpec:
        return self._kernel.spec

    def bound(self, pipeline: PipelineConfig) -> KernelRuntime:
        return KernelRuntime(self._kernel.knowing(pipeline))

    def perform(self, task: Task) -> Mapping[str, JSON]:
        return perform(self._kernel, task)

    def code(self) -> CodeVersion | None:
        return codeversion.of(self._kernel.config.root)

    def known(self, fingerprints: Sequence[str]) -> Mapping[str, Result]:
        found = self.journal.results(fingerprints)
        return {one: result for one, result in found.items() if self._intact(one, result)}

    def folder(self, fingerprint: str) -> Path:
        return self._steps / folder_name(current().principal.tenant) / fingerprint[:40]

    def progress(self, run_id: str, step: str, fraction: float, message: str) -> None:
        self._kernel.on_step_progress(run_id, step, fraction, message)


def _check_columns(kernel: Kernel, pipeline: PipelineConfig) -> None:
    """What a model names of its data is there: it is read before any transform."""
    assert pipeline.model is not None
    model, dataset = pipeline.model, pipeline.datasets[-1]
    columns = [column.name for column in kernel.connector(dataset.connector).schema(dataset.name)]
    named = [*(model.features or ()), *([model.target] if model.target else []), *filter(None, [model.training.order_by])]
    for name in named:
        if name not in columns:
            near = difflib.get_close_matches(name, columns, 1)
            remedy = f"did you mean {near[0]!r}?" if near else f"columns: {', '.join(columns)}"
            raise InvalidInput(f"model {model.name!r} names the column {name!r}, which {dataset.name!r} does not have", remedy)


class HubListener(Listener):
    """Tells the hub what the journal has committed."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def run_started(self, run: RunRecord) -> None:
        self._hub.tell(TrainingHooks.forge_run_started, run=run)

    def run_finished(self, run: RunRecord) -> None:
        self._hub.tell(TrainingHooks.forge_run_finished, run=run)

    def step_started(self, run_id: str, step: StepRecord) -> None:
        self._hub.tell(TrainingHooks.forge_step_started, run_id=run_id, step=step)

    def step_finished(self, run_id: str, step: StepRecord) -> None:
        self._hub.tell(TrainingHooks.forge_step_finished, run_id=run_id, step=step)
