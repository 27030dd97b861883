"""A page of the documentation as a test reads it: files by their captions, commands with what they must say, in their order."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from attrs import frozen

_FENCE = re.compile(r"^```(?P<info>[^\n]*)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)


@frozen
class File:
    path: str
    text: str


@frozen
class Command:
    """`expected` are lines, or parts of lines, of what it says; `...` stands for anything."""

    line: str
    expected: tuple[str, ...]

    @property
    def fails(self) -> bool:
        """It shows the line of an error, so it must end with another exit code than 0."""
        return any(line.startswith(("forge: ", "FAILED ")) for line in self.expected)

    def missing(self, said: str) -> list[str]:
        """The expected lines that were not said. Blanks are any blanks; in the row of a table a count may be another, but 0 is 0."""
        return [line for line in self.expected if re.search(self._pattern(line), " ".join(said.split())) is None]

    def _pattern(self, line: str) -> str:
        row = line.count("  ") > 3
        words = [r"[1-9]\d*" if row and re.fullmatch(r"[1-9]\d*", word) else re.escape(word) for word in line.split()]
        return re.sub(r"(\\\.){3}(?!\\\.)", ".*", " ".join(words))


def read(page: Path) -> list[File | Command]:
    """What the page has its reader write and type."""
    steps: list[File | Command] = []
    for fence in _FENCE.finditer(page.read_text(encoding="utf-8")):
        info, body = fence["info"].strip(), fence["body"]
        if info == "console":
            steps.extend(_commands(body))
        elif (caption := re.match(r":caption: (\S+)\n", body)) is not None:
            steps.append(File(caption[1], body[caption.end() :]))
    return steps


def _commands(body: str) -> Iterator[Command]:
    for part in re.split(r"^\$ ", body, flags=re.MULTILINE)[1:]:
        line, *expected = part.rstrip("\n").split("\n")
        yield Command(line, tuple(one for one in expected if one.strip()))
