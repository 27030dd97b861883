from __future__ import annotations

import json
import logging
import pickle
from datetime import UTC, datetime

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge_auth.store import ApiKey, IssuedKey
from forge_auth.token import ALPHABET, Secret, issue, parse
from forge_core.faults import Refused
from forge_core.identifiers import new_id
from forge_core.serialize import to_json


def test_a_key_reads_back_as_the_row_it_was_issued_for() -> None:
    key_id = new_id("key")
    token = issue("production", key_id)
    assert token.text.reveal().startswith("forge_production_")
    assert parse(f" {token.text.reveal()}\n").key_id == key_id


@given(position=st.integers(0, 400), letter=st.sampled_from(ALPHABET))
def test_one_wrong_letter_is_always_told(position: int, letter: str) -> None:
    text = issue("local", "key_" + "0" * 22).text.reveal()
    place = position % len(text)
    wrong = text[:place] + letter + text[place + 1 :]
    if wrong == text:
        assert parse(wrong).text.reveal() == text
    else:
        with pytest.raises(Refused):
            parse(wrong)


@pytest.mark.parametrize(
    "text", ["x", "forge_", "forge_local_1_2", "forge_local_" + "a" * 300, "\0", "forge_löcal_" + "0" * 22 + "_" + "a" * 49]
)
def test_what_is_no_key_is_refused_without_being_repeated(text: str) -> None:
    with pytest.raises(Refused) as refused:
        parse(text)
    assert text not in f"{refused.value.cause} {refused.value.remedy}" or text == "x"


def test_two_keys_never_share_a_secret() -> None:
    assert len({issue("local", "key_" + "0" * 22).text.reveal() for _ in range(200)}) == 200


def test_an_environment_of_any_spelling_gives_a_key_that_parses() -> None:
    for environment in ("", "Prod EU-1", "ü", "x" * 90):
        assert parse(issue(environment, "key_" + "a" * 22).text.reveal())


def test_a_secret_never_prints(caplog: pytest.LogCaptureFixture) -> None:
    text = "canary-6d1f"
    secret = Secret(text)
    issued = IssuedKey(ApiKey("key_1", "ci", "viewer", "default", datetime.now(UTC), "ana"), secret)
    with caplog.at_level(logging.DEBUG):
        logging.getLogger("forge").warning("made %s %r %s", secret, issued, {"secret": secret})
    printed = [
        str(secret),
        repr(secret),
        f"{secret}",
        f"{secret:>9}",
        repr(issued),
        str(attrs.asdict(issued)),
        json.dumps(to_json(issued), default=str),
    ]
    assert text not in "".join([*printed, caplog.text])
    assert "***" in caplog.text
    with pytest.raises(TypeError):
        pickle.dumps(secret)
