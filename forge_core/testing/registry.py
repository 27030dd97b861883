"""The suite of registries.

It is longer than other suites: a registry promises most, and each promise is tried alone, in other processes and against damage.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import signal
import stat
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from functools import partial
from math import inf, nan
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from attrs import asdict, evolve

from forge_core import Kernel
from forge_core.contracts.registry import ModelRegistry
from forge_core.faults import Conflict, DigestMismatch, ForgeError, InvalidInput, NotFound
from forge_core.identifiers import new_id
from forge_core.records.data import JSON, Column, DatasetVersion
from forge_core.records.models import (
    LEGAL_MOVES,
    CodeVersion,
    FittedTransform,
    Lineage,
    ModelDraft,
    ModelManifest,
    ModelMetadata,
    ModelStatus,
)
from forge_core.serialize import canonical, from_json, to_json
from forge_core.testing.contract import Contract, Subject, tenant
from forge_core.testing.processes import killed, race, run
from forge_core.testing.recorded import RecordedHooks

MakeFolder: TypeAlias = Callable[..., Path]
Publish: TypeAlias = Callable[..., ModelMetadata]
VALIDATING, DEPLOYED, ARCHIVED, FAILED = ModelStatus.VALIDATING, ModelStatus.DEPLOYED, ModelStatus.ARCHIVED, ModelStatus.FAILED
WRITERS = 16
MOST_STEPS = 16
PATHS_TO = {VALIDATING: (), DEPLOYED: (DEPLOYED,), ARCHIVED: (ARCHIVED,), FAILED: (FAILED,)}
"""The moves by which a published version comes to each status that it can have."""

TENANTS = ("a", "ab", "a/", "A", "a%2Fb")
INJECTED = ("' OR '1'='1", "%", "_", "*", "$ne", '{"$ne": ""}', "risk'; DROP TABLE models; --", "risk\\", '"', "risk OR 1=1")
MALFORMED = (
    "", "@", "@1", "@latest", "m@", "m@0", "m@-1", "m@+1", "m@1.0", "m@1e0", "m@ 1", "m@1 ", "m@1@1", "m@1@latest", "m@" + "9" * 30,
)  # fmt: skip
UNKNOWN = ("nobody", "nobody@1", "nobody@latest", "m@2", "m@999999999", "m@production", "M@1", "m.@1")
WATCHED = ("open", "os.chmod", "os.link", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.symlink", "os.truncate", "shutil.rmtree")


class RegistryContract(Contract):
    """Give `damage` and `litter`: what goes wrong where the driver keeps its bytes, which nobody but its author knows."""

    contract = ModelRegistry

    @pytest.fixture
    def damage(self) -> Callable[[ModelMetadata], None]:
        """`damage(model)` flips one byte of one stored file of this version, behind the driver's back. There is no default: override it."""
        pytest.fail(
            "override the fixture `damage`: it returns a function that is given a ModelMetadata and flips one byte of one file of"
            " that version where your driver keeps it (not in a folder that checkout gave); without it nobody knows that damage is found"
        )

    @pytest.fixture
    def litter(self) -> Callable[[], int]:
        """`litter()` leaves new bytes that no version names, as an upload that died does, and returns how many. Override it."""
        pytest.fail(
            "override the fixture `litter`: it returns a function that puts bytes which no version names where your driver keeps"
            " those of the tenant `default`, and returns how many; without it nobody knows that collect_garbage removes them"
        )

    @pytest.fixture
    def draft(self) -> ModelDraft:
        """What versions are registered with, their name, run and tags aside. Override it where the driver takes certain flavors only."""
        return ModelDraft(
            name="churn", flavor="skops", run_id="run_0", metrics={"auc_roc": 0.9}, parameters={"depth": 3}, training_data_hash="d41d8c",
            signature=(Column("age", "double"), Column("plan", "string", nullable=False)),
        )  # fmt: skip

    @pytest.fixture
    def folder(self, tmp_path: Path) -> MakeFolder:
        """`folder(content=None)`: a new model's folder with these bytes in it, or random ones. Override it where they must mean more."""
        manifest = ModelManifest(1, "skops", "binary", (0, 1), 0.4, (Column("age", "double"),), (FittedTransform("pca", {}, {}),))
        numbers = itertools.count()

        def make(content: bytes | None = None) -> Path:
            made = tmp_path / "models" / str(next(numbers))
            (made / "flavor" / "nested").mkdir(parents=True)
            (made / "forge.json").write_bytes(canonical(to_json(manifest)))
            (made / "flavor" / "model.bin").write_bytes(os.urandom(3000) if content is None else content)
            (made / "flavor" / "nested" / "empty").touch()
            return made

        return make

    @pytest.fixture
    def publish(self, driver: Any, draft: ModelDraft, folder: MakeFolder) -> Publish:
        """`publish(name="churn", content=None, **fields)`: a version of a run of its own, with other fields of the draft by keyword."""

        def register(name: str = "churn", content: bytes | None = None, **fields: Any) -> ModelMetadata:
            told = evolve(draft, **{"name": name, "run_id": new_id("run"), **fields})
            made: ModelMetadata = driver.register_model(folder(content), told)
            return made

        return register

    # ---- publishing

    def test_versions_of_a_name_count_from_one(self, publish: Publish) -> None:
        """A number belongs to a name and counts from 1, each new run giving the next. Do not share one counter among names."""
        assert [publish(name).version for name in ("a", "b", "a", "a", "b")] == [1, 1, 2, 3, 2]

    def test_what_was_registered_is_read_back_equal(self, driver: Any, draft: ModelDraft, folder: MakeFolder) -> None:
        """Every field of a draft is in the version, nested and non-ASCII ones too; `get` gives what `register_model` gave. Store all."""
        told = evolve(
            draft, run_id=new_id("run"), metrics={"auc_roc": 0.1 + 0.2, "räte": -1e-300, "big": 1e308}, tags={"team": "r\u00edsk \u2713"},
            parameters={"depth": 3, "nested": {"l": [1, None, True, "\u96ea", 0.5]}, "": ""}, dependencies=("skops==0.11", "numpy"),
            code=CodeVersion("abc", None, "env"), idempotency_key="key-1",
        )  # fmt: skip
        made = driver.register_model(folder(), told)
        kept = asdict(made, recurse=False)
        assert {name: kept[name] for name in asdict(told, recurse=False)} == asdict(told, recurse=False)
        assert driver.get("churn@1") == made
        assert driver.search() == [made]

    def test_a_version_says_when_it_was_made_and_whose_it_is(self, driver: Any, publish: Publish) -> None:
        """Times are aware UTC, ids begin with `mdl_` and are unique, the tenant is the session's. Fill in what the draft has not."""
        made = [publish(), publish(), publish("other")]
        assert len({one.model_id for one in made}) == 3
        for one in made:
            assert one.model_id.startswith("mdl_")
            assert one.tenant == "default"
            assert one.created_at.utcoffset() == one.updated_at.utcoffset() == timedelta(0)
            assert driver.get(one.selector).created_at.utcoffset() == timedelta(0)
        assert made[0].created_at <= made[1].created_at <= made[2].created_at

    def test_a_digest_is_over_paths_and_bytes_alone(self, driver: Any, draft: ModelDraft, folder: MakeFolder) -> None:
        """Equal files have one digest, whatever their times, name and run; a byte or a path that differs gives another. Hash both."""

        def digest(name: str, path: str = "added/x", data: bytes = b"12", age: float = 0) -> Any:
            made = folder(b"weights")
            (made / path).parent.mkdir()
            (made / path).write_bytes(data)
            os.utime(made / path, (time.time() - age,) * 2)
            return driver.register_model(made, evolve(draft, name=name, run_id=new_id("run"))).digest

        first = digest("a")
        assert first
        assert digest("b", age=1e6) == first
        others = {digest("c", data=b"13"), digest("d", data=b"123"), digest("e", path="added/y"), digest("f", path="added2/x"), first}
        assert len(others) == 5

    def test_the_same_run_and_bytes_give_the_same_version(self, driver: Any, another: Any, draft: ModelDraft, folder: MakeFolder) -> None:
        """The same tenant, name, run and digest are one version, unchanged; another of these is another. Look before you number it."""
        told, here = evolve(draft, run_id=new_id("run")), folder(b"one")
        made = driver.register_model(here, told)
        driver.transition("churn@1", VALIDATING, DEPLOYED)
        again = another().register_model(folder(b"one"), told)
        assert again == driver.get("churn@1")
        assert (again.model_id, again.version, again.status) == (made.model_id, 1, DEPLOYED)
        assert len(driver.search()) == 1
        others = [(folder(b"two"), told), (here, evolve(told, run_id=new_id("run"))), (here, evolve(told, name="price"))]
        assert [driver.register_model(*other).selector for other in others] == ["churn@2", "churn@3", "price@1"]

    def test_one_idempotency_key_is_one_version(self, driver: Any, another: Any, draft: ModelDraft, folder: MakeFolder) -> None:
        """A request sent again with its key gives the version that it made; a key with another body is a `Conflict`, and no version.

        Keep with the key what it was used for: the draft and the digest.
        """
        told, here = evolve(draft, idempotency_key="k", run_id=new_id("run")), folder(b"one")
        made = driver.register_model(here, told)
        assert [driver.register_model(folder(b"one"), told), another().register_model(here, told)] == [made, made]
        other_bodies = (
            (folder(b"two"), told),
            (here, evolve(told, name="price")),
            (here, evolve(told, run_id=new_id("run"))),
            (here, evolve(told, metrics={"auc_roc": 0.1})),
        )
        for body in other_bodies:
            with pytest.raises(Conflict):
                driver.register_model(*body)
        assert driver.search() == [made]
        assert driver.register_model(folder(b"two"), evolve(told, idempotency_key="l")).version == 2

    def test_a_version_is_published_as_validating_or_failed(self, driver: Any, publish: Publish) -> None:
        """Nothing is born deployed or archived, and TRAINING has no number: `InvalidInput`. Refuse it before any byte is kept."""
        for status in (ModelStatus.TRAINING, DEPLOYED, ARCHIVED):
            assert answer(publish, status=status) is InvalidInput, status
        assert driver.search() == []
        assert [publish(status=status).status for status in (FAILED, VALIDATING)] == [FAILED, VALIDATING]

    def test_a_record_that_is_not_json_is_refused(self, driver: Any, publish: Publish) -> None:
        """A version's metrics and parameters are JSON, which has no NaN and no infinity: `InvalidInput`, and no version."""
        for number in (nan, inf, -inf):
            for fields in ({"metrics": {"auc_roc": number}}, {"parameters": {"depth": [number]}}):
                assert answer(publish, **fields) is InvalidInput, fields
        assert answer(publish, parameters={"depth": object()}) is InvalidInput
        assert driver.search() == []

    def test_a_folder_that_is_none_or_leads_elsewhere_is_refused(
        self, subject: Subject, driver: Any, draft: ModelDraft, folder: Any
    ) -> None:
        """What is no folder, and a folder with a link or a pipe in it, is a typed error, at once, and no version. Follow no link.

        A hard link to a file outside is a link as well: its bytes are somebody else's.
        """
        outside = folder().parent / "outside"
        outside.write_bytes(b"secret")
        folders = [folder() for _ in PLANTS]
        for planted, plant in zip(folders, PLANTS.values(), strict=True):
            plant(planted / "planted", outside)
        linked = outside.with_name("linked")
        linked.symlink_to(folder())
        wrong = [str(one) for one in (*folders, linked, outside, outside.with_name("nowhere"))]
        told = run(subject, refusals, to_json(draft), wrong)
        assert [path for path, kind in told if kind is None] == []
        assert driver.search() == []

    def test_a_number_is_never_given_again(self, driver: Any, publish: Publish, another: Any) -> None:
        """A number names one version for ever, whatever became of it. Keep the last one given; do not count or take the largest in use."""
        for _ in range(3):
            publish()
        driver.transition("churn@3", VALIDATING, ARCHIVED)
        driver.transition("churn@2", VALIDATING, FAILED)
        driver.transition("churn@1", VALIDATING, ARCHIVED)
        driver.collect_garbage(timedelta(0))
        assert publish().version == 4
        assert another().get("churn@3").status is ARCHIVED

    def test_a_refused_registration_leaves_nothing(self, driver: Any, publish: Publish) -> None:
        """A version whose parent does not exist is `NotFound`, and neither it nor its tags, key or number is there afterwards."""
        for parent in ("nobody@1", "churn@1", "churn"):
            with pytest.raises(NotFound):
                publish(parents=(parent,), tags={"team": "risk"}, idempotency_key="k")
        assert (driver.search(), driver.search(tags={"team": "risk"}), driver.verify()) == ([], [], [])
        driver.collect_garbage(timedelta(0))
        assert driver.collect_garbage(timedelta(0)) == 0
        assert publish(idempotency_key="k").version == 1

    # ---- at the same time, and killed

    def test_sixteen_writers_of_one_name_get_numbers_without_gap(
        self, subject: Subject, driver: Any, draft: ModelDraft, folder: Any
    ) -> None:
        """Sixteen processes that publish one name at once all succeed; the numbers are 1 to the last, each once.

        Take the number under a lock or a unique constraint, and try again yourself where another was faster.
        """
        rounds = 3
        told = race(subject, write, [[to_json(draft), [str(folder())], rounds, new_id("w")] for _ in range(WRITERS)])
        versions = [version for writer in told for version, _run, _digest in writer]
        assert sorted(versions) == list(range(1, WRITERS * rounds + 1))
        assert all(numbers == sorted(numbers) for numbers in ([version for version, *_ in writer] for writer in told))
        kept = {one.version: [one.run_id, one.digest] for one in driver.search("churn", limit=1000)}
        assert kept == {version: [run_id, digest] for writer in told for version, run_id, digest in writer}

    def test_one_key_used_by_many_at_once_makes_one_version(self, subject: Subject, driver: Any, draft: ModelDraft, folder: Any) -> None:
        """Six processes that send one request under one key all get the one version. The key is a unique constraint, too."""
        told = to_json(evolve(draft, run_id=new_id("run"), idempotency_key="k"))
        assert race(subject, register, [[told, str(folder(b"same"))] for _ in range(6)]) == [[1]] * 6
        assert [one.version for one in driver.search()] == [1]

    def test_of_many_who_expect_one_value_one_wins(self, subject: Subject, driver: Any, publish: Publish) -> None:
        """Of those who move an alias or a status from the same expected value one wins and the others get `Conflict`; a first setting, too.

        Compare and set in one statement; what was read before it may be old.
        """
        to, rounds = [DEPLOYED, ARCHIVED, FAILED, DEPLOYED], 20
        for _ in range(rounds):
            publish(content=b"one")
        expected = [rounds, None] * (rounds // 2)
        for number in range(0, rounds, 2):
            driver.set_alias("churn", f"alias{number}", rounds, None)
        meeting = str(subject.root / "meeting")
        won = race(subject, contend, [[meeting, len(to), expected, mine, status.value] for mine, status in enumerate(to, 1)])
        for number in range(rounds):
            (mover,) = [mine for mine, wins in enumerate(won, 1) if ["alias", number] in wins]
            assert driver.aliases("churn")[f"alias{number}"] == mover
            assert len(driver.alias_history("churn", f"alias{number}")) == (1 if expected[number] is None else 2)
            (status,) = [status for status, wins in zip(to, won, strict=True) if ["status", number] in wins]
            assert driver.get(f"churn@{number + 1}").status is status

    def test_a_version_is_never_seen_without_its_bytes(self, subject: Subject, draft: ModelDraft, folder: MakeFolder) -> None:
        """Whoever finds a version while it is published can check it out at once. Bytes first, durably; then the row that names them."""
        made = [[folder(os.urandom(200_000)) for _ in range(5)] for _ in range(2)]
        writers = [[to_json(draft), [str(one) for one in folders], len(folders), new_id("w")] for folders in made]
        _, _, seen = race(subject, write_or_read, [["write", *writers[0]], ["write", *writers[1]], ["read", "churn", 10]])
        assert sorted(version for version, _ in seen) == list(range(1, 11))
        assert sorted(content for _, content in seen) == sorted(fingerprint(one) for folders in made for one in folders)

    def test_many_who_check_out_one_version_at_once_get_its_bytes(self, subject: Subject, driver: Any, draft: Any, folder: Any) -> None:
        """Four processes that check out a version for the first time all get all of it. Build a copy beside, then rename it."""
        here = folder(os.urandom(500_000))
        for number in range(40):
            (here / f"part-{number}").write_bytes(bytes([number]))
        driver.register_model(here, draft)
        assert race(subject, look, [["churn@1"]] * 4) == [[fingerprint(here)]] * 4

    def test_a_killed_writer_loses_nothing_that_was_acknowledged(
        self, subject: Subject, driver: Any, draft: ModelDraft, folder: Any
    ) -> None:
        """After SIGKILL at any instant each acknowledged version, move and alias is there within 5 s, and no version lacks a byte.

        Return only after the commit is durable, and let nothing be seen that is not whole.
        """
        folders = [folder(os.urandom(300_000)) for _ in range(3)]
        whole = {fingerprint(one) for one in folders}
        said: list[Any] = []
        for number, after in enumerate((0.0, 0.003, 0.009, 0.021)):
            given = [to_json(draft), [str(one) for one in folders], f"alias{number}"]
            told = killed(subject, work, *given, after=after, acknowledged=1 + 2 * number)
            opened = time.monotonic()
            with subject.opened() as reopened:
                reopened.get(f"churn@{told[0][1]}")
                assert time.monotonic() - opened < 5
                check_acknowledged(reopened, told)
            said += told
        check_acknowledged(driver, said)
        versions = driver.search("churn", limit=1000)
        assert len({one.version for one in versions}) == len(versions)
        for one in versions:
            assert driver.get(one.selector) == one
            assert fingerprint(driver.checkout(one.selector)) in whole
        assert driver.verify() == []
        assert driver.register_model(folders[0], evolve(draft, run_id=new_id("run"))).version > max(one.version for one in versions)

    def test_a_writer_killed_at_any_of_its_steps_leaves_no_half_version(
        self, subject: Subject, driver: Any, draft: ModelDraft, folder: Any
    ) -> None:
        """SIGKILL just before a file is made, renamed or removed, for each time that a registration does it, leaves all of it or nothing.

        Order the steps: bytes under a temporary name, made durable, moved into place; then the row that names them; tidy up last.
        """
        steps = steps_until(run(subject, die_at, 0, "register", str(folder()), to_json(draft))[1])
        folders = [folder() for _ in steps]
        given = [[step, "register", str(one), to_json(draft)] for step, one in zip(steps, folders, strict=True)]
        told = [said[0] for said in race(subject, die_at, given) if said]
        found = {one.version: fingerprint(driver.checkout(one.selector)) for one in driver.search("churn", limit=1000)}
        assert driver.verify() == []
        assert set(told) <= set(found)
        assert set(found.values()) - {fingerprint(one) for one in folders} == {found[1]}
        driver.collect_garbage(timedelta(0))
        assert driver.verify() == []
        again = [driver.register_model(one, evolve(draft, run_id=f"run_{number}")) for number, one in enumerate(folders)]
        assert [fingerprint(driver.checkout(one.selector)) for one in again] == [fingerprint(one) for one in folders]
        assert min(one.version for one in again) > max(found)

    def test_a_reader_killed_at_any_of_its_steps_leaves_no_half_copy(self, subject: Subject, driver: Any, draft: Any, folder: Any) -> None:
        """A checkout that was killed, however far it was, does not stand in the way of the next one, which gives all of the bytes.

        Build a copy under a name that nobody looks for, then rename it.
        """
        driver.register_model(folder(), draft)
        steps = steps_until(run(subject, die_at, 0, "checkout", "churn@1")[1])
        folders = [folder() for _ in steps]
        made = [driver.register_model(one, evolve(draft, run_id=new_id("run"))) for one in folders]
        race(subject, die_at, [[step, "checkout", one.selector] for step, one in zip(steps, made, strict=True)])
        assert [fingerprint(driver.checkout(one.selector)) for one in made] == [fingerprint(one) for one in folders]
        assert [driver.intact(one.selector) for one in made] == [True] * len(steps)

    # ---- what is kept is what was published

    def test_a_checkout_has_the_published_files_and_no_other(self, driver: Any, draft: ModelDraft, folder: MakeFolder) -> None:
        """Path for path and byte for byte what was registered, nested and empty files too, and whatever became of the folder since."""
        here = folder(bytes(range(256)) * 5000)
        (here / "flavor" / "a.b-c_d+e=1").write_bytes(b"\r\n\x00")
        before = contents(here)
        driver.register_model(here, draft)
        for path in before:
            (here / path).write_bytes(b"overwritten")
        assert contents(driver.checkout("churn@1")) == before
        assert driver.checkout("churn@1").is_dir()

    def test_a_checkout_is_read_only(self, driver: Any, publish: Publish) -> None:
        """No file and no folder of a checkout may be written, by anybody: others read the same copy. Take the permission away."""
        publish()
        here = driver.checkout("churn@1")
        writable = [path for path in (here, *here.rglob("*")) if stat.S_IMODE(path.stat().st_mode) & 0o222]
        assert writable == []

    def test_damaged_bytes_are_never_handed_out(self, driver: Any, another: Any, publish: Publish, damage: Callable[..., None]) -> None:
        """One flipped bit is a `DigestMismatch` at checkout, in every process and from then on; `intact` is false, `get` still answers.

        Hash every byte before the folder is returned, and remember what was found.
        """
        made = [publish(), publish(), publish("other")]
        damage(made[1])
        for _ in range(2):
            with pytest.raises(DigestMismatch):
                driver.checkout("churn@2")
        with pytest.raises(DigestMismatch):
            another().checkout("churn@2")
        assert (driver.intact("churn@2"), another().intact("churn@2")) == (False, False)
        assert driver.get("churn@2") == made[1]

    def test_quarantine_leaves_other_versions_usable(self, driver: Any, another: Any, folder: Any, draft: Any, damage: Any) -> None:
        """Versions beside a damaged one can be checked out, moved, aliased and followed by new ones. Quarantine a version, not a name."""
        folders = [folder() for _ in range(3)]
        made = [driver.register_model(one, evolve(draft, run_id=new_id("run"))) for one in folders]
        damage(made[1])
        with pytest.raises(DigestMismatch):
            driver.checkout("churn@2")
        for version in (1, 3):
            assert fingerprint(another().checkout(f"churn@{version}")) == fingerprint(folders[version - 1])
            assert driver.intact(f"churn@{version}")
        assert driver.transition("churn@3", VALIDATING, DEPLOYED).status is DEPLOYED
        driver.set_alias("churn", "production", 3, None)
        assert driver.register_model(folder(), evolve(draft, run_id=new_id("run"))).version == 4

    def test_verify_finds_damage_and_names_the_version(self, driver: Any, another: Any, publish: Publish, damage: Any) -> None:
        """`verify` reads the stored bytes: none where all fit, else a fault each with cause and remedy, and the version is quarantined."""
        made = [publish(), publish(), publish("other")]
        assert (driver.verify(), driver.verify("churn@2")) == ([], [])
        driver.checkout("churn@2")
        damage(made[1])
        assert driver.verify("churn@1") == driver.verify("other") == []
        for found in (driver.verify("churn@2"), another().verify()):
            assert len(found) == 1
            assert "churn@2" in found[0].where + found[0].cause
            assert found[0].distribution
            assert found[0].cause
            assert found[0].remedy
        assert [driver.intact(one.selector) for one in made] == [True, False, True]
        with pytest.raises(DigestMismatch):
            another().checkout("churn@2")

    @pytest.mark.parametrize("tamper", ["flip", "add", "remove", "link"])
    def test_a_copy_that_was_changed_is_never_handed_out(self, driver: Any, another: Any, publish: Publish, tamper: str) -> None:
        """A local copy with a byte, file or link other than published is a `DigestMismatch`, or is replaced. Check it each time."""
        publish()
        here = driver.checkout("churn@1")
        before = contents(here)
        TAMPERS[tamper](here)
        for one in (driver, another()):
            try:
                found = contents(one.checkout("churn@1"))
            except DigestMismatch:
                continue
            assert found == before

    def test_intact_reads_no_files_and_knows_what_exists(self, driver: Any, publish: Publish) -> None:
        """`intact` is true for what exists and false for what does not. It is asked before each resumed step: keep it cheap."""
        publish()
        assert [driver.intact(one) for one in ("churn@1", "churn", "churn@2", "churn@production", "other")] == [
            True,
            True,
            False,
            False,
            False,
        ]

    # ---- garbage

    def test_garbage_is_what_no_version_names_and_what_is_old(self, driver: Any, litter: Callable[[], int]) -> None:
        """Young bytes stay, since somebody may be about to name them; old ones go, once, and their number is returned. Ask their age."""
        wanted = litter() + litter()
        assert wanted > 0
        assert driver.collect_garbage(timedelta(hours=1)) == 0
        assert driver.collect_garbage(timedelta(0)) == wanted
        assert driver.collect_garbage(timedelta(0)) == 0

    def test_garbage_never_is_what_a_version_names(self, driver: Any, publish: Publish, litter: Callable[[], int]) -> None:
        """Bytes of any version stay, whatever its status, of any tenant, and such as versions share. Look at every row, then remove."""
        for status, steps in PATHS_TO.items():
            publish(status.value, status.value.encode())
            for step in steps:
                driver.transition(f"{status.value}@1", VALIDATING, step)
        shared = [publish("shared", b"shared") for _ in range(2)]
        driver.transition("shared@2", VALIDATING, ARCHIVED)
        with tenant("other"):
            publish("theirs", b"theirs")
        litter()
        with tenant("third"):
            assert driver.collect_garbage(timedelta(0)) == 0
        assert driver.collect_garbage(timedelta(0)) > 0
        assert driver.verify() == []
        for selector in (*(f"{status.value}@1" for status in PATHS_TO), *(one.selector for one in shared)):
            assert contents(driver.checkout(selector))
        with tenant("other"):
            assert driver.verify() == []
            assert contents(driver.checkout("theirs"))

    def test_a_negative_age_is_refused(self, driver: Any, publish: Publish) -> None:
        """Nothing is older than the future: a typed error, not a sweep of what is being published."""
        publish()
        with pytest.raises(ForgeError):
            driver.collect_garbage(timedelta(seconds=-1))
        assert driver.verify() == []

    # ---- selectors

    def test_a_selector_is_a_name_a_number_latest_or_an_alias(self, driver: Any, publish: Publish) -> None:
        """`m`, `m@latest`, `m@1` and `m@alias` each mean one version, in every method that takes a selector. Parse it in one place."""
        for _ in range(11):
            publish("m", b"one")
        driver.set_alias("m", "production", 2, None)
        for selector, version in {"m": 11, "m@latest": 11, "m@1": 1, "m@10": 10, "m@production": 2}.items():
            assert driver.get(selector).version == version
            assert driver.lineage(selector).node == f"m@{version}"
            assert driver.intact(selector)
            assert driver.verify(selector) == []
            assert contents(driver.checkout(selector))
        driver.track_lineage("m@production", ["m@1"], [])
        assert [edge.node for edge in driver.lineage("m@1", upward=False).edges] == ["m@2"]
        assert driver.transition("m@production", VALIDATING, DEPLOYED).version == 2
        assert driver.transition("m", VALIDATING, DEPLOYED).version == 11

    def test_what_does_not_exist_is_not_found(self, driver: Any, publish: Publish) -> None:
        """`NotFound`, from every method that takes a selector; nothing is made on the way. Answer neither None nor something like it."""
        publish("m")
        for selector, ask in itertools.product(UNKNOWN, asked_of(driver)):
            assert answer(ask, selector) is NotFound, selector
        assert not any(driver.intact(selector) for selector in UNKNOWN)
        assert len(driver.search()) == 1

    def test_a_malformed_selector_is_a_typed_error(self, driver: Any, publish: Publish) -> None:
        """What is no selector is a ForgeError from every method, and never the nearest version. Match the whole text."""
        publish("m")
        for selector, ask in itertools.product(MALFORMED, asked_of(driver)):
            assert answer(ask, selector) is not None, selector
        assert driver.get("m").status is VALIDATING

    def test_latest_is_neither_failed_nor_archived(self, driver: Any, publish: Publish) -> None:
        """`latest` is the newest that is neither FAILED nor ARCHIVED, by number; `NotFound` where there is none. Ask the status now."""
        publish()
        publish()
        publish(status=FAILED)
        assert driver.get("churn").version == 2
        driver.transition("churn@1", VALIDATING, DEPLOYED)
        assert driver.get("churn@latest").version == 2
        driver.transition("churn@2", VALIDATING, ARCHIVED)
        assert driver.get("churn").version == 1
        driver.transition("churn@1", DEPLOYED, ARCHIVED)
        for ask in (driver.get, driver.checkout):
            with pytest.raises(NotFound):
                ask("churn")
        driver.transition("churn@1", ARCHIVED, VALIDATING)
        assert driver.get("churn").version == 1

    # ---- status

    @pytest.mark.parametrize("start", list(PATHS_TO), ids=lambda status: status.value)
    def test_a_status_moves_as_the_table_says(self, driver: Any, publish: Publish, start: ModelStatus) -> None:
        """A move of LEGAL_MOVES gives the version in its new status; any other is `InvalidInput` and changes nothing. Ask the table."""
        for to in ModelStatus:
            made = publish(content=b"one")
            for step in PATHS_TO[start]:
                driver.transition(made.selector, VALIDATING, step)
            before = driver.get(made.selector)
            if to in LEGAL_MOVES[start]:
                after = driver.transition(made.selector, start, to)
                assert driver.get(made.selector) == after
                assert after == evolve(before, status=to, updated_at=after.updated_at)
                assert after.updated_at > before.updated_at
            else:
                with pytest.raises(InvalidInput):
                    driver.transition(made.selector, start, to)
                assert driver.get(made.selector) == before

    @pytest.mark.parametrize("start", list(PATHS_TO), ids=lambda status: status.value)
    def test_a_move_from_another_status_than_expected_is_a_conflict(self, driver: Any, publish: Publish, start: ModelStatus) -> None:
        """A legal move whose `expected` is not the status now is a `Conflict`, and changes nothing. Compare where you write."""
        publish()
        for step in PATHS_TO[start]:
            driver.transition("churn@1", VALIDATING, step)
        before = driver.get("churn@1")
        for expected in set(PATHS_TO) - {start}:
            for to in LEGAL_MOVES[expected]:
                with pytest.raises(Conflict):
                    driver.transition("churn@1", expected, to)
        assert driver.get("churn@1") == before

    # ---- aliases

    def test_an_alias_moves_from_where_it_is_expected_only(self, driver: Any, publish: Publish) -> None:
        """`expected` is the version that it points at, or None for nowhere; anything else is a `Conflict`, and it stays where it was."""
        for name in ("churn", "churn", "churn", "price"):
            publish(name, b"one")
        driver.set_alias("churn", "production", 1, None)
        for expected in (None, 2, 3, 0, -1, 10**6):
            with pytest.raises(Conflict):
                driver.set_alias("churn", "production", 2, expected)
        with pytest.raises(Conflict):
            driver.set_alias("churn", "staging", 2, 1)
        assert driver.aliases("churn") == {"production": 1}
        driver.set_alias("churn", "production", 3, 1)
        driver.set_alias("churn", "staging", 2, None)
        assert driver.aliases("churn") == {"production": 3, "staging": 2}
        assert driver.aliases("price") == driver.aliases("nobody") == {}
        assert [driver.get(f"churn@{alias}").version for alias in ("production", "staging")] == [3, 2]

    def test_an_alias_points_at_versions_that_exist(self, driver: Any, publish: Publish) -> None:
        """A version that is not there is a typed error, numbers that no column holds among them. Look for it in the same transaction."""
        publish()
        publish("price")
        publish("price")
        driver.set_alias("churn", "production", 1, None)
        for version in (0, -1, 2, 10**6, 2**31, 2**63, 10**30):
            assert answer(driver.set_alias, "churn", "staging", version, None) is not None, version
            assert answer(driver.set_alias, "nobody", "staging", version, None) is not None, version
            assert answer(driver.set_alias, "churn", "production", 1, version) is not None, version
        assert driver.aliases("churn") == {"production": 1}
        assert driver.aliases("nobody") == {}

    def test_no_alias_changes_what_another_selector_means(self, driver: Any, publish: Publish) -> None:
        """An alias named `latest` or as a number is refused: `m@2` and `m@latest` mean what they meant."""
        publish()
        publish()
        for alias in ("latest", "1", "2", "3"):
            assert answer(driver.set_alias, "churn", alias, 1, None) is not None, alias
        assert (driver.get("churn@2").version, driver.get("churn@latest").version, driver.get("churn@1").version) == (2, 2, 1)
        assert driver.aliases("churn") == {}

    def test_an_alias_s_history_tells_who_moved_it_when_and_why(self, driver: Any, another: Any, publish: Publish) -> None:
        """Every move is an Event, oldest first: who, when (aware UTC), `before` {"version"} or None, `after` {"version", "reason"}.

        Write it in the transaction that moves the alias; a refused move leaves none.
        """
        for _ in range(3):
            publish(content=b"one")
        for version, expected, who in ((1, None, "ann"), (3, 1, "bob"), (1, 3, "ann")):
            with tenant("default", who):
                driver.set_alias("churn", "production", version, expected, f"because of {version}")
        with pytest.raises(Conflict):
            driver.set_alias("churn", "production", 2, 3)
        driver.set_alias("churn", "staging", 2, None)
        for one in (driver, another()):
            events = one.alias_history("churn", "production")
            assert [event.actor for event in events] == ["ann", "bob", "ann"]
            assert [event.before for event in events] == [None, {"version": 1}, {"version": 3}]
            assert [event.after for event in events] == [{"version": v, "reason": f"because of {v}"} for v in (1, 3, 1)]
            assert all(event.at.utcoffset() == timedelta(0) for event in events)
            assert [event.at for event in events] == sorted(event.at for event in events)
            assert {(event.action, event.resource, event.tenant) for event in events} == {
                ("model:alias", "model:churn@production", "default")
            }
        assert driver.alias_history("churn", "never") == driver.alias_history("nobody", "production") == []

    def test_alias_at_tells_where_it_pointed_then(self, driver: Any, publish: Publish) -> None:
        """The last move made by then decides, whatever the time's zone; before the first it is None. Keep every move and its time."""
        publish(content=b"one")
        publish(content=b"two")
        for version, expected in ((1, None), (2, 1), (1, 2)):
            driver.set_alias("churn", "production", version, expected)
            time.sleep(0.002)
        times = [event.at for event in driver.alias_history("churn", "production")]
        tick = timedelta(microseconds=1)
        asked = [
            (times[0] - tick, None),
            *itertools.chain(*(((at, version), (at + tick, version)) for at, version in zip(times, (1, 2, 1), strict=True))),
        ]
        asked += [
            (times[1] - tick, 1),
            (times[2] - tick, 2),
            (datetime.now(UTC) + timedelta(days=1), 1),
            (datetime(1970, 1, 1, tzinfo=UTC), None),
        ]
        for zone in (UTC, timezone(timedelta(hours=14)), timezone(timedelta(hours=-9, minutes=-30))):
            assert [driver.alias_at("churn", "production", at.astimezone(zone)) for at, _ in asked] == [version for _, version in asked]
        assert driver.alias_at("churn", "staging", times[0]) is None

    def test_a_time_without_zone_is_refused(self, driver: Any, publish: Publish) -> None:
        """Which instant a time without zone is nobody knows: a typed error. Do not guess the machine's."""
        publish()
        driver.set_alias("churn", "production", 1, None)
        with pytest.raises(ForgeError):
            driver.alias_at("churn", "production", datetime(2026, 1, 31, 12))  # noqa: DTZ001 - that is the point

    # ---- search

    def test_search_is_newest_first_within_its_limit(self, driver: Any, publish: Publish) -> None:
        """Every version of every status, the one published last first, and at most `limit`. Order in the store, before you cut."""
        made = [publish(name, b"one").selector for name in ("a", "b", "a", "c", "a", "b")]
        driver.transition("a@1", VALIDATING, ARCHIVED)
        driver.transition("a@3", VALIDATING, FAILED)
        assert [one.selector for one in driver.search()] == made[::-1]
        assert [one.selector for one in driver.search("a")] == ["a@3", "a@2", "a@1"]
        assert [one.selector for one in driver.search(limit=2)] == made[:3:-1]
        assert [one.selector for one in driver.search("a", limit=1)] == ["a@3"]
        assert driver.search("nobody") == []

    def test_search_orders_numbers_as_numbers(self, driver: Any, publish: Publish) -> None:
        """Version 10 is newer than version 9. Order by the number, not by its text."""
        for _ in range(11):
            publish(content=b"one")
        assert [one.version for one in driver.search("churn")] == list(range(11, 0, -1))

    def test_search_equals_an_oracle_in_memory(self, driver: Any, publish: Publish) -> None:
        """All of `tags` are met, each exactly; a name is a name, no pattern. What looks like an operator is a value. Bind, never paste."""
        values = ["risk", "Risk", "", *INJECTED]
        made = [
            publish(f"m{number % 3}", b"one", tags={"note": value, "tier": str(number % 2)} if number % 4 else {"note": value})
            for number, value in enumerate(values)
        ]
        names = [None, "m0", "m1", "m2", "m", "m3", "M0"]
        tags = [None, {}, *({"note": value} for value in (*values, "absent")), {"tier": "1"}, {"tier": "1", "note": values[3]}]
        tags += [{key: "1"} for key in ("Tier", "t", "note")] + [{"note": values[1], "absent": "1"}]
        for name, wanted, limit in itertools.product(names, tags, (2, 100)):
            expected = [one for one in made if name in (None, one.name) and (wanted or {}).items() <= one.tags.items()]
            assert driver.search(name, wanted, limit) == expected[::-1][:limit], (name, wanted, limit)

    def test_what_cannot_be_asked_is_a_typed_error_or_finds_nothing(self, driver: Any, publish: Publish) -> None:
        """Injected names, keys, operators and limits find nothing or raise a ForgeError, never more. Check types where they enter."""
        publish("m", tags={"team": "risk"})
        questions: list[dict[str, Any]] = [
            *({"name": value} for value in ("", *INJECTED, {"$ne": ""}, ["m"], b"m", 1)),
            *({"tags": {key: "risk"}} for key in ("", *INJECTED, "team' OR '1'='1", "team%", "team.x", "$or")),
            *({"tags": {"team": value}} for value in ({"$ne": ""}, {"$exists": True}, ["risk"], None, True, 1, b"risk")),
            *({"limit": limit} for limit in (0, -1, "1 OR 1=1", None, 0.5, [1])),
        ]
        for question in questions:
            try:
                found = list(driver.search(**question))
            except ForgeError:
                continue
            assert found == [], question
        assert len(driver.search("m", {"team": "risk"})) == 1

    # ---- lineage

    def test_lineage_goes_up_to_run_code_data_and_parents(self, driver: Any, publish: Publish) -> None:
        """A version's edges are its run, code, data and parents, and a parent has its own. Nodes of models are `name@version`."""
        base = publish("base", training_data_hash="e3b0c4")
        made = publish(code=CodeVersion("c0ffee", "d1ff", "env"), parents=("base@1",))
        driver.track_lineage("churn@1", [], [DatasetVersion("flights", "7", "abc", 10)])
        tree = driver.lineage("churn@1")
        assert (tree.kind, tree.node) == ("model", "churn@1")
        assert {edge.kind for edge in tree.edges} == {"run", "code", "data", "model"}
        assert nodes(tree, "run") == [made.run_id]
        assert "c0ffee" in nodes(tree, "code")[0]
        assert [("flights" in one, "7" in one) for one in nodes(tree, "data")] == [(True, True)]
        (parent,) = [edge for edge in tree.edges if edge.kind == "model"]
        assert (parent.node, nodes(parent, "run"), len(nodes(parent, "data"))) == ("base@1", [base.run_id], 1)
        assert "e3b0c4" in nodes(parent, "data")[0]

    def test_lineage_goes_down_to_what_names_it_as_a_parent(self, driver: Any, publish: Publish) -> None:
        """Downward are the versions that name this one as a parent, and theirs; not those of another version of its name."""
        for name, parents in (("a", ()), ("a", ()), ("b", ("a@1",)), ("c", ("a@1", "b@1")), ("d", ("c@1",)), ("e", ("a@2",))):
            publish(name, b"one", parents=parents)
        tree = driver.lineage("a@1", upward=False)
        assert sorted(nodes(tree, "model")) == ["b@1", "c@1"]
        assert {edge.kind for edge in tree.edges} == {"model"}
        assert nodes(tree.edges[[edge.node for edge in tree.edges].index("b@1")], "model") == ["c@1"]
        assert every_node(tree) == {"a@1", "b@1", "c@1", "d@1"}
        assert nodes(driver.lineage("a@2", upward=False), "model") == ["e@1"]
        assert driver.lineage("d@1", upward=False).edges == ()

    def test_a_parent_is_resolved_when_it_is_named(self, driver: Any, publish: Publish) -> None:
        """A parent given as `base`, `base@latest` or `base@alias` is the version that this meant then. Keep the number."""
        publish("base")
        driver.set_alias("base", "production", 1, None)
        children = [publish("child", parents=(parent,)) for parent in ("base", "base@latest", "base@production")]
        publish("tracked")
        driver.track_lineage("tracked", ["base"], [])
        publish("base")
        driver.set_alias("base", "production", 2, 1)
        assert [nodes(driver.lineage(one.selector), "model") for one in children] == [["base@1"]] * 3
        assert nodes(driver.lineage("tracked"), "model") == ["base@1"]
        assert driver.lineage("base@2", upward=False).edges == ()

    def test_tracking_lineage_adds_and_saying_it_again_does_not(self, driver: Any, another: Any, publish: Publish) -> None:
        """Parents and data come on top of what was known, each once. An edge is a set's member: insert it if it is absent."""
        for name in ("p", "q", "child"):
            publish(name, parents=("p",) if name == "child" else ())
        data = [DatasetVersion("flights", "7", "abc", 10), DatasetVersion("weather", "1", "def")]
        for _ in range(2):
            driver.track_lineage("child", ["q@1"], data[:1])
            another().track_lineage("child", ["p@1"], data)
        tree = driver.lineage("child")
        assert sorted(nodes(tree, "model")) == ["p@1", "q@1"]
        assert [sum(name in one for one in nodes(tree, "data")) for name in ("flights", "weather")] == [1, 1]
        assert len(nodes(tree, "data")) == 2

    def test_a_refused_lineage_adds_nothing(self, driver: Any, publish: Publish) -> None:
        """An unknown parent is `NotFound`; what would make a version its own ancestor is a typed error. Neither leaves a part of it."""
        for name, parents in (("a", ()), ("b", ("a",)), ("c", ("b",)), ("free", ())):
            publish(name, parents=parents)
        before = [driver.lineage(name) for name in ("a", "b", "c", "free")]
        with pytest.raises(NotFound):
            driver.track_lineage("a", ["free", "nobody"], [DatasetVersion("flights", "7", "abc")])
        for parent in ("a@1", "b@1", "c@1"):
            with pytest.raises(ForgeError):
                driver.track_lineage("a", ["free", parent], [])
        assert [driver.lineage(name) for name in ("a", "b", "c", "free")] == before

    # ---- whose it is, and who is told

    @pytest.mark.parametrize("other", TENANTS)
    def test_tenants_do_not_see_one_another(self, driver: Any, publish: Publish, other: str) -> None:
        """What belongs to another tenant does not exist, in any method; numbers, aliases and keys are each tenant's own.

        Every row, key and path carries the tenant, as it is: `a`, `A`, `a/` and `a%2Fb` are four.
        """
        for name in {*TENANTS, "default"} - {other}:
            with tenant(name):
                publish("theirs", b"one", tags={"team": "risk"}, idempotency_key="k")
                driver.set_alias("theirs", "production", 1, None)
        with tenant(other):
            assert (driver.search(), driver.search("theirs"), driver.search(tags={"team": "risk"}), driver.verify()) == ([], [], [], [])
            assert (driver.aliases("theirs"), driver.alias_history("theirs", "production")) == ({}, [])
            assert driver.alias_at("theirs", "production", datetime.now(UTC)) is None
            assert not driver.intact("theirs@1")
            for selector, ask in itertools.product(("theirs@1", "theirs", "theirs@production"), asked_of(driver)):
                with pytest.raises(NotFound):
                    ask(selector)
            with pytest.raises(NotFound):
                driver.set_alias("theirs", "staging", 1, None)
            with pytest.raises(NotFound):
                publish("mine", parents=("theirs@1",))
            made = publish("theirs", b"one", idempotency_key="k")
            with pytest.raises(NotFound):
                driver.track_lineage("theirs", ["theirs@2"], [])
            driver.set_alias("theirs", "production", 1, None)
            assert (made.version, made.tenant, driver.search()) == (1, other, [made])
            assert driver.transition("theirs", VALIDATING, ARCHIVED).tenant == other
            assert driver.collect_garbage(timedelta(0)) >= 0
            assert contents(driver.checkout("theirs@1"))
            assert driver.lineage("theirs@1", upward=False).edges == ()
        for name in {*TENANTS, "default"} - {other}:
            with tenant(name):
                assert [(one.tenant, one.status) for one in driver.search()] == [(name, VALIDATING)]
                assert len(driver.alias_history("theirs", "production")) == 1
                assert driver.verify() == []

    def test_hostile_names_reach_no_file_outside(self, subject: Subject, driver: Any, draft: Any, folder: Any, hostile_paths: Any) -> None:
        """A hostile text as name, alias, tag, key, run or tenant is a typed error, or kept as it is; no file outside is opened.

        Match names against a narrow pattern before they reach storage, and bind them in queries.
        """
        driver.register_model(folder(), draft)
        here = folder()
        wrong, opened, tried = run(subject, besiege, to_json(draft), str(here), list(hostile_paths), [str(here.parent)], timeout=300)
        assert tried > len(hostile_paths) * len(ATTEMPTS)
        assert opened == []
        assert wrong == []
        assert driver.verify() == []
        assert driver.get("churn@1").name == "churn"

    def test_a_mutation_commits_with_its_event_or_not_at_all(self, kernel: Kernel, driver: Any, publish: Publish) -> None:
        """Each mutation is in the project's outbox, done, once; one that was refused is not. A `transactional` driver rolls back with it.

        Write in `Database.transaction()` and declare `transactional`, or do neither.
        """
        publish()
        publish(content=b"one")
        driver.set_alias("churn", "production", 1, None)
        driver.transition("churn@1", VALIDATING, DEPLOYED)
        driver.track_lineage("churn@2", ["churn@1"], [])
        with pytest.raises(Conflict):
            driver.set_alias("churn", "production", 2, None)
        with pytest.raises(Conflict):
            driver.transition("churn@1", VALIDATING, DEPLOYED)
        done = [event.action for _number, event in kernel.database.events() if event.outcome == "done"]
        assert done == ["model:register", "model:register", "model:alias", "model:transition", "model:lineage"]
        if self.driver_class.transactional:
            with suppress(RuntimeError), kernel.database.transaction():
                driver.set_alias("churn", "production", 2, 1)
                driver.transition("churn@2", VALIDATING, ARCHIVED)
                raise RuntimeError("roll back")
            assert (driver.aliases("churn"), driver.get("churn@2").status) == ({"production": 1}, VALIDATING)
            assert len(driver.alias_history("churn", "production")) == 1

    def test_hooks_hear_of_what_was_done_and_of_nothing_else(
        self, driver: Any, recorded_hooks: RecordedHooks, draft: Any, folder: Any
    ) -> None:
        """Registrations and moves are told once, with the version as it is then; what was refused is not. Return what you wrote."""
        made = driver.register_model(folder(), draft)
        moved = driver.transition("churn@1", VALIDATING, DEPLOYED)
        with pytest.raises(Conflict):
            driver.transition("churn@1", VALIDATING, DEPLOYED)
        assert [told["model"] for told in recorded_hooks.of("forge_model_registered")] == [made]
        assert [(told["model"], told["expected"]) for told in recorded_hooks.of("forge_model_transitioned")] == [(moved, VALIDATING)]

    def test_reopening_sees_everything(self, subject: Subject, draft: ModelDraft, folder: MakeFolder) -> None:
        """What one driver did, another sees: after it was closed, and while it is open. Keep nothing in the process alone."""
        with subject.opened() as first:
            here = folder()
            made = first.register_model(here, evolve(draft, tags={"team": "risk"}))
            first.set_alias("churn", "production", 1, None)
            first.track_lineage("churn@1", [], [DatasetVersion("flights", "7", "abc")])
            moved = first.transition("churn@1", VALIDATING, DEPLOYED)
            tree = first.lineage("churn")
            with subject.opened() as beside:
                assert beside.get("churn@production") == moved
        with subject.opened() as second:
            assert second.search(tags={"team": "risk"}) == [moved]
            assert second.aliases("churn") == {"production": 1}
            assert len(second.alias_history("churn", "production")) == 1
            assert second.lineage("churn") == tree
            assert fingerprint(second.checkout("churn@1")) == fingerprint(here)
            assert second.register_model(here, evolve(draft, tags={"team": "risk"})).model_id == made.model_id


# ---- what is asked and compared


def answer(ask: Callable[..., object], *given: Any, **named: Any) -> type[ForgeError] | None:
    """Which ForgeError a call raised, if any."""
    try:
        ask(*given, **named)
    except ForgeError as error:
        return type(error)
    return None


def contents(folder: Path) -> dict[str, bytes]:
    """The files below a folder; a link or a device is none."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file() and not path.is_symlink()
    }


def fingerprint(folder: Path) -> str:
    return hashlib.sha256(repr(sorted(contents(folder).items())).encode()).hexdigest()


def nodes(tree: Lineage, kind: str) -> list[str]:
    return [edge.node for edge in tree.edges if edge.kind == kind]


def every_node(tree: Lineage) -> set[str]:
    return {tree.node}.union(*(every_node(edge) for edge in tree.edges))


def asked_of(driver: Any) -> tuple[Callable[[str], object], ...]:
    """Every method that takes a selector and must find it."""
    return (
        driver.get,
        driver.checkout,
        driver.lineage,
        lambda selector: driver.lineage(selector, upward=False),
        driver.verify,
        lambda selector: driver.transition(selector, VALIDATING, DEPLOYED),
        lambda selector: driver.track_lineage(selector, [], [DatasetVersion("flights", "7", "abc")]),
    )


def check_acknowledged(driver: Any, told: Sequence[Any]) -> None:
    for what, version, detail in told:
        found = driver.get(f"churn@{version}")
        if what == "version":
            assert found.digest == detail
            assert driver.checkout(found.selector).is_dir()
        elif what == "deployed":
            assert found.status is DEPLOYED
        else:
            assert driver.aliases("churn")[detail] >= version


# ---- damage


def _made_writable(folder: Path) -> Path:
    """A file of a copy that may be written now, as may its folders."""
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o700)
    return max((path for path in folder.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)


def _flip(folder: Path) -> None:
    file = _made_writable(folder)
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def _link(folder: Path) -> None:
    file = _made_writable(folder)
    file.rename(folder.parent / "moved")
    file.symlink_to(folder.parent / "moved")


TAMPERS: Mapping[str, Callable[[Path], object]] = {
    "flip": _flip,
    "add": lambda folder: (_made_writable(folder).parent / "added").write_bytes(b"x"),
    "remove": lambda folder: _made_writable(folder).unlink(),
    "link": _link,
}
PLANTS: Mapping[str, Callable[[Path, Path], object]] = {
    "link": lambda path, outside: path.symlink_to(outside),
    "link to a folder": lambda path, outside: path.symlink_to(outside.parent),
    "link to nowhere": lambda path, outside: path.symlink_to("/nowhere"),
    "pipe": lambda path, outside: os.mkfifo(path),
    "hard link": lambda path, outside: path.hardlink_to(outside),
}


# ---- what other processes do


def register(driver: Any, draft: JSON, folder: str) -> JSON:
    return driver.register_model(Path(folder), from_json(draft, ModelDraft)).version


def write(driver: Any, draft: JSON, folders: Sequence[str], count: int, who: str) -> Iterator[JSON]:
    """Publish so many versions, each of a run of its own."""
    told = from_json(draft, ModelDraft)
    for number in range(count):
        made = driver.register_model(Path(folders[number % len(folders)]), evolve(told, run_id=f"{who}-{number}"))
        yield [made.version, made.run_id, made.digest]


def write_or_read(driver: Any, what: str, *given: Any) -> Iterator[JSON]:
    yield from (write if what == "write" else read)(driver, *given)


def read(driver: Any, name: str, count: int) -> Iterator[JSON]:
    """Check out each version as soon as it is found, until there are so many."""
    seen: set[int] = set()
    ends = time.monotonic() + 60
    while len(seen) < count and time.monotonic() < ends:
        for found in driver.search(name):
            if found.version not in seen:
                seen.add(found.version)
                yield [found.version, fingerprint(driver.checkout(found.selector))]


def look(driver: Any, selector: str) -> JSON:
    return fingerprint(driver.checkout(selector))


def work(driver: Any, draft: JSON, folders: Sequence[str], alias: str) -> Iterator[JSON]:
    """Publish, move and alias one version after another, until killed."""
    told, expected = from_json(draft, ModelDraft), None
    for folder in itertools.cycle(folders):
        made = driver.register_model(Path(folder), evolve(told, run_id=new_id("run")))
        yield ["version", made.version, made.digest]
        driver.transition(made.selector, VALIDATING, DEPLOYED)
        yield ["deployed", made.version, ""]
        driver.set_alias(made.name, alias, made.version, expected)
        expected = made.version
        yield ["alias", made.version, alias]


def meet(place: str, parties: int, number: int) -> None:
    """Wait until all of them have come to their round `number`, so that they go on together."""
    with open(place, "ab", buffering=0) as file:
        file.write(b".")
    ends = time.monotonic() + 20
    while os.stat(place).st_size < parties * (number + 1):
        assert time.monotonic() < ends, "the others did not come"
        time.sleep(0.0002)


def steps_until(last: int) -> Sequence[int]:
    """Some of the numbers from 0, which is none, to the last one."""
    return range(0, last + 1, last // MOST_STEPS + 1)


def die_at(driver: Any, step: int, what: str, *given: Any) -> Iterator[JSON]:
    """Publish or check out, and die by SIGKILL at the file system's change number `step`; else say what was done, and the last number."""
    changes = itertools.count(1)

    def watch(event: str, about: tuple[Any, ...]) -> None:
        writes = event == "open" and isinstance(about[2], int) and about[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        if (writes or (event in WATCHED and event != "open")) and next(changes) == step:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)
    if what == "register":
        yield driver.register_model(Path(given[0]), evolve(from_json(given[1], ModelDraft), run_id=new_id("run"))).version
    else:
        yield fingerprint(driver.checkout(given[0]))
    yield next(changes) - 1


def contend(driver: Any, place: str, parties: int, expected: Sequence[int | None], mine: int, to: str) -> Iterator[JSON]:
    """The rounds in which this one moved the alias, and those in which it moved the status."""
    for number, version in enumerate(expected):
        meet(place, parties, 2 * number)
        if answer(driver.set_alias, "churn", f"alias{number}", mine, version) is not Conflict:
            yield ["alias", number]
        meet(place, parties, 2 * number + 1)
        if answer(driver.transition, f"churn@{number + 1}", VALIDATING, ModelStatus(to)) is not Conflict:
            yield ["status", number]


def refusals(driver: Any, draft: JSON, folders: Sequence[str]) -> Iterator[JSON]:
    for folder in folders:
        try:
            driver.register_model(Path(folder), evolve(from_json(draft, ModelDraft), run_id=new_id("run")))
        except ForgeError as error:
            yield [folder, error.kind]
        else:
            yield [folder, None]


# ---- a siege: hostile texts in every field, and every file that is opened meanwhile


def besiege(driver: Any, draft: JSON, folder: str, texts: Sequence[str], roots: Sequence[str]) -> Iterator[JSON]:
    told = from_json(draft, ModelDraft)
    yield from siege({attempt.__name__: partial(attempt, driver, told, Path(folder)) for attempt in ATTEMPTS}, texts, roots)


def siege(attempts: Mapping[str, Callable[[str], bool]], texts: Sequence[str], roots: Sequence[str]) -> Iterator[JSON]:
    """Yields what was neither refused nor kept as it is, the files that were opened outside of these roots, and how often it tried.

    A harmless text goes first: what a driver opens for that, such as its own configuration, it may open for a hostile one.
    """
    files: set[str] = set()
    sys.addaudithook(lambda event, given: files.update(_paths(event, given)) if event in WATCHED else None)
    wrong = []
    harmless: set[str] = set()
    for text in ("harmless", *texts):
        for name, attempt in attempts.items():
            try:
                kept = attempt(text)
            except ForgeError:
                kept = text != "harmless"
            if not kept:
                wrong.append([name, text])
        harmless = harmless or set(files)
    yield wrong
    allowed = [os.path.realpath(one) for one in (*roots, ".", sys.prefix, sys.base_prefix, *filter(None, sys.path))]
    yield sorted(path for path in files - harmless if not any(path == one or path.startswith(f"{one}{os.sep}") for one in allowed))
    yield (len(texts) + 1) * len(attempts)


def _paths(event: str, given: tuple[Any, ...]) -> list[str]:
    """Where they lead: links are followed, and what is relative is below the working directory, the project."""
    named = given[:2] if event in ("os.rename", "os.link") else given[1:2] if event == "os.symlink" else given[:1]
    with suppress(ValueError):  # no file can have that name
        return [os.path.realpath(os.fsdecode(path)) for path in named if isinstance(path, str | bytes | os.PathLike)]
    return []


def _finds_nothing(driver: Any, draft: ModelDraft, folder: Path, text: str) -> bool:
    """No method finds anything by a text that nothing was named by."""
    questions: tuple[tuple[Callable[..., object], Any], ...] = (
        (driver.get, [text]),
        (driver.checkout, [text]),
        (driver.lineage, [text]),
        (driver.intact, [text]),
        (driver.get, [f"{draft.name}@{text or '/'}"]),
        (driver.checkout, [f"{draft.name}@{text or '/'}"]),
        (driver.aliases, [text]),
        (driver.alias_history, [text, text]),
        (driver.search, [text]),
        (driver.search, [None, {text: text}]),
        (driver.set_alias, [text, "a", 1, None]),
    )
    found = []
    for ask, given in questions:
        try:
            found.append(ask(*given))
        except ForgeError:
            continue
    return not any(found)


def _name(driver: Any, draft: ModelDraft, folder: Path, text: str) -> bool:
    made = driver.register_model(folder, evolve(draft, name=text, run_id=new_id("run")))
    return bool((made.name, made.version) == (text, 1) and driver.get(f"{text}@1").name == text and contents(driver.checkout(text)))


def _alias(driver: Any, draft: ModelDraft, folder: Path, text: str) -> bool:
    driver.set_alias(draft.name, text, 1, None)
    return bool(driver.aliases(draft.name)[text] == driver.get(f"{draft.name}@{text}").version == 1)


def _reason(driver: Any, draft: ModelDraft, folder: Path, text: str) -> bool:
    alias = new_id("a")
    driver.set_alias(draft.name, alias, 1, None, text)
    return bool(driver.alias_history(draft.name, alias)[0].after["reason"] == text)


def _tag_key(driver: Any, draft: ModelDraft, folder: Path, text: str) -> bool:
    made = driver.register_model(folder, evolve(draft, run_id=new_id("run"), tags={text: "x"}))
    return bool(driver.get(made.selector).tags == {text: "x"} and driver.search(tags={text: "x"}) == [made])


def _texts(driver: Any, draft: ModelDraft, folder: Path, text: str) -> bool:
    """In all free texts at once, and in each alone where that is refused: a field that refuses hides the others."""
    fields: tuple[dict[str, Any], ...] = ({"tags": {"note": text}}, {"idempotency_key": text}, {"parameters": {text: text}})
    together = {name: value for one in fields for name, value in one.items()}
    refused: list[ForgeError] = []
    for one in (together, *fields):
        try:
            kept = _keeps(driver, draft, folder, **one)
        except ForgeError as error:
            refused.append(error)
            continue
        if one is together or not kept:
            return kept
    if len(refused) > len(fields):
        raise refused[0]
    return True


def _keeps(driver: Any, draft: ModelDraft, folder: Path, **fields: Any) -> bool:
    """Whether a new version has these fields, and is what is found by its tags."""
    made = driver.register_model(folder, evolve(draft, run_id=new_id("run"), **fields))
    kept = driver.get(made.selector)
    found = driver.search(tags=fields["tags"]) if "tags" in fields else [made]
    return found[0] == made == kept and all(getattr(kept, name) == value for name, value in fields.items())


def _run(driver: Any, draft: ModelDraft, folder: Path, text: str) -> bool:
    made = driver.register_model(folder, evolve(draft, run_id=text))
    return bool(driver.get(made.selector).run_id == text)


def _data(driver: Any, draft: ModelDraft, folder: Path, text: str) -> bool:
    driver.track_lineage(f"{draft.name}@1", [], [DatasetVersion(text, text, text)])
    return any(text in one for one in nodes(driver.lineage(f"{draft.name}@1"), "data"))


def _tenant(driver: Any, draft: ModelDraft, folder: Path, text: str) -> bool:
    with tenant(text):
        made = driver.register_model(folder, evolve(draft, run_id=new_id("run")))
        return bool((made.version, made.tenant) == (1, text) and driver.search() == [made] and contents(driver.checkout(made.selector)))


ATTEMPTS: tuple[Callable[[Any, ModelDraft, Path, str], bool], ...] = (
    _finds_nothing, _name, _alias, _reason, _tag_key, _texts, _run, _data, _tenant,
)  # fmt: skip
