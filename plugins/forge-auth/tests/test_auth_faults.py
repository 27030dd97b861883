"""FAULTS U5 and U8: a revoked key is refused by every process, the database yields no key, and what cannot be read denies all."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from forge_auth import provider
from forge_auth.provider import ANONYMOUS
from forge_auth.store import KEYS
from forge_core.faults import Refused
from forge_core.operations import bare
from forge_core.records.auth import Principal

if TYPE_CHECKING:
    from conftest import House


WATCH = """
import json, sys, time
from pathlib import Path
from forge_auth.provider import ApiKeyAuth
from forge_core.database import Database
from forge_core.faults import Refused
from forge_core.records.project import Project

root, key = Path(sys.argv[1]), sys.stdin.readline().strip()
driver = ApiKeyAuth(ApiKeyAuth.Settings(), database=Database(f"sqlite:///{root}/.forge/forge.db"), project=Project(name="flights", root=root))
principal = driver.authenticate({"api_key": key})
print("ready", flush=True)
while driver.authorize(principal, "data:read", "dataset:flights").allowed:
    time.sleep(0.02)
session_ended = time.time()
try:
    while True:
        driver.authenticate({"api_key": key})
        time.sleep(0.02)
except Refused as refused:
    print(json.dumps({"session": session_ended, "key": time.time(), "cause": refused.cause}), flush=True)
"""


def test_u5_another_process_refuses_a_revoked_key_within_five_seconds(house: House, ana: Principal) -> None:
    issued = house.create(ana, "ci")
    other = subprocess.Popen([sys.executable, "-c", WATCH, str(house.root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdin
        assert other.stdout
        other.stdin.write(issued.secret.reveal() + "\n")
        other.stdin.flush()
        assert other.stdout.readline() == "ready\n"
        revoked_at = time.time()
        house.revoke(ana, issued.key.key_id)
        told = json.loads(other.stdout.readline())
    finally:
        other.kill()
        other.wait()
    assert told["cause"] == "the API key of ci is revoked"
    assert told["session"] - revoked_at < 5
    assert told["key"] - revoked_at < 5


def test_u5_the_database_file_yields_no_usable_key(house: House, ana: Principal, tmp_path_factory: pytest.TempPathFactory) -> None:
    issued = house.create(ana, "ci", "admin")
    secret = issued.secret.reveal()
    house.database.close()
    kept = b"".join(path.read_bytes() for path in house.path.parent.iterdir() if path.name != "auth.key")
    assert issued.key.key_id.encode() in kept
    assert secret.encode() not in kept
    assert secret.split("_")[-1][:43].encode() not in kept
    with house.database.read() as connection:
        digest = connection.execute(sa.select(KEYS.c.digest).where(KEYS.c.name == "ci")).scalar_one()
    for guess in (digest, f"forge_local_{issued.key.key_id[4:]}_{digest[:43]}"):
        with pytest.raises(Refused):
            bare(house.keys).authenticate({"api_key": guess + provider.token.checksum(guess)})


def test_u5_a_copied_database_is_worth_nothing_beside_another_server_key(
    house: House, ana: Principal, open_house: Callable[..., House]
) -> None:
    issued = house.create(ana, "ci", "admin")
    thief = open_house("thief")
    thief.create(ANONYMOUS, "thief", "admin")
    with house.database.read() as source, thief.database.transaction() as target:
        target.execute(KEYS.insert(), [dict(row) for row in source.execute(sa.select(KEYS)).mappings()])
    bare(thief.keys)._directory.forget()
    with pytest.raises(Refused, match="not known"):
        thief.authenticate(issued)


def damage_truncated(house: House) -> None:
    house.path.write_bytes(b"")


def damage_garbage(house: House) -> None:
    house.path.write_bytes(b"not a database at all" * 400)


def damage_half_written(house: House) -> None:
    content = house.path.read_bytes()
    house.path.write_bytes(content[: len(content) // 2 + 100])


def damage_emptied(house: House) -> None:
    with house.database.transaction() as connection:
        connection.execute(KEYS.delete())


def damage_dropped(house: House) -> None:
    with house.database.transaction() as connection:
        KEYS.drop(connection)


def damage_nonsense_in_a_row(house: House) -> None:
    with house.database.transaction() as connection:
        connection.execute(KEYS.update().where(KEYS.c.name == "ci").values(expires_at="soon"))


def damage_removed(house: House) -> None:
    house.path.unlink()


def damage_folder(house: House) -> None:
    house.path.unlink()
    house.path.mkdir()


def damage_server_key_removed(house: House) -> None:
    (house.root / ".forge" / "auth.key").unlink()


def damage_server_key_cut(house: House) -> None:
    os.truncate(house.root / ".forge" / "auth.key", 20)


DAMAGES = [value for name, value in list(globals().items()) if name.startswith("damage_")]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda one: one.__name__)
def test_u8_keys_that_are_gone_unreadable_or_half_written_deny_all(house: House, ana: Principal, damage: Callable[[House], None]) -> None:
    issued = house.create(ana, "ci")
    house.database.close()  # its last connection moves the write-ahead log into the file
    damage(house)
    house.database.close()
    bare(house.keys)._directory.forget()
    with pytest.raises(Refused):
        house.authenticate(issued)
    for principal in (ana, ANONYMOUS, Principal("ci", ("viewer",))):
        assert not house.allows(principal, "data:read")
        assert not house.allows(principal, "key:create")
    with pytest.raises(Refused):
        house.create(ANONYMOUS, "mallory", "admin")


def test_u8_a_role_that_nobody_knows_may_nothing(house: House, ana: Principal) -> None:
    house.create(ana, "ci")
    with house.database.transaction() as connection:
        connection.execute(KEYS.update().where(KEYS.c.name == "ci").values(role="root"))
    bare(house.keys)._directory.forget()
    assert not house.allows(Principal("ci", ("root",)), "data:read")
    assert house.allows(ana, "data:read")


def test_u8_a_table_emptied_beside_a_server_key_from_the_settings_denies_all(open_house: Callable[..., House]) -> None:
    house = open_house("one", server_key="x" * 32)
    house.create(ANONYMOUS, "ana", "admin")
    damage_emptied(house)
    bare(house.keys)._directory.forget()
    assert not house.allows(ANONYMOUS, "key:create")
