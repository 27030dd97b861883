"""Bytes on a disk, in memory and in S3: stored once, swept when nobody names them, never before."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
import time
from datetime import timedelta

import fsspec
import pytest

from forge_core.faults import ConfigError, DigestMismatch, ForgeError, Transient
from forge_core.records import Storage
from forge_registry.blobs import Blob, Swept
from forge_registry.objects import ObjectBlobs
from forge_registry.storage import open_blobs

NOW = timedelta(0)


def _keys(world, area="blobs"):
    """Paths of what lies in the storage, whatever kind it is."""
    files, root = fsspec.core.url_to_fs(world.storage.url, **world.storage.options)
    files.invalidate_cache()
    found = files.find(f"{root}/default/{area}", detail=True)
    return files, sorted(key for key, info in found.items() if info["type"] == "file")


def test_a_version_goes_in_and_comes_out_of_any_storage(stored, draft):
    registry, folder = stored.registry(), stored.folder(b"weights" * 1000, deep__er=b"")
    model = registry.register_model(folder, draft())
    copy = stored.registry().checkout("churn")
    for path in ("forge.json", "flavor/model.bin", "deep/er"):
        assert (copy / path).read_bytes() == (folder / path).read_bytes()
    assert registry.verify() == []
    assert model.digest == copy.name
    assert _keys(stored, "staging")[1] == []


def test_equal_files_are_stored_once_under_their_digest(stored, draft):
    registry = stored.registry()
    for number in range(3):
        registry.register_model(stored.folder(b"same", other=b"same", own=bytes([number])), draft())
    files, keys = _keys(stored)
    assert len(keys) == 5
    for key in keys:
        assert key.endswith(f"/blobs/sha256/{key[-64:-62]}/{hashlib.sha256(files.cat_file(key)).hexdigest()}")


def test_a_damaged_blob_in_any_storage_is_found_and_healed(stored, draft):
    registry, folder, told = stored.registry(), stored.folder(b"one" * 1000), draft()
    registry.register_model(folder, told)
    stored.publish(registry, content=b"two" * 1000)
    files, keys = _keys(stored)
    (key,) = [key for key in keys if files.cat_file(key) == b"one" * 1000]
    files.chmod(key, 0o600) if stored.storage.url.startswith("file") else None
    files.pipe_file(key, b"onf" + b"one" * 999)
    with pytest.raises(DigestMismatch, match="churn@1"):
        registry.checkout("churn@1")
    assert registry.checkout("churn@2").is_dir()
    registry.register_model(folder, told)
    assert registry.verify() == []
    assert (registry.checkout("churn@1") / "flavor" / "model.bin").read_bytes() == b"one" * 1000
    files.rm_file(key)
    assert [fault.where for fault in registry.verify()] == ["model:churn@1"]


def test_garbage_is_what_no_row_names_and_what_is_old(stored, draft):
    registry = stored.registry()
    registry.register_model(stored.folder(b"kept"), draft())
    files, keys = _keys(stored)
    orphan = keys[0][:-67] + f"ab/ab{'0' * 62}"
    files.makedirs(orphan.rpartition("/")[0], exist_ok=True)
    files.pipe_file(orphan, b"x" * 500)
    assert registry.collect_garbage(timedelta(hours=1)) == 0
    assert len(_keys(stored)[1]) == 3
    assert registry.collect_garbage(NOW) == 500
    assert _keys(stored)[1] == keys
    assert registry.collect_garbage(NOW) == 0
    assert registry.verify() == []


def test_garbage_of_another_tenant_is_left_alone(local, tenant, draft):
    registry = local.registry()
    with tenant("a"):
        registry.register_model(local.folder(), draft())
        orphan = local.blobs()[0].parent.parent / "ab" / ("ab" + "0" * 62)
        orphan.parent.mkdir(exist_ok=True)
        orphan.write_bytes(b"x")
    with tenant("b"):
        assert registry.collect_garbage(NOW) == 0
    assert orphan.exists()
    with tenant("a"):
        assert registry.collect_garbage(NOW) == 1


def test_a_negative_age_is_refused(local):
    with pytest.raises(ForgeError, match="negative"):
        local.registry().collect_garbage(timedelta(days=-1))


@pytest.mark.faults
def test_a_sweep_never_takes_a_blob_that_is_being_named(world, seed, draft):
    """Every registration finds its blob lying there as old garbage, while sweeps of what is old run beside it."""
    registry, done, sweeps, failures = world.registry(), threading.Event(), [], []
    registry.register_model(world.folder(b"first"), draft())
    contents = [seed.randbytes(100) for _ in range(40)]
    _old_orphan(world, b"never named")

    def sweep():
        sweeper = world.registry()
        while not done.is_set():
            try:
                sweeps.append(sweeper.collect_garbage(timedelta(hours=1)))
            except ForgeError as error:
                failures.append(error)
            time.sleep(seed.uniform(0, 0.02))

    thread = threading.Thread(target=sweep)
    thread.start()
    try:
        for content in contents:
            _old_orphan(world, content)
            registry.register_model(world.folder(content), draft())
    finally:
        done.set()
        thread.join()
    assert failures == []
    assert sum(sweeps) >= len(b"never named")
    assert registry.verify() == []
    for number, content in enumerate(contents, 2):
        assert (registry.checkout(f"churn@{number}") / "flavor" / "model.bin").read_bytes() == content


def _old_orphan(world, content):
    digest = hashlib.sha256(content).hexdigest()
    path = world.root / "artifacts" / "default" / "blobs" / "sha256" / digest[:2] / digest
    path.parent.mkdir(exist_ok=True)
    (world.root / "orphan").write_bytes(content)
    os.utime(world.root / "orphan", (0, 0))
    os.rename(world.root / "orphan", path)


def test_an_upload_that_was_swept_begins_again(stored):
    blobs = open_blobs(stored.storage)
    source = stored.folder(b"x" * 100) / "flavor" / "model.bin"
    with blobs.staging("default") as staging:
        with source.open("rb") as file:
            blob = staging.add(file)
        blobs.remove([left.key for left in blobs.stored("default")])
        with pytest.raises(Swept):
            staging.publish()
    assert not blobs.holds("default", blob)
    assert not blobs.holds("default", Blob("0" * 64, 1))


def test_a_storage_that_fails_is_a_transient_error_and_quarantines_nothing(stored, monkeypatch):
    registry = stored.registry()
    stored.publish(registry)

    def fail(*given, **more):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(type(open_blobs(stored.storage)), "open", fail)
    with pytest.raises(Transient, match="Input/output error"):
        registry.checkout("churn")
    with pytest.raises(Transient):
        registry.verify()
    monkeypatch.undo()
    assert registry.checkout("churn").is_dir()


@pytest.mark.s3
def test_an_s3_server_that_is_not_there_is_a_transient_error(local, draft):
    options = {"key": "a", "secret": "b", "endpoint_url": "http://127.0.0.1:9", "config_kwargs": {"retries": {"max_attempts": 1}}}
    local.storage = Storage("s3://bucket/models", options)
    registry = local.registry()
    with pytest.raises(Transient) as caught:
        registry.register_model(local.folder(), draft())
    assert "infrastructure.storage" in caught.value.remedy
    assert registry.search() == []


def test_a_filesystem_that_is_not_installed_names_itself(local):
    local.storage = Storage("nosuch://bucket")
    with pytest.raises(ConfigError, match="nosuch://"):
        local.registry()


def test_a_plain_path_and_a_file_url_are_the_same_storage(tmp_path, draft, local):
    model = local.publish(local.registry())
    local.storage = Storage(str(tmp_path / "artifacts"))
    assert local.registry().checkout("churn").name == model.digest
    assert not isinstance(open_blobs(local.storage), ObjectBlobs)


def test_who_keeps_models_on_a_disk_imports_no_fsspec():
    code = "import sys, forge_registry.plugin, forge_registry.registry, forge_registry.tracker; sys.exit('fsspec' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_plugin_module_is_light():
    code = "import sys, forge_registry.plugin; sys.exit(any(name in sys.modules for name in ('sqlalchemy', 'attrs', 'fsspec')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
