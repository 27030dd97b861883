"""F1: a hostile forge.yaml is a typed error within a second."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from forge_core import config
from forge_core.faults import ConfigError

LAUGHS = "a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 10)
)
HOSTILE = {
    "billion laughs": LAUGHS,
    "quadratic blowup": "a: &a [" + "x, " * 5000 + "]\nb: [" + "*a, " * 5000 + "]\n",
    "ten thousand lists": "a: " + "[" * 10_000,
    "ten thousand closed lists": "a: " + "[" * 10_000 + "]" * 10_000,
    "a thousand mappings": "".join(f"{' ' * n}a:\n" for n in range(1000)),
    "ten thousand flow mappings": "{a: " * 10_000 + "1" + "}" * 10_000,
    "an alias to itself": "a: &a {b: *a}\n",
    "a tag that runs code": "a: !!python/object/apply:os.system ['touch canary']\n",
    "a tag that makes an object": "a: !!python/object/new:pathlib.Path ['canary']\n",
    "a tag on a key": "!!python/name:os.system a: 1\n",
    "keys twice": "project: {name: a}\nproject: {name: b}\n",
    "two megabytes": "a: " + "x" * 2_000_000,
    "seventy thousand keys": "".join(f"k{n}: 1\n" for n in range(70_000)),
    "many documents": "---\na: 1\n" * 1000,
    "a long number": "pipeline: {timeout: " + "9" * 100_000 + "}",
    "control characters": "a: \x01\x02\n",
    "half a surrogate": 'project: {name: "\\ud800"}\nnope: 1',
}


@pytest.mark.faults
@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_f1_a_hostile_file_is_a_typed_error_within_a_second(tmp_path, monkeypatch, text):
    monkeypatch.chdir(tmp_path)
    Path("forge.yaml").write_text(text, encoding="utf-8")
    before = time.monotonic()
    with pytest.raises(ConfigError) as caught:
        _ = config.load().document
    assert time.monotonic() - before < 1
    assert len(caught.value.cause) < 5000
    assert not Path("canary").exists()


@pytest.mark.faults
def test_f1_a_device_or_a_pipe_is_not_read_for_ever(tmp_path):
    os.mkfifo(tmp_path / "forge.yaml")
    with pytest.raises(ConfigError):
        config.load(tmp_path)
