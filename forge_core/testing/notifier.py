"""The suite of notifiers."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from forge_core.contracts.notifier import Notifier
from forge_core.records.serving import Notice
from forge_core.testing.contract import Contract


class NotifierContract(Contract):
    """Give `received`: what arrived where the driver sends to, as one text. It is asked after each notice."""

    contract = Notifier

    @pytest.fixture
    def received(self, capfd: pytest.CaptureFixture[str]) -> Callable[[], str]:
        """What the driver sent so far; the default reads stderr and stdout. Override it where it goes somewhere else."""
        said: list[str] = []

        def read() -> str:
            said.extend(capfd.readouterr())
            return "".join(said)

        return read

    @pytest.mark.parametrize("severity", ["info", "warning", "critical"])
    def test_a_notice_arrives_with_its_subject_and_text(self, driver: Any, received: Callable[[], str], severity: Any) -> None:
        """Subject, text and severity reach the receiver, before `notify` returns. Send them, and wait until they are accepted."""
        driver.notify(Notice("churn is late", "since 12:30", severity))
        assert "churn is late" in received()
        assert "since 12:30" in received()
        assert severity in received()

    def test_notices_arrive_in_order_and_none_is_lost(self, driver: Any, received: Callable[[], str]) -> None:
        """Twenty notices in a row arrive, each once, in the order in which they were sent. Do not merge or drop any."""
        for number in range(20):
            driver.notify(Notice(f"subject-{number:02d}-", "text", "info"))
        places = [received().find(f"subject-{number:02d}-") for number in range(20)]
        assert -1 not in places
        assert places == sorted(places)
        assert all(received().count(f"subject-{number:02d}-") == 1 for number in range(20))

    @pytest.mark.parametrize("text", ["\u2713 d\u00e9j\u00e0", "two\nlines", "<b>&amp;</b>", '"; DROP TABLE x', "x" * 20_000, ""])
    def test_any_text_can_be_sent(self, driver: Any, received: Callable[[], str], text: str) -> None:
        """Text is data: other alphabets, line ends, markup, quotes and 20,000 letters do no harm. Encode, and never interpret."""
        driver.notify(Notice("any text", text, "info"))
        assert "any text" in received()
        escaped = (text, *text.splitlines()[:1], json.dumps(text)[1:-1])
        assert any(one[:2000] in received() for one in escaped)
