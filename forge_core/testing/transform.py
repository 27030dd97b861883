"""The suite of transforms."""

from __future__ import annotations

import copy
import datetime
import itertools
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import attrs
import pyarrow as pa
import pytest
from attrs import evolve, frozen

from forge_core import Kernel
from forge_core.contracts.transform import Transformation
from forge_core.faults import ConfigError, ForgeError
from forge_core.records.data import JSON
from forge_core.testing import processes
from forge_core.testing.contract import Contract, Subject
from forge_core.testing.samples import (
    alike,
    chance_of,
    check_refusal,
    copied,
    misspelt,
    put,
    read,
    refused,
    same,
    stream_of,
    table_of,
    undeclared,
    unless_refused,
    written,
)
from forge_core.wiring import settings_class

Make: TypeAlias = Callable[..., Any]


@frozen
class Example:
    """What the driver's documentation promises: fitted on `rows`, it makes `expected` of them, or of `more` where that is given.

    Columns come in the order of `expected`; one that is None in it is not made.
    """

    settings: Mapping[str, JSON]
    rows: Mapping[str, Sequence[JSON]]
    expected: Mapping[str, Sequence[JSON] | None]
    more: Mapping[str, Sequence[JSON]] | None = None


class TransformationContract(Contract):
    """Give `settings` that name columns of `rows`, and `examples` of what the transform makes: the suite cannot know what it is for."""

    contract = Transformation

    @pytest.fixture
    def rows(self) -> pa.Table:
        """Rows with a column of each kind, with nulls, in no order; `customer` decides the target `y`, and `moment` is never there twice.

        Override it where the transform needs others.
        """
        return sample_rows()

    @pytest.fixture
    def target(self) -> str:
        """The column to predict. A transform that is by row never sees it."""
        return "y"

    @pytest.fixture
    def examples(self) -> Sequence[Example]:
        """What your documentation promises, in rows small enough to be worked out by hand."""
        return ()

    @pytest.fixture
    def any_order(self) -> bool:
        """Whether a transform that changes rows makes the same ones of them in another order. Override it where their order is meant."""
        return True

    @pytest.fixture
    def by_row(self, request: pytest.FixtureRequest) -> None:
        """For the rules of transforms that keep the rows."""
        if not self.driver_class.by_row:  # type: ignore[attr-defined]
            undeclared(request, "by row")

    @pytest.fixture
    def changes_rows(self, request: pytest.FixtureRequest) -> None:
        """For the rules of transforms that change them."""
        if self.driver_class.by_row:  # type: ignore[attr-defined]
            undeclared(request, "changes rows")

    @pytest.fixture
    def given(self, rows: pa.Table, target: str) -> pa.Table:
        """The rows as the stages give them: with the target only to a transform that changes them."""
        return rows.drop_columns([target]) if self.driver_class.by_row else rows  # type: ignore[attr-defined]

    @pytest.fixture
    def told(self, settings: Mapping[str, JSON], target: str) -> Mapping[str, JSON]:
        """The settings as the stages give them: with the name of the target where rows are changed and `Settings` has a `target`."""
        named = not self.driver_class.by_row and "target" in self._fields()  # type: ignore[attr-defined]
        return {**settings, "target": target} if named else settings

    @pytest.fixture
    def make(self, kernel: Kernel, told: Mapping[str, JSON]) -> Make:
        """`make()`: the transform once more, of the same settings or of those that are given; one is made per use."""
        return lambda settings=None: kernel.wire(self.driver_class, told if settings is None else settings)

    def _fields(self) -> Mapping[str, Any]:
        found = settings_class(self.driver_class)
        return {} if found is None else {one.name: one for one in attrs.fields(found)}

    # ---- what it learns, and what it makes

    def test_it_does_what_its_documentation_says(self, examples: Sequence[Example], make: Make, request: pytest.FixtureRequest) -> None:
        """Each of `examples` comes out as it stands there, column by column. Give some: no other rule knows what the transform is for."""
        for example in examples or undeclared(request, "examples"):
            transform, rows = make(example.settings), pa.table(dict(example.rows))
            state = transform.fit(rows)
            answer = table_of(transform.apply(rows if example.more is None else pa.table(dict(example.more)), state)).to_pydict()
            known = [name for name, expected in example.expected.items() if expected is not None]
            assert [name for name in answer if name in known] == known, f"the columns are {[*answer]}"
            for name, expected in example.expected.items():
                found = answer.get(name)
                assert alike(found, None if expected is None else list(expected)), f"{name!r} is {found}, and should be {expected}"

    def test_its_state_is_json(self, given: pa.Table, make: Make) -> None:
        """What `fit` gives comes back from JSON as it was: texts, finite numbers, lists, mappings. It is kept in the model's forge.json.

        Turn arrays and tuples into lists, and NaN into None.
        """
        state = make().fit(given)
        assert json.loads(json.dumps(state, allow_nan=False)) == state

    def test_a_state_serves_in_another_process(self, given: pa.Table, make: Make, subject: Subject, told: Any, tmp_path: Path) -> None:
        """All that was learned is in the state: another process, whose transform never saw the training rows, makes the very same of it.

        Keep nothing in the transform between `fit` and `apply`.
        """
        transform = make()
        state = transform.fit(given)
        path = tmp_path / "made.arrow"
        elsewhere = evolve(subject, settings=told)
        processes.run(elsewhere, applied_elsewhere, written(given, tmp_path / "rows.arrow"), state, str(path))
        assert read(str(path)).equals(table_of(transform.apply(given, state)))

    def test_it_fits_what_it_is_given_and_nothing_else(self, given: pa.Table, make: Make) -> None:
        """A state depends on the rows of its `fit`, an answer on its rows and its state: not on what the transform did before."""
        transform, other = make(), make()
        state = transform.fit(given)
        answer = table_of(transform.apply(given, state))
        transform.fit(given.slice(0, len(given) // 3))
        assert table_of(transform.apply(given, state)).equals(answer)
        assert alike(transform.fit(given), state, 0.0)
        assert table_of(other.apply(given, json.loads(json.dumps(state)))).equals(answer)

    def test_it_changes_nothing_that_it_is_given(self, given: pa.Table, make: Make) -> None:
        """`apply` is pure, and `fit` too: rows and state are the caller's, and the same ones give the same answer. Copy what you change."""
        transform, rows, before = make(), copied(given), copied(given)
        state = transform.fit(rows)
        kept = copy.deepcopy(state)
        first = table_of(transform.apply(rows, state))
        assert table_of(transform.apply(rows, state)).equals(first)
        assert state == kept
        assert rows.equals(before)

    def test_rows_can_be_any_stream(self, given: pa.Table, make: Make) -> None:
        """Rows come as an Arrow stream that can be read once; how they are cut into batches makes no difference, to `fit` or to `apply`."""
        transform = make()
        state = transform.fit(given)
        assert alike(transform.fit(stream_of(given)), state)
        same(table_of(transform.apply(stream_of(given), state)), table_of(transform.apply(given, state)))

    # ---- by row

    def test_rows_keep_their_number_and_order(self, by_row: None, given: pa.Table, make: Make) -> None:
        """A transform that is by row gives one row for each, in their order, and passes on the columns that it does not use.

        One that changes rows sets `by_row = False`.
        """
        transform = make()
        marked = given.append_column("forge suite", pa.array([[number] for number in range(len(given))]))
        state = transform.fit(marked)
        answer = table_of(transform.apply(marked, state))
        assert answer["forge suite"].equals(marked["forge suite"])
        for name in {*given.column_names} - {*_used(transform, given, state)}:
            assert answer[name].equals(given[name]), f"column {name!r} is not used, and changed"
        backwards = pa.array(range(len(given) - 1, -1, -1))
        same(table_of(transform.apply(marked.take(backwards), state)), answer.take(backwards))

    def test_rows_do_not_see_one_another(self, by_row: None, given: pa.Table, make: Make) -> None:
        """A row comes out the same alone, in any batch and among all; the columns and their types are the same, with no rows as well.

        At serving a row comes alone: take from the state what is about other rows.
        """
        transform = make()
        state = transform.fit(given)
        answer = table_of(transform.apply(given, state))
        edges = (0, 1, 2, 3, 20, 20, len(given))
        cuts = ([*range(len(given) + 1)], edges)
        for cut in cuts:
            parts = [table_of(transform.apply(given.slice(start, end - start), state)) for start, end in itertools.pairwise(cut)]
            same(pa.concat_tables(parts), answer)
        assert table_of(transform.apply(given.slice(0, 0), state)).schema.equals(answer.schema)

    def test_a_state_of_somebody_else_is_refused_or_served(self, by_row: None, given: pa.Table, make: Make) -> None:
        """A state comes out of a file: one that `fit` did not write is a typed error, or rows come out. Never another exception.

        Check the kind and the length of each part before it is used.
        """
        transform = make()
        state = transform.fit(given)
        wrong: list[Mapping[str, JSON]] = [{}, {**state, "forge suite": 1}]
        for name, value in itertools.product(state, (None, "x", [], {}, [[1], [2, 3]], [None], -1, 10**400, {"a": "b"})):
            wrong.append({**state, name: value})
        for name in state:
            wrong.append({key: value for key, value in state.items() if key != name})
        for one in wrong:
            answer = unless_refused(partial(transform.apply, given, one))
            assert answer is None or len(table_of(answer)) == len(given)

    # ---- changing rows

    def test_what_changes_rows_has_no_state(self, changes_rows: None, given: pa.Table, make: Make) -> None:
        """A transform that is not by row learns nothing: `fit` gives `{}`, since it runs before the split and is not served."""
        assert make().fit(given) == {}

    def test_the_same_rows_are_made_in_any_order(self, changes_rows: None, any_order: bool, given: pa.Table, make: Make) -> None:
        """Neither batches nor, where `any_order` says so, the order in which rows come changes what is made of them, but for its order."""
        transform = make()
        answer = table_of(transform.apply(given, {}))
        same(table_of(transform.apply(stream_of(given, 3), {})), answer)
        if any_order:
            shuffled = given.take(pa.array(chance_of(3).sample(range(len(given)), len(given))))
            assert alike(_sorted(table_of(transform.apply(shuffled, {}))), _sorted(answer), 1e-6)

    def test_the_target_is_kept(self, changes_rows: None, given: pa.Table, target: str, make: Make) -> None:
        """The target comes out, in its own type, with values that went in: row by row where rows are kept, one a group where they are not.

        `Settings` may have a field `target`: the stages set it to the column's name.
        """
        answer = table_of(make().apply(given, {}))
        assert answer.schema.field(target).type == given.schema.field(target).type
        assert {*answer[target].to_pylist()} == {*given[target].to_pylist()}
        if len(answer) == len(given):
            assert sorted(answer[target].to_pylist(), key=str) == sorted(given[target].to_pylist(), key=str)

    def test_rows_of_different_targets_are_never_made_one(
        self, changes_rows: None, given: pa.Table, target: str, make: Make, request: pytest.FixtureRequest
    ) -> None:
        """Where rows become one, their target must be one: refuse what is not constant, since no choice among several would be right.

        A null beside a value is not constant either.
        """
        if "target" not in self._fields():
            undeclared(request, "a setting target")
        transform = make()
        several = pa.array([f"target {number}" for number in range(len(given))])
        gaps = pa.array([None if number % 2 else "target" for number in range(len(given))])
        for mixed in (several, gaps):
            answer = unless_refused(partial(transform.apply, put(given, target, mixed), {}))
            assert answer is None or len(table_of(answer)) == len(given), "rows of different targets were made one"

    # ---- what is wrong

    def test_a_missing_column_is_refused_with_the_nearest(self, given: pa.Table, make: Make) -> None:
        """A column that is needed and not there is a typed error that names it, and the one that was probably meant.

        One that the settings name is missed by `fit` as well: before anything is trained.
        """
        transform = make()
        state = transform.fit(given)
        for name in _used(transform, given, state):
            like = f"{name}{name[-1]}"
            renamed = given.rename_columns([like if column == name else column for column in given.column_names])
            with refused(naming=name) as caught:
                transform.apply(renamed, state)
            assert like in caught.value.remedy, f"the remedy for {name!r} is {caught.value.remedy!r}, and {like!r} is there"

    def test_a_column_of_the_settings_is_missed_by_fit(
        self, by_row: None, settings: Mapping[str, JSON], given: pa.Table, make: Make, request: pytest.FixtureRequest
    ) -> None:
        """A column that the settings name and the rows lack is a typed error when it is fitted, not only when it is served."""
        named = [name for name in given.column_names if f'"{name}"' in json.dumps(settings)]
        for name in named or undeclared(request, "settings that name columns"):
            with refused(naming=name):
                make().fit(given.drop_columns([name]))

    def test_unknown_settings_are_refused_with_the_nearest(self, settings: Mapping[str, JSON], make: Make) -> None:
        """A setting that is not known is a ConfigError that names it and the nearest. Declare them in a frozen attrs class `Settings`."""
        for name in sorted(self._fields(), key=len)[-3:] or ("columns",):
            with refused(ConfigError, naming=misspelt(name)) as caught:
                make({**settings, misspelt(name): settings.get(name)})
            assert name in f"{caught.value.cause} {caught.value.remedy}" or not self._fields()

    def test_wrong_settings_are_a_typed_error(self, settings: Mapping[str, JSON], given: pa.Table, make: Make) -> None:
        """A setting of another kind, empty, negative or huge, is a ConfigError, or works; never another exception, at whichever call.

        attrs' validators say what a setting may be.
        """

        def use(changed: Mapping[str, JSON]) -> None:
            transform = make(changed)
            transform.apply(given, transform.fit(given))

        refusals = 0
        for name, wrong in itertools.product(
            self._fields(), (None, "", "no such value", [], [""], ["y", "y"], [1], {}, -1, 0, 10**9, 1.5, True)
        ):
            try:
                use({**settings, name: wrong})
            except ForgeError as error:
                check_refusal_lines(error)
                refusals += 1
        assert refusals or not self._fields(), "no value of a setting is refused"

    def test_odd_rows_are_refused_or_transformed(self, given: pa.Table, make: Make) -> None:
        """Nulls alone, NaN, infinite values, categories never seen, another type, one row, none: a typed error that says what, or rows.

        In `fit` and in `apply`. A transform that is by row then gives one for each.
        """
        transform = make()
        state = transform.fit(given)
        for name in _used(transform, given, state):
            for what, odd in _odd(given, name).items():
                answer = unless_refused(partial(transform.apply, odd, state))
                kept = answer is None or not self.driver_class.by_row or len(table_of(answer)) == len(odd)  # type: ignore[attr-defined]
                assert kept, f"{name} is {what}: {len(odd)} rows became {len(table_of(answer))}"
                learned = unless_refused(partial(make().fit, odd))
                if learned is not None:
                    assert json.loads(json.dumps(learned, allow_nan=False)) == learned, f"{name} is {what}: the state is not JSON"
                    unless_refused(partial(transform.apply, odd, learned))


def check_refusal_lines(error: ForgeError) -> None:
    """What is wrong with settings may take a line each."""
    assert error.cause
    if "\n" not in error.cause:
        check_refusal(error)


def sample_rows(count: int = 60) -> pa.Table:
    """`amount`, `pieces`, `carrier`, `paid`, `moment`, `customer` and the target `y`, which `customer` decides."""
    chance = chance_of(4)
    names = ("ada", "ben", "cai", "dee", "eve", "fay")
    customers = [names[chance.randrange(6)] for _ in range(count)]
    begin = datetime.datetime(2013, 1, 1, tzinfo=datetime.UTC)
    minutes = chance.sample(range(500_000), count)

    def gaps(values: Sequence[JSON], kind: pa.DataType) -> pa.Array:
        return pa.array([None if chance.random() < 0.15 else value for value in values], kind)

    return pa.table(
        {
            "amount": gaps([chance.gauss(100, 20) for _ in range(count)], pa.float64()),
            "pieces": gaps([chance.randrange(1000) for _ in range(count)], pa.int64()),
            "carrier": gaps([chance.choice(("AA", "UA", "DL", "", "\u00fc")) for _ in range(count)], pa.string()),
            "paid": gaps([chance.random() < 0.5 for _ in range(count)], pa.bool_()),
            "moment": pa.array([begin + datetime.timedelta(minutes=one) for one in minutes], pa.timestamp("us", "UTC")),
            "customer": customers,
            "y": ["yes" if names.index(one) % 2 else "no" for one in customers],
        }
    )


# ---- in other processes


def applied_elsewhere(driver: Any, path: str, state: Mapping[str, JSON], to: str) -> Iterator[bool]:
    """Applies a state that somebody else fitted, and acknowledges that the rows are written."""
    written(table_of(driver.apply(read(path), state)), Path(to))
    yield True


# ---- rows


def _used(transform: Any, given: pa.Table, state: Mapping[str, JSON]) -> list[str]:
    """The columns that cannot be missing."""
    return [name for name in given.column_names if _fails(partial(transform.apply, given.drop_columns([name]), state))]


def _fails(act: Callable[[], object]) -> bool:
    try:
        act()
    except Exception:
        return True
    return False


def _odd(given: pa.Table, name: str) -> Mapping[str, pa.Table]:
    """Rows whose column `name` is not as it was."""
    count, kind = len(given), given.schema.field(name).type
    columns: dict[str, Any] = {
        "all null": pa.nulls(count, kind),
        "null without a type": pa.nulls(count),
        "text": [f"never seen {number}" for number in range(count)],
        "text in a dictionary": pa.array([f"word {number % 3}" for number in range(count)]).dictionary_encode(),
        "NaN": [math.nan] * count,
        "infinite": [math.inf, -math.inf] * (count // 2) + [1.0] * (count % 2),
        "huge": [1.7e308] * count,
        "whole": pa.array(range(count), pa.int64()),
        "large": pa.array([2**63 - 1] * count, pa.int64()),
        "truth values": [number % 2 == 0 for number in range(count)],
        "lists": [[number] for number in range(count)],
        "bytes": [b"\xff"] * count,
        "dates": pa.array(range(count), pa.date32()),
        "times of no zone": pa.array([-(2**50)] * count, pa.timestamp("us")),
        "durations": pa.array(range(count), pa.duration("s")),
    }
    changed = {what: put(given, name, values) for what, values in columns.items()}
    return {**changed, "there twice": given.append_column(name, given[name]), "one row": given.slice(0, 1), "no rows": given.slice(0, 0)}


def _sorted(table: pa.Table) -> list[Any]:
    """The rows in an order of their own, floats compared last and roughly."""

    def key(row: Mapping[str, Any]) -> tuple[str, str]:
        exact = {name: value for name, value in row.items() if not isinstance(value, float)}
        return repr(exact), repr([round(value, 6) for value in row.values() if isinstance(value, float)])

    return sorted(table.to_pylist(), key=key)
