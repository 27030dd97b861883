"""What `forge plugins test` found, as one page that needs no other file and no script."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from html import escape
from itertools import groupby

from forge_core.testing.proof import OUTCOMES, Proof, Rule

_MARK = {"passed": "\u2713", "failed": "\u2717", "not declared": "\u2013", "expected failure": "~"}
_CLASS = {"passed": "yes", "failed": "no", "not declared": "out", "expected failure": "known"}
_STYLE = """
:root { color-scheme: light dark; --ink: #1c2024; --paper: #fff; --faint: #5f6772; --line: #d9dde3; --panel: #f5f7f9;
  --yes: #18794e; --no: #c62a2f; --known: #946800; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e8eb; --paper: #15181b; --faint: #9aa3ad; --line: #343a41; --panel: #1d2125;
  --yes: #4cc38a; --no: #ff8589; --known: #e2b33c; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2rem 1.25rem 4rem; max-width: 64rem; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; margin: 0; } h2 { font-size: 1.2rem; margin: 2.5rem 0 .25rem; } p { margin: .25rem 0; }
.faint, .out, .place { color: var(--faint); } .yes { color: var(--yes); } .no { color: var(--no); } .known { color: var(--known); }
.verdict { font-weight: 600; }
table { border-collapse: collapse; width: 100%; margin: .75rem 0; }
th, td { text-align: left; padding: .3rem .6rem; vertical-align: top; border-bottom: 1px solid var(--line); }
th { font-weight: 600; color: var(--faint); font-size: .85rem; }
.count { text-align: right !important; font-variant-numeric: tabular-nums; }
code { font: .9em ui-monospace, monospace; overflow-wrap: anywhere; }
details { border: 1px solid var(--line); border-radius: 6px; margin: .5rem 0; overflow: hidden; }
summary { cursor: pointer; padding: .45rem .75rem; background: var(--panel); }
details table { margin: 0; } details tr:last-child td { border: 0; }
td.mark { width: 1.5rem; font-weight: 700; } .cause, .place { display: block; } .cause { color: var(--no); white-space: pre-wrap; }
.scroll { overflow-x: auto; }
"""


def page(proofs: Sequence[Proof]) -> str:
    """One HTML document: what was tested, where and when, and every rule with its outcome."""
    names = ", ".join(proof.distribution for proof in proofs)
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(names)}: contract suites</title><style>{_STYLE}</style></head><body>",
        "<h1>Contract suites</h1>",
        '<p class="faint">What the suites of Forge\'s kernel found of installed plugins, by <code>forge plugins test</code>.</p>',
        *(line for proof in proofs for line in _proof(proof)),
        "</body></html>",
    ]
    return "\n".join(parts) + "\n"


def _proof(proof: Proof) -> Iterator[str]:
    totals = Counter(rule.outcome for rule in proof.rules)
    said = ", ".join(f"{totals[outcome]} {outcome}" for outcome in OUTCOMES.values() if totals[outcome]) or "no rule was tried"
    yield f"<h2>{escape(proof.distribution)} {escape(proof.version)}</h2>"
    verdict = '<span class="verdict yes">green</span>' if proof.passed else '<span class="verdict no">red</span>'
    yield f"<p>{verdict}: {said}</p>"
    when = f'<time datetime="{proof.at.isoformat(timespec="seconds")}">{proof.at:%Y-%m-%d %H:%M} UTC</time>'
    yield f'<p class="faint">forge-kernel {escape(proof.kernel)}, Python {escape(proof.python)}, {when}, {proof.seconds:g} s</p>'
    for trouble in proof.troubles:
        remedy = f'<span class="faint">{escape(trouble.remedy)}</span>'
        yield f'<p><b class="no">{escape(trouble.what)}</b>: {escape(trouble.cause)} {remedy}</p>'
    heads = "".join(f'<th class="count">{count.replace("_", " ")}</th>' for count in OUTCOMES)
    yield f'<div class="scroll"><table><thead><tr><th>role</th><th>name</th><th>capability</th>{heads}</tr></thead><tbody>'
    for line in proof.lines:
        counts = "".join(_count(getattr(line, count), _CLASS[outcome]) for count, outcome in OUTCOMES.items())
        cells = "".join(f"<td>{escape(text)}</td>" for text in (line.role, line.name, line.capability))
        yield f"<tr>{cells}{counts}</tr>"
    yield "</tbody></table></div>"
    for (role, name), rules in groupby(proof.rules, key=lambda rule: (rule.role, rule.name)):
        yield from _driver(role, name, list(rules))


def _count(number: int, style: str) -> str:
    return f'<td class="count {style if number else "out"}">{number}</td>'


def _driver(role: str, name: str, rules: Sequence[Rule]) -> Iterator[str]:
    totals = Counter(rule.outcome for rule in rules)
    told = ", ".join(f'<span class="{_CLASS[one]}">{totals[one]} {one}</span>' for one in OUTCOMES.values() if totals[one])
    unfold = " open" if totals["failed"] else ""
    yield f"<details{unfold}><summary>{escape(role)} <b>{escape(name)}</b>: {told}</summary><table><tbody>"
    for rule in rules:
        style = _CLASS[rule.outcome]
        about = f' <span class="faint">({escape(rule.capability)})</span>' if rule.capability else ""
        cause = f'<code class="cause">{escape(rule.cause)}</code>' if rule.cause else ""
        mark = f'<td class="mark {style}" title="{rule.outcome}">{_MARK[rule.outcome]}</td>'
        place = f'<code class="place">{escape(rule.suite)}::{escape(rule.test)}</code>'
        yield f"<tr>{mark}<td>{escape(rule.rule)}{about}{cause}{place}</td></tr>"
    yield "</tbody></table></details>"
