"""FAULTS A8, A9, A10: damaged bytes, and uploads that end half-way."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import stat
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
import sqlalchemy as sa

from forge_core.faults import DigestMismatch, ForgeError
from forge_registry.tables import FILES

pytestmark = pytest.mark.faults
NOW = timedelta(0)

# ---- A8, A9: bytes that are not those that were published


def _flip(path):
    path.chmod(0o600)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def _blob_of(world, content):
    (found,) = [path for path in world.blobs() if path.read_bytes() == content]
    return found


@pytest.mark.parametrize(
    "damage", [_flip, os.unlink, lambda path: os.truncate(path, 3), lambda path: (path.unlink(), path.symlink_to("/dev/zero"))]
)
def test_A8_a_damaged_blob_is_found_and_its_version_alone_is_quarantined(world, damage):
    registry = world.registry()
    world.publish(registry, content=b"one" * 1000)
    world.publish(registry, content=b"two" * 1000)
    damage(_blob_of(world, b"one" * 1000))
    with pytest.raises(DigestMismatch, match="churn@1"):
        registry.checkout("churn@1")
    with pytest.raises(DigestMismatch, match="churn@1 is quarantined"):
        world.registry().checkout("churn@1")
    assert registry.checkout("churn@2").is_dir()
    assert registry.get("churn@1").version == 1
    (fault,) = registry.verify()
    assert (fault.where, fault.distribution) == ("model:churn@1", "forge-registry")
    assert "model.bin" in fault.cause


def test_A8_verify_quarantines_without_a_checkout_and_spares_the_others(world):
    registry = world.registry()
    for content in (b"one" * 1000, b"two" * 1000, b"one" * 1000):
        world.publish(registry, content=content)
    assert registry.verify() == []
    _flip(_blob_of(world, b"one" * 1000))
    assert [fault.where for fault in registry.verify()] == ["model:churn@1", "model:churn@3"]
    for selector in ("churn@1", "churn@3"):
        with pytest.raises(DigestMismatch):
            registry.checkout(selector)
    assert registry.checkout("churn@2").is_dir()


def test_A8_registering_the_same_folder_again_heals_and_verify_ends_the_quarantine(world, draft):
    registry, folder, told = world.registry(), world.folder(b"one" * 1000), draft()
    model = registry.register_model(folder, told)
    _flip(_blob_of(world, b"one" * 1000))
    with pytest.raises(DigestMismatch):
        registry.checkout("churn@1")
    assert registry.register_model(folder, told) == model
    with pytest.raises(DigestMismatch):
        registry.checkout("churn@1")
    assert registry.verify("churn@1") == []
    assert (registry.checkout("churn@1") / "flavor" / "model.bin").read_bytes() == b"one" * 1000


def test_A8_a_damaged_copy_is_found_even_where_it_was_used_before(world):
    registry = world.registry()
    world.publish(registry, content=b"one" * 1000)
    world.publish(registry, content=b"two" * 1000)
    folder = registry.checkout("churn@1")
    for _ in range(3):
        assert registry.checkout("churn@1") == folder
        time.sleep(0.06)
    _flip(folder / "flavor" / "model.bin")
    with pytest.raises(DigestMismatch, match=r"copy of flavor/model.bin"):
        registry.checkout("churn@1")
    assert registry.checkout("churn@2").is_dir()
    (fault,) = registry.verify()
    assert "copy" in fault.cause
    assert registry.verify() == []
    assert (registry.checkout("churn@1") / "flavor" / "model.bin").read_bytes() == b"one" * 1000


def test_A8_a_flip_that_keeps_the_modification_time_is_found(local):
    registry = local.registry()
    local.publish(registry)
    path = registry.checkout("churn@1") / "flavor" / "model.bin"
    time.sleep(0.06)
    registry.checkout("churn@1")
    before = path.stat()
    _flip(path)
    path.chmod(stat.S_IMODE(before.st_mode))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(DigestMismatch):
        registry.checkout("churn@1")


def test_a_verified_copy_is_not_hashed_again(local, monkeypatch):
    registry = local.registry()
    local.publish(registry)
    registry.checkout("churn@1")
    time.sleep(0.06)
    registry.checkout("churn@1")
    monkeypatch.setattr("forge_registry.checkouts._compare", lambda *given: pytest.fail("it was hashed"))
    registry.checkout("churn@1")


def test_a_copy_that_changed_a_moment_ago_is_hashed_again(local, monkeypatch):
    """File times have a resolution: within it, a second change leaves no trace in them."""
    monkeypatch.setattr("forge_registry.checkouts._TICK_NS", 60_000_000_000)
    registry, hashed = local.registry(), []
    local.publish(registry)
    registry.checkout("churn@1")
    monkeypatch.setattr("forge_registry.checkouts._compare", lambda folder, files: hashed.append(folder.name))
    registry.checkout("churn@1")
    assert hashed == [registry.get("churn@1").digest]


@pytest.mark.parametrize(
    "tamper",
    [
        lambda folder: (folder / "extra.bin").write_bytes(b"x"),
        lambda folder: (folder / ".extra").write_bytes(b"x"),
        lambda folder: (folder / "flavor" / "model.bin").unlink(),
        lambda folder: (folder / "extra").symlink_to("/etc/passwd"),
        lambda folder: ((folder / "flavor" / "model.bin").unlink(), (folder / "flavor" / "model.bin").symlink_to("/dev/null")),
        lambda folder: os.mkfifo(folder / "pipe"),
        lambda folder: (folder / "flavor" / "model.bin").rename(folder / "flavor" / "renamed.bin"),
        lambda folder: (shutil.rmtree(folder), folder.symlink_to("/etc")),
        lambda folder: (shutil.rmtree(folder), folder.write_bytes(b"")),
    ],
)
def test_A9_a_copy_with_other_files_than_published_fails_closed(local, tamper):
    registry = local.registry()
    local.publish(registry, content=b"one")
    local.publish(registry, content=b"two")
    folder = registry.checkout("churn@1")
    for path in (folder, folder / "flavor"):
        path.chmod(0o700)
    tamper(folder)
    with pytest.raises(DigestMismatch, match="churn@1"):
        registry.checkout("churn@1")
    assert registry.checkout("churn@2").is_dir()
    assert len(registry.verify("churn@1")) == 1
    assert (registry.checkout("churn@1") / "flavor" / "model.bin").read_bytes() == b"one"


def test_A9_the_manifest_of_another_version_fails_closed(world):
    registry = world.registry()
    world.publish(registry, content=b"one")
    world.publish(registry, content=b"two")
    world.publish(registry, content=b"three")
    with world.opened[0].transaction() as connection:
        other = sa.select(FILES.c.sha256, FILES.c.size).where(FILES.c.version == 2, FILES.c.path == "flavor/model.bin")
        sha256, size = connection.execute(other).one()
        connection.execute(FILES.update().where(FILES.c.version == 1, FILES.c.path == "flavor/model.bin").values(sha256=sha256, size=size))
    with pytest.raises(DigestMismatch, match="list of files"):
        registry.checkout("churn@1")
    assert [fault.where for fault in registry.verify()] == ["model:churn@1"]
    assert registry.checkout("churn@2") != registry.checkout("churn@3")


def test_A9_a_manifest_with_a_file_more_or_less_fails_closed(local):
    registry = local.registry()
    for _ in range(2):
        local.publish(registry)
    with local.opened[0].transaction() as connection:
        connection.execute(FILES.delete().where(FILES.c.version == 1, FILES.c.path == "flavor/model.bin"))
        row = {"tenant": "default", "name": "churn", "version": 2, "path": "../../escape", "size": 0, "sha256": "0" * 64}
        connection.execute(FILES.insert().values(row))
    for selector in ("churn@1", "churn@2"):
        with pytest.raises(DigestMismatch, match="list of files"):
            registry.checkout(selector)


def test_a_checkout_is_read_only_and_has_exactly_the_published_files(local, draft):
    registry = local.registry()
    folder = local.folder(b"weights", deep__er__x=b"x")
    model = registry.register_model(folder, draft())
    copy = registry.checkout("churn")
    assert copy == local.root / ".forge" / "models" / "default" / model.digest
    names = {str(path.relative_to(copy)) for path in copy.rglob("*") if path.is_file()}
    assert names == {"forge.json", "flavor/model.bin", "deep/er/x"}
    assert not any(stat.S_IMODE(path.lstat().st_mode) & 0o222 for path in (copy, *copy.rglob("*")))
    assert json.loads((copy / "forge.json").read_text()) == {"format": 1}


def test_many_who_check_out_one_version_at_once_get_one_sound_copy(local, draft):
    registries = [local.registry() for _ in range(4)]
    for number in range(1, 6):
        local.publish(registries[0], content=os.urandom(200_000))
        with ThreadPoolExecutor(4) as pool:
            folders = set(pool.map(lambda registry, number=number: registry.checkout(f"churn@{number}"), registries))
        assert len(folders) == 1
    assert registries[0].verify() == []
    assert len(list((local.root / ".forge" / "models" / "default").iterdir())) == 5


def test_a_reader_finds_damage_though_it_may_not_quarantine(local):
    local.publish(local.registry(), content=b"one" * 1000)
    _flip(_blob_of(local, b"one" * 1000))
    reader = local.registry(local.database(read_only=True))
    for _ in range(2):
        with pytest.raises(DigestMismatch):
            reader.checkout("churn@1")


# ---- A10: uploads that end half-way


def test_A10_a_client_killed_half_way_leaves_no_version_and_a_retry_succeeds(world, forked, draft, monkeypatch):
    registry, folder, told = world.registry(), world.folder(b"x" * 3_000_000), draft()
    reading, writing = os.pipe()

    def killed_before_rename():
        other = world.registry()
        monkeypatch.setattr(os, "rename", lambda *given: (os.write(writing, b"."), signal.pause()))
        other.register_model(folder, told)

    child = forked(killed_before_rename)
    assert os.read(reading, 1) == b"."
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert registry.search() == []
    assert world.blobs() == []
    assert len(world.leftovers()) == 1
    assert stat.S_IMODE(world.leftovers()[0].stat().st_mode) == 0o700
    assert registry.register_model(folder, told).version == 1
    assert registry.collect_garbage(timedelta(hours=1)) == 0
    assert registry.collect_garbage(NOW) > 3_000_000
    assert world.leftovers() == []
    assert registry.verify() == []


def test_A10_a_client_killed_before_its_row_leaves_garbage_only(local, forked, draft, monkeypatch):
    registry, folder, told = local.registry(), local.folder(b"x" * 1000), draft()
    reading, writing = os.pipe()

    def killed_before_commit():
        monkeypatch.setattr("forge_registry.versions.publish", lambda *given: (os.write(writing, b"."), signal.pause()))
        local.registry().register_model(folder, told)

    child = forked(killed_before_commit)
    assert os.read(reading, 1) == b"."
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert registry.search() == []
    assert len(local.blobs()) == 2
    assert registry.collect_garbage(timedelta(hours=1)) == 0
    assert registry.collect_garbage(NOW) >= 1000
    assert local.blobs() == local.leftovers() == []
    assert registry.register_model(folder, told).version == 1
    assert registry.checkout("churn").is_dir()


def test_A10_a_full_disk_is_told_and_a_retry_succeeds(local, forked, draft):
    registry, folder, told = local.registry(), local.folder(b"x" * 3_000_000), draft()
    reading, writing = os.pipe()

    def on_a_full_disk():
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
        try:
            local.registry().register_model(folder, told)
        except ForgeError as error:
            os.write(writing, f"{type(error).__name__}\n{error.cause}\n{error.remedy}".encode())

    os.waitpid(forked(on_a_full_disk), 0)
    kind, cause, remedy = os.read(reading, 10_000).decode().splitlines()
    assert kind == "ForgeError"
    assert "could not be stored" in cause
    assert str(local.root) not in cause
    assert "free space" in remedy
    assert registry.search() == local.blobs() == local.leftovers() == []
    assert registry.register_model(folder, told).version == 1


def test_A10_a_killed_checkout_leaves_no_copy_and_is_swept(local, forked, monkeypatch):
    registry = local.registry()
    local.publish(registry, content=b"x" * 1000)
    reading, writing = os.pipe()

    def killed_while_building():
        monkeypatch.setattr(os, "rename", lambda *given: (os.write(writing, b"."), signal.pause()))
        local.registry().checkout("churn")

    child = forked(killed_while_building)
    assert os.read(reading, 1) == b"."
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    (left,) = (local.root / ".forge" / "models" / "default").iterdir()
    assert (registry.checkout("churn") / "forge.json").is_file()
    assert registry.collect_garbage(NOW) >= 1000
    assert not left.exists()
    assert registry.checkout("churn").is_dir()
