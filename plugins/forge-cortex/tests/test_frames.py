from __future__ import annotations

import pytest

from forge_cortex.server import frames


def test_frames_survive_being_cut_anywhere():
    sent = [frames.Request(number, 1.5 * number, frames.Kind.ROWS, b"x" * number * 37) for number in range(1, 6)]
    whole = b"".join(frames.request(*one) for one in sent)
    for size in (1, 2, 7, 21, 50, len(whole)):
        reader, got = frames.Requests(), []
        for at in range(0, len(whole), size):
            got += reader.feed(whole[at : at + size])
        assert got == sent


def test_replies_carry_their_status():
    reply = frames.Reply(7, 422, frames.Kind.JSON, b"column 'a'")
    assert frames.Replies().feed(frames.reply(*reply)) == [reply]


def test_bytes_that_are_no_frames_are_refused():
    with pytest.raises(frames.BrokenStream):
        frames.Requests().feed(b"GET / HTTP/1.1\r\n")
