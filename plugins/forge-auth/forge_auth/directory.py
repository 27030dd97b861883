"""Who has a key, answered from memory that is never older than `TRUSTED_FOR`.

A snapshot is replaced whole, so a reader needs no lock. One older than `FRESH_FOR` is refreshed beside the caller, who
gets the present one at once; only after a pause so long that nothing could have refreshed it does a caller wait. So a
revoked key is refused everywhere within five seconds, and a busy process does no I/O where it authorizes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from threading import Lock, Thread

from attrs import field, frozen

from forge_auth.store import StoredKey

FRESH_FOR = 1.0  # seconds
TRUSTED_FOR = 2.0  # of the five that are promised; a gateway may remember an answer for two more, and a read takes its time
NEWEST = 0.05  # bounds how often guessed ids make it read
PATIENCE = 1.0  # how long a caller waits for a refresh that another thread has under way


@frozen
class Snapshot:
    """All keys at one instant. `trouble` tells why they could not be read; then there are none, and all is denied.

    `unused` says that no key was ever made here.
    """

    by_id: Mapping[str, StoredKey] = field(factory=dict)
    by_name: Mapping[tuple[str, str], StoredKey] = field(factory=dict)
    server_key: bytes = field(default=b"", repr=False)
    unused: bool = False
    trouble: str = ""

    @classmethod
    def of(cls, keys: tuple[StoredKey, ...], server_key: bytes, unused: bool) -> Snapshot:
        by_name = {(stored.key.tenant, stored.key.name): stored for stored in keys}
        return cls({stored.key.key_id: stored for stored in keys}, by_name, server_key, unused)


class Directory:
    """`load` reads a snapshot and does not raise; `clock` counts seconds and never goes back."""

    def __init__(self, load: Callable[[], Snapshot], clock: Callable[[], float] = time.monotonic) -> None:
        self._load = load
        self._clock = clock
        self._lock = Lock()
        self._held: tuple[Snapshot, float] = (Snapshot(trouble="the keys were not read yet"), float("-inf"))

    def snapshot(self) -> Snapshot:
        snapshot, read_at = self._held
        age = self._clock() - read_at
        if age < FRESH_FOR:
            return snapshot
        if age < TRUSTED_FOR:
            if self._lock.acquire(blocking=False):  # else a refresh is under way
                Thread(target=self._refresh_and_release, name="forge-auth-refresh", daemon=True).start()
            return snapshot
        return self._wait(FRESH_FOR)

    def newest(self) -> Snapshot:
        """One that was read just now; for an id that memory does not know."""
        snapshot, read_at = self._held
        return snapshot if self._clock() - read_at < NEWEST else self._wait(NEWEST)

    def forget(self) -> None:
        """The next look reads anew; for the process that has just made or revoked a key."""
        self._held = (self._held[0], float("-inf"))

    def _wait(self, age: float) -> Snapshot:
        if not self._lock.acquire(timeout=PATIENCE):
            return Snapshot(trouble="the keys cannot be read at the moment")
        snapshot, read_at = self._held
        if self._clock() - read_at < age:  # another thread has just refreshed it
            self._lock.release()
            return snapshot
        return self._refresh_and_release()

    def _refresh_and_release(self) -> Snapshot:
        try:
            begun = self._clock()  # before the read: what is committed during it counts as not seen
            snapshot = self._load()
            self._held = (snapshot, begun)
            return snapshot
        finally:
            self._lock.release()
