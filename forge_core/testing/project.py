"""Projects and distributions in a temporary folder."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent

import yaml
from attrs import frozen

from forge_core.records.data import JSON

MINIMAL = "project: {name: test}\n"


@frozen
class ForgeProject:
    """A project on disk. Called with another forge.yaml (text, or data) and, by keyword, modules, it is rewritten."""

    path: Path

    def __call__(self, forge_yaml: str | Mapping[str, JSON] = MINIMAL, **modules: str) -> Path:
        self.path.mkdir(exist_ok=True)
        text = dedent(forge_yaml) if isinstance(forge_yaml, str) else yaml.safe_dump(dict(forge_yaml), sort_keys=False)
        (self.path / "forge.yaml").write_text(text, encoding="utf-8")
        for name, source in modules.items():
            (self.path / f"{name}.py").write_text(dedent(source), encoding="utf-8")
        importlib.invalidate_caches()
        return self.path

    def __fspath__(self) -> str:
        return str(self.path)

    def __truediv__(self, name: str) -> Path:
        return self.path / name


@frozen
class FakeDistributions:
    """A folder on `sys.path` (and on `PYTHONPATH`) with distributions as pip would have left them: `*.dist-info` folders and modules."""

    folder: Path

    def add(
        self,
        name: str,
        version: str = "1.0",
        entries: Mapping[str, Mapping[str, str]] | None = None,
        requires: tuple[str, ...] = ("forge-kernel>=1.0,<2",),
        **modules: str,
    ) -> Path:
        """A distribution with `entries` (group -> name -> target) and, by keyword, the source of each of its modules."""
        info = self.folder / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir(parents=True)
        wanted = "".join(f"Requires-Dist: {one}\n" for one in requires)
        info.joinpath("METADATA").write_text(
            f"Metadata-Version: 2.4\nName: {name}\nVersion: {version}\nSummary: About {name}.\n{wanted}\n# README", encoding="utf-8"
        )
        groups = (
            f"[{group}]\n" + "".join(f"{key} = {target}\n" for key, target in said.items()) for group, said in (entries or {}).items()
        )
        info.joinpath("entry_points.txt").write_text("".join(groups), encoding="utf-8")
        for module, source in modules.items():
            (self.folder / f"{module}.py").write_text(dedent(source), encoding="utf-8")
        importlib.invalidate_caches()
        return info

    def plugin(self, name: str, source: str) -> None:
        """A distribution with one plugin module of its own name."""
        module = name.replace("-", "_")
        self.add(name, "1.0", {"forge.plugins": {name: module}}, ("forge-kernel>=1.0,<2",), **{module: source})


HOSTILE_PATHS: tuple[str, ...] = (
    "", ".", "..", "../", "../x", "../../etc/passwd", "a/../../b", "a/..", "./x", "/", "//", "/etc/passwd", "//host/share/x",
    "..\\", "..\\x", "..\\..\\windows\\win.ini", "x\\..\\y", "\\\\host\\share\\x", "\\\\?\\C:\\x", "C:\\x", "C:x",
    "%2e%2e%2f", "%2e%2e/x", "..%2fx", "%2e%2e%5cx", "%252e%252e%252fx", "%25252e%25252e%25252fx", "%c0%ae%c0%ae/x", "%2fetc%2fpasswd",
    ";/../x", "x;/../../y", "..;/x", "\x00", "x\x00.parquet", "%00", "x%00", "file:x", "file:/etc/passwd", "file:///etc/passwd",
    "FILE:///etc/passwd", "local:///etc/passwd", "simplecache::file:///etc/passwd", "~", "~/x", "~root/x", "$HOME/x", "${env:HOME}",
    "\uff0e\uff0e/x", "\uff0e\uff0e\uff0fx", "\u2025/x", "\u2024\u2024/x", "x\uff0f..\uff0fy", "x\n", "x\r\ny", "\x1b[2J", " ..", ".. /x",
    ".forge/forge.db", "x/.forge", ".ssh/id_rsa", "x" * 5000, "\ud800", "a\u202eb", "-rf",
)  # fmt: skip
"""Names that must never become a path outside a driver's root, nor open a file there."""
