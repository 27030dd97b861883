"""FAULTS R1 to R6: killed writers, failing disks, the order of a publication, and many writers at once."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import threading
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa

from forge_core.database import Database
from forge_core.faults import Conflict, ForgeError
from forge_core.records import ModelStatus, Project, Storage
from forge_registry.registry import SqlRegistry

pytestmark = pytest.mark.faults


# ---- R1: killed at any instant


def test_R1_what_a_killed_writer_acknowledged_is_there_and_loadable(world, seed, forked, draft):
    _kill_writers(world, seed, forked, draft, rounds=20)


@pytest.mark.soak
def test_R1_a_thousand_killed_writers(world, seed, forked, draft):
    _kill_writers(world, seed, forked, draft, rounds=1000)


def _kill_writers(world, seed, forked, draft, rounds):
    folders = [world.folder(seed.randbytes(50_000)) for _ in range(4)]
    world.registry()
    acknowledged: list[str] = []
    for number in range(rounds):
        reading, writing = os.pipe()
        child = forked(lambda number=number, writing=writing: _write_for_ever(world, folders, draft, number, writing))
        os.close(writing)
        first = os.read(reading, 16)  # it has begun: the instant below is one of its work, not of its start
        time.sleep(seed.uniform(0, 0.05))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        with os.fdopen(reading) as pipe:
            acknowledged += (first.decode() + pipe.read()).splitlines()
        opened = time.monotonic()
        registry = world.registry()
        _check_acknowledged(registry, acknowledged[-40:])
        assert time.monotonic() - opened < 5
    assert len(acknowledged) > rounds
    registry = world.registry()
    _check_acknowledged(registry, acknowledged)
    assert registry.verify() == []
    numbers = sorted(model.version for model in registry.search("churn", limit=10_000))
    assert numbers == list(range(1, len(numbers) + 1))
    for model in registry.search("churn", limit=20):
        assert (registry.checkout(model.selector) / "forge.json").is_file()


def _write_for_ever(world, folders, draft, number, pipe):
    registry = world.registry()
    alias = f"alias{number}"
    expected = None
    while True:
        model = registry.register_model(folders[number % 4], draft())
        os.write(pipe, f"version {model.version} {model.digest}\n".encode())
        registry.transition(model.selector, ModelStatus.VALIDATING, ModelStatus.DEPLOYED)
        os.write(pipe, f"deployed {model.version} -\n".encode())
        registry.set_alias("churn", alias, model.version, expected)
        expected = model.version
        os.write(pipe, f"alias {model.version} {alias}\n".encode())


def _check_acknowledged(registry, lines):
    for line in lines:
        if line.count(" ") < 2:
            continue  # the pipe's last line, cut short
        what, version, rest = line.split(" ")
        if what == "version":
            assert registry.get(f"churn@{version}").digest == rest
            assert (registry.checkout(f"churn@{version}") / "flavor" / "model.bin").stat().st_size == 50_000
        elif what == "deployed":
            assert registry.get(f"churn@{version}").status is ModelStatus.DEPLOYED
        else:
            assert registry.aliases("churn")[rest] >= int(version)


# ---- R2, R3: every step of a publication


class Steps:
    """Records each persistence step of this process under a root; fails the one with the number `failing`."""

    def __init__(self, monkeypatch, database, root):
        self.seen: list[tuple[str, str]] = []
        self.failing: int | None = None
        self.code = errno.EIO
        self.on_step = lambda: None
        fsync, rename = os.fsync, os.rename

        def synced(descriptor):
            path = os.readlink(f"/proc/self/fd/{descriptor}")
            self.step("fsync", path)
            fsync(descriptor)

        def renamed(source, target, **given):
            self.step("rename", f"{source} -> {target}")
            rename(source, target, **given)

        monkeypatch.setattr(os, "fsync", synced)
        monkeypatch.setattr(os, "rename", renamed)
        sa.event.listen(database.engine, "before_cursor_execute", self._statement)
        sa.event.listen(database.engine, "commit", lambda connection: self.step("commit", "", database=True))
        self.root = str(root)

    def step(self, kind, what, *, database=False):
        self.on_step()
        self.seen.append((kind, what.replace(self.root, "")))
        if self.failing == len(self.seen) - 1:
            if database:
                raise sa.exc.OperationalError("", {}, OSError(self.code, os.strerror(self.code)))
            raise OSError(self.code, os.strerror(self.code))

    def _statement(self, connection, cursor, statement, parameters, context, many):
        if statement.startswith(("INSERT", "UPDATE")):
            self.step("write", statement.split(" (")[0], database=True)


def test_R2_a_step_that_fails_once_leaves_the_old_state_and_is_told(local, monkeypatch, draft):
    database = local.database()
    registry = local.registry(database)
    steps = Steps(monkeypatch, database, local.root)
    registry.register_model(local.folder(b"first"), draft())  # it makes folders that the others find
    steps.seen = []
    registry.register_model(local.folder(b"second"), draft())
    count = len(steps.seen)
    assert {kind for kind, _what in steps.seen} == {"fsync", "rename", "write", "commit"}
    for number in range(count):
        folder, told = local.folder(f"content {number}".encode()), draft()
        steps.seen, steps.failing, steps.code = [], number, (errno.ENOSPC if number % 2 else errno.EIO)
        with pytest.raises(ForgeError) as caught:
            registry.register_model(folder, told)
        assert str(local.root) not in caught.value.cause
        assert caught.value.remedy
        steps.failing = None
        assert registry.get("churn").version == len(registry.search()) == number + 2
        assert local.leftovers() == []
        again = registry.register_model(folder, told)
        assert again.version == number + 3
        assert (registry.checkout(again.selector) / "flavor" / "model.bin").read_bytes() == f"content {number}".encode()
    assert registry.verify() == []


def test_R3_bytes_are_durable_before_the_row_that_names_them(local, monkeypatch, draft):
    database = local.database()
    registry = local.registry(database)
    registry.register_model(local.folder(b"first"), draft())
    steps = Steps(monkeypatch, database, local.root)
    registry.register_model(local.folder(b"second"), draft())
    kinds = [kind for kind, _what in steps.seen]
    assert kinds.count("commit") == 1
    renames = [(index, what.split(" -> ")) for index, (kind, what) in enumerate(steps.seen) if kind == "rename"]
    assert len(renames) == 1  # forge.json was there
    for index, (staged, blob) in renames:
        assert ("fsync", staged) in steps.seen[:index]
        folder_synced = steps.seen.index(("fsync", str(Path(blob).parent)), index)
        assert index < folder_synced < kinds.index("write") < kinds.index("commit")
    assert kinds[-1] == "commit"


def test_R3_every_prefix_of_a_publication_opens_clean(local, monkeypatch, draft):
    database = local.database()
    registry = local.registry(database)
    first = registry.register_model(local.folder(b"first"), draft())
    folder = local.folder(b"second")
    steps = Steps(monkeypatch, database, local.root)
    prefixes: list[Path] = []

    def keep():
        if (local.root / "forge.db").exists():
            target = local.root.parent / f"{local.root.name}-prefix{len(prefixes)}"
            shutil.copytree(local.root, target)
            prefixes.append(target)

    steps.on_step = keep
    second = registry.register_model(folder, draft())
    keep()
    monkeypatch.undo()
    assert len(prefixes) > 8
    found = []
    for prefix in prefixes:
        with _opened(prefix) as other:
            assert other.verify() == []
            assert other.get("churn@1").digest == first.digest
            found.append(len(other.search()))
            for model in other.search():
                assert (other.checkout(model.selector) / "forge.json").is_file()
    assert found == sorted(found)
    assert set(found) == {1, 2}
    assert registry.get("churn").digest == second.digest


@contextmanager
def _opened(root):
    database = Database(f"sqlite:///{root}/forge.db")
    made = SqlRegistry(database=database, storage=Storage((root / "artifacts").as_uri()), project=Project("copy", root))
    made.open()
    yield made
    database.close()


# ---- R4, R5, R6: many writers


def test_R4_sixteen_processes_number_fifty_versions_each_without_gap_or_error(world, forked, draft):
    folder = world.folder(b"same")
    first = world.registry()
    children = [forked(lambda: _register(world, folder, draft, 50)) for _ in range(16)]
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 16
    with world.opened[0].read() as connection:
        rows = (
            connection.execute(sa.text("SELECT version FROM forge_model_versions WHERE tenant = 'default' AND name = 'churn'"))
            .scalars()
            .all()
        )
    assert sorted(rows) == list(range(1, 801))
    assert first.get("churn").version == 800
    assert first.verify("churn@800") == []


def _register(world, folder, draft, times):
    registry = world.registry()
    for _ in range(times):
        registry.register_model(folder, draft())


def test_R5_of_two_writers_of_one_alias_one_wins_and_no_reader_sees_another(world):
    registry = world.registry()
    for _ in range(3):
        world.publish(registry, content=b"same")
    registry.set_alias("churn", "production", 1, None)
    seen: Counter[int] = Counter()
    done = threading.Event()

    def read():
        reader = world.registry()
        while not done.is_set():
            seen[reader.aliases("churn").get("production", 0)] += 1

    reader = threading.Thread(target=read)
    reader.start()
    writers = [world.registry(), world.registry()]
    try:
        now = 1
        for _ in range(20):
            targets = [number for number in (1, 2, 3) if number != now]
            outcomes = _at_once(
                [lambda w=w, t=t, now=now: w.set_alias("churn", "production", t, now) for w, t in zip(writers, targets, strict=True)]
            )
            assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Conflict", "NoneType"]
            now = targets[outcomes.index(None)]
            assert registry.aliases("churn") == {"production": now}
    finally:
        done.set()
        reader.join()
    assert 0 not in seen
    assert set(seen) <= {1, 2, 3}
    moves = registry.alias_history("churn", "production")
    assert [move.before for move in moves[1:]] == [{"version": move.after["version"]} for move in moves[:-1]]
    assert len(moves) == 21


def test_R5_the_first_setting_of_an_alias_has_one_winner(world):
    registry = world.registry()
    world.publish(registry)
    world.publish(registry)
    writers = [world.registry(), world.registry()]
    for number in range(10):
        outcomes = _at_once([lambda w=w, v=v, n=number: w.set_alias("churn", f"a{n}", v, None) for v, w in enumerate(writers, 1)])
        assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Conflict", "NoneType"]


def test_R6_one_idempotency_key_used_by_many_at_once_makes_one_version(world, draft):
    told, folder = draft(idempotency_key="k"), world.folder()
    writers = [world.registry() for _ in range(6)]
    models = _at_once([lambda w=w: w.register_model(folder, told) for w in writers])
    assert [model.version for model in models] == [1] * 6
    assert len({model.model_id for model in models}) == 1


def test_R6_one_key_used_at_once_for_two_names_is_a_conflict_for_one(world, draft):
    writers = [world.registry(), world.registry()]
    folder = world.folder()
    for number in range(5):
        drafts = [draft(name, idempotency_key=f"k{number}") for name in ("a", "b")]
        outcomes = _at_once([lambda w=w, d=d: w.register_model(folder, d) for w, d in zip(writers, drafts, strict=True)])
        assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Conflict", "ModelMetadata"]
        assert len(writers[0].search()) == number + 1


def test_two_writers_of_one_status_have_one_winner(world):
    registry = world.registry()
    writers = [world.registry(), world.registry()]
    for number in range(1, 11):
        world.publish(registry, content=b"same")
        targets = [ModelStatus.DEPLOYED, ModelStatus.FAILED]
        outcomes = _at_once(
            [
                lambda w=w, t=t, n=number: w.transition(f"churn@{n}", ModelStatus.VALIDATING, t)
                for w, t in zip(writers, targets, strict=True)
            ]
        )
        assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Conflict", "ModelMetadata"]


def _at_once(calls):
    """What each call returned or raised (a `Conflict`), begun at the same moment."""
    barrier = threading.Barrier(len(calls))
    outcomes = [None] * len(calls)

    def run(index):
        barrier.wait()
        try:
            outcomes[index] = calls[index]()
        except Conflict as conflict:
            outcomes[index] = conflict

    threads = [threading.Thread(target=run, args=(index,)) for index in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes
