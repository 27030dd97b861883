"""What a file really is, by its first bytes: an extension is only a claim."""

from __future__ import annotations

from pathlib import Path

from forge_core.faults import InvalidInput, UnsafeFormat

_MAGIC = (
    (b"\x1f\x8b", "a gzip file"),
    (b"PK\x03\x04", "a zip archive"),
    (b"BZh", "a bzip2 file"),
    (b"\xfd7zXZ\x00", "an xz file"),
    (b"\x28\xb5\x2f\xfd", "a zstandard file"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"\x93NUMPY", "a numpy array"),
    (b"\x89HDF", "an HDF5 file"),
    (b"\x7fELF", "a program"),
)


def looks_like(data: bytes) -> str:
    """For a message: what these first bytes are usually the beginning of."""
    if data[:1] == b"\x80" and data[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return "a pickle"
    if data[257:262] == b"ustar":
        return "a tar archive"
    if data[:1] in (b"c", b"(", b"]", b"}", b"I") and data.rstrip().endswith(b"."):
        return "a pickle"
    return next((name for magic, name in _MAGIC if data.startswith(magic)), "something else" if data else "empty")


def read_plain(path: Path, largest: int | None = None) -> bytes:
    """The bytes of an ordinary file of a model; links of both kinds and devices are `UnsafeFormat`, one that is missing `InvalidInput`."""
    if path.is_symlink() or (path.exists() and (not path.is_file() or path.stat().st_nlink > 1)):
        raise UnsafeFormat(f"{path.name} is not an ordinary file", "publish the model again")
    if not path.exists():
        raise InvalidInput(f"the model has no {path.name}", "publish the model again")
    if largest is not None and path.stat().st_size > largest:
        raise InvalidInput(f"{path.name} has more than {largest} bytes", "publish the model again")
    return path.read_bytes()


def read_magic(path: Path, magic: bytes, kind: str) -> bytes:
    """The bytes of a file that begins as a `kind` does; any other is `UnsafeFormat`, before anything parses it."""
    data = read_plain(path)
    if not data.startswith(magic):
        raise UnsafeFormat(
            f"{path.name} is not {kind} but {looks_like(data)}", "only files that Forge wrote are loaded: publish the model again"
        )
    return data
