"""`plugins.deny` of a forge.yaml changed in place: every other byte of the file stays.

The places are those that YAML's own composer gives. What was made is read again and compared with what was meant; where it is
anything else, as aliases and rare spellings bring about, nothing is written.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

from forge_core import reader
from forge_core.catalog import normal
from forge_core.faults import ConfigError, ForgeError
from forge_core.files import sync
from forge_core.records.data import JSON
from forge_core.serialize import digest_of

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_PROPERTIES = re.compile(r"(?:[ \t]*[&!][^\s,\[\]{}]*)*")  # an anchor, a tag
_BOM = "\ufeff"


def deny(file: Path, name: str) -> bool:
    """Put a distribution into `plugins.deny`; False, and nothing written, where it is there in any spelling."""
    return _edit(file, lambda names: names if name in map(normal, names) else [*names, name], lambda text: _with(text, name))


def allow(file: Path, name: str) -> bool:
    """Take a distribution out of `plugins.deny`, in each spelling; False, and nothing written, where it is not there."""
    return _edit(file, lambda names: [one for one in names if normal(one) != name], lambda text: _without(text, name))


def _edit(file: Path, meant: Callable[[list[str]], list[str]], change: Callable[[str], str]) -> bool:
    file = file.resolve()  # a link stays one
    with _alone(file.parent):
        before = reader.read(file, {})
        names = listed(before, file.name)
        after = meant(names)
        if after == names:
            return False
        text = file.read_bytes().decode()  # with its own ends of lines
        bom = _BOM if text.startswith(_BOM) else ""
        try:
            made = change(text.removeprefix(bom))
        except (yaml.YAMLError, ValueError):  # half-way something that is no YAML, or nothing where a bracket should be
            made = ""
        if not _says(made, {**before, "plugins": {**(before.get("plugins") or {}), "deny": after}}):
            raise ForgeError(
                f"{file.name}: plugins.deny is written in a way that cannot be changed safely; nothing was changed",
                f"write it by hand: plugins: {{deny: [{', '.join(after)}]}}",
            )
        _replace(file, (bom + made).encode())
    return True


def listed(raw: JSON, file: str, key: str = "deny") -> list[str]:
    """A list of names below `plugins`, as it is written."""
    section = raw.get("plugins")
    if section is not None and not isinstance(section, dict):
        raise ConfigError(f"{file}: plugins is no mapping", f"plugins: {{{key}: [forge-acme]}}")
    names = section.get(key) if section else None
    if names is None:
        return []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ConfigError(f"{file}: plugins.{key} is not a list of names", f"plugins: {{{key}: [forge-acme]}}")
    return names


def _says(text: str, meant: JSON) -> bool:
    try:
        return digest_of(reader.read_text(text, "")) == digest_of(meant)
    except ConfigError:
        return False


def _with(text: str, name: str) -> str:
    item = name if reader.read_text(name, "") == name else f'"{name}"'  # 123, or null
    newline = "\r\n" if "\r\n" in text else "\n"
    root = yaml.compose(text, _LOADER)
    if not isinstance(root, yaml.MappingNode):  # comments, at most
        return _append(text, len(text), newline, ("plugins:", f"  deny: [{item}]"))
    found = _pair(root, "plugins")
    if found is None and root.flow_style:
        return _into(text, root, "{", f"plugins: {{deny: [{item}]}}")
    if found is None:
        indent = " " * root.start_mark.column
        return _append(text, root.end_mark.index, newline, (f"{indent}plugins:", f"{indent}  deny: [{item}]"))
    key, section = found
    if not isinstance(section, yaml.MappingNode):
        return _fill(text, key, section, f"{{deny: [{item}]}}")
    found = _pair(section, "deny")
    if found is None and section.flow_style:
        return _into(text, section, "{", f"deny: [{item}]")
    if found is None:
        at = _line_end(text, key.end_mark.index)  # above what is there, so that comments stay with what they are about
        return f"{text[:at]}{newline}{' ' * section.value[0][0].start_mark.column}deny: [{item}]{text[at:]}"
    key, names = found
    if not isinstance(names, yaml.SequenceNode):
        return _fill(text, key, names, f"[{item}]")
    if not names.value:
        return _into(text, names, "[", item)
    last = names.value[-1]
    at = last.end_mark.index
    if not names.flow_style:
        dash = text.rindex("-", 0, last.start_mark.index)
        at = _line_end(text, at)
        return f"{text[:at]}{newline}{' ' * (dash - _line_start(text, dash))}- {item}{text[at:]}"
    start = _line_start(text, last.start_mark.index)
    if not text[start : last.start_mark.index].strip() and text[at : _line_end(text, at)].strip() in ("", ","):  # one on each line
        return f"{text[:at]},{newline}{text[start : last.start_mark.index]}{item}{text[at:]}"
    return f"{text[:at]}, {item}{text[at:]}"


def _without(text: str, name: str) -> str:
    while True:
        root = yaml.compose(text, _LOADER)
        section = _pair(root, "plugins") if isinstance(root, yaml.MappingNode) else None
        found = _pair(section[1], "deny") if section and isinstance(section[1], yaml.MappingNode) else None
        names = found[1].value if found and isinstance(found[1], yaml.SequenceNode) else []
        index = next((index for index, one in enumerate(names) if isinstance(one, yaml.ScalarNode) and normal(one.value) == name), None)
        if found is None or index is None:
            return text
        flow = isinstance(found[1], yaml.SequenceNode) and found[1].flow_style
        text = _cut_flow(text, names, index) if flow else _cut_block(text, found[0], names, index)


def _cut_flow(text: str, names: list[yaml.Node], index: int) -> str:
    """An item with its comma, and with its line where it has one of its own; comments stay."""
    start, end = names[index].start_mark.index, names[index].end_mark.index
    comma = re.compile(r"[ \t]*,[ \t]*").match(text, end)
    if comma:
        end = comma.end()
    elif index and not text[names[index - 1].end_mark.index : start].strip(" \t\r\n,"):
        start = names[index - 1].end_mark.index
    return _cut(text, start, end)


def _cut_block(text: str, key: yaml.Node, names: list[yaml.Node], index: int) -> str:
    dash = text.rindex("-", 0, names[index].start_mark.index)
    end = names[index].end_mark.index
    made = _cut(text, dash, end + len(text[end:]) - len(text[end:].lstrip(" \t")))
    if len(names) > 1:
        return made
    at = _head(text, key)  # before the item, so that it is the same place in both
    return f"{made[:at]} []{made[at:]}"


def _cut(text: str, start: int, end: int) -> str:
    """Without what stands there, and without its line where nothing else stands on it."""
    first, last = _line_start(text, start), _line_end(text, end)
    if text[first:start].strip() or text[end:last].strip():
        return text[:start] + text[end:]
    if last < len(text):
        return text[:first] + text[last + (2 if text[last : last + 2] == "\r\n" else 1) :]
    return text[:first].removesuffix("\n").removesuffix("\r")


def _fill(text: str, key: yaml.Node, value: yaml.Node, written: str) -> str:
    """Give a key that has nothing a value."""
    start, end = value.start_mark.index, value.end_mark.index
    if text[start:end].lower() in ("~", "null"):
        return text[:start] + written + text[end:]
    at = _head(text, key)
    return f"{text[:at]} {written}{text[at:]}"


def _into(text: str, node: yaml.CollectionNode, bracket: str, written: str) -> str:
    """Behind the opening bracket."""
    at = text.index(bracket, node.start_mark.index) + 1
    return f"{text[:at]}{written}{', ' if node.value else ''}{text[at:]}"


def _append(text: str, at: int, newline: str, lines: tuple[str, ...]) -> str:
    """Lines of their own; the last one ends as the text before it did."""
    ended = not text[:at] or text[:at].endswith("\n")
    return f"{text[:at]}{'' if ended else newline}{newline.join(lines)}{newline if ended else ''}{text[at:]}"


def _pair(node: yaml.MappingNode, name: str) -> tuple[yaml.Node, yaml.Node] | None:
    return next(((key, value) for key, value in node.value if key.value == name), None)


def _head(text: str, key: yaml.Node) -> int:
    """Where a key's value begins: behind the colon, and an anchor where there is one."""
    found = _PROPERTIES.match(text, text.index(":", key.end_mark.index) + 1)
    assert found is not None  # it matches nothing as well
    return found.end()


def _line_start(text: str, at: int) -> int:
    return text.rfind("\n", 0, at) + 1


def _line_end(text: str, at: int) -> int:
    found = re.compile(r"\r?\n|\Z").search(text, at)
    assert found is not None  # every text ends
    return found.start()


def _replace(file: Path, data: bytes) -> None:
    """The old bytes or the new ones, also after a crash; its mode, and its owner where that is allowed, are kept."""
    was = file.stat()
    beside = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    try:
        handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as out:
            out.write(data)
            with contextlib.suppress(PermissionError):
                os.fchown(out.fileno(), was.st_uid, was.st_gid)
            os.fchmod(out.fileno(), was.st_mode & 0o7777)
            out.flush()
            os.fsync(out.fileno())
        beside.replace(file)
        sync(file.parent)
    except OSError as error:
        beside.unlink(missing_ok=True)
        remedy = "look at its folder's permissions and the disk; FORGE_PLUGINS_DENY does without the file"
        raise ForgeError(f"{file.name} cannot be written: {error.strerror}", remedy) from None


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One edit at a time, so that of two none is lost."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
