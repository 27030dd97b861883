"""What proves the drivers of this distribution: `forge plugins test forge-acme`."""

from __future__ import annotations

import hashlib  # <auth>
import json  # <monitor>
import os  # <connector registry>
from collections.abc import (  # <auth connector monitor notifier registry secrets strategy tracker transform>
    Callable,  # <connector monitor notifier registry secrets strategy tracker>
    Mapping,  # <auth monitor secrets strategy>
    Sequence,  # <transform>
)  # <auth connector monitor notifier registry secrets strategy tracker transform>
from pathlib import Path  # <secrets registry>

import pyarrow as pa  # <connector>
import pytest  # <auth connector flavor monitor notifier registry secrets strategy tracker trainer transform>
import sqlalchemy as sa  # <tracker>
from forge_core import Kernel  # <tracker>
from forge_core.files import folder_name  # <registry tracker>
from forge_core.operations import current  # <tracker>
from forge_core.records import (  # <auth flavor monitor registry secrets strategy trainer>
    JSON,  # <auth monitor secrets>
    ModelMetadata,  # <registry>
    Principal,  # <auth>
    Route,  # <strategy>
    TaskKind,  # <trainer flavor>
)  # <auth flavor monitor registry secrets strategy trainer>
from forge_core.testing import (
    AuthContract,  # <auth>
    ConnectorContract,  # <connector>
    DeployerContract,  # <deployer>
    FlavorContract,  # <flavor>
    MonitorContract,  # <monitor>
    NotifierContract,  # <notifier>
    OrchestratorContract,  # <orchestrator>
    RegistryContract,  # <registry>
    SecretsContract,  # <secrets>
    StrategyContract,  # <strategy>
    TrackerContract,  # <tracker>
    TrainerContract,  # <trainer>
    TransformationContract,  # <transform>
)
from forge_core.testing.project import ForgeProject  # <connector monitor notifier registry tracker>
from forge_core.testing.tracker import Kept  # <tracker>
from forge_core.testing.transform import Example  # <transform>
from pyarrow import feather  # <connector>

from forge_acme.auth import AcmeAuth  # <auth>
from forge_acme.connector import AcmeConnector  # <connector>
from forge_acme.deployer import AcmeDeployer  # <deployer>
from forge_acme.flavor import AcmeFlavor  # <flavor>
from forge_acme.monitor import AcmeMonitor  # <monitor>
from forge_acme.notifier import AcmeNotifier  # <notifier>
from forge_acme.orchestrator import AcmeOrchestrator  # <orchestrator>
from forge_acme.registry import AcmeRegistry  # <registry>
from forge_acme.secrets import AcmeSecrets  # <secrets>
from forge_acme.strategy import AcmeStrategy  # <strategy>
from forge_acme.tracker import RUNS, AcmeTracker  # <tracker>
from forge_acme.trainer import AcmeTrainer  # <trainer>
from forge_acme.transform import AcmeTransform  # <transform>


# <auth>
class TestAcmeAuth(AuthContract):
    driver_class = AcmeAuth

    @pytest.fixture
    def settings(self) -> Mapping[str, JSON]:
        keys = {"ann": ("key of ann", "admin"), "bob": ("key of bob", "viewer")}
        return {"keys": {name: {"sha256": _sha256(key), "role": role} for name, (key, role) in keys.items()}}

    @pytest.fixture
    def credentials(self) -> Mapping[str, str]:
        return {"api_key": "key of ann"}

    @pytest.fixture
    def principal(self) -> Principal:
        return Principal("ann", ("admin",))

    @pytest.fixture
    def limited(self) -> Mapping[str, str]:
        return {"bearer": "key of bob"}


def _sha256(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


# <connector>
class TestAcmeConnector(ConnectorContract):
    driver_class = AcmeConnector

    @pytest.fixture
    def place(self, forge_project: ForgeProject) -> Callable[[str, pa.Table], None]:
        """Two files from a thousand rows on; they are written in place, and their times never change."""

        def put(name: str, table: pa.Table) -> None:
            folder = forge_project / "data" / name
            folder.mkdir(parents=True, exist_ok=True)
            half = table.num_rows // 2 if table.num_rows > 1_000 else table.num_rows
            for number, part in enumerate((table.slice(0, half), table.slice(half))):
                if number == 0 or part.num_rows:
                    file = folder / f"part-{number}.arrow"
                    feather.write_feather(part, str(file), compression="uncompressed", chunksize=131_072)
                    os.utime(file, (1_600_000_000, 1_600_000_000))

        return put

    @pytest.fixture
    def rename(self, forge_project: ForgeProject) -> Callable[[str], None]:
        def last(name: str) -> None:
            folder = forge_project / "data" / name
            (folder / "part-0.arrow").rename(folder / "part-2.arrow")

        return last


# <deployer>
class TestAcmeDeployer(DeployerContract):
    driver_class = AcmeDeployer


# <flavor>
class TestAcmeFlavor(FlavorContract):
    driver_class = AcmeFlavor
    trainer_class = AcmeTrainer

    @pytest.fixture
    def tasks(self) -> tuple[TaskKind, ...]:
        return ("binary", "multiclass")


# <monitor>
class TestAcmeMonitor(MonitorContract):
    driver_class = AcmeMonitor

    @pytest.fixture
    def kept_labels(self, forge_project: ForgeProject) -> Callable[[], Mapping[str, JSON]]:
        file = forge_project / ".forge/acme-monitor/default/requests/labels.jsonl"

        def read() -> Mapping[str, JSON]:
            said = [json.loads(line) for line in file.read_text().splitlines() if line]
            return {one["request_id"]: one["label"] for one in said}

        return read


# <notifier>
class TestAcmeNotifier(NotifierContract):
    driver_class = AcmeNotifier

    @pytest.fixture
    def received(self, forge_project: ForgeProject) -> Callable[[], str]:
        return (forge_project / "acme-notices.jsonl").read_text


# <orchestrator>
class TestAcmeOrchestrator(OrchestratorContract):
    driver_class = AcmeOrchestrator


# <registry>
class TestAcmeRegistry(RegistryContract):
    driver_class = AcmeRegistry

    @pytest.fixture
    def stored(self, forge_project: ForgeProject) -> Path:
        return forge_project / ".forge/artifacts/acme"

    @pytest.fixture
    def damage(self, stored: Path) -> Callable[[ModelMetadata], None]:
        def flip(model: ModelMetadata) -> None:
            files = [path for path in (stored / folder_name(model.tenant) / model.digest).rglob("*") if path.is_file()]
            file = max(files, key=lambda path: path.stat().st_size)
            data = bytearray(file.read_bytes())
            data[len(data) // 2] ^= 1
            file.chmod(0o644)
            file.write_bytes(data)

        return flip

    @pytest.fixture
    def litter(self, stored: Path) -> Callable[[], int]:
        def leave() -> int:
            folder = stored / "default" / f".staging-{os.urandom(8).hex()}"
            folder.mkdir(parents=True)
            return (folder / "model.bin").write_bytes(b"litter")

        return leave


# <secrets>
class TestAcmeSecrets(SecretsContract):
    driver_class = AcmeSecrets

    @pytest.fixture
    def settings(self, tmp_path: Path) -> Mapping[str, JSON]:
        return {"folder": str(tmp_path / "secrets")}

    @pytest.fixture
    def keep(self, tmp_path: Path) -> Callable[[str, str], None]:
        def write(ref: str, text: str) -> None:
            file = tmp_path / "secrets" / ref
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(text.encode())

        return write


# <strategy>
class TestAcmeStrategy(StrategyContract):
    driver_class = AcmeStrategy

    @pytest.fixture
    def bad_evidence(self) -> Callable[[tuple[Route, ...]], Mapping[str, Mapping[str, float]]]:
        def failing(routes: tuple[Route, ...]) -> Mapping[str, Mapping[str, float]]:
            """The candidate's is the last route."""
            names = [f"{route.model}@{route.version}" for route in routes]
            return {name: {"error_rate": 0.5 if name == names[-1] else 0.0} for name in names}

        return failing


# <tracker>
class TestAcmeTracker(TrackerContract):
    driver_class = AcmeTracker

    @pytest.fixture
    def kept(self, kernel: Kernel, forge_project: ForgeProject) -> Callable[[object, str], Kept]:
        def read(_driver: object, run_id: str) -> Kept:
            tenant = current().principal.tenant
            with kernel.database.read() as connection:
                row = connection.execute(sa.select(RUNS).filter_by(tenant=tenant, run_id=run_id)).one()
            place = forge_project / ".forge/acme-artifacts"
            folder = place / folder_name(tenant) / folder_name(run_id)
            files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
            artifacts = {name: path.read_bytes() for name, path in files.items()}
            return Kept(row.experiment, row.parameters, row.state, artifacts)

        return read


# <trainer>
class TestAcmeTrainer(TrainerContract):
    driver_class = AcmeTrainer
    flavor_class = AcmeFlavor

    @pytest.fixture
    def tasks(self) -> tuple[TaskKind, ...]:
        return ("binary", "multiclass")


# <transform>
class TestAcmeTransform(TransformationContract):
    driver_class = AcmeTransform

    @pytest.fixture
    def examples(self) -> Sequence[Example]:
        ages, filled = {"age": [1, None, 3]}, {"age": [1.0, 2.0, 3.0]}
        return (
            Example({}, rows=ages, expected=filled),
            Example({"columns": ["age"]}, rows=ages, expected={"age": [7.0, 2.0]}, more={"age": [7, None]}),
        )
