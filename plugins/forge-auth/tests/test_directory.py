from __future__ import annotations

import threading
import time

from attrs import define

from forge_auth.directory import FRESH_FOR, NEWEST, TRUSTED_FOR, Directory, Snapshot


@define
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@define
class Source:
    """Counts how often it is read, and by whom; `gate` holds a reader up."""

    reads: int = 0
    reader: str = ""
    gate: threading.Event | None = None

    def __call__(self) -> Snapshot:
        if self.gate is not None:
            self.gate.wait(5)
        self.reads += 1
        self.reader = threading.current_thread().name
        return Snapshot(trouble=f"read {self.reads}")


def settled(directory: Directory, trouble: str) -> bool:
    until = time.monotonic() + 5
    while time.monotonic() < until:
        if directory.snapshot().trouble == trouble:
            return True
        time.sleep(0.005)
    return False


def test_a_fresh_snapshot_is_answered_from_memory() -> None:
    clock, source = Clock(), Source()
    directory = Directory(source, clock)
    for _ in range(100):
        assert directory.snapshot().trouble == "read 1"
    clock.now += FRESH_FOR - 0.01
    assert directory.snapshot().trouble == "read 1"
    assert source.reads == 1


def test_an_older_one_is_refreshed_beside_the_caller_who_does_not_wait() -> None:
    clock, source = Clock(), Source()
    directory = Directory(source, clock)
    directory.snapshot()
    source.gate = threading.Event()
    clock.now += FRESH_FOR
    for _ in range(50):
        assert directory.snapshot().trouble == "read 1"
    source.gate.set()
    assert settled(directory, "read 2")
    assert source.reads == 2
    assert source.reader == "forge-auth-refresh"


def test_one_too_old_is_never_trusted() -> None:
    clock, source = Clock(), Source()
    directory = Directory(source, clock)
    directory.snapshot()
    clock.now += TRUSTED_FOR
    assert directory.snapshot().trouble == "read 2"


def test_what_cannot_be_refreshed_in_time_denies() -> None:
    clock, source = Clock(), Source()
    directory = Directory(source, clock)
    directory.snapshot()
    source.gate = threading.Event()
    clock.now += FRESH_FOR
    directory.snapshot()  # a refresh begins, and hangs
    clock.now += TRUSTED_FOR
    assert directory.snapshot().trouble == "the keys cannot be read at the moment"
    source.gate.set()
    assert settled(directory, "read 3")


def test_what_was_changed_here_is_seen_here_at_once() -> None:
    source = Source()
    directory = Directory(source, Clock())
    directory.snapshot()
    directory.forget()
    assert directory.snapshot().trouble == "read 2"


def test_an_unknown_id_makes_it_read_but_not_for_every_guess() -> None:
    clock, source = Clock(), Source()
    directory = Directory(source, clock)
    directory.snapshot()
    for _ in range(100):
        directory.newest()
    assert source.reads == 1
    clock.now += 2 * NEWEST
    assert directory.newest().trouble == "read 2"
