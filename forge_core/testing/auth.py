"""The suite of auth providers."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from forge_core.contracts import CONTRACTS
from forge_core.contracts.auth import AuthProvider
from forge_core.faults import Refused
from forge_core.operations import bare, permissions
from forge_core.records.auth import Decision, Principal
from forge_core.records.data import JSON
from forge_core.testing.contract import Contract, Subject
from forge_core.testing.processes import run
from forge_core.testing.samples import undeclared

Credentials = Mapping[str, str]

OPERATIONS = tuple((found.action, found.mutates) for _role, found in permissions(CONTRACTS))
"""(action, whether it changes something) of every operation that there is."""
ACTIONS = tuple(sorted({action for action, _mutates in OPERATIONS}))
IO = ("open", "os.listdir", "os.scandir", "pathlib.", "shutil.", "socket.", "sqlite3.", "subprocess.", "tempfile.", "urllib.", "http.")
NONSENSE = (
    " ", "x", "Bearer x", "forge_", "\x00", "a\x00b", "a\nb", "a\r\nX-Role: admin", "\ud800", "\u00fc" * 50, "\u2713", "\uff0e\uff0e/x",
    "%s%n{x}", "' OR '1'='1", "../../etc/passwd", "${env:HOME}", "null", "{}", "-1", "a.b.c", "...", "eyJhbGciOiJub25lIn0",
    "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZG1pbiIsInJvbGVzIjpbImFkbWluIl19.", "x" * 1_000_000, "a.b." * 250_000, "\u2713" * 300_000,
)  # fmt: skip
"""What nobody was ever given."""
PROMISED = 5.0  # seconds, in which everybody has heard of what was revoked, or cannot be read


# ---- what other processes do


def watches(driver: Any, credentials: Credentials, mark: str) -> JSON:
    """Use credentials until they are refused; when the session they had begun ended, and when they were refused themselves."""
    provider = bare(driver)
    principal = provider.authenticate(credentials)
    action = next(one for one in ACTIONS if provider.authorize(principal, one, "x").allowed)
    Path(mark).touch()
    ends, session, refused = time.time() + 20, None, None
    while (session is None or refused is None) and time.time() < ends:
        if session is None and not provider.authorize(principal, action, "x").allowed:
            session = time.time()
        try:
            provider.authenticate(credentials)
        except Refused:
            refused = refused or time.time()
        time.sleep(0.02)
    return [session, refused]


def watched(driver: Any, credentials: Credentials, seconds: float) -> JSON:
    """Authorize every action again and again; the I/O that the calling thread did meanwhile, and the median time of one answer."""
    provider = bare(driver)
    principal = provider.authenticate(credentials)
    thread, seen, watching = threading.get_ident(), list[str](), False

    def hook(event: str, arguments: object) -> None:
        if watching and threading.get_ident() == thread and event.startswith(IO):
            seen.append(f"{event} {arguments!r}"[:200])

    sys.addaudithook(hook)
    for action in ACTIONS:  # what is made at first use is made now
        provider.authorize(principal, action, "x")
    took, ends = [], time.monotonic() + seconds
    watching = True
    while time.monotonic() < ends:
        began = time.perf_counter()
        for action in ACTIONS:
            provider.authorize(principal, action, "dataset:flights")
        took.append((time.perf_counter() - began) / len(ACTIONS))
        time.sleep(0.001)
    watching = False
    return {"events": sorted(set(seen))[:10], "median": sorted(took)[len(took) // 2]}


class AuthContract(Contract):
    """Give `credentials` and `principal`: some that are right, and who they prove. Give `limited`, `revoke` and `break_storage` where the
    driver has what they are about; a rule whose fixture says that there is no such thing is listed as not declared.
    """

    contract = AuthProvider

    @pytest.fixture
    def credentials(self) -> Credentials:
        """Valid credentials, such as `{"api_key": ...}`. The default is for drivers without any."""
        return {}

    @pytest.fixture
    def principal(self, anonymous: Principal) -> Principal:
        """Who `credentials` prove."""
        return anonymous

    @pytest.fixture
    def anonymous(self) -> Principal:
        """Who somebody without credentials is."""
        return Principal("anonymous")

    @pytest.fixture
    def wrong_credentials(self) -> Sequence[Credentials]:
        """More credentials that are wrong: expired ones, another issuer's. The suite tries some of its own besides."""
        return ()

    @pytest.fixture
    def stranger(self) -> Principal | None:
        """Somebody whose role nobody knows, so that they may do nothing. None where the driver trusts everybody, as `auth: none` does."""
        return Principal("stranger", ("no-role-of-anyone",))

    @pytest.fixture
    def limited(self) -> Credentials | None:
        """Credentials of somebody who may do something and not everything; None where the driver knows no such roles."""
        return None

    @pytest.fixture
    def revoke(self) -> Callable[[], None] | None:
        """Revokes `credentials`; None where they cannot be revoked."""
        return None

    @pytest.fixture
    def break_storage(self) -> Callable[[], None] | None:
        """Makes what the driver decides by unreadable: a file, a database, a service. None where it reads nothing."""
        return None

    @pytest.fixture
    def provider(self, driver: Any) -> AuthProvider:
        """The driver itself: its two methods are no operations, the guard alone calls them."""
        found: AuthProvider = bare(driver)
        return found

    @pytest.fixture
    def _doubting(self, request: pytest.FixtureRequest, stranger: Principal | None, credentials: Credentials) -> None:
        if stranger is None:
            undeclared(request, "somebody whom it does not trust (the fixture stranger)")
        assert credentials, "a driver that does not trust everybody has credentials: override the fixture `credentials`"

    # ---- authenticate

    def test_credentials_prove_who_somebody_is(
        self, provider: AuthProvider, credentials: Credentials, principal: Principal, another: Callable[[], Any]
    ) -> None:
        """Right credentials give their principal: name, roles and tenant, each time, and elsewhere too. Keep them for all processes."""
        for one in (provider, provider, bare(another())):
            found = one.authenticate(credentials)
            assert (found.name, found.roles, found.tenant) == (principal.name, principal.roles, principal.tenant)
            assert isinstance(found.roles, tuple)

    def test_no_credentials_are_nobody(self, provider: AuthProvider, credentials: Credentials, anonymous: Principal) -> None:
        """None at all, or kinds that nobody knows, give the anonymous principal, also beside those who have some. Do not refuse them."""
        for none in ({}, {"cookie": "x"}, {"": ""}):
            assert provider.authenticate(none) == anonymous

    @pytest.mark.usefixtures("_doubting")
    @pytest.mark.parametrize("kind", ["api_key", "bearer"])
    def test_an_empty_credential_proves_nobody(
        self, provider: AuthProvider, credentials: Credentials, anonymous: Principal, kind: str
    ) -> None:
        """A credential without text is refused, or gives the anonymous principal. Never compare with what may be empty as well."""
        try:
            assert provider.authenticate({kind: ""}) == anonymous
        except Refused as error:
            assert error.cause  # noqa: PT017 - either answer is right

    @pytest.mark.usefixtures("_doubting")
    @pytest.mark.parametrize("kind", ["api_key", "bearer"])
    def test_what_nobody_was_given_is_refused(self, provider: AuthProvider, credentials: Credentials, kind: str) -> None:
        """Malformed text, other alphabets, control characters, unsigned tokens and a megabyte are `Refused`, within a second, unsaid.

        Check length and shape first; let no decoder's error out, and quote nothing of what was given.
        """
        for text in NONSENSE:
            began = time.monotonic()
            _refused(provider, {kind: text})
            assert time.monotonic() - began < 1.0, f"{text[:20]!r}, {len(text)} characters"

    @pytest.mark.usefixtures("_doubting")
    def test_wrong_credentials_are_refused(
        self, request: pytest.FixtureRequest, provider: AuthProvider, credentials: Credentials, wrong_credentials: Sequence[Credentials]
    ) -> None:
        """What differs from right credentials by a letter, or lacks some, is `Refused`, and the message has nothing of it.

        Compare whole digests in constant time, and verify before you parse.
        """
        near = [{**credentials, kind: wrong} for kind, right in credentials.items() for wrong in _near(right)]
        if not near and not wrong_credentials:
            undeclared(request, "wrong credentials (the fixtures credentials and wrong_credentials)")
        for one in (*near, *wrong_credentials):
            _refused(provider, one)
        if credentials:
            assert provider.authenticate(credentials).name, "and those that are right are so still"

    # ---- authorize

    def test_every_operation_gets_a_decision(
        self, provider: AuthProvider, credentials: Credentials, principal: Principal, anonymous: Principal, hostile_paths: tuple[str, ...]
    ) -> None:
        """Any principal, action and resource gets a `Decision`: yes or no, never an exception, and a yes for something that is known.

        Let what you do not know be a no.
        """
        odd = (Principal(""), Principal("\ud800\x00", ("\u2713",), "\uff0e"), Principal("x" * 100_000, ("",) * 1000, "../x"))
        for who in (principal, anonymous, *odd):
            for action in (*ACTIONS, "", "model", ":", "no:such", "x" * 10_000):
                _decided(provider, who, action, "model:churn@3")
        for resource in hostile_paths:
            _decided(provider, principal, "data:read", f"dataset:{resource}")
        assert any(_decided(provider, principal, action, "x") for action in ACTIONS), "who has proved who they are may do nothing"

    @pytest.mark.usefixtures("_doubting")
    def test_nobody_changes_anything_without_credentials(
        self, provider: AuthProvider, credentials: Credentials, anonymous: Principal
    ) -> None:
        """No mutation of any contract is allowed to the anonymous principal. Deny by default; list what is allowed, not what is not."""
        assert [action for action, mutates in OPERATIONS if mutates and provider.authorize(anonymous, action, "x").allowed] == []

    @pytest.mark.usefixtures("_doubting")
    def test_a_role_that_nobody_knows_may_nothing(
        self, provider: AuthProvider, credentials: Credentials, stranger: Principal | None
    ) -> None:
        """Every action is denied to a principal whose role is unknown, unknown actions among them. Look roles up, and default to no."""
        assert stranger is not None
        assert [action for action in (*ACTIONS, "no:such") if provider.authorize(stranger, action, "x").allowed] == []

    def test_a_role_may_what_is_listed_and_nothing_else(
        self, request: pytest.FixtureRequest, provider: AuthProvider, limited: Credentials | None
    ) -> None:
        """Somebody with a lesser role may do something, no mutation of a model, and no action that nobody has classified.

        Allow by a list of actions; an operation that is new is not on it.
        """
        if limited is None:
            undeclared(request, "roles that may less (the fixture limited)")
        who = provider.authenticate(limited)
        allowed = {action for action in ACTIONS if provider.authorize(who, action, "x").allowed}
        assert allowed
        assert not allowed & {action for action, mutates in OPERATIONS if mutates and action.startswith("model:")}
        for action in ("no:such", "model:no-such", "", "*", "data:*"):
            assert not provider.authorize(who, action, "x").allowed, action

    def test_deciding_does_no_io_and_takes_little(self, subject: Subject, credentials: Credentials) -> None:
        """`authorize` is on the path of every call: its thread opens and connects nothing; an answer takes under a millisecond.

        Read memory that a thread of your own refreshes.
        """
        (found,) = run(subject, watched, dict(credentials), 3.0)
        assert found["events"] == []
        assert found["median"] < 0.001, f"{found['median'] * 1e6:.0f} microseconds"

    def test_threads_get_the_same_answers(self, provider: AuthProvider, credentials: Credentials) -> None:
        """Sixteen threads authenticate and authorize at once, and get what one gets alone. Replace what they read whole."""
        who = provider.authenticate(credentials)
        alone = [provider.authorize(who, action, "x").allowed for action in ACTIONS]

        def ask(_number: int) -> bool:
            return provider.authenticate(credentials) == who and [provider.authorize(who, one, "x").allowed for one in ACTIONS] == alone

        with ThreadPoolExecutor(16) as pool:
            assert all(pool.map(ask, range(320)))

    # ---- what changes meanwhile

    def test_what_is_revoked_is_refused_elsewhere_within_five_seconds(
        self,
        request: pytest.FixtureRequest,
        subject: Subject,
        credentials: Credentials,
        revoke: Callable[[], None] | None,
        provider: AuthProvider,
    ) -> None:
        """Another process that had used them refuses revoked credentials, and denies the session they began, within five seconds.

        Let memory age by two seconds or so at most, and check the session's principal against it.
        """
        if revoke is None:
            undeclared(request, "revoking (the fixture revoke)")
        mark = subject.root / "used"
        with ThreadPoolExecutor(1) as pool:
            other = pool.submit(run, subject, watches, dict(credentials), str(mark))
            while not mark.exists() and not other.done():
                time.sleep(0.02)
            at = time.time()
            revoke()
            ((session, refused),) = other.result()
        assert session is not None
        assert session - at < PROMISED, f"its session was allowed for {session - at:.1f} s"
        assert refused is not None
        assert refused - at < PROMISED, f"they were taken for {refused - at:.1f} s"
        with pytest.raises(Refused):
            provider.authenticate(credentials)

    def test_what_cannot_be_read_denies_all(
        self,
        request: pytest.FixtureRequest,
        provider: AuthProvider,
        credentials: Credentials,
        principal: Principal,
        anonymous: Principal,
        break_storage: Callable[[], None] | None,
        another: Callable[[], Any],
    ) -> None:
        """Once its storage is unreadable a driver denies everything to everybody, within five seconds, and one opened then from the start.

        Treat a failed read as a no, do not keep the last answer, and let `open` succeed: a driver that does not open denies nothing.
        """
        if break_storage is None:
            undeclared(request, "storage (the fixture break_storage)")
        assert any(provider.authorize(principal, action, "x").allowed for action in ACTIONS)
        break_storage()
        ends = time.monotonic() + PROMISED
        for one in (provider, bare(another())):
            for who in (principal, anonymous):
                while allowed := [action for action in ACTIONS if one.authorize(who, action, "x").allowed]:
                    assert time.monotonic() < ends, f"{who.name} may still {', '.join(allowed)}"
                    time.sleep(0.05)
                assert _decided(one, who, "no:such", "x") is False
            _refused(one, credentials)


def _near(right: str) -> Iterator[str]:
    """Texts like `right`, none of them equal; the last letters stay, since those of base64 may mean the same."""
    for part in (1, 2, 3):
        at = len(right) * part // 4
        yield right[:at] + ("x" if right[at] != "x" else "y") + right[at + 1 :]
    yield from (right[: len(right) // 2], right[1:], right + right, right[::-1], right.swapcase(), right + "\x00", f"{right}\u0301")


def _refused(provider: AuthProvider, credentials: Credentials) -> None:
    """They are refused, and what is told has no part of them that is long enough to be a secret."""
    with pytest.raises(Refused) as caught:
        provider.authenticate(credentials)
    error: BaseException | None = caught.value
    told = [caught.value.cause, caught.value.remedy, *getattr(error, "__notes__", ())]
    while error is not None:
        told += [str(error), repr(error)]
        error = error.__cause__ or error.__context__
    for text in credentials.values():
        parts = {text[at : at + 12] for at in range(0, min(len(text), 4000), 6) if len(text) >= 12} or {text}
        assert not any(part in one for part in parts for one in told if len(part) > 5), "the message has what was given"


def _decided(provider: AuthProvider, who: Principal, action: str, resource: str) -> bool:
    decision = provider.authorize(who, action, resource)
    assert isinstance(decision, Decision)
    assert type(decision.allowed) is bool
    assert isinstance(decision.reason, str)
    return decision.allowed
