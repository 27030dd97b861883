"""The suite of connectors.

What a driver reads is compared with what Python itself makes of the same rows. The rows are generated from a seed, which a
failing test shows; `FORGE_SEED` gives it again.
"""

from __future__ import annotations

import hashlib
import json
import math
import operator
import os
import random
import resource
import shutil
import sys
import sysconfig
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from attrs import evolve

from forge_core.contracts.connector import DataSourceConnector
from forge_core.contracts.driver import Capability
from forge_core.faults import Conflict, ForgeError, NotFound, Transient
from forge_core.operations import oblige
from forge_core.records.auth import Decision
from forge_core.records.data import JSON, Column, Condition, Query, TrainingData, Transaction
from forge_core.testing.contract import UNDECLARED, Contract, Subject, needs
from forge_core.testing.processes import killed, race, run

Place: TypeAlias = Callable[[str, pa.Table], None]

COMPARE: Mapping[str, Callable[[Any, Any], Any]] = {
    "==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip
OPERATORS = (*COMPARE, "in", "not_in", "is_null", "not_null")
TEXTS = ["", "a", "b", "\u00e4", "\u2713", "a'b", '"', "%", "_", "a\\b", "NULL", "nan", "' OR 1=1 --"]
DAYS = [date(2013, 1, 1), date(2013, 12, 31), date(1960, 2, 29)]
MOMENTS = [datetime(2013, 1, 1), datetime(2013, 1, 1, 0, 0, 1), datetime(2024, 2, 29, 23, 59, 59), datetime(1969, 12, 31, 23)]  # noqa: DTZ001 - the zone is the column's
MONEY = [Decimal("-1.10"), Decimal("0.00"), Decimal("3.25"), Decimal("99.99")]
MANY = 5_000_000
WIDTH = 80  # letters of each row's text
LARGE = MANY * (WIDTH + 12)  # bytes, as Arrow holds them


class ConnectorContract(Contract):
    """Give `settings`, and `place` where the driver does not write: it puts a table where the driver finds it by name."""

    contract = DataSourceConnector

    @pytest.fixture
    def seed(self) -> int:
        """Of everything generated; printed. Another one for each session, unless the environment's `FORGE_SEED` says which."""
        seed = int(os.environ.get("FORGE_SEED") or random.SystemRandom().randrange(1 << 32))
        print(f"FORGE_SEED={seed}")  # noqa: T201 - a seed is printed
        return seed

    @pytest.fixture
    def kinds(self) -> Mapping[str, pa.DataType]:
        """Columns of the sample, with their types. Override it to leave out a type that the source cannot hold.

        Known are whole numbers, `float64`, `string`, `bool`, `date32`, timestamps and decimals of scale 2.
        """
        return {
            "whole": pa.int64(), "small": pa.int16(), "real": pa.float64(), "text": pa.string(), "truth": pa.bool_(), "day": pa.date32(),
            "moment": pa.timestamp("us", "UTC"), "local": pa.timestamp("us"), "money": pa.decimal128(9, 2),
        }  # fmt: skip

    @pytest.fixture
    def table(self, kinds: Mapping[str, pa.DataType], seed: int) -> pa.Table:
        """The sample: a column of each kind, with nulls, and `row`, which is unique."""
        chance = random.Random(seed)  # noqa: S311 - nothing secret
        columns = {
            name: pa.array([None if chance.random() < 0.15 else chance.choice(_there(kind)) for _ in range(200)], kind)
            for name, kind in kinds.items()
        }
        return pa.table({"row": pa.array(range(200), pa.int64()), **columns})

    @pytest.fixture
    def place(self, request: pytest.FixtureRequest) -> Place:
        """`place(name, table)` puts a table where the driver finds it under that name, instead of what was there.

        Keep file names, sizes and times as they were where you can: a change must be seen all the same. Put more than a
        thousand rows in parts, and let no row group, or what is its like in your format, have more than 65,536.
        """

        def write(name: str, table: pa.Table) -> None:
            assert Capability.WRITE in self.driver_class.capabilities, (
                f"{self.driver_class.__name__} does not write: override the fixture `place` of {type(self).__name__}"
            )
            request.getfixturevalue("driver").write(name, table, "replace")

        return write

    @pytest.fixture
    def rename(self) -> Callable[[str], None] | None:
        """`rename(name)` gives one part of what was placed another name, content unchanged. None where a data set has no named parts."""
        return None

    @pytest.fixture
    def publish(self) -> Callable[[str, pa.Table], None]:
        """`publish(topic, table)` adds rows to a topic. Override it where the driver declares SUBSCRIBE."""
        pytest.fail(f"override the fixture `publish` of {type(self).__name__}")

    @pytest.fixture
    def folders(self) -> Sequence[Path]:
        """Where the driver may open files beside the project's folder and Python's own. Override it where your data lie elsewhere."""
        return ()

    # ---- conditions

    def test_an_operator_chooses_the_rows_that_python_would(
        self, driver: Any, place: Place, table: pa.Table, kinds: Mapping[str, pa.DataType], seed: int
    ) -> None:
        """Each operator over each column chooses as Python does: a null meets `is_null` alone, NaN equals nothing, nothing is rounded.

        The failing condition is shown. Push it down in a form that your source reads that way, or check the rows once more.
        """
        chance = random.Random(seed)  # noqa: S311 - nothing secret
        place("rows", table)
        for name, kind in kinds.items():
            for sign in OPERATORS:
                _agrees(driver, table, (_condition(chance, name, kind, sign),))

    def test_all_conditions_are_met_at_once(
        self, driver: Any, place: Place, table: pa.Table, kinds: Mapping[str, pa.DataType], seed: int
    ) -> None:
        """Several conditions, also over one column, are joined by "and". Do not let the last one replace the others."""
        chance = random.Random(seed)  # noqa: S311 - nothing secret
        place("rows", table)
        for _ in range(40):
            names = chance.choices(sorted(kinds), k=chance.choice((2, 3)))
            _agrees(driver, table, tuple(_condition(chance, name, kinds[name], chance.choice(OPERATORS)) for name in names))
        half = (Condition("row", ">=", 50), Condition("row", "<", 100), Condition("row", "!=", 70))
        _agrees(driver, table, half)
        _agrees(driver, table, half[::-1])

    def test_a_condition_that_makes_no_sense_is_a_typed_error(self, driver: Any, place: Place, table: pa.Table) -> None:
        """An unknown operator, a value of another type, one value where a list belongs: `ForgeError` before a row is read. Check them."""
        place("rows", table)
        senseless: list[tuple[Any, JSON]] = [
            ("~", 1), ("", 1), ("==", "seven"), (">", "1; DROP TABLE rows"), ("in", 1), ("<", [1]), ("==", {"a": 1}),
        ]  # fmt: skip
        for sign, value in senseless:
            with pytest.raises(ForgeError):
                rows_of(driver.fetch_training_data(Query("rows", where=(Condition("row", sign, value),))))

    # ---- columns, names, schema

    def test_columns_come_as_asked(self, driver: Any, place: Place, table: pa.Table) -> None:
        """Exactly the columns asked for, in that order; a condition may be over another one. `columns` says what is delivered."""
        place("rows", table)
        wanted = table.column_names[::-2]
        data = driver.fetch_training_data(Query("rows", columns=tuple(wanted)))
        assert rows_of(data).column_names == wanted == [column.name for column in data.columns]
        assert _same_rows(rows_of(data), table.select(wanted))
        one = driver.fetch_training_data(Query("rows", columns=(table.column_names[-1],), where=(Condition("row", "==", 7),)))
        assert rows_of(one) == table.select(table.column_names[-1:]).slice(7, 1).combine_chunks()

    def test_the_schema_is_what_is_delivered(self, driver: Any, place: Place, table: pa.Table) -> None:
        """`schema`, `columns` and the stream say the same names, Arrow's own type names and nullability, and the types are those placed.

        A column with a null is nullable. Where the source cannot hold a type, leave it out of `kinds`.
        """
        place("rows", table)
        data = driver.fetch_training_data(Query("rows"))
        delivered = rows_of(data)
        assert [(column.name, column.type) for column in driver.schema("rows")] == [(one.name, str(one.type)) for one in table.schema]
        assert tuple(driver.schema("rows")) == tuple(data.columns) == columns_of(delivered.schema)
        for column in data.columns:
            assert column.nullable or not delivered[column.name].null_count

    def test_an_unknown_column_names_the_nearest(self, driver: Any, place: Place) -> None:
        """A column that is not there, wherever a query names it, is refused by the fetch, and the error names the nearest one."""
        place("rows", pa.table({"departure_delay": [1, 2], "carrier": ["AA", "UA"]}))
        queries = [Query("rows", columns=("departure_dely",)), Query("rows", where=(Condition("departure_dely", ">", 1),))]
        if Capability.ORDER in self.driver_class.capabilities:
            queries.append(Query("rows", order_by=("departure_dely",)))
        for query in queries:
            with pytest.raises(ForgeError) as caught:
                driver.fetch_training_data(query)
            assert "departure_delay" in f"{caught.value.cause} {caught.value.remedy}"

    def test_an_unknown_data_set_names_the_nearest(self, driver: Any, place: Place) -> None:
        """A data set that is not there is `NotFound` in every operation, and the error names the nearest one."""
        place("transactions", pa.table({"row": [1]}))
        for call in (driver.resolve, driver.fetch_training_data, lambda query: driver.schema(query.dataset)):
            with pytest.raises(NotFound) as caught:
                call(Query("transaction"))
            assert "transactions" in f"{caught.value.cause} {caught.value.remedy}"

    def test_data_sets_are_listed_sorted(self, driver: Any, place: Place) -> None:
        """`datasets` has every name that can be read, once, sorted. Sort them: the order of a listing is nobody's."""
        for name in ("middle", "zebra", "alpha"):
            place(name, pa.table({"row": [1]}))
        listed = list(driver.datasets())
        assert listed == sorted(set(listed))
        assert {"alpha", "middle", "zebra"} <= set(listed)

    def test_an_empty_data_set_is_read(self, driver: Any, place: Place, table: pa.Table) -> None:
        """No rows are still a data set, with its schema and a version. Do not guess a schema from rows."""
        place("rows", table.slice(0, 0))
        data = driver.fetch_training_data(Query("rows", where=(Condition("row", ">", 1),)))
        assert rows_of(data).num_rows == 0
        assert [column.type for column in data.columns] == [str(one.type) for one in table.schema]
        assert data.version.rows in {0, None}

    # ---- limit, streams

    def test_limit_counts_rows_after_where(self, driver: Any, place: Place, table: pa.Table) -> None:
        """`limit` rows of those that meet the conditions, all where there are fewer, none for 0. A negative one is a typed error."""
        place("rows", table)
        late = Query("rows", where=(Condition("row", ">=", 150),))
        for limit, count in ((0, 0), (1, 1), (49, 49), (50, 50), (51, 50), (10_000, 50)):
            found = rows_of(driver.fetch_training_data(late, limit))
            assert found.num_rows == count
            assert found.column_names == table.column_names
            assert all(row >= 150 for row in found["row"].to_pylist())
        assert rows_of(driver.fetch_training_data(Query("rows"), 10)).num_rows == 10
        with pytest.raises(ForgeError):
            rows_of(driver.fetch_training_data(Query("rows"), -1))

    def test_five_million_rows_stream_in_bounded_memory(self, place: Place, subject: Subject) -> None:
        """A pass over 5 million rows needs less memory than three quarters of them would take.

        Deliver batches as they are read, and read few ahead.
        """
        place("large", large(MANY))
        place("small", large(10_000))
        [seen] = run(subject, stream_all, "large", "small")
        assert seen["rows"] == MANY
        assert seen["sum"] == MANY * (MANY - 1) // 2
        assert seen["growth"] < LARGE * 3 / 4

    def test_a_limit_reads_little_of_five_million_rows(self, place: Place, subject: Subject) -> None:
        """Resolving reads no rows, and `limit` ends the reading: memory stays small, and the work is less than half of a whole pass.

        Push the limit down, or stop the scan when it is reached; do not cut what was read.
        """
        place("large", large(MANY))
        place("small", large(10_000))
        [seen] = run(subject, stream_some, "large", "small")
        assert seen["resolving"] < LARGE / 4
        assert seen["growth"] < LARGE / 2
        assert seen["limited"] < seen["whole"] / 2

    # ---- versions

    def test_data_is_read_again_and_again(self, driver: Any, place: Place, table: pa.Table) -> None:
        """Every pass gives the rows that were placed, in one order, also while another pass is open. Open the source anew for each."""
        place("rows", table)
        data = driver.fetch_training_data(Query("rows"))
        first = rows_of(data)
        assert _same_rows(first, table)
        begun = batches(data)
        head = next(begun)
        for again in (rows_of(data), pa.Table.from_batches([head, *begun]), pa.table(data)):
            assert _listed(again) == _listed(first)

    def test_two_processes_read_the_same_rows(self, place: Place, table: pa.Table, subject: Subject, driver: Any) -> None:
        """Two processes that read at once get the same version and the same rows in the same order, as this one does."""
        place("rows", table)
        here = list(read_digest(driver, "rows"))
        assert race(subject, read_digest, [("rows",), ("rows",)]) == [here, here]

    def test_resolve_tells_the_version_of_a_fetch_and_writes_nothing(
        self, driver: Any, place: Place, table: pa.Table, subject: Subject, another: Callable[[], Any]
    ) -> None:
        """`resolve` is what a fetch would read now, the same for every process that asks, and it leaves no trace in the project."""
        place("rows", table)
        names, before = list(driver.datasets()), _content(subject.root)
        version = driver.resolve(Query("rows"))
        assert _content(subject.root) == before
        assert list(driver.datasets()) == names
        assert version.dataset == "rows"
        assert version.version
        assert version.digest
        assert version.rows in {None, table.num_rows}
        query = Query("rows", columns=("row",), where=(Condition("row", "<", 9),))
        data = driver.fetch_training_data(query)
        assert (data.version, data.query) == (version, query)
        assert driver.resolve(query) == another().resolve(Query("rows")) == version
        assert driver.fetch_training_data(evolve(query, version=version.version)).version == version

    def test_a_digest_tells_any_change(self, driver: Any, place: Place, table: pa.Table) -> None:
        """One other value, two rows in another order, another column's name: another digest, though rows and size are as before.

        The same rows again have the first digest, unless the driver keeps versions. A digest is over content: not over
        names, sizes and times alone, and not over the time at all.
        """
        place("rows", table)
        first = driver.resolve(Query("rows"))
        seen = {first.digest: "nothing"}
        for what, changed in _changed(table):
            place("rows", changed)
            digest = driver.resolve(Query("rows")).digest
            assert digest not in seen, f"{what} changed, and the digest is that of before: {seen[digest]} changed"
            seen[digest] = what
        place("rows", table)
        if Capability.TIME_TRAVEL not in self.driver_class.capabilities:
            assert driver.resolve(Query("rows")).digest == first.digest

    def test_a_renamed_part_is_another_version(
        self, request: pytest.FixtureRequest, driver: Any, place: Place, table: pa.Table, rename: Callable[[str], None] | None
    ) -> None:
        """A part under another name is another version, since names give the rows their order. Have names in the digest, sorted."""
        if rename is None:
            setattr(request.node, UNDECLARED, True)
            pytest.skip("not declared: parts with names")
        place("rows", pa.concat_tables([table] * 10))
        data = driver.fetch_training_data(Query("rows"))
        rename("rows")
        assert driver.resolve(Query("rows")).digest != data.version.digest
        _conflict_or(data, pa.concat_tables([table] * 10))

    def test_data_that_changed_is_a_conflict(self, driver: Any, place: Place, table: pa.Table) -> None:
        """After a change, a pass over what was fetched before is `Conflict` or gives exactly the rows of then, never other ones.

        Check the version when a pass opens and when it ends, and raise from a pyarrow reader: other streams lose an error's type.
        """
        for what, changed in _changed(table):
            place("rows", table)
            unread, read = driver.fetch_training_data(Query("rows")), driver.fetch_training_data(Query("rows"))
            assert _same_rows(rows_of(read), table)
            place("rows", changed)
            _conflict_or(unread, table, what)
            _conflict_or(read, table, what)

    def test_a_change_during_a_pass_is_no_mixture(self, driver: Any, place: Place) -> None:
        """Data that change under a pass end it in `Conflict`, or it gives the old rows to its end: old and new ones never pass as one."""
        old = large(MANY)  # more than is read ahead
        place("rows", old)
        begun = batches(driver.fetch_training_data(Query("rows")))
        total = pc.sum(next(begun)["row"]).as_py()
        place("rows", old.set_column(0, "row", pc.add(old["row"], MANY)))
        try:
            total += sum(pc.sum(batch["row"]).as_py() for batch in begun)
        except Conflict:
            return
        assert total == MANY * (MANY - 1) // 2

    def test_another_version_is_never_given_for_the_one_asked(self, driver: Any, place: Place, table: pa.Table) -> None:
        """An earlier version by its name is exactly that, or a typed error; a name that no version has is a typed error."""
        place("rows", table)
        then = driver.resolve(Query("rows"))
        place("rows", table.slice(1))
        for name in (then.version, "no-such-version", "999999", ""):
            try:
                data = driver.fetch_training_data(Query("rows", name))
            except ForgeError:
                continue
            assert name == then.version
            assert data.version == then
            _conflict_or(data, table)

    @needs(Capability.TIME_TRAVEL)
    def test_an_earlier_version_can_be_read(self, driver: Any, place: Place, table: pa.Table) -> None:
        """Every version that was there can be read by its name, with the rows and the digest of then. Keep them."""
        versions = []
        for count in (10, 20, 30):
            place("rows", table.slice(0, count))
            versions.append((driver.resolve(Query("rows")), count))
        assert len({version.version for version, _ in versions}) == 3
        for version, count in versions:
            assert driver.resolve(Query("rows", version.version)) == version
            assert _same_rows(rows_of(driver.fetch_training_data(Query("rows", version.version))), table.slice(0, count))

    # ---- sample, order, filters, masks

    @needs(Capability.SAMPLE)
    def test_a_sample_is_drawn_by_its_seed(self, driver: Any, place: Place, subject: Subject) -> None:
        """`sample` is a part of the rows that meet the conditions, from all of them: one seed gives the same in every pass and process.

        Draw by the seed and the row, never by the clock or the first rows.
        """
        place("rows", large(4_000))
        quarter = Query("rows", columns=("row",), sample=0.25, seed=7)
        drawn = _numbers(driver.fetch_training_data(quarter))
        assert drawn == _numbers(driver.fetch_training_data(quarter)) == run(subject, sampled, "rows", 7)[0]
        assert drawn != _numbers(driver.fetch_training_data(evolve(quarter, seed=8)))
        assert len(drawn) == len(set(drawn))
        for where, low, high in (
            ((), 800, 1200),
            ((Condition("row", "<", 2_000),), 380, 620),
            ((Condition("row", ">=", 2_000),), 380, 620),
        ):
            assert low < len(_numbers(driver.fetch_training_data(evolve(quarter, where=where)))) < high  # beyond six deviations
        assert len(_numbers(driver.fetch_training_data(quarter, 10))) == 10
        assert len(_numbers(driver.fetch_training_data(evolve(quarter, sample=1.0)))) == 4_000
        for part in (0.0, -0.5, 1.5, math.nan):
            with pytest.raises(ForgeError):
                rows_of(driver.fetch_training_data(evolve(quarter, sample=part)))

    @needs(Capability.ORDER)
    def test_rows_are_ordered_before_they_are_limited(self, driver: Any, place: Place, seed: int) -> None:
        """`order_by` is ascending, by each column in turn, text by its code points, with nulls last; `limit` takes the first of them."""
        chance = random.Random(seed)  # noqa: S311 - nothing secret
        words = [chance.choice(["b", "B", "a", "\u00e4", "", None]) for _ in range(400)]
        rows = list(range(400))
        chance.shuffle(rows)
        place("rows", pa.table({"word": pa.array(words, pa.string()), "row": rows}))
        expected = sorted(zip(words, rows, strict=True), key=lambda pair: (pair[0] is None, pair[0] or "", pair[1]))
        for limit in (None, 25):
            found = rows_of(driver.fetch_training_data(Query("rows", columns=("word", "row"), order_by=("word", "row")), limit))
            assert list(zip(*found.to_pydict().values(), strict=True)) == expected[:limit]
        late = Query("rows", columns=("row",), where=(Condition("row", ">", 9),), order_by=("row",))
        assert _numbers(driver.fetch_training_data(late, 3)) == [10, 11, 12]
        many = list(range(300_000))  # more than one batch of any reader
        chance.shuffle(many)
        place("many", pa.table({"row": many}))
        assert _numbers(driver.fetch_training_data(Query("many", order_by=("row",)))) == sorted(many)

    @needs(Capability.FILTERS)
    def test_row_filters_hold_for_whatever_is_asked(self, driver: Any, place: Place, table: pa.Table) -> None:
        """Row filters of a decision come as conditions: no row beyond them is read, counted or sampled, in no columns asked for."""
        place("rows", table)
        allowed = Decision(True, filters=(Condition("row", ">=", 100), Condition("row", "<", 150)))
        for asked, limit, count in (
            (Query("rows"), None, 50),
            (Query("rows"), 20, 20),
            (Query("rows", where=(Condition("row", "<", 110),)), None, 10),
        ):
            data = driver.fetch_training_data(oblige(asked, allowed, self.driver_class), limit)
            assert data.query.where[-2:] == allowed.filters
            numbers = _numbers(data)
            assert len(numbers) == count
            assert all(100 <= number < 150 for number in numbers)
        other = oblige(Query("rows", columns=(table.column_names[-1],)), allowed, self.driver_class)
        assert _same_rows(rows_of(driver.fetch_training_data(other)), table.select(table.column_names[-1:]).slice(100, 50))

    @needs(Capability.MASKS)
    @pytest.mark.parametrize("mask", ["null", "hash"])
    def test_a_masked_value_is_not_delivered(self, driver: Any, place: Place, mask: Any, subject: Subject) -> None:
        """A masked column is null, or a keyed hash: text, equal for equal values in every process, null for null.

        No value is anywhere in the stream. Apply the mask inside the scan, with a key of the project's own.
        """
        words = [*(f"hidden-{number % 5}" for number in range(40)), None]
        place("rows", pa.table({"row": range(41), "word": pa.array(words, pa.string()), "number": [*range(40), None]}))
        masked = Query("rows", masked={"word": mask, "number": mask})
        data = driver.fetch_training_data(masked)
        found = rows_of(data)
        assert tuple(data.columns) == columns_of(found.schema)
        assert b"hidden-" not in _serialized(found)
        assert "hidden-" not in repr(data)
        assert sorted(found["row"].to_pylist()) == list(range(41))
        if mask == "null":
            assert found["word"].null_count == found["number"].null_count == 41
            return
        by_row = {row["row"]: row for row in found.to_pylist()}
        hashes = [by_row[row]["word"] for row in range(41)]
        assert hashes[-1] is None
        assert by_row[40]["number"] is None
        assert hashes[:40] == hashes[:5] * 8
        assert len(set(hashes[:5])) == 5
        assert len({row["number"] for row in by_row.values()}) == 41
        assert not {*hashes, *(row["number"] for row in by_row.values())} & _plain_hashes([*words[:5], *map(str, range(40))])
        assert run(subject, masked_words, "rows") == [_words(found)]

    @needs(Capability.MASKS)
    def test_a_masked_column_influences_nothing(self, driver: Any, place: Place) -> None:
        """A masked column in `where` or `order_by` is a typed error, and so is an unknown mask. Refuse them, whoever named it."""
        place("rows", pa.table({"row": [1, 2], "word": ["hidden-1", "hidden-2"]}))
        asked = [Query("rows", masked={"word": "null"}, where=(Condition("word", sign, "hidden-1"),)) for sign in ("==", "is_null", "<")]
        asked.append(Query("rows", columns=("row",), masked={"word": "hash"}, where=(Condition("word", "in", ["hidden-1"]),)))
        if Capability.ORDER in self.driver_class.capabilities:
            asked.append(Query("rows", columns=("row",), masked={"word": "hash"}, order_by=("word",)))
        asked.append(Query("rows", masked={"word": "blur"}))  # type: ignore[dict-item]
        for query in asked:
            with pytest.raises(ForgeError):
                rows_of(driver.fetch_training_data(query))
        kept = rows_of(
            driver.fetch_training_data(Query("rows", columns=("row",), masked={"word": "null"}, where=(Condition("row", ">", 1),)))
        )
        assert kept.to_pydict() == {"row": [2]}

    # ---- what is refused

    def test_what_is_not_declared_is_refused(self, driver: Any, place: Place, table: pa.Table) -> None:
        """A capability that the driver does not declare is a typed error when it is asked for; nothing is done, and nothing left out."""
        place("rows", table)
        before, names = driver.resolve(Query("rows")), list(driver.datasets())
        attempts: list[tuple[Capability, Callable[[], object]]] = [
            (Capability.WRITE, lambda: driver.write("rows", table, "append")),
            (Capability.WRITE, lambda: driver.write("rows", table, "replace")),
            (Capability.WRITE, lambda: driver.write("fresh", table, "merge")),
            (Capability.TRANSACTIONS, lambda: driver.last_transaction("rows", "suite")),
            (Capability.TRANSACTIONS, lambda: driver.write("rows", table, "append", Transaction("suite", 1))),
            (Capability.SUBSCRIBE, lambda: driver.subscribe("rows", "suite", "at_least_once")),
            (Capability.SAMPLE, lambda: rows_of(driver.fetch_training_data(Query("rows", sample=0.5)))),
            (Capability.ORDER, lambda: rows_of(driver.fetch_training_data(Query("rows", order_by=("row",))))),
            (Capability.MASKS, lambda: rows_of(driver.fetch_training_data(Query("rows", masked={"row": "null"})))),
        ]
        for capability, attempt in attempts:
            if capability not in self.driver_class.capabilities:
                with pytest.raises(ForgeError):
                    attempt()
        assert (driver.resolve(Query("rows")), list(driver.datasets())) == (before, names)

    def test_a_hostile_name_is_refused_and_opens_nothing(
        self, place: Place, table: pa.Table, subject: Subject, folders: Sequence[Path], hostile_paths: tuple[str, ...]
    ) -> None:
        """Names that could be paths are typed errors of one line, as a data set, a version or a column; they open no file outside.

        Check a name before you join it to anything. What was placed is copied to where `../x` would lead, so that a success shows.
        """
        before = set(_content(subject.root))
        place("x", table)
        _lay_decoys(subject.root, set(_content(subject.root)) - before)
        allowed = [str(folder) for folder in (subject.root, *folders)]
        assert run(subject, misuse, list(hostile_paths), allowed) == []

    # ---- writing

    @needs(Capability.WRITE)
    def test_a_write_appends_replaces_or_merges(self, driver: Any, table: pa.Table) -> None:
        """`append` adds rows, `replace` leaves the new ones alone, `merge` adds no row that is there; what is returned is the version now.

        Any Arrow stream can be written, and a new name is a new data set. `row` is unique, if you merge by a key.
        """
        head, tail = table.slice(0, 100), table.slice(100)
        for mode, data, expected in (
            ("replace", head, head),
            ("append", tail.to_reader(), table),
            ("merge", head, table),
            ("replace", tail, tail),
            ("merge", _Stream(head), table),
        ):
            version = driver.write("rows", data, mode)
            assert version == driver.resolve(Query("rows"))
            assert _same_rows(rows_of(driver.fetch_training_data(Query("rows"))), expected)
        driver.write("copied", driver.fetch_training_data(Query("rows")), "append")
        assert _same_rows(rows_of(driver.fetch_training_data(Query("copied"))), table)
        assert {"copied", "rows"} <= set(driver.datasets())

    @needs(Capability.WRITE)
    def test_a_write_that_fails_changes_nothing(self, driver: Any, table: pa.Table) -> None:
        """A stream that breaks off, rows of another schema, an unknown mode: the data set is what it was.

        Make rows visible at the end, all at once.
        """
        before = driver.write("rows", table, "replace")
        for mode in ("append", "replace", "merge"):
            with pytest.raises((ForgeError, OSError)):
                driver.write("rows", pa.RecordBatchReader.from_batches(table.schema, _breaking(table)), mode)
            with pytest.raises((ForgeError, OSError)):
                driver.write("broken", pa.RecordBatchReader.from_batches(table.schema, _breaking(table)), mode)
        with pytest.raises(ForgeError):
            driver.write("rows", pa.table({"row": ["seven"]}), "append")
        with pytest.raises(ForgeError):
            driver.write("rows", table, "overwrite")
        assert driver.resolve(Query("rows")) == before
        assert "broken" not in driver.datasets()
        assert _same_rows(rows_of(driver.fetch_training_data(Query("rows"))), table)

    @needs(Capability.WRITE)
    def test_writers_at_once_lose_no_row(self, driver: Any, subject: Subject) -> None:
        """Eight processes append at once: each row that was acknowledged is there once. Who loses a race gets `Conflict`."""
        driver.write("rows", pa.table({"row": pa.array([], pa.int64())}), "replace")
        race(subject, append, [("rows", number * 10, 3) for number in range(8)])
        counted = Counter(_numbers(driver.fetch_training_data(Query("rows"))))
        assert counted == {number * 10 + turn: 50 for number in range(8) for turn in range(3)}

    @needs(Capability.WRITE)
    def test_a_killed_writer_leaves_whole_writes(self, driver: Any, subject: Subject) -> None:
        """After SIGKILL every write that was acknowledged is there, and none in part. Bytes first, then what names them, in one step."""
        driver.write("rows", pa.table({"row": pa.array([], pa.int64())}), "replace")
        began = time.monotonic()
        _written(driver, "rows", -1, None)
        took = time.monotonic() - began
        for turn in range(8):  # each time at another place of a write
            acknowledged = killed(subject, append, "rows", turn * 100_000, 10_000, after=turn * took / 8, acknowledged=2)
            counted = Counter(_numbers(driver.fetch_training_data(Query("rows"))))
            assert set(counted.values()) == {50}
            assert set(acknowledged) <= set(counted)

    @needs(Capability.WRITE, Capability.TRANSACTIONS)
    def test_a_transaction_is_written_once(self, driver: Any, table: pa.Table, subject: Subject) -> None:
        """Repeating a transaction, or an earlier one, changes nothing and returns the current version; so it does in a race.

        Keep application and sequence number with the rows, in one commit, for each data set.
        """
        driver.write("rows", table, "replace")
        assert driver.last_transaction("rows", "suite") is None
        for sequence in (1, 2):
            driver.write("rows", table, "append", Transaction("suite", sequence))
        now = driver.resolve(Query("rows"))
        for mode, sequence in (("append", 2), ("append", 1), ("replace", 2), ("merge", 1)):
            assert driver.write("rows", table.slice(0, 1), mode, Transaction("suite", sequence)) == now
        assert driver.last_transaction("rows", "suite") == 2
        assert driver.last_transaction("rows", "other") is None
        assert rows_of(driver.fetch_training_data(Query("rows"))).num_rows == 3 * table.num_rows
        driver.write("rows", table, "append", Transaction("other", 1))
        driver.write("rows", table, "append", Transaction("suite", 7))
        driver.write("else", table, "append", Transaction("suite", 1))
        assert rows_of(driver.fetch_training_data(Query("rows"))).num_rows == 5 * table.num_rows
        assert rows_of(driver.fetch_training_data(Query("else"))).num_rows == table.num_rows
        race(subject, append_once, [("else", 2)] * 4)
        assert Counter(_numbers(driver.fetch_training_data(Query("else"))))[-1] == 50
        assert run(subject, last_of, "rows") == [7]

    # ---- topics

    @needs(Capability.SUBSCRIBE)
    @pytest.mark.parametrize("mode", ["at_least_once", "exactly_once"])
    def test_a_group_goes_on_after_what_it_committed(self, publish: Callable[[str, pa.Table], None], subject: Subject, mode: str) -> None:
        """What a group did not commit comes again, what it committed does not. Keep a position for each group."""
        for start in (0, 10, 20):
            publish("events", pa.table({"row": range(start, start + 10)}))
        assert set(_taken(run(subject, consume, "events", "one", mode, 1, False))) <= set(range(30))
        assert sorted(_taken(run(subject, consume, "events", "one", mode, 30, True))) == list(range(30))
        publish("events", pa.table({"row": range(30, 40)}))
        assert sorted(_taken(run(subject, consume, "events", "one", mode, 10, True))) == list(range(30, 40))
        assert sorted(_taken(run(subject, consume, "events", "two", mode, 40, True))) == list(range(40))

    @needs(Capability.SUBSCRIBE)
    def test_a_commit_is_of_its_position_alone(self, publish: Callable[[str, pa.Table], None], subject: Subject) -> None:
        """The position beside a batch is the one after it, and is JSON: committing the first batch's leaves the others to come."""
        for start in (0, 10, 20):
            publish("events", pa.table({"row": range(start, start + 10)}))
        [first] = run(subject, consume, "events", "one", "at_least_once", 1, True)
        publish("events", pa.table({"row": range(30, 40)}))
        rest = _taken(run(subject, consume, "events", "one", "at_least_once", 40 - len(first), True))
        assert sorted([*first, *rest]) == list(range(40))

    @needs(Capability.SUBSCRIBE)
    def test_at_most_once_brings_nothing_twice(self, publish: Callable[[str, pa.Table], None], subject: Subject, driver: Any) -> None:
        """With `at_most_once` a batch that was delivered never comes again, committed or not. Move the position before you deliver.

        An unknown mode is a typed error.
        """
        publish("events", pa.table({"row": range(10)}))
        [first] = run(subject, consume, "events", "one", "at_most_once", 1, False)
        publish("events", pa.table({"row": range(10, 30)}))
        assert not set(first) & set(_taken(run(subject, consume, "events", "one", "at_most_once", 1, False)))
        with pytest.raises(ForgeError):
            driver.subscribe("events", "one", "perhaps")


# ---- reading


def batches(data: Any) -> Iterator[pa.RecordBatch]:
    """A pass. pyarrow's own readers keep an error's type, which Arrow's C stream has no room for."""
    opened = data.open() if isinstance(data, TrainingData) else data
    return iter(opened if isinstance(opened, pa.RecordBatchReader) else pa.RecordBatchReader.from_stream(opened))


def rows_of(data: TrainingData) -> pa.Table:
    """All rows of a pass, in one batch."""
    opened = data.open()
    return (opened.read_all() if isinstance(opened, pa.RecordBatchReader) else pa.table(opened)).combine_chunks()


def columns_of(schema: pa.Schema) -> tuple[Column, ...]:
    return tuple(Column(one.name, str(one.type), one.nullable) for one in schema)


def large(count: int) -> pa.Table:
    """`row` from 0 and a text of `WIDTH` letters; small here, and large where it is read."""
    size = min(count, 10_000)
    numbers = pa.array(range(size), pa.int64())
    words = pa.array(["x" * WIDTH] * size)
    starts = range(0, count, size)
    return pa.table(
        {"row": pa.chunked_array([pc.add(numbers, start) for start in starts]), "text": pa.chunked_array([words for _ in starts])}
    )


def _numbers(data: TrainingData) -> list[int]:
    found: list[int] = rows_of(data)["row"].to_pylist()
    return found


def _same_rows(left: pa.Table, right: pa.Table) -> bool:
    """The same rows of the same names and types, in whatever order; NaN is NaN."""
    fields = [[(one.name, one.type) for one in table.schema] for table in (left, right)]
    return fields[0] == fields[1] and Counter(_listed(left)) == Counter(_listed(right))


def _listed(table: pa.Table) -> list[str]:
    """Rows in which NaN is NaN, and -0.0 is not 0.0."""
    return [repr(row) for row in table.to_pylist()]


def _conflict_or(data: TrainingData, expected: pa.Table, what: str = "something") -> None:
    try:
        found = rows_of(data)
    except Conflict:
        return
    assert _same_rows(found, expected), f"{what} changed, and a pass gave other rows than those of its version"


def _serialized(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    made: bytes = sink.getvalue().to_pybytes()
    return made


# ---- generated rows and conditions


def _there(kind: pa.DataType) -> list[Any]:
    """Values that a column of this type may hold."""
    if pa.types.is_integer(kind):
        high = (1 << kind.bit_width - 1) - 1
        return [-high - 1, -3, -1, 0, 1, 2, 7, high - 1, high]
    if pa.types.is_floating(kind):
        return [math.nan, -0.0, 0.0, 1.5, -2.25, math.inf, -math.inf]
    if pa.types.is_boolean(kind):
        return [True, False]
    if pa.types.is_date(kind):
        return DAYS
    if pa.types.is_timestamp(kind):
        return [one.replace(tzinfo=UTC) if kind.tz else one for one in MOMENTS]
    return MONEY if pa.types.is_decimal(kind) else TEXTS


def _asked(chance: random.Random, kind: pa.DataType) -> tuple[JSON, Any]:
    """A value as a condition gives it, and what it means to Python."""
    value = chance.choice(_there(kind))
    if pa.types.is_integer(kind):
        value = chance.choice([value, value, 2.5, -0.5, 1 << 70, -(1 << 70)])
    elif pa.types.is_floating(kind):
        value = value if math.isfinite(value) else 2
    elif pa.types.is_decimal(kind):
        value = chance.choice([value, Decimal("3.255"), Decimal(7)])
        return float(value), value
    return (value.isoformat(), value) if isinstance(value, date) else (value, value)


def _condition(chance: random.Random, column: str, kind: pa.DataType, sign: Any) -> tuple[Condition, Any]:
    if sign in COMPARE:
        given, meant = _asked(chance, kind)
        return Condition(column, sign, given), meant
    if sign in {"in", "not_in"}:
        values = [_asked(chance, kind) for _ in range(chance.choice((0, 1, 3)))]
        return Condition(column, sign, [given for given, _ in values]), [meant for _, meant in values]
    return Condition(column, sign), None


def _meets(value: Any, sign: str, meant: Any) -> bool:
    if sign == "is_null":
        return value is None
    if value is None:
        return False
    if sign == "not_null":
        return True
    return (value in meant) == (sign == "in") if sign in {"in", "not_in"} else bool(COMPARE[sign](value, meant))


def _agrees(driver: Any, table: pa.Table, asked: Sequence[tuple[Condition, Any] | Condition]) -> None:
    pairs = [one if isinstance(one, tuple) else (one, one.value) for one in asked]
    where = tuple(condition for condition, _ in pairs)
    expected = [row["row"] for row in table.to_pylist() if all(_meets(row[one.column], one.operator, meant) for one, meant in pairs)]
    assert sorted(_numbers(driver.fetch_training_data(Query("rows", columns=("row",), where=where)))) == expected, where


def _changed(table: pa.Table) -> Iterator[tuple[str, pa.Table]]:
    """The table with one thing changed: a value of each column, the last value, the order of two rows, a column's name."""
    for column in table.column_names:
        yield f"a value of {column}", _with_other(table, column, 0)
    yield "the last value", _with_other(table, "row", table.num_rows - 1)
    yield "the order of two rows", table.take([1, 0, *range(2, table.num_rows)])
    yield "a column's name", table.rename_columns(["raw" if name == "row" else name for name in table.column_names])


def _with_other(table: pa.Table, column: str, row: int) -> pa.Table:
    values = table[column].to_pylist()
    values[row] = next(one for one in _there(table.schema.field(column).type) if one == one and one != values[row])  # noqa: PLR0124 - not NaN
    place = table.column_names.index(column)
    return table.set_column(place, table.schema.field(place), pa.array(values, table.schema.field(place).type))


def _plain_hashes(values: Collection[str | None]) -> set[str]:
    """What a hash without a key would be."""
    names = [name for name in hashlib.algorithms_guaranteed if not name.startswith("shake")]
    return {hashlib.new(name, str(value).encode()).hexdigest() for name in names for value in values}


def _words(table: pa.Table) -> list[Any]:
    return [row["word"] for row in sorted(table.to_pylist(), key=lambda row: row["row"])]


class _Stream:
    """Nothing but an Arrow stream."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self._table.__arrow_c_stream__(requested_schema)


def _breaking(table: pa.Table) -> Iterator[pa.RecordBatch]:
    yield table.to_batches()[0]
    raise OSError("the source broke off")


def _taken(seen: Sequence[Sequence[int]]) -> list[int]:
    return [row for one in seen for row in one]


# ---- files


def _content(root: Path) -> dict[str, str]:
    """Every file below, with the hash of its bytes; folders too. What SQLite keeps beside a database that is open is its own."""
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
        for path in root.rglob("*")
        if not path.name.endswith(("-wal", "-shm", "-journal"))
    }


def _lay_decoys(root: Path, placed: Collection[str]) -> None:
    """Copy what was placed to where a name with `..` in it would lead."""
    for name in placed:
        parts = Path(name).parts
        for base in (root, root.parent):
            for skipped in range(len(parts)):
                target = base.joinpath(*parts[skipped:])
                if (root / name).is_file() and not target.exists():
                    target.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy(root / name, target)


# ---- what other processes do


def peak() -> int:
    """Bytes that this process has held at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def stream_all(driver: Any, name: str, small: str) -> Iterator[JSON]:
    _count(driver, small)  # what is imported and started once
    before = peak()
    rows = total = 0
    for batch in batches(driver.fetch_training_data(Query(name))):
        rows += batch.num_rows
        total += pc.sum(batch["row"]).as_py()
    yield {"rows": rows, "sum": total, "growth": peak() - before}


def stream_some(driver: Any, name: str, small: str) -> Iterator[JSON]:
    _count(driver, small)
    before = peak()
    driver.resolve(Query(name))
    resolving = peak() - before
    limited = min(_work(driver, name, 1_000) for _ in range(3))
    growth = peak() - before
    whole = min(_work(driver, name, None) for _ in range(2))
    yield {"resolving": resolving, "growth": growth, "limited": limited, "whole": whole}


def _count(driver: Any, name: str, limit: int | None = None) -> int:
    return sum(batch.num_rows for batch in batches(driver.fetch_training_data(Query(name), limit)))


def _work(driver: Any, name: str, limit: int | None) -> float:
    """Seconds of this process; another one's load does not count."""
    began = time.process_time()
    assert _count(driver, name, limit) == (limit or MANY)
    return time.process_time() - began


def read_digest(driver: Any, name: str) -> Iterator[JSON]:
    data = driver.fetch_training_data(Query(name))
    yield data.version.digest
    yield hashlib.sha256("".join(_listed(rows_of(data))).encode()).hexdigest()


def sampled(driver: Any, name: str, seed: int) -> Iterator[JSON]:
    yield _numbers(driver.fetch_training_data(Query(name, columns=("row",), sample=0.25, seed=seed)))


def masked_words(driver: Any, name: str) -> Iterator[JSON]:
    yield _words(rows_of(driver.fetch_training_data(Query(name, masked={"word": "hash", "number": "hash"}))))


def append(driver: Any, name: str, start: int, times: int) -> Iterator[JSON]:
    for number in range(start, start + times):
        _written(driver, name, number, None)
        yield number


def append_once(driver: Any, name: str, sequence: int) -> Iterator[JSON]:
    _written(driver, name, -1, Transaction("suite", sequence))
    yield sequence


def _written(driver: Any, name: str, number: int, transaction: Transaction | None) -> None:
    """Fifty rows; tried again where another writer was first."""
    kinds = rows_of(driver.fetch_training_data(Query(name), 0)).schema
    rows = pa.table([pa.array([number] * 50, one.type) if one.name == "row" else pa.nulls(50, one.type) for one in kinds], schema=kinds)
    for left in reversed(range(200)):
        try:
            driver.write(name, rows, "append", transaction)
            return
        except (Conflict, Transient):
            if not left:
                raise
            time.sleep(0.02)


def last_of(driver: Any, name: str) -> Iterator[JSON]:
    yield driver.last_transaction(name, "suite")


def consume(driver: Any, topic: str, group: str, mode: Any, most: int, commit: bool) -> Iterator[JSON]:
    taken, subscribed = 0, driver.subscribe(topic, group, mode)
    for data, position in subscribed:
        assert json.loads(json.dumps(position)) == position
        rows = [row for batch in batches(data) for row in batch["row"].to_pylist()]
        if commit:
            subscribed.commit(position)
        yield rows
        taken += len(rows)
        if taken >= most:
            return


_FILES = {
    "open",
    "os.listdir",
    "os.scandir",
    "os.mkdir",
    "os.remove",
    "os.rename",
    "os.rmdir",
    "os.link",
    "os.symlink",
    "os.truncate",
    "sqlite3.connect",
}


def misuse(driver: Any, names: Sequence[str], allowed: Sequence[str]) -> Iterator[JSON]:
    """What is wrong with the answer to each of the names: name, use, complaint, files that were opened elsewhere."""
    opened: list[str] = []

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if event in _FILES and isinstance(arguments[0], str | bytes | os.PathLike):
            opened.append(os.fsdecode(arguments[0]))

    sys.addaudithook(watch)
    for name in ("x", "nothing-of-this-name"):  # what is imported, read and made once
        for _, call in _uses(driver, name):
            _complaint(call)
    usual = {*opened}
    python = [*sysconfig.get_paths().values(), *sys.path, sys.prefix, sys.base_prefix, "/dev", "/proc", "/sys"]
    inside = [os.path.realpath(one) for one in (*allowed, *python) if one]
    before = set(_content(Path(allowed[0])))
    for name in names:
        for use, call in _uses(driver, name):
            opened.clear()
            complaint = _complaint(call)
            elsewhere = [path for path in opened if path not in usual and not _below(path, inside)]
            if complaint or elsewhere:
                yield [name[:80], use, complaint, elsewhere]
    for path in sorted(set(_content(Path(allowed[0]))) - before):
        yield ["", "", "left behind", [path]]


def _uses(driver: Any, name: str) -> Iterator[tuple[str, Callable[[], object]]]:
    yield "resolve", lambda: driver.resolve(Query(name))
    yield "fetch", lambda: rows_of(driver.fetch_training_data(Query(name)))
    yield "schema", lambda: driver.schema(name)
    yield "version", lambda: driver.resolve(Query("x", name))
    yield "fetch of a version", lambda: rows_of(driver.fetch_training_data(Query("x", name)))
    yield "column", lambda: rows_of(driver.fetch_training_data(Query("x", columns=(name,))))
    yield "condition", lambda: rows_of(driver.fetch_training_data(Query("x", where=(Condition(name, "not_null"),))))
    if Capability.WRITE in driver.capabilities:
        yield "write", lambda: driver.write(name, pa.table({"row": [1]}), "replace")


def _complaint(call: Callable[[], object]) -> str:
    try:
        call()
    except ForgeError as error:
        return "" if error.remedy and "\n" not in error.cause + error.remedy else "an error without a remedy, or of several lines"
    except Exception as error:
        return f"raised {type(error).__name__}: {error}"[:200]
    return "was accepted"


def _below(path: str, folders: Sequence[str]) -> bool:
    try:
        real = os.path.realpath(path)
    except (OSError, ValueError):
        return False  # no system opens such a path
    return any(real == one or real.startswith(one.rstrip("/") + "/") for one in folders)
