"""Folders that a flavor did not write, and what becomes of those who open them."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import pickle
import shutil
import signal
import sys
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from attrs import frozen

from forge_core.faults import ForgeError
from forge_core.testing.samples import chance_of, files_under, read, table_of

EXTENSIONS = ("pkl", "pickle", "joblib", "bin", "model", "pt", "npy", "json")
ANSWERED = "answered"
TYPED = ("UnsafeFormat", "InvalidInput")


@frozen
class Canary:
    """Whoever unpickles it makes the folder `path`."""

    path: str

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (self.path,)


def canaries(path: Path) -> Mapping[str, bytes]:
    """Pickles of each kind that make the folder `path`, bare and inside what a careless reader opens."""
    bare = {f"protocol {number}": pickle.dumps(Canary(str(path)), number) for number in (0, 2, 5)}
    data = bare["protocol 5"]
    packed = {
        "gzip": gzip.compress(data),
        "zlib": zlib.compress(data),
        "bzip2": bz2.compress(data),
        "xz": lzma.compress(data),
        "zip": _zip({"model.pkl": data}),
        "zip of an archive": _zip({"archive/data.pkl": data, "archive/version": b"3\n"}),
        "tar": _tar(data),
        "an array of objects": _array(data),
    }
    return {**bare, **packed}


def planted(saved: Path, place: Path, canary: Path) -> Mapping[str, Path]:
    """Copies of a model's folder with a pickle: for each of its files, inside each that is an archive, beside them, and alone."""
    made = _Copies(saved, place)
    pickles = canaries(canary)
    for kind, data in pickles.items():
        for name in files_under(saved):
            made.copy(f"{name} is {kind}").joinpath(name).write_bytes(data)
        for extension in EXTENSIONS:
            made.empty(f"nothing but {kind} as .{extension}").joinpath(f"model.{extension}").write_bytes(data)
    for extension in (*EXTENSIONS, "py"):
        made.copy(f"a pickle beside it as .{extension}").joinpath(f"extra.{extension}").write_bytes(pickles["protocol 5"])
    for name, data in files_under(saved).items():
        members = sorted(_members(data))
        for member in members[:: max(1, len(members) // 10)]:
            for kind in ("protocol 2", "an array of objects"):
                changed = _zip({**_members(data), member: pickles[kind]})
                made.copy(f"{member} of {name} is {kind}").joinpath(name).write_bytes(changed)
    return made.folders


def loaders(saved: Path, place: Path) -> Mapping[str, Path]:
    """Copies whose JSON names a module that lies beside it, or would have to be found."""
    made = _Copies(saved, place)
    for name, data in files_under(saved).items():
        try:
            found = json.loads(data)
        except ValueError:
            continue
        for field in ("loader", "loader_module", "__class__", "code") if isinstance(found, dict) else ():
            made.copy(f"{field} in {name}").joinpath(name).write_text(json.dumps({**found, field: "forge_suite_evil"}), encoding="utf-8")
    made.copy("a module beside it").joinpath("forge_suite_evil.py").write_text("raise SystemExit\n", encoding="utf-8")
    return made.folders


def strange(saved: Path, place: Path) -> Mapping[str, Path]:
    """Copies in which something is missing, too much, empty, or no ordinary file."""
    made = _Copies(saved, place)
    place.joinpath("elsewhere").mkdir()
    for name, data in files_under(saved).items():
        outside = place / "elsewhere" / name.replace("/", "-")
        outside.write_bytes(data)
        made.without(f"no {name}", name)
        made.copy(f"{name} is empty").joinpath(name).write_bytes(b"")
        made.without(f"{name} is a folder", name).joinpath(name).mkdir()
        made.without(f"{name} is a link", name).joinpath(name).symlink_to(outside)
        made.without(f"{name} is a link to a device", name).joinpath(name).symlink_to(os.devnull)
        made.without(f"{name} is a second name of a file", name).joinpath(name).hardlink_to(outside)
        os.mkfifo(made.without(f"{name} is a pipe", name) / name)
        shutil.copy(outside, made.copy(f"{name} twice") / f"{Path(name).name}.bak")
    made.copy("an extra file").joinpath("notes.txt").write_text("nothing", encoding="utf-8")
    made.copy("an extra folder").joinpath("more").mkdir()
    made.copy("an extra link").joinpath("link").symlink_to(place / "elsewhere")
    os.mkfifo(made.copy("an extra pipe") / "pipe")
    made.empty("an empty folder")
    made.folders["no folder"] = place / "nowhere"
    made.empty("a file in the place of the folder")
    shutil.rmtree(made.folders["a file in the place of the folder"])
    made.folders["a file in the place of the folder"].write_bytes(b"")
    return made.folders


def damaged(saved: Path, place: Path, seed: int, times: int) -> Mapping[str, Path]:
    """Copies with a file cut short, and copies with changed bits or bytes; in archives also within members, with the right checksum."""
    made = _Copies(saved, place)
    for name, data in files_under(saved).items():
        for part in (1, len(data) // 3, len(data) * 2 // 3, len(data.rstrip()) - 1):
            made.copy(f"{name} cut at {part}").joinpath(name).write_bytes(data[:part])
        for number in range(times):
            chance = chance_of(seed + 1000 * len(name) + number)
            members = _members(data)
            if members and number % 2:
                member = sorted(members)[chance.randrange(len(members))]
                changed = _zip({**members, member: _flipped(members[member], chance)})
            else:
                changed = _flipped(data, chance)
            made.copy(f"{name} damaged, number {number}").joinpath(name).write_bytes(changed)
    return made.folders


class _Copies:
    """Copies of a folder, each with a name that says what is wrong with it."""

    def __init__(self, saved: Path, place: Path) -> None:
        self._saved, self._place = saved, place
        self.folders: dict[str, Path] = {}
        place.mkdir(parents=True)

    def empty(self, name: str) -> Path:
        made = self.folders[name] = self._place / str(len(self.folders))
        made.mkdir()
        return made

    def copy(self, name: str) -> Path:
        made = self.folders[name] = self._place / str(len(self.folders))
        shutil.copytree(self._saved, made)
        return made

    def without(self, name: str, file: str) -> Path:
        made = self.copy(name)
        made.joinpath(file).unlink()
        return made


def _flipped(data: bytes, chance: Any) -> bytes:
    """One bit, or a few bytes, some of them digits and signs so that what is text stays text."""
    made = bytearray(data or b"\0")
    if chance.random() < 0.4:
        made[chance.randrange(len(made))] ^= 1 << chance.randrange(8)
        return bytes(made)
    for _ in range(chance.choice((1, 1, 2, 8))):
        made[chance.randrange(len(made))] = (
            chance.randrange(256) if chance.random() < 0.5 else ord(chance.choice('0123456789-. \n=e"[]{},'))
        )
    return bytes(made)


def _members(data: bytes) -> Mapping[str, bytes]:
    """Those of a zip archive; none where it is not one."""
    if not zipfile.is_zipfile(io.BytesIO(data)):
        return {}
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _zip(members: Mapping[str, bytes]) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return target.getvalue()


def _tar(data: bytes) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        member = tarfile.TarInfo("model.pkl")
        member.size = len(data)
        archive.addfile(member, io.BytesIO(data))
    return target.getvalue()


def _array(data: bytes) -> bytes:
    """A numpy file of one object, which numpy unpickles where it is allowed to."""
    header = b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }".ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + data


# ---- in other processes


def opened_elsewhere(driver: Any, work: Sequence[Sequence[str]], seconds: int = 10) -> Iterator[tuple[str, str]]:
    """Loads the model of each (name, folder, rows), asks it about those, and acknowledges what became of it.

    That is `answered`, the name of a typed error, or any other exception in words. A folder that ends the process is the last one
    on stderr.
    """
    for name, folder, path in work:
        os.write(2, f"{name}\n".encode())
        yield name, _fate(driver, Path(folder), read(path), seconds)


def _fate(driver: Any, folder: Path, rows: Any, seconds: int) -> str:
    before = (list(sys.path), os.getcwd())
    try:
        with _within(seconds):
            answer = table_of(driver.load(folder).predict(rows))
    except ForgeError as error:
        return (
            type(error).__name__ if error.cause and error.remedy and "\n" not in error.cause else f"a typed error without remedy: {error}"
        )
    except BaseException as error:
        return f"{type(error).__name__}: {error}"
    if "forge_suite_evil" in sys.modules or (list(sys.path), os.getcwd()) != before:
        return "changed the process"
    return ANSWERED if len(answer) == len(rows) else f"{len(answer)} answers for {len(rows)} rows"


@contextmanager
def _within(seconds: int) -> Iterator[None]:
    def stop(*_: object) -> None:
        raise TimeoutError(f"took more than {seconds} s")

    signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)


@contextmanager
def writes(allowed: Sequence[Path]) -> Iterator[list[str]]:
    """What is opened for writing, made, renamed or removed meanwhile outside `allowed`. It hears to the end of the process."""
    found: list[str] = []
    hearing = [True]
    inside = tuple(str(path) for path in (*allowed, "/dev", "/proc"))

    def hear(event: str, arguments: tuple[Any, ...]) -> None:
        if not hearing[0]:
            return
        changes = event in ("os.mkdir", "os.remove", "os.rename", "os.link", "os.symlink", "os.truncate", "os.rmdir", "os.mkfifo")
        if (event == "open" and _writing(arguments)) or changes:
            path = arguments[0]
            if isinstance(path, str | bytes | os.PathLike) and not os.path.abspath(os.fsdecode(path)).startswith(inside):
                found.append(f"{event} {os.fsdecode(path)}")

    sys.dont_write_bytecode = True
    tempfile.tempdir = str(allowed[0])
    sys.addaudithook(hear)
    try:
        yield found
    finally:
        hearing[0] = False


def _writing(arguments: tuple[Any, ...]) -> bool:
    _, mode, flags = arguments
    return any(letter in (mode or "") for letter in "wax+") or bool((flags or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
