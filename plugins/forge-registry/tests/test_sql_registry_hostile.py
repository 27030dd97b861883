"""FAULTS A1: names and folders of strangers."""

from __future__ import annotations

import os
import shutil
import stat
import sys

import pytest

from forge_core.faults import InvalidInput, UnsafeFormat
from forge_registry.blobs import sha256_of
from forge_registry.bundle import copy_bundle, survey
from forge_registry.names import Selector, tenant_folder
from forge_registry.tables import ALIASES, MODELS, REQUESTS, RUNS, VERSIONS

pytestmark = pytest.mark.faults

HOSTILE = [
    "", ".", "..", "../", "../x", "..\\", "..\\x", "../../etc/passwd", "a/../b", "a/..", "/etc/passwd", "/", "//host/share", "\\\\host\\share",
    "C:\\x", "file:///etc/passwd", "file:x", "s3://b/k", "memory://x", "%2e%2e%2f", "%2e%2e/x", "%252e%252e%252f", "..%2f", "..%5c", "%00", "a%00b",
    "a\x00b", "\x00", "a\nb", "a\r\nb", "a\tb", " ", " a", "a ", "a b", ";/../", "a;b", "..;/", ".hidden", "-rf", "--help", "~", "~root", "$HOME",
    "${env:HOME}", "`id`", "$(id)", "|id", "a|b", "*", "a*", "?", "[a]", "\u2025/x", "\uff0e\uff0e/x", "\uff0e\uff0e", "\u2024\u2024/", "a\u202eb",
    "\ud800", "a" * 300, "a/b", "'", "\"", "a'; DROP TABLE x", "<x>", "a,b", "é", "a@b", "a@3", "a#b", "con:", "a\x7f", "\x1b[2J",
]  # fmt: skip


def test_A1_no_hostile_text_becomes_a_name_or_opens_a_file_outside(local, forked, draft):
    assert len(HOSTILE) >= 60
    registry, tracker = local.registry(), local.tracker()
    local.publish(registry)
    tracker.start("x", "run_1", {})
    before = (len(local.blobs()), local.count(VERSIONS))

    def attack():
        opened = []
        sys.addaudithook(lambda event, args: opened.append((event, args)) if event in WATCHED else None)
        for text in HOSTILE:
            for call in _calls(local, registry, tracker, draft, text):
                _refused(call, text)
        outside = [path for event, args in opened for path in _paths(event, args) if not _inside(path, local.root)]
        assert opened
        assert outside == []

    child = forked(attack)
    assert os.waitpid(child, 0)[1] == 0
    assert (len(local.blobs()), local.count(VERSIONS)) == before
    assert local.leftovers() == []
    assert [local.count(table) for table in (MODELS, ALIASES, REQUESTS, RUNS)] == [1, 0, 0, 1]


WATCHED = {
    "open",
    "os.rename",
    "os.mkdir",
    "os.remove",
    "os.rmdir",
    "os.link",
    "os.symlink",
    "os.chmod",
    "shutil.rmtree",
    "shutil.copyfile",
}


def _calls(world, registry, tracker, draft, text):
    folder = world.folder()
    yield lambda: registry.register_model(folder, draft(text))
    yield lambda: registry.set_alias(text, "a", 1, None)
    yield lambda: registry.search(text)
    yield lambda: registry.aliases(text)
    if text:
        yield lambda: registry.register_model(folder, draft(run_id=text))
    if not text.isascii() or not text.isprintable() or len(text) > 200 or text.startswith(("-", ".", "/")):
        yield lambda: registry.register_model(folder, draft(tags={text: "x"}))
    if "a@" not in text:
        for ask in (registry.get, registry.checkout, registry.verify, registry.lineage):
            yield lambda ask=ask: ask(text)
    if text not in {"", "a" * 300}:
        yield lambda: registry.get(f"churn@{text}")
    yield lambda: registry.set_alias("churn", text, 1, None)
    yield lambda: registry.alias_history("churn", text)
    yield lambda: tracker.start("x", text, {})
    yield lambda: tracker.metrics(text)
    if text not in {"a@b", "a@3", "a/b"}:
        yield lambda: tracker.log_artifact("run_1", folder / "forge.json", text)


def _refused(call, text):
    try:
        call()
    except (InvalidInput, UnsafeFormat):
        return
    raise AssertionError(f"{text!r} was taken")


def _paths(event, args):
    found = args[:2] if event == "os.rename" else args[:1]
    return [os.fsdecode(path) for path in found if isinstance(path, str | bytes | os.PathLike)]


def _inside(path, root):
    if not os.path.isabs(path):
        return "/" not in path and path != ".."  # a name in a folder that is open
    return any(
        os.path.realpath(path).startswith(os.path.realpath(allowed)) for allowed in (root, sys.prefix, sys.base_prefix, "/proc/self/fd")
    )


def test_A1_file_names_that_lead_elsewhere_are_refused(local, draft):
    registry = local.registry()
    for name in ("a b", ".hidden", "-rf", "a\\b", "a\nb", "%2e%2e", "..%2f", "é", "a" * 220, "a;b", "~root", "a\u202eb"):
        with pytest.raises(InvalidInput, match="name of a model's file"):
            registry.register_model(local.folder(**{name: b"x"}), draft())
        folder = local.folder()
        (folder / name).mkdir()
        with pytest.raises(InvalidInput, match="name of a model's file"):
            registry.register_model(folder, draft())
    deep = local.folder()
    (deep / "/".join("abcdefghijklmnopqrst")).mkdir(parents=True)
    with pytest.raises(InvalidInput, match="name of a model's file"):
        registry.register_model(deep, draft())
    assert local.blobs() == local.leftovers() == []


def test_A1_links_devices_and_pipes_in_a_folder_are_refused_unread(local, draft, tmp_path_factory):
    secret = tmp_path_factory.mktemp("outside") / "secret"
    secret.write_bytes(b"secret")
    registry = local.registry()
    plants = {
        "link to a file": lambda path: path.symlink_to(secret),
        "link to a folder": lambda path: path.symlink_to(secret.parent),
        "link to nowhere": lambda path: path.symlink_to("/nowhere"),
        "link to itself": lambda path: path.symlink_to(path.name),
        "relative link inside": lambda path: path.symlink_to("forge.json"),
        "hard link": lambda path: path.hardlink_to(secret),
        "pipe": os.mkfifo,
    }
    if os.geteuid() == 0:
        plants["device"] = lambda path: os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 5))  # /dev/zero: never ends
    for name, plant in plants.items():
        for place in (".", "flavor"):
            folder = local.folder()
            plant(folder / place / "planted")
            with pytest.raises(UnsafeFormat, match=r"link|device"):
                registry.register_model(folder, draft())
            assert (name, local.blobs(), local.leftovers()) == (name, [], [])


def test_A1_links_among_a_folder_s_own_files_are_files(local, draft):
    folder = local.folder()
    (folder / "again.bin").hardlink_to(folder / "flavor" / "model.bin")
    checked_out = local.registry()
    checked_out.register_model(folder, draft())
    assert (checked_out.checkout("churn") / "again.bin").read_bytes() == b"weights"


def test_A1_a_folder_that_is_none_is_refused(local, draft):
    registry, real = local.registry(), local.folder()
    (local.root / "linked").symlink_to(real)
    empty = local.root / "empty"
    empty.mkdir()
    for folder in (local.root / "linked", local.root / "nowhere", real / "forge.json", empty, real / "flavor"):
        with pytest.raises(InvalidInput):
            registry.register_model(folder, draft())
    assert local.blobs() == []


def test_A1_a_file_that_is_exchanged_while_it_is_read_is_refused(local):
    folder = local.folder()
    secret = local.root / "secret"
    secret.write_bytes(b"secret")
    for found in survey(folder):
        os.replace(shutil.copy(secret, local.root / "copy"), folder / found.path)
        with pytest.raises(UnsafeFormat, match="exchanged"):
            found.open()


def test_a_folder_that_shrinks_while_it_is_read_is_refused(local):
    folder = local.folder()

    def keep(source):
        shutil.rmtree(folder / "flavor")
        return sha256_of(source)

    with pytest.raises(InvalidInput, match="changed while it was read"):
        copy_bundle(folder, keep)


def test_A1_a_storage_of_many_files_has_a_limit(local, draft, monkeypatch):
    monkeypatch.setattr("forge_registry.bundle._MOST_FILES", 5)
    with pytest.raises(InvalidInput, match="at most 5 files"):
        local.registry().register_model(local.folder(**{f"f{number}": b"x" for number in range(4)}), draft())


def test_A1_every_tenant_has_a_folder_of_its_own():
    tenants = ["a", "ab", "a/", "A", "a%2Fb", "a/b", "..", ".", "", "~", "a" * 90, "../b", "é"]
    folders = [tenant_folder(tenant) for tenant in tenants]
    assert len(set(folders)) == len(tenants)
    assert not any("/" in folder or folder.startswith(".") or len(folder) > 80 for folder in folders)


def test_a_selector_says_what_it_means():
    assert Selector.parse("a@3") == Selector("a", version=3)
    assert Selector.parse("a@production") == Selector("a", alias="production")
    assert Selector.parse("a") == Selector.parse("a@latest") == Selector("a")
    for text in ("a@", "a@0", "a@03", "a@-1", "a@3@4", "a@1e3", "a@9999999999", "@3"):
        with pytest.raises(InvalidInput):
            Selector.parse(text)
