"""Every hook, by subject. Hooks are heard by everyone who implements them; they never choose a driver.

Three ways to hear, told by the way the kernel calls:

- *tell*: something happened; what a listener returns is ignored, and one that raises becomes a fault.
- *gate*: something is about to happen; return a `Refusal` to stop it. An exception refuses too.
- *ask*: return records; the kernel gathers them from everyone.

A plugin module is a plain module with functions of these names::

    from forge_core import hookimpl

    @hookimpl
    def forge_run_finished(run):
        print(run.run_id, run.state)

An implementation may leave out arguments that it does not need; it may not add any. `session` says who acts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from forge_core.records.auth import Event, Principal, Refusal, Session
    from forge_core.records.data import DatasetVersion, Query, TrainingData
    from forge_core.records.models import ModelDraft, ModelMetadata, ModelStatus
    from forge_core.records.project import Command, Project
    from forge_core.records.runs import PipelineConfig, RunRecord, StepRecord
    from forge_core.records.serving import Alert, Deployment, HealthCheck, Resource

hookspec = pluggy.HookspecMarker("forge")
hookimpl = pluggy.HookimplMarker("forge")


class DataHooks:
    @staticmethod
    @hookspec
    def forge_before_fetch(query: Query, session: Session) -> Refusal | None:
        """Gate: may these rows be read?

        Example::

            @hookimpl
            def forge_before_fetch(query):
                if query.dataset == "payroll":
                    return Refusal("payroll is closed", "ask the owner of payroll")
        """
        return None

    @staticmethod
    @hookspec
    def forge_data_fetched(query: Query, data: TrainingData, session: Session) -> None:
        """Tell: a query was answered; its rows are read later, pass by pass.

        Example::

            @hookimpl
            def forge_data_fetched(query, data):
                print(query.dataset, data.version.digest)
        """

    @staticmethod
    @hookspec
    def forge_dataset_registered(dataset: DatasetVersion, session: Session) -> None:
        """Tell: a version of a data set was recorded or written.

        Example::

            @hookimpl
            def forge_dataset_registered(dataset):
                print(dataset.dataset, dataset.version)
        """


class TrainingHooks:
    @staticmethod
    @hookspec
    def forge_before_run(config: PipelineConfig, session: Session) -> Refusal | None:
        """Gate: may this pipeline run?

        Example::

            @hookimpl
            def forge_before_run(config, session):
                if session.principal.name == "guest":
                    return Refusal("guests do not train", "sign in")
        """
        return None

    @staticmethod
    @hookspec
    def forge_run_started(run: RunRecord) -> None:
        """Tell: a run began, or was resumed.

        Example::

            @hookimpl
            def forge_run_started(run):
                print(run.run_id, run.name)
        """

    @staticmethod
    @hookspec
    def forge_step_started(run_id: str, step: StepRecord) -> None:
        """Tell: an attempt at a step began.

        Example::

            @hookimpl
            def forge_step_started(run_id, step):
                print(run_id, step.name, step.attempt)
        """

    @staticmethod
    @hookspec
    def forge_step_finished(run_id: str, step: StepRecord) -> None:
        """Tell: a step ended; `step.state` is done or failed, `step.cached` says that nothing had to run.

        Example::

            @hookimpl
            def forge_step_finished(run_id, step):
                print(run_id, step.name, step.state)
        """

    @staticmethod
    @hookspec
    def forge_run_finished(run: RunRecord) -> None:
        """Tell: a run ended; `run.state` is done, failed or cancelled.

        Example::

            @hookimpl
            def forge_run_finished(run):
                print(run.run_id, run.state)
        """

    @staticmethod
    @hookspec
    def forge_metrics_logged(run_id: str, metrics: Mapping[str, float], step: int) -> None:
        """Tell: a trainer reported metrics at one of its own steps (an epoch, an iteration).

        Example::

            @hookimpl
            def forge_metrics_logged(run_id, metrics, step):
                print(run_id, step, dict(metrics))
        """


class RegistryHooks:
    @staticmethod
    @hookspec
    def forge_before_register(draft: ModelDraft, session: Session) -> Refusal | None:
        """Gate: may this version be published?

        Example::

            @hookimpl
            def forge_before_register(draft):
                if "owner" not in draft.tags:
                    return Refusal(f"{draft.name} has no owner", "add a tag: owner")
        """
        return None

    @staticmethod
    @hookspec
    def forge_before_load(selector: str, session: Session) -> Refusal | None:
        """Gate: may this version's files be taken out of the registry?

        Example::

            @hookimpl
            def forge_before_load(selector):
                if selector.startswith("retired_"):
                    return Refusal("this model is retired", "use its successor")
        """
        return None

    @staticmethod
    @hookspec
    def forge_model_registered(model: ModelMetadata, session: Session) -> None:
        """Tell: a version exists.

        Example::

            @hookimpl
            def forge_model_registered(model):
                print(model.name, model.version)
        """

    @staticmethod
    @hookspec
    def forge_model_transitioned(model: ModelMetadata, expected: ModelStatus, session: Session) -> None:
        """Tell: a version moved from the status `expected` to `model.status`.

        Example::

            @hookimpl
            def forge_model_transitioned(model, expected):
                print(model.name, expected.value, model.status.value)
        """


class DeploymentHooks:
    @staticmethod
    @hookspec
    def forge_before_deploy(selector: str, endpoint: str, session: Session) -> Refusal | None:
        """Gate: may this version get traffic of this endpoint?

        Example::

            @hookimpl
            def forge_before_deploy(selector, endpoint):
                if endpoint == "checkout":
                    return Refusal("checkout is frozen", "wait for Monday")
        """
        return None

    @staticmethod
    @hookspec
    def forge_traffic_changed(deployment: Deployment, session: Session) -> None:
        """Tell: an endpoint has a new revision.

        Example::

            @hookimpl
            def forge_traffic_changed(deployment):
                print(deployment.endpoint, deployment.revision)
        """

    @staticmethod
    @hookspec
    def forge_rolled_back(deployment: Deployment, session: Session) -> None:
        """Tell: an endpoint went back to its predecessor; `forge_traffic_changed` is told as well.

        Example::

            @hookimpl
            def forge_rolled_back(deployment):
                print(deployment.endpoint, deployment.reason)
        """


class MonitoringHooks:
    @staticmethod
    @hookspec
    def forge_predictions_logged(endpoint: str, version: int, latency_ms: tuple[float, ...]) -> None:
        """Tell: a monitor recorded a batch of predictions; `latency_ms` has one entry a request.

        Example::

            @hookimpl
            def forge_predictions_logged(endpoint, latency_ms):
                print(endpoint, len(latency_ms))
        """

    @staticmethod
    @hookspec
    def forge_alert_raised(alert: Alert) -> None:
        """Tell: a monitor found something a person should see.

        Example::

            @hookimpl
            def forge_alert_raised(alert):
                print(alert.severity, alert.message)
        """


class AuthHooks:
    @staticmethod
    @hookspec
    def forge_authorize(principal: Principal, action: str, resource: str) -> Refusal | None:
        """Gate: a plugin may refuse more than the auth driver does, never allow more.

        Example::

            @hookimpl
            def forge_authorize(principal, action, resource):
                if action == "model:register" and principal.name == "ci":
                    return Refusal("ci may not publish", "use a release account")
        """
        return None

    @staticmethod
    @hookspec
    def forge_event_recorded(event: Event) -> None:
        """Tell: an operation's event is committed. At most once: who may miss nothing reads the outbox.

        Example::

            @hookimpl
            def forge_event_recorded(event):
                print(event.actor, event.action, event.resource)
        """


class KernelHooks:
    @staticmethod
    @hookspec
    def forge_kernel_opened(project: Project) -> None:
        """Tell: a project was opened.

        Example::

            @hookimpl
            def forge_kernel_opened(project):
                print(project.name)
        """

    @staticmethod
    @hookspec
    def forge_kernel_closed(project: Project) -> None:
        """Tell: a project is being closed; drivers are already closed.

        Example::

            @hookimpl
            def forge_kernel_closed(project):
                print(project.name)
        """

    @staticmethod
    @hookspec
    def forge_command_started(command: str) -> None:
        """Tell: a command that opens a project started; `command` is its words, as in `models show`.

        Example::

            @hookimpl
            def forge_command_started(command):
                print(command)
        """

    @staticmethod
    @hookspec
    def forge_command_finished(command: str, exit_code: int) -> None:
        """Tell: that command ended.

        Example::

            @hookimpl
            def forge_command_finished(command, exit_code):
                print(command, exit_code)
        """

    @staticmethod
    @hookspec
    def forge_commands() -> Iterable[Command]:
        """Ask: commands of a project's local plugin (a distribution uses the entry-point group `forge.commands`).

        Example::

            @hookimpl
            def forge_commands():
                return [Command("hello", "Say hello.", "my_project.cli:hello")]
        """
        return ()

    @staticmethod
    @hookspec
    def forge_health_checks() -> Iterable[HealthCheck]:
        """Ask: what `forge doctor` shows.

        Example::

            @hookimpl
            def forge_health_checks():
                return [HealthCheck("disk", True, "40 GB free")]
        """
        return ()

    @staticmethod
    @hookspec
    def forge_resources() -> Iterable[Resource]:
        """Ask: what this machine has, for the scheduler.

        Example::

            @hookimpl
            def forge_resources():
                return [Resource("cuda:0", "gpu", 1)]
        """
        return ()


SUBJECTS: tuple[type, ...] = (DataHooks, TrainingHooks, RegistryHooks, DeploymentHooks, MonitoringHooks, AuthHooks, KernelHooks)
