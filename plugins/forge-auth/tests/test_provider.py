from __future__ import annotations

import hmac
import json
import time
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from forge_auth import provider
from forge_auth.provider import ANONYMOUS, SYSTEM, ApiKeyAuth
from forge_auth.store import KEYS
from forge_core.faults import ConfigError, Conflict, InvalidInput, NotFound, Refused
from forge_core.operations import acting_as, bare
from forge_core.records.auth import Principal, Session
from forge_core.serialize import to_json

if TYPE_CHECKING:
    from conftest import House


def test_no_credentials_are_nobody_and_may_nothing(house: House, ana: Principal) -> None:
    for credentials in ({}, {"api_key": ""}, {"cookie": "x"}):
        nobody = bare(house.keys).authenticate(credentials)
        assert nobody == ANONYMOUS
        assert not house.allows(nobody, "data:read")


def test_a_key_proves_its_name_its_role_and_its_tenant(house: House, ana: Principal) -> None:
    issued = house.create(ana, "dashboard")
    for kind in ("api_key", "bearer"):
        assert bare(house.keys).authenticate({kind: issued.secret.reveal()}) == Principal("dashboard", ("viewer",), "default")


def test_a_viewer_looks_and_an_admin_acts(house: House, ana: Principal) -> None:
    dashboard = house.authenticate(house.create(ana, "dashboard"))
    assert house.allows(dashboard, "endpoint:predict")
    assert not house.allows(dashboard, "endpoint:deploy")
    assert house.allows(ana, "endpoint:deploy")


def test_a_role_is_the_keys_and_not_what_a_principal_claims(house: House, ana: Principal) -> None:
    house.create(ana, "dashboard")
    assert not house.allows(Principal("dashboard", ("admin",)), "endpoint:deploy")
    assert not house.allows(Principal("ana", ("admin",), "other"), "endpoint:deploy")
    assert not house.allows(Principal("stranger", ("admin",)), "data:read")


def test_the_kernels_own_upkeep_needs_no_key(house: House, ana: Principal) -> None:
    assert house.allows(SYSTEM, "model:gc")
    assert not house.allows(Principal("system", ("admin",), "other"), "model:gc")


def test_a_wrong_secret_and_an_unknown_id_get_the_same_answer(house: House, ana: Principal) -> None:
    issued = house.create(ana, "ci")
    wrong = provider.token.issue("local", issued.key.key_id)
    unknown = provider.token.issue("local", "key_" + "f" * 22)
    answers = []
    for shown in (wrong, unknown):
        with pytest.raises(Refused) as refused:
            bare(house.keys).authenticate({"api_key": shown.text.reveal()})
        answers.append((refused.value.cause, refused.value.remedy))
    assert answers[0] == answers[1]


def test_secrets_are_compared_in_constant_time_even_where_the_id_is_unknown(
    house: House, ana: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[int] = []

    def spy(one: str, other: str) -> bool:
        compared.append(len(one))
        return real(one, other)

    real = hmac.compare_digest
    issued = house.create(ana, "ci")
    monkeypatch.setattr(provider.hmac, "compare_digest", spy)
    house.authenticate(issued)
    with pytest.raises(Refused):
        bare(house.keys).authenticate({"api_key": provider.token.issue("local", "key_" + "f" * 22).text.reveal()})
    assert compared == [64, 64]


def test_a_typo_is_told_without_asking_the_database(house: House) -> None:
    text = provider.token.issue("local", "key_" + "0" * 22).text.reveal()
    with pytest.raises(Refused, match="typo"):
        bare(house.keys).authenticate({"api_key": text[:-1] + ("0" if text[-1] != "0" else "1")})
    assert not house.path.exists()
    with pytest.raises(Refused, match="not known"):  # a well-formed one does ask
        bare(house.keys).authenticate({"api_key": text})
    assert house.path.exists()


def test_a_key_made_by_another_process_works_at_once(house: House, ana: Principal) -> None:
    other = house.opened()
    assert bare(other).authorize(ana, "model:train", "model:x").allowed  # its memory is fresh, and does not hold the next key
    issued = house.create(ana, "ci")
    time.sleep(0.06)
    assert bare(other).authenticate({"bearer": issued.secret.reveal()}).name == "ci"


def test_an_expired_key_is_refused_and_so_is_the_session_it_began(house: House, ana: Principal) -> None:
    issued = house.create(ana, "visitor", expires_in=timedelta(milliseconds=300))
    visitor = house.authenticate(issued)
    assert house.allows(visitor, "data:read")
    time.sleep(0.35)
    with pytest.raises(Refused, match="expired"):
        house.authenticate(issued)
    assert not house.allows(visitor, "data:read")


def test_a_revoked_key_is_refused_here_at_once_and_for_ever(house: House, ana: Principal) -> None:
    issued = house.create(ana, "ci")
    ci = house.authenticate(issued)
    house.revoke(ana, issued.key.key_id)
    with pytest.raises(Refused, match="revoked"):
        house.authenticate(issued)
    assert not house.allows(ci, "data:read")
    house.revoke(ana, issued.key.key_id)
    with acting_as(Session(ana, "test")):
        first, second = (key.revoked_at for key in house.keys.list_keys())
        assert first is None
        assert second is not None


def test_the_first_key_is_an_admins_and_anyone_local_may_make_it_once(house: House) -> None:
    assert not house.allows(ANONYMOUS, "key:list")
    assert not house.allows(ANONYMOUS, "data:read")
    with pytest.raises(Refused, match="the first key is an admin's"):
        house.create(ANONYMOUS, "ana", "viewer")
    house.create(ANONYMOUS, "ana", "admin")
    with pytest.raises(Refused):
        house.create(ANONYMOUS, "mallory", "admin")


def test_of_two_who_race_for_the_first_key_one_gets_it(house: House) -> None:
    late = house.opened()
    assert bare(late).authorize(ANONYMOUS, "key:create", "key:late").allowed
    house.create(ANONYMOUS, "ana", "admin")
    assert bare(late).authorize(ANONYMOUS, "key:create", "key:late").allowed  # by its memory
    with acting_as(Session(ANONYMOUS, "test")), pytest.raises(Refused, match="meanwhile"):
        late.create_key("late", "admin")


def test_an_expired_or_revoked_first_key_opens_no_door(house: House, ana: Principal) -> None:
    with acting_as(Session(ana, "test")):
        (first,) = house.keys.list_keys()
    house.revoke(ana, first.key_id)
    assert not house.allows(ANONYMOUS, "key:create")


def test_a_name_is_used_once(house: House, ana: Principal) -> None:
    issued = house.create(ana, "ci")
    house.revoke(ana, issued.key.key_id)
    with pytest.raises(Conflict):
        house.create(ana, "ci")


@pytest.mark.parametrize("name", ["", "anonymous", "system", "../x", "a b", "-x", "x" * 65, "ci\n", "ü"])
def test_a_name_that_could_be_taken_for_something_else_is_refused(house: House, ana: Principal, name: str) -> None:
    with pytest.raises(InvalidInput):
        house.create(ana, name)


def test_a_role_that_does_not_exist_is_refused(house: House, ana: Principal) -> None:
    with pytest.raises(InvalidInput, match="there is no role"):
        house.create(ana, "ci", "root")
    with pytest.raises(InvalidInput):
        house.create(ana, "ci", expires_in=timedelta(0))


def test_a_viewer_makes_lists_and_revokes_no_key(house: House, ana: Principal) -> None:
    issued = house.create(ana, "dashboard")
    with acting_as(Session(house.authenticate(issued), "test")):
        for attempt in (
            lambda: house.keys.create_key("x", "admin"),
            house.keys.list_keys,
            lambda: house.keys.revoke_key(issued.key.key_id),
            lambda: house.keys.principal_of("ana"),
        ):
            with pytest.raises(Refused):
                attempt()


def test_keys_of_another_tenant_are_not_found(house: House, ana: Principal) -> None:
    issued = house.create(ana, "ci")
    with acting_as(Session(ana, "test")), house.database.transaction() as connection:
        connection.execute(KEYS.update().where(KEYS.c.name == "ci").values(tenant="other"))
    with acting_as(Session(ana, "test")):
        assert [key.name for key in house.keys.list_keys()] == ["ana"]
        for attempt in (lambda: house.keys.revoke_key(issued.key.key_id), lambda: house.keys.principal_of("ci")):
            with pytest.raises(NotFound):
                attempt()


def test_making_and_revoking_is_recorded_without_the_secret(house: House, ana: Principal) -> None:
    issued = house.create(ana, "ci")
    house.revoke(ana, issued.key.key_id)
    events = [event for _, event in house.database.events()]
    assert [(event.action, event.resource, event.actor) for event in events] == [
        ("key:create", "key:ana", "anonymous"),
        ("key:create", "key:ci", "ana"),
        ("key:revoke", f"key:{issued.key.key_id}", "ana"),
    ]
    assert events[2].before["revoked_at"] is None
    assert events[2].after["revoked_at"]
    assert issued.secret.reveal().split("_")[-1][:43] not in json.dumps(to_json(events))


def test_a_principal_is_found_by_name(house: House, ana: Principal) -> None:
    with acting_as(Session(ana, "test")):
        assert house.keys.principal_of("ana") == ana
        assert house.keys.principal_of("anonymous") == ANONYMOUS
        with pytest.raises(NotFound):
            house.keys.principal_of("nobody")


def test_a_server_key_from_the_settings_is_used_and_none_is_written(open_house: Callable[..., House]) -> None:
    shared = "0123456789abcdef" * 4
    first = open_house("one", server_key=shared)
    ana = first.authenticate(first.create(ANONYMOUS, "ana", "admin"))
    issued = first.create(ana, "ci")
    assert not (first.root / ".forge" / "auth.key").exists()
    other = first.opened(shared)
    assert bare(other).authenticate({"api_key": issued.secret.reveal()}).name == "ci"
    wrong = first.opened("x" * 32)
    with pytest.raises(Refused):
        bare(wrong).authenticate({"api_key": issued.secret.reveal()})
    with pytest.raises(ConfigError):
        first.opened("short")
    assert shared not in repr(ApiKeyAuth.Settings(server_key=shared))


def test_authorizing_takes_no_connection_while_the_keys_are_fresh(house: House, ana: Principal) -> None:
    house.allows(ana, "data:read")
    statements: list[str] = []
    sa.event.listen(house.database.engine, "before_cursor_execute", lambda _c, _k, statement, *_: statements.append(statement))
    for _ in range(1000):
        house.allows(ana, "data:read")
    assert statements == []


@pytest.mark.postgresql
def test_keys_are_kept_in_postgresql_as_well(postgresql_house: House) -> None:
    house = postgresql_house
    ana = house.authenticate(house.create(ANONYMOUS, "ana", "admin"))
    issued = house.create(ana, "ci")
    assert house.authenticate(issued) == Principal("ci", ("viewer",))
    with pytest.raises(Conflict):
        house.create(ana, "ci")
    house.revoke(ana, issued.key.key_id)
    with pytest.raises(Refused, match="revoked"):
        house.authenticate(issued)
    assert [event.action for _, event in house.database.events()] == ["key:create", "key:create", "key:revoke"]
