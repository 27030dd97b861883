"""Tables that are read from the code when the documentation is built.

`forge-operations` is the table of all operations, which is the table of all permissions; `forge-roles` says how each role is chosen in
forge.yaml and which drivers of this repository play it; `forge-suite` gives the rules of a role's suite; `forge-commands` is the help of
every command.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Sequence

import attrs
from cyclopts import App
from docutils import nodes
from rich.console import Console
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from forge_core import testing
from forge_core.catalog import Catalog
from forge_core.cli.parser import assemble
from forge_core.contracts import CONTRACTS
from forge_core.document import Document
from forge_core.operations import permissions
from forge_core.roles import ROLES, Role
from forge_core.testing.contract import NEEDS

_EVERYWHERE = re.compile(r"╭─ Everywhere.*?╰─+╯", re.DOTALL)  # the same for every command: the page says it once


class Operations(SphinxDirective):
    """Every operation of every contract."""

    def run(self) -> list[nodes.Node]:
        rows = [
            (role, found.method, found.action, found.resource, "yes" if found.mutates else "", found.gate.__name__ if found.gate else "")
            for role, found in permissions(CONTRACTS)
        ]
        return [_table(("role", "method", "action", "resource", "mutates", "gate"), rows, codes={1, 2, 3, 5})]


class Roles(SphinxDirective):
    """Every role; drivers are those that are installed where the documentation is built."""

    def run(self) -> list[nodes.Node]:
        catalog = Catalog.scan()
        rows = [
            (
                role.name,
                _key(role),
                role.group,
                role.default or "",
                ", ".join(ref.name for ref in catalog.ready(role.name)),
                "stable" if CONTRACTS[role.name].stable else "provisional",
            )
            for role in ROLES.values()
        ]
        return [_table(("role", "key of forge.yaml", "entry-point group", "default", "drivers", "contract"), rows, codes={2, 3, 4})]


class Suite(SphinxDirective):
    """The fixtures of a role's suite, which its author overrides, and the rules, which nobody does."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        suite = getattr(testing, testing.SUITES[self.arguments[0]])
        members = {name: made for base in reversed(suite.__mro__) for name, made in vars(base).items() if not name.startswith("_")}
        fixtures = [(name, _line(made)) for name, made in members.items() if hasattr(made, "_fixture_function")]
        tests = {name: made for name, made in members.items() if name.startswith("test")}
        rules = [(name, ", ".join(one.value for one in getattr(made, NEEDS, ())), _line(made)) for name, made in tests.items()]
        return [
            nodes.paragraph("", "", nodes.Text("Override where the defaults do not fit:")),
            _table(("fixture", "what it gives"), fixtures, codes={0}),
            nodes.paragraph("", "", nodes.Text("What is proved, and what to do where it fails:")),
            _table(("test", "capability", "rule"), rules, codes={0, 1}),
        ]


def _line(made: object) -> str:
    return " ".join((getattr(made, "__doc__", None) or "").split())


class Commands(SphinxDirective):
    """The help of every command, those of installed plugins among them; a section for each command."""

    def run(self) -> list[nodes.Node]:
        app = assemble(Catalog.scan().ready("command"))
        return [self._section(app, (name,)) for name in app if not name.startswith("-")]

    def _section(self, app: App, words: tuple[str, ...]) -> nodes.section:
        title = " ".join(("forge", *words))
        section = nodes.section("", nodes.title("", title), ids=[nodes.make_id(title)], names=[nodes.fully_normalize_name(title)])
        shown = io.StringIO()
        app.help_print(list(words), console=Console(file=shown, width=100, no_color=True))
        section += nodes.literal_block("", _EVERYWHERE.sub("", shown.getvalue()).strip(), language="text")
        command = app[words[0]] if len(words) == 1 else None
        section += [self._section(app, (*words, name)) for name in (command or ()) if not name.startswith("-")]
        return section


def _key(role: Role) -> str:
    if not role.many:
        return f"infrastructure.{role.section}"
    return f"{role.section}.<name>" if role.section in attrs.fields_dict(Document) else "named where it is used"


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]], codes: set[int]) -> nodes.table:
    group = nodes.tgroup(cols=len(heads))
    group += [nodes.colspec(colwidth=1) for _ in heads]
    group += nodes.thead("", _row([nodes.Text(head) for head in heads]))
    body = nodes.tbody()
    for row in rows:
        body += _row([nodes.literal(text=cell) if cell and index in codes else nodes.Text(cell) for index, cell in enumerate(row)])
    group += body
    return nodes.table("", group)


def _row(cells: Iterable[nodes.Node]) -> nodes.row:
    return nodes.row("", *(nodes.entry("", nodes.paragraph("", "", cell)) for cell in cells))


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("forge-commands", Commands)
    app.add_directive("forge-operations", Operations)
    app.add_directive("forge-roles", Roles)
    app.add_directive("forge-suite", Suite)
    return {"parallel_read_safe": True}
