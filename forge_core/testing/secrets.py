"""The suite of secret stores."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from forge_core.contracts.driver import Capability
from forge_core.contracts.secrets import SecretStore
from forge_core.faults import ForgeError, NotFound
from forge_core.operations import bare
from forge_core.records.data import JSON
from forge_core.testing.contract import Contract, Subject, needs
from forge_core.testing.processes import run

SECRET = "correct horse battery staple"  # noqa: S105 - nobody's
REFS = ("db/password", "token", "team/a/b/c", "with-dash.and_more")


def digests(driver: Any, ref: str) -> JSON:
    """What another process reads, without saying it."""
    return hashlib.sha256(bare(driver).read(ref).encode()).hexdigest()


class SecretsContract(Contract):
    """Give `keep`: how a text gets to where the driver reads it."""

    contract = SecretStore

    @pytest.fixture
    def keep(self) -> Callable[[str, str], None]:
        """`keep(ref, text)` puts a text where `read(ref)` finds it, in this process and in others. There is no default."""
        pytest.fail("override the fixture `keep`: how does a secret get to where the driver reads it?")

    @pytest.fixture
    def store(self, driver: Any) -> SecretStore:
        """The driver itself: its methods are no operations, the kernel alone calls them."""
        found: SecretStore = bare(driver)
        return found

    @pytest.fixture
    def keys(self) -> tuple[bytes, ...]:
        """Encryption keys to wrap. Override it where the service takes other sizes only."""
        return (bytes(range(32)), b"\x00" * 16, b"\xff" * 64)

    @pytest.mark.parametrize("ref", REFS)
    def test_a_secret_is_read_by_its_ref(self, store: SecretStore, keep: Callable[[str, str], None], ref: str) -> None:
        """`read` gives the text kept under that ref, one with slashes, dashes and dots too. Map refs to the service's own names."""
        keep("another/one", "another text")
        keep(ref, SECRET)
        assert store.read(ref) == SECRET
        assert store.read("another/one") == "another text"

    @pytest.mark.parametrize(
        "text",
        [
            "x",
            " spaces ",
            "two\nlines\n",
            "d\u00e9j\u00e0 \u2713",
            "${env:HOME}",
            "a: {b: 'c\"}",
            "0123",
            "null",
            "%s {x} \\n",
            "x" * 10_000,
        ],
    )
    def test_a_secrets_text_is_exact(self, store: SecretStore, keep: Callable[[str, str], None], text: str) -> None:
        """The text comes as it was kept: nothing stripped, unescaped, resolved or parsed, line ends included. Decode UTF-8, and no more."""
        keep("db/password", text)
        found = store.read("db/password")
        assert type(found) is str
        assert found == text

    def test_a_secret_that_was_changed_reads_changed_when_opened_anew(
        self, keep: Callable[[str, str], None], another: Callable[[], Any]
    ) -> None:
        """A rotated secret is read by whoever opens the project next. Keep no copy on disk."""
        for text in ("old text", "new text"):
            keep("db/password", text)
            assert bare(another()).read("db/password") == text

    def test_another_process_reads_the_same(self, subject: Subject, keep: Callable[[str, str], None]) -> None:
        """Steps are done in other processes, which resolve secrets themselves. Read from settings and environment alone."""
        keep("db/password", SECRET)
        assert run(subject, digests, "db/password") == [hashlib.sha256(SECRET.encode()).hexdigest()]

    def test_threads_read_at_once(self, store: SecretStore, keep: Callable[[str, str], None]) -> None:
        """Sixteen threads read four secrets: each gets its own. Share a connection only where its library says that it may be."""
        for ref in REFS:
            keep(ref, f"text of {ref}")
        wanted = [REFS[number % len(REFS)] for number in range(200)]
        with ThreadPoolExecutor(16) as pool:
            assert list(pool.map(store.read, wanted)) == [f"text of {ref}" for ref in wanted]

    @pytest.mark.parametrize("ref", ["db/passwort", "db", "db/password/more", "nobody"])
    def test_what_is_not_there_is_not_found_by_its_ref(self, store: SecretStore, keep: Callable[[str, str], None], ref: str) -> None:
        """A missing secret is `NotFound`, which names the ref as it was written, and no secret's value. Guess none that is near."""
        keep("db/password", SECRET)
        with pytest.raises(NotFound) as caught:
            store.read(ref)
        assert ref in caught.value.cause
        assert SECRET not in _told(caught.value)

    def test_a_hostile_ref_reads_nothing(
        self, store: SecretStore, keep: Callable[[str, str], None], hostile_paths: tuple[str, ...], tmp_path: Path
    ) -> None:
        """Refs are names: paths, URLs, variables and control characters are `NotFound`, or another ForgeError, and no file is read by one.

        Let refs through by a pattern, or make neither path nor URL of them.
        """
        keep("db/password", SECRET)
        canary = tmp_path / "canary"
        canary.write_text(SECRET)
        for ref in (
            *hostile_paths,
            "../canary",
            str(canary),
            canary.as_uri(),
            "db/../db/password",
            "PATH",
            "HOME",
            "env:HOME",
            "*",
            "db/*",
            "[a-z]",
        ):
            with pytest.raises(ForgeError) as caught:
                store.read(ref)
            assert SECRET not in _told(caught.value)

    def test_a_driver_never_shows_a_secret(self, store: SecretStore, driver: Any, keep: Callable[[str, str], None]) -> None:
        """Neither repr nor str nor format of the driver has a value that it read. Keep what you cache in a field with `repr=False`."""
        keep("db/password", SECRET)
        assert store.read("db/password") == SECRET
        for one in (store, driver):
            assert SECRET not in f"{one!r} {one!s} {one}"

    # ---- encryption keys

    @needs(Capability.WRAP)
    def test_a_wrapped_key_is_another_text_and_comes_back(
        self, store: SecretStore, keys: tuple[bytes, ...], another: Callable[[], Any]
    ) -> None:
        """`unwrap(wrap(key))` is the key, here and from elsewhere, and what is wrapped does not have the key in it. Encrypt, not encode."""
        other = bare(another())
        for key in keys:
            wrapped = store.wrap(key)
            assert isinstance(wrapped, bytes)
            assert key not in wrapped
            assert key.hex().encode() not in wrapped.lower()
            assert store.unwrap(wrapped) == other.unwrap(wrapped) == key

    @needs(Capability.WRAP)
    def test_keys_that_differ_are_wrapped_differently(self, store: SecretStore) -> None:
        """Keys that differ in one bit give texts that differ in many bytes. Use a cipher, not an exclusive or."""
        one, other = store.wrap(b"\x00" * 32), store.wrap(b"\x00" * 31 + b"\x01")
        assert sum(a != b for a, b in zip(one, other, strict=False)) > 8

    @needs(Capability.WRAP)
    def test_a_wrapped_key_that_was_changed_is_refused(self, store: SecretStore, keys: tuple[bytes, ...]) -> None:
        """Any byte changed, cut off or added makes `unwrap` a ForgeError, which shows no key. Authenticate what you encrypt."""
        wrapped = store.wrap(keys[0])
        flipped = [wrapped[:at] + bytes([wrapped[at] ^ 1]) + wrapped[at + 1 :] for at in range(0, len(wrapped), max(1, len(wrapped) // 16))]
        for wrong in (*flipped, wrapped[:-1], wrapped[1:], wrapped + b"\x00", b"", keys[0]):
            with pytest.raises(ForgeError) as caught:
                store.unwrap(wrong)
            assert keys[0].hex() not in _told(caught.value)

    def test_wrapping_is_declared_or_refused(self, store: SecretStore, keys: tuple[bytes, ...]) -> None:
        """A store without the capability WRAP refuses to wrap and to unwrap, with a ForgeError; one that has it does both.

        Declare `Capability.WRAP`, or leave both methods to the contract.
        """
        if Capability.WRAP in self.driver_class.capabilities:
            assert store.unwrap(store.wrap(keys[0])) == keys[0]
            return
        for act in (store.wrap, store.unwrap):
            with pytest.raises(ForgeError):
                act(keys[0])


def _told(error: BaseException) -> str:
    """All that an error could show, with what caused it."""
    said = []
    one: BaseException | None = error
    while one is not None:
        said += [str(one), repr(one), getattr(one, "remedy", ""), *getattr(one, "__notes__", ())]
        one = one.__cause__ or one.__context__
    return "\n".join(said)
