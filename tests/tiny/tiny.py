"""The smallest driver of each role: enough for a kernel to train, publish and deploy without any plugin.

`conftest` denies what is installed; a test copies this folder onto `sys.path`, as pip would have left it.
"""

from __future__ import annotations

import hashlib
import json
import time
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
from attrs import asdict, frozen

from forge_core.contracts import (
    AuthProvider,
    Capability,
    DataSourceConnector,
    Deployer,
    DeploymentStrategy,
    ExperimentTracker,
    Flavor,
    ModelRegistry,
    Notifier,
    Predictor,
    Trainer,
)
from forge_core.faults import NotFound
from forge_core.models import columns_of
from forge_core.operations import current
from forge_core.records import (
    Condition,
    DatasetVersion,
    Decision,
    Deployment,
    Lineage,
    ModelMetadata,
    Principal,
    Project,
    Route,
    TrainedModel,
    TrainingData,
)
from forge_core.serialize import from_json, to_json


class Rows(DataSourceConnector):
    """CSV files of the project; `where` knows `<` alone."""

    capabilities = frozenset({Capability.FILTERS})

    @frozen
    class Settings:
        quote: str = '"'

    def __init__(self, settings: Settings, *, project: Project) -> None:
        self._project, self._parsing = project, pa.csv.ParseOptions(quote_char=settings.quote)

    def _path(self, name: str) -> Path:
        for one in self._project.datasets:
            if one.name == name:
                return self._project.root / one.path
        raise NotFound(f"there is no data set {name!r}")

    def resolve(self, query):
        return DatasetVersion(query.dataset, "1", hashlib.sha256(self._path(query.dataset).read_bytes()).hexdigest())

    def fetch_training_data(self, query, limit=None):
        table = pa.csv.read_csv(self._path(query.dataset), parse_options=self._parsing)
        for condition in query.where:
            table = table.filter(pc.less(table[condition.column], condition.value))
        return TrainingData(self.resolve(query), query, columns_of(table.schema), lambda: table)

    def datasets(self):
        return sorted(one.name for one in self._project.datasets)

    def schema(self, name):
        return columns_of(pa.csv.read_csv(self._path(name), parse_options=self._parsing).schema)


class Mean(Trainer):
    """Predicts the target's mean, moved by `shift`."""

    @frozen
    class Settings:
        shift: float = 0.0

    def __init__(self, settings: Settings) -> None:
        self._shift = settings.shift

    def train(self, spec, data, context):
        mean = pc.mean(pa.table(data)[spec.target]).as_py()
        return TrainedModel(mean + self._shift, "number", "regression", parameters=dict(spec.hyperparameters))

    def evaluate(self, spec, predictor, data):
        rows = pa.table(data)
        told = pa.table(predictor.predict(rows))["prediction"]
        return {"mae": pc.mean(pc.abs(pc.subtract(told, rows[spec.target]))).as_py()}


class Number(Flavor):
    def save(self, trained, folder, sample):
        (folder / "number.json").write_text(json.dumps(trained.model))

    def load(self, folder):
        return Constant(json.loads((folder / "number.json").read_text()))


class Constant(Predictor):
    def __init__(self, value: float) -> None:
        self.value = value

    def predict(self, data):
        return pa.table({"prediction": pa.array([self.value] * pa.table(data).num_rows, pa.float64())})


class Folder(ModelRegistry):
    """Versions as one JSON file below the state; a checkout is the folder that was registered."""

    @frozen
    class Settings:
        file: str = "models.json"

    def __init__(self, settings: Settings, *, project: Project) -> None:
        self._path = project.state / settings.file

    def _rows(self):
        return json.loads(self._path.read_text()) if self._path.is_file() else []

    def register_model(self, folder, draft):
        rows, now = self._rows(), datetime.now(UTC)
        version = 1 + sum(row["name"] == draft.name for row in rows)
        made = ModelMetadata(
            **asdict(draft, recurse=False), model_id=f"model_{version}", version=version, digest="0" * 64, created_at=now, updated_at=now,
            tenant=current().principal.tenant,
        )  # fmt: skip
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.write_text(json.dumps([*rows, {**to_json(made), "folder": str(folder)}]))
        return made

    def _row(self, selector):
        name, _, version = selector.partition("@")
        found = [row for row in self._rows() if row["name"] == name and version in ("", "latest", str(row["version"]))]
        if not found:
            raise NotFound(f"there is no model {selector!r}")
        return found[-1]

    def get(self, selector):
        row = dict(self._row(selector))
        row.pop("folder")
        return from_json(row, ModelMetadata)

    def checkout(self, selector):
        return Path(self._row(selector)["folder"])

    def search(self, name=None, tags=None, limit=100):
        return [self.get(f"{row['name']}@{row['version']}") for row in reversed(self._rows()) if name in (None, row["name"])][:limit]

    def aliases(self, name):
        return {}

    def track_lineage(self, selector, parents, data): ...

    def lineage(self, selector, upward=True):
        return Lineage(selector, "model")

    def transition(self, selector, expected, to): ...
    def set_alias(self, name, alias, version, expected, reason=""): ...
    def alias_at(self, name, alias, at): ...
    def alias_history(self, name, alias): ...
    def verify(self, selector=None): ...
    def collect_garbage(self, older_than): ...


class Slow(Folder):
    """Takes its time to be made; `made` counts how often it was."""

    made = 0

    def __init__(self, *, project: Project) -> None:
        super().__init__(Folder.Settings(), project=project)
        time.sleep(0.05)
        type(self).made += 1


class Nothing(ExperimentTracker):
    def start(self, experiment, run_id, parameters): ...
    def log_metrics(self, run_id, metrics): ...
    def log_artifact(self, run_id, path, name): ...
    def end(self, run_id, state): ...
    def metrics(self, run_id): ...


class All(DeploymentStrategy):
    def plan(self, current, candidate):
        return (candidate,)

    def advance(self, routes, evidence):
        return "done"


class Routes(Deployer):
    """Revisions as one JSON file below the state."""

    def __init__(self, *, project: Project) -> None:
        self._path = project.state / "routes.json"

    def _revisions(self):
        return from_json(json.loads(self._path.read_text()), list[Deployment]) if self._path.is_file() else []

    def _put(self, endpoint, routes, reason=""):
        revisions = self._revisions()
        number, now = len(revisions) + 1, datetime.now(UTC)
        revisions.append(Deployment(endpoint, number, routes, "all", "http://localhost", current().principal.name, reason, now, "ready"))
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.write_text(json.dumps(to_json(revisions)))
        return revisions[-1]

    def deploy_model(self, selector, endpoint, strategy):
        name, _, version = selector.partition("@")
        return self._put(endpoint, tuple(strategy.plan((), Route(name, int(version), 100))))

    def status(self, endpoint):
        return self.history(endpoint)[0]

    def endpoints(self):
        return sorted({one.endpoint for one in self._revisions()})

    def rollback(self, endpoint, reason=""):
        return self._put(endpoint, self.history(endpoint)[1].routes, reason)

    def history(self, endpoint, at=None):
        found = [one for one in reversed(self._revisions()) if one.endpoint == endpoint]
        if not found:
            raise NotFound(f"there is no endpoint {endpoint!r}")
        return found

    def predict(self, endpoint, data, key=None):
        return data

    def promote(self, endpoint, reason=""): ...
    def retire(self, endpoint, reason=""): ...


class Staff(AuthProvider):
    """Everyone is who their key says; `viewer` reads rows with x < 50 alone, `nobody` may do nothing."""

    def authenticate(self, credentials):
        return Principal(credentials.get("api_key", "nobody"), ("staff",))

    def authorize(self, principal, action, resource):
        if principal.name == "nobody":
            return Decision(False, "no key")
        if principal.name == "viewer":
            return Decision(True, filters=(Condition("x", "<", 50),))
        return Decision(True)


class Unmade(Staff):
    def __init__(self) -> None:
        raise ValueError("the policy file is empty")


class Unopened(Staff):
    def open(self) -> None:
        raise ValueError("the policy file is empty")


class Quiet(Notifier):
    def notify(self, notice): ...


class UnmadeNotifier(Quiet):
    def __init__(self) -> None:
        raise ValueError("no room")


class UnopenedNotifier(Quiet):
    def open(self) -> None:
        raise ValueError("no room")


class Rude(Quiet):
    def close(self) -> None:
        raise SystemExit(7)


class Tidy(Quiet):
    def __init__(self, *, project: Project) -> None:
        self._project = project

    def close(self) -> None:
        (self._project.root / "closed.txt").write_text("tidy")
