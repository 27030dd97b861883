"""YAML as data: 1.2's scalars, no tags, no bombs, and a mark for every place."""

from __future__ import annotations

import math

import pytest

from forge_core import reader
from forge_core.faults import ConfigError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1), ("-7", -7), ("+3", 3), ("0o17", 15), ("0x1F", 31), ("017", 17), ("1.5", 1.5), ("1e-3", 0.001), ("1E5", 100000.0), (".5", 0.5), ("1.", 1.0),
        ("true", True), ("True", True), ("TRUE", True), ("false", False), ("null", None), ("~", None), ("Null", None),
        ("on", "on"), ("off", "off"), ("yes", "yes"), ("no", "no"), ("y", "y"), ("12:30", "12:30"), ("1_000", "1_000"), ("2026-01-01", "2026-01-01"),
        ("tRue", "tRue"), ("=", "="), ("1.2.3", "1.2.3"), ("'5'", "5"), ('"true"', "true"), ("", None), (".inf", math.inf), ("-.Inf", -math.inf),
        ("!!str a", "a"),
    ],
)  # fmt: skip
def test_scalars_are_those_of_yaml_1_2(text, value):
    found = reader.read_text(f"key: {text}\n", "x")["key"]
    assert found == value
    assert type(found) is type(value)


def test_not_a_number_is_read():
    assert math.isnan(reader.read_text("a: .nan", "x")["a"])


def test_blocks_are_text():
    assert reader.read_text("a: |\n  1\n  2\n", "x") == {"a": "1\n2\n"}


def test_keys_stay_text():
    assert reader.read_text("1: a\ntrue: b\nnull: c\n", "x") == {"1": "a", "true": "b", "null": "c"}


def test_every_place_has_its_mark(tmp_path):
    file = tmp_path / "forge.yaml"
    file.write_text("project:\n  name: x\nmodels:\n  - name: a\n    type: b\n")
    marks = {}
    assert reader.read(file, marks) == {"project": {"name": "x"}, "models": [{"name": "a", "type": "b"}]}
    assert marks["project",] == "forge.yaml:1:1"
    assert marks["project", "name"] == "forge.yaml:2:3"
    assert marks["models", 0, "type"] == "forge.yaml:5:5"


def test_an_empty_file_is_an_empty_mapping(tmp_path):
    (tmp_path / "a.yaml").write_text("# nothing\n")
    assert reader.read(tmp_path / "a.yaml", {}) == {}


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("a: 1\nb: 2\na: 3\n", r"^x:3:1: 'a' stands here twice$"),
        ("a:\n  b: 1\n  'b': 2\n", r"^x:3:3: 'b' stands here twice$"),
        ("a: !!python/object/apply:os.system ['true']\n", r"^x:1:4: the tag .*python.* is not read$"),
        ("a: !!python/name:os.system\n", r"^x:1:4: the tag"),
        ("a: !env HOME\n", r"^x:1:4: the tag !env is not read$"),
        ("a: !!binary aGk=\n", r"^x:1:4: the tag !!binary is not read$"),
        ("a: !!set {b}\n", r"^x:1:4: the tag !!set is not read$"),
        ("base: &b {a: 1}\nc:\n  <<: *b\n", r"^x:3:3: merge keys are not read$"),
        ("? [a, b]\n: 1\n", r"^x:1:3: a key must be text$"),
        ("a: [1, 2\n", r"^x:2:1: "),
        ("a: 1\n b: 2\n", r"^x:2:3: "),
        ("a: *nowhere\n", r"^x:1:4: "),
        ("a: 1\n---\nb: 2\n", r"^x:2:1: "),
        ("\ta: 1\n", r"^x:1:1: "),
        ("a: \x00b\n", r"^x: "),
    ],
)
def test_what_is_not_plain_data_is_refused_with_its_place(text, cause):
    with pytest.raises(ConfigError, match=cause):
        reader.read_text(text, "x")


def test_a_recursive_alias_is_refused():
    with pytest.raises(ConfigError, match="aliases repeat too much"):
        reader.read_text("a: &a [*a]\n", "x")


def test_aliases_in_moderation_are_read():
    assert reader.read_text("a: &a [1, 2]\nb: *a\n", "x") == {"a": [1, 2], "b": [1, 2]}


def test_bytes_that_are_no_text_are_refused(tmp_path):
    (tmp_path / "a.yaml").write_bytes(b"name: \xff\xfe\n")
    with pytest.raises(ConfigError, match=r"a\.yaml: byte 6 is not UTF-8"):
        reader.read(tmp_path / "a.yaml", {})


@pytest.mark.parametrize("text", ["- a\n- b\n", "only text\n", "5\n"])
def test_a_file_that_is_no_mapping_is_refused(tmp_path, text):
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"a\.yaml:1:1: expected a mapping"):
        reader.read(tmp_path / "a.yaml", {})
