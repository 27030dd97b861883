"""The suite of notifiers."""

from __future__ import annotations

import html
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest

from forge_core.contracts.notifier import Notifier
from forge_core.faults import ForgeError
from forge_core.records.serving import Notice
from forge_core.testing.contract import Contract, tenant
from forge_core.testing.samples import undeclared


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

    @pytest.fixture
    def break_receiver(self) -> Callable[[], None] | None:
        """Makes what the driver sends to refuse or vanish; None where that cannot be."""
        return None

    @pytest.mark.parametrize("severity", ["info", "warning", "critical"])
    def test_a_notice_arrives_with_its_subject_and_text(self, driver: Any, received: Callable[[], str], severity: Any) -> None:
        """Subject, text and severity reach the receiver, before `notify` returns. Send them, and wait until they are accepted."""
        driver.notify(Notice("churn is late", "since 12:30", severity, datetime(2026, 1, 2, tzinfo=UTC)))
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

    def test_equal_notices_all_arrive(self, driver: Any, received: Callable[[], str]) -> None:
        """What is said three times arrives three times, for every tenant: it happened three times. Do not remember what was sent."""
        for name in ("default", "acme", "acme"):
            with tenant(name):
                driver.notify(Notice("the-same-again", "text", "warning"))
        assert received().count("the-same-again") == 3

    def test_notices_of_threads_arrive_whole(self, driver: Any, received: Callable[[], str]) -> None:
        """Eight threads send at once: every notice arrives, once and in one piece. Lock what they share."""
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda number: driver.notify(Notice(f"thread-{number:03d}-", "text " * 50, "info")), range(200)))
        assert [received().count(f"thread-{number:03d}-") for number in range(200)] == [1] * 200

    @pytest.mark.parametrize(
        "text", ["\u2713 d\u00e9j\u00e0", "two\nlines", "<b>&amp;</b>", '"; DROP TABLE x', "{x} {} {0} %s %(x)d $x", "x" * 20_000, ""]
    )
    def test_any_text_can_be_sent(self, driver: Any, received: Callable[[], str], text: str) -> None:
        """Text is data: other alphabets, line ends, markup, quotes and 20,000 letters do no harm. Encode, and never interpret."""
        driver.notify(Notice("any text", text, "info"))
        assert "any text" in received()
        lines = [line[:2000] for line in text.splitlines()]
        assert any(all(how(line) in received() for line in lines) for how in (str, html.escape, lambda line: json.dumps(line)[1:-1]))

    @pytest.mark.parametrize("subject_line", ["two\r\nlines: injected", "\x00", "\ud800", "\x1b[2J", "", "s" * 5000])
    def test_an_odd_subject_does_no_harm(self, driver: Any, received: Callable[[], str], subject_line: str) -> None:
        """A subject with line ends, control characters or none is sent, or refused, typed; the next one arrives. Make no header of it."""
        try:
            driver.notify(Notice(subject_line, "text of it", "info"))
        except ForgeError as error:
            assert error.cause  # noqa: PT017 - either answer is right
        else:
            assert "text of it" in received()
        driver.notify(Notice("the-one-after", "text", "info"))
        assert "the-one-after" in received()

    def test_a_notice_that_cannot_be_sent_is_a_typed_error(
        self, request: pytest.FixtureRequest, driver: Any, break_receiver: Callable[[], None] | None
    ) -> None:
        """Where nobody receives it, `notify` raises a ForgeError: the kernel lists it as a fault. Swallow nothing, retry briefly."""
        if break_receiver is None:
            undeclared(request, "a receiver that can fail (the fixture break_receiver)")
        driver.notify(Notice("before", "text", "info"))
        break_receiver()
        with pytest.raises(ForgeError):
            driver.notify(Notice("after", "text", "info"))
