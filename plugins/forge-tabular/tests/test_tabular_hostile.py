"""FAULTS A2 and A3: a file is what its flavor writes, or it is refused before anything parses it."""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from skops.io import dumps

from forge_core.faults import ForgeError, InvalidInput, UnsafeFormat
from forge_tabular.flavors import ubj
from forge_tabular.flavors.sidecar import NAME, Sidecar, read_sidecar, write_sidecar
from forge_tabular.flavors.trees import check_links

EXTENSIONS = ("pkl", "pickle", "joblib", "bin", "model", "skops", "ubj", "txt")


class Canary:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def tarred(data):
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        member = tarfile.TarInfo("model.pkl")
        member.size = len(data)
        archive.addfile(member, io.BytesIO(data))
    return target.getvalue()


def zipped(data, name="model.pkl", **options):
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", **options) as archive:
        archive.writestr(name, data)
    return target.getvalue()


WRAPPINGS = {
    "bare": bytes,
    "gzip": gzip.compress,
    "zip": zipped,
    "tar": tarred,
    "schema": lambda data: zipped(data, "schema.json"),
    "array": lambda data: zipped(data, "0.npy"),
}


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("wrapping", sorted(WRAPPINGS))
def test_a_pickle_in_the_place_of_a_model_is_refused_and_not_run(wrapping, protocol, name, drivers, folder, tmp_path):
    canary = tmp_path / "canary"
    made = folder(name, "binary")
    data = WRAPPINGS[wrapping](pickle.dumps(Canary(canary), protocol))
    (made / drivers[name][1].file).write_bytes(data)
    with pytest.raises((UnsafeFormat, InvalidInput)) as caught:
        drivers[name][1]().load(made)
    assert wrapping in ("schema", "zip") or isinstance(caught.value, UnsafeFormat)
    assert not canary.exists()


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_a_pickle_beside_a_model_is_refused_under_every_extension(extension, name, drivers, folder, tmp_path):
    canary = tmp_path / "canary"
    made = folder(name, "binary")
    (made / f"extra.{extension}").write_bytes(pickle.dumps(Canary(canary)))
    with pytest.raises(UnsafeFormat, match=f"extra.{extension}"):
        drivers[name][1]().load(made)
    (made / drivers[name][1].file).unlink()  # nor is it taken instead
    with pytest.raises(ForgeError):
        drivers[name][1]().load(made)
    assert not canary.exists()


def test_a_link_in_the_place_of_a_model_is_refused(name, drivers, folder, tmp_path):
    made = folder(name, "binary")
    path = made / drivers[name][1].file
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UnsafeFormat, match="not an ordinary file"):
        drivers[name][1]().load(made)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(UnsafeFormat, match="not an ordinary file"):
        drivers[name][1]().load(made)


@pytest.mark.parametrize("field", ["loader", "loader_module", "module", "code", "path", "__class__"])
def test_a_sidecar_that_names_a_loader_is_refused(field, name, drivers, folder):
    made = folder(name, "binary")
    sidecar = json.loads((made / NAME).read_text())
    (made / NAME).write_text(json.dumps({**sidecar, field: "evil_module"}))
    path, modules = list(sys.path), set(sys.modules)
    with pytest.raises(UnsafeFormat, match=field):
        drivers[name][1]().load(made)
    assert sys.path == path
    assert set(sys.modules) == modules


def test_code_shipped_with_a_model_is_refused(name, drivers, folder):
    made = folder(name, "binary")
    (made / "evil_module.py").write_text("raise SystemExit")
    with pytest.raises(UnsafeFormat, match="evil_module"):
        drivers[name][1]().load(made)


@pytest.mark.parametrize(
    "change",
    [
        {"format": 2},
        {"features": []},
        {"features": ["a", "a"]},
        {"features": "abc"},
        {"features": [1]},
        {"task": "ranking"},
        {"task": "regression"},
        {"task": "multiclass", "classes": ["a"]},
        {"classes": ["a"]},
        {"classes": ["a", "a"]},
        {"classes": ["a", 1]},
        {"classes": [["a"], ["b"]]},
        {"classes": None},
        {"threshold": "0.5"},
        {"threshold": True},
    ],
)
def test_a_sidecar_is_read_strictly(change, tmp_path):
    good = {"format": 1, "features": ["a", "b"], "task": "binary", "classes": ["x", "y"], "threshold": 0.5}
    (tmp_path / NAME).write_text(json.dumps(good))
    assert read_sidecar(tmp_path) == Sidecar(("a", "b"), "binary", ("x", "y"), 0.5)
    (tmp_path / NAME).write_text(json.dumps({**good, **change}))
    with pytest.raises(InvalidInput):
        read_sidecar(tmp_path)
    for missing in good:
        (tmp_path / NAME).write_text(json.dumps({key: value for key, value in good.items() if key != missing}))
        with pytest.raises(InvalidInput):
            read_sidecar(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"format": 1, "format": 1}', '{"threshold": NaN}', "[" * 100_000, "\udcff"])
def test_a_sidecar_that_is_no_json_is_refused(text, tmp_path):
    (tmp_path / NAME).write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(InvalidInput):
        read_sidecar(tmp_path)


def test_a_sidecar_is_read_as_it_was_written(tmp_path):
    for sidecar in (
        Sidecar(("a",), "regression"),
        Sidecar(("ü", "[1]"), "multiclass", (1, 2, 3)),
        Sidecar(("a",), "binary", (False, True), 0.25),
    ):
        write_sidecar(tmp_path, sidecar)
        assert read_sidecar(tmp_path) == sidecar


def rezipped(path: Path, change) -> None:
    """The `.skops` file with its members changed: `change(name, data)` gives what to write, or None."""
    with zipfile.ZipFile(path) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    with zipfile.ZipFile(path, "w") as archive:
        for member, data in members.items():
            if (made := change(member, data)) is not None:
                archive.writestr(member, made)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"__class__":"RandomForestClassifier","__module__":"sklearn.ensemble._forest"', '"__class__":"Popen","__module__":"subprocess"'),
        ('"__loader__":"JsonNode"', '"__loader__":"FunctionNode"'),
        ('"__loader__":"JsonNode"', '"__loader__":"MethodNode"'),
        ('"__loader__":"JsonNode"', '"__loader__":"CachedNode"'),
        ('"__loader__":"JsonNode"', '"__loader__":["JsonNode"]'),
        ('"__loader__":"JsonNode"', '"__id__":1,"__loader__":"JsonNode"'),
        ('"__class__":"DecisionTreeClassifier"', '"__class__":"OneHotEncoder"'),
        ('"__loader__":"TypeNode"', '"__loader__":"PartialNode"'),
    ],
)
def test_a_skops_file_holds_only_what_forge_writes(old, new, drivers, folder):
    made = folder("sklearn", "binary")

    def change(name, data):
        if name != "schema.json":
            return data
        assert old in data.decode()
        return data.decode().replace(old, new, 1)

    rezipped(made / "model.skops", change)
    with pytest.raises(UnsafeFormat):
        drivers["sklearn"][1]().load(made)


def test_a_skops_file_of_someone_else_is_refused(drivers, folder):
    made = folder("sklearn", "binary")
    for foreign in ({"a": os.getcwd}, [np.random.default_rng(0)], np.array([b"x"], object)):
        (made / "model.skops").write_bytes(dumps(foreign))
        with pytest.raises(UnsafeFormat):
            drivers["sklearn"][1]().load(made)


def test_a_skops_file_of_another_model_than_the_sidecar_says_is_refused(drivers, folder):
    binary, multiclass, regression = (folder("sklearn", task) for task in ("binary", "multiclass", "regression"))
    (binary / "model.skops").write_bytes((regression / "model.skops").read_bytes())
    with pytest.raises(UnsafeFormat, match="no binary model"):
        drivers["sklearn"][1]().load(binary)
    (binary / "model.skops").write_bytes((multiclass / "model.skops").read_bytes())
    with pytest.raises(InvalidInput, match="number of classes"):
        drivers["sklearn"][1]().load(binary)


def test_a_compressed_or_foreign_member_is_refused(drivers, folder):
    made = folder("sklearn", "binary")
    with zipfile.ZipFile(made / "model.skops", "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("999.npy", b"0" * 10_000_000)
    with pytest.raises(UnsafeFormat, match="never writes"):
        drivers["sklearn"][1]().load(made)


@pytest.mark.parametrize("array", [np.array([object()], object), np.zeros(3)])
def test_an_array_of_objects_or_of_another_size_is_refused(array, drivers, folder):
    made = folder("sklearn", "binary")
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=True)
    data = stream.getvalue() if array.dtype == object else stream.getvalue()[:-8]
    rezipped(made / "model.skops", lambda name, old: data if name == "0.npy" else old)
    with pytest.raises(UnsafeFormat if array.dtype == object else InvalidInput):
        drivers["sklearn"][1]().load(made)


@pytest.mark.parametrize(
    ("field", "value"), [("left_child", 10_000), ("left_child", 0), ("right_child", -7), ("feature", 99), ("feature", -5)]
)
def test_a_tree_that_leads_out_of_its_nodes_is_refused(field, value, drivers, folder):
    made = folder("sklearn", "binary")

    def change(_, data):
        if data[:6] != b"\x93NUMPY":
            return data
        array = np.load(io.BytesIO(data))
        if array.dtype.names and field in array.dtype.names:
            array = array.copy()
            array[field][0] = value
        stream = io.BytesIO()
        np.save(stream, array)
        return stream.getvalue()

    rezipped(made / "model.skops", change)
    with pytest.raises(InvalidInput, match="damaged"):
        drivers["sklearn"][1]().load(made)


@pytest.mark.parametrize(
    ("children", "nodes"),
    [([1, 2], 2), ([0, 1], 3), ([1, 1], 3), ([1, 2, 3, 1], 5), ([-1, 1], 3), ([3, 2, 1, 3], 4)],
)
def test_links_that_are_no_tree_are_refused(children, nodes):
    with pytest.raises(InvalidInput):
        check_links(np.array(children), nodes, "a tree")


def test_links_of_a_tree_pass_whatever_their_order():
    check_links(np.array([], np.int64), 1, "a tree")
    check_links(np.array([4, 1, 2, 3]), 5, "a tree")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"{L",
        b"{}x",
        b"[#i\xff",
        b"[$d#L\x7f\xff\xff\xff\xff\xff\xff\xff",
        b"[#L\x7f\xff\xff\xff\xff\xff\xff\xff",
        b"[" * 99,
        b"{i\x01aZi\x01aZ}",
        b"Si\x02\xff\xfe",
        b"[$S#i\x01",
        b"?",
        b"{d\x00\x00\x00\x00Z}",
    ],
)
def test_malformed_ubj_is_a_value_error(data):
    with pytest.raises(ValueError):
        ubj.read(data)


def test_ubj_is_read_as_xgboost_writes_it():
    found = ubj.read(
        b"{L\x00\x00\x00\x00\x00\x00\x00\x01a[$l#L\x00\x00\x00\x00\x00\x00\x00\x02\x00\x00\x00\x07\xff\xff\xff\xffi\x01b[#i\x02TSi\x02hi}"
    )
    assert found["a"].tolist() == [7, -1]
    assert found["b"] == [True, "hi"]


def test_a_damaged_file_is_a_typed_error_and_never_a_crash(name, drivers, folder):
    """In a process of its own: what native code does with a bad index is not an exception."""
    made = folder(name, "multiclass")
    script = Path(__file__).with_name("damage.py")
    flavor = drivers[name][1]
    done = subprocess.run(
        [sys.executable, str(script), f"{flavor.__module__}:{flavor.__name__}", str(made), "60", "20130101"],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["refused"] > 30
    assert told["refused"] + told["answered"] == 60
