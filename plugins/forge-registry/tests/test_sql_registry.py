"""What the registry promises, over SQLite and PostgreSQL alike."""

from __future__ import annotations

import hashlib
import json
import math
from datetime import UTC, datetime, timedelta

import pytest

from forge_core.faults import Conflict, InvalidInput, NotFound
from forge_core.records import LEGAL_MOVES, CodeVersion, DatasetVersion, ModelStatus
from forge_registry.tables import MODELS, VERSIONS

FAILED, VALIDATING, DEPLOYED, ARCHIVED = ModelStatus.FAILED, ModelStatus.VALIDATING, ModelStatus.DEPLOYED, ModelStatus.ARCHIVED


def test_versions_of_a_name_count_from_one(world):
    registry = world.registry()
    assert [world.publish(registry, "churn").version for _ in range(3)] == [1, 2, 3]
    assert world.publish(registry, "price").version == 1


def test_what_was_registered_is_read_back_equal(world, draft):
    registry = world.registry()
    told = draft(tags={"team": "risk"}, code=CodeVersion("abc", None, "env"), dependencies=("skops==0.16",))
    model = registry.register_model(world.folder(), told)
    assert world.registry().get("churn@1") == model
    assert (model.name, model.run_id, model.metrics, model.code) == (told.name, told.run_id, told.metrics, told.code)
    assert model.model_id.startswith("mdl_")
    assert model.created_at.tzinfo is UTC
    assert model.tenant == "default"


def test_any_text_of_a_record_is_read_back_equal(world, draft):
    told = draft(metrics={"a\x00b": 1.0, "é\u2028": 2.0}, parameters={"deep": [{"x": None, "y": [1, 2.5, True, "\x01\U0001f600"]}]})
    model = world.registry().register_model(world.folder(), told)
    assert world.registry().get("churn") == model
    assert (model.metrics, model.parameters) == (told.metrics, told.parameters)


def test_a_digest_is_over_the_sorted_path_size_and_sha256_of_the_files(world, draft):
    folder = world.folder(b"weights")
    rows = [
        [path, (folder / path).stat().st_size, hashlib.sha256((folder / path).read_bytes()).hexdigest()]
        for path in ("flavor/model.bin", "forge.json")
    ]
    expected = hashlib.sha256(json.dumps(rows, separators=(",", ":")).encode()).hexdigest()
    assert world.registry().register_model(folder, draft()).digest == expected


def test_the_same_run_and_bytes_give_the_same_version(world, draft):
    registry = world.registry()
    once = draft()
    first = registry.register_model(world.folder(b"a"), once)
    assert registry.register_model(world.folder(b"a"), once) == first
    assert registry.register_model(world.folder(b"b"), once).version == 2
    assert registry.register_model(world.folder(b"a"), draft()).version == 3


def test_latest_is_the_newest_that_is_neither_failed_nor_archived(world):
    registry = world.registry()
    world.publish(registry)
    world.publish(registry)
    world.publish(registry, status=FAILED)
    assert registry.get("churn").version == registry.get("churn@latest").version == 2
    registry.transition("churn@2", VALIDATING, ARCHIVED)
    assert registry.get("churn").version == 1
    registry.transition("churn@1", VALIDATING, FAILED)
    with pytest.raises(NotFound, match="churn@latest"):
        registry.get("churn")


@pytest.mark.parametrize("selector", ["churn@9", "churn@production", "other", "other@1"])
def test_what_does_not_exist_is_not_found(world, selector):
    registry = world.registry()
    world.publish(registry)
    for ask in (registry.get, registry.checkout, registry.lineage, registry.verify):
        with pytest.raises(NotFound):
            ask(selector)


def test_a_status_moves_as_the_table_of_legal_moves_says(world):
    registry = world.registry()
    for number, (start, path) in enumerate({VALIDATING: [], DEPLOYED: [DEPLOYED], ARCHIVED: [ARCHIVED], FAILED: [FAILED]}.items(), 1):
        for target in ModelStatus:
            name = f"m{number}_{target.value}"
            world.publish(registry, name)
            now = VALIDATING
            for step in path:
                registry.transition(f"{name}@1", now, step)
                now = step
            if target in LEGAL_MOVES[start]:
                assert registry.transition(f"{name}@1", start, target).status is target
                assert registry.get(f"{name}@1").status is target
            else:
                with pytest.raises(InvalidInput, match=f"from {start.value} to {target.value}"):
                    registry.transition(f"{name}@1", start, target)
                assert registry.get(f"{name}@1").status is start


def test_a_move_from_another_status_than_expected_is_a_conflict(world):
    registry = world.registry()
    world.publish(registry)
    registry.transition("churn@1", VALIDATING, DEPLOYED)
    with pytest.raises(Conflict, match="is deployed, not validating"):
        registry.transition("churn@1", VALIDATING, ARCHIVED)
    assert registry.get("churn@1").status is DEPLOYED


def test_a_move_changes_when_it_was_updated_and_nothing_else(world):
    registry = world.registry()
    before = world.publish(registry)
    after = registry.transition("churn@1", VALIDATING, DEPLOYED)
    assert after.updated_at > before.updated_at
    assert after.created_at == before.created_at
    assert registry.get("churn@1") == after


def test_no_version_is_published_as_deployed(world, draft):
    for status in (ModelStatus.TRAINING, DEPLOYED, ARCHIVED):
        with pytest.raises(InvalidInput, match="published as"):
            world.registry().register_model(world.folder(), draft(status=status))
    assert world.count(VERSIONS) == world.count(MODELS) == 0


def test_a_metric_that_json_cannot_say_is_refused(world, draft):
    for number in (math.nan, math.inf):
        with pytest.raises(InvalidInput, match="not JSON"):
            world.registry().register_model(world.folder(), draft(metrics={"auc": number}))


def test_search_is_newest_first_within_its_limit(world):
    registry = world.registry()
    made = [world.publish(registry, name).selector for name in ("a", "b", "a", "c", "a")]
    assert [model.selector for model in registry.search()] == made[::-1]
    assert [model.selector for model in registry.search("a")] == ["a@3", "a@2", "a@1"]
    assert [model.selector for model in registry.search(limit=2)] == made[:2:-1]
    for limit in (0, -1, True, 1.5, 10**9):
        with pytest.raises(InvalidInput):
            registry.search(limit=limit)


def test_search_by_tags_finds_what_has_all_of_them(world):
    registry = world.registry()
    world.publish(registry, tags={"team": "risk", "tier": "1"})
    world.publish(registry, tags={"team": "risk"})
    world.publish(registry, tags={"tier": "1", "note": "' OR 1=1 --"})
    assert [model.version for model in registry.search(tags={"team": "risk"})] == [2, 1]
    assert [model.version for model in registry.search(tags={"team": "risk", "tier": "1"})] == [1]
    assert [model.version for model in registry.search(tags={"note": "' OR 1=1 --"})] == [3]
    assert registry.search(tags={"team": "' OR 1=1 --"}) == []


def test_R9_injected_names_tags_and_limits_answer_as_an_oracle_in_memory(world):
    registry = world.registry()
    hostile = ["x' OR '1'='1", "%", "_", "a;DROP TABLE forge_models", "\\", '"', "{}", "$ne"]
    kept = [world.publish(registry, f"m{number % 2}", tags={"note": value}) for number, value in enumerate(hostile)]
    for value in [*hostile, "absent", ""]:
        found = [model.selector for model in registry.search(tags={"note": value})]
        assert found == [model.selector for model in kept if model.tags["note"] == value]
        with pytest.raises(InvalidInput):
            registry.search(tags={f"{value}' --": "x"})
        with pytest.raises(InvalidInput):
            registry.search(f"{value}' --")
    assert len(registry.search()) == len(hostile)


def test_an_alias_moves_from_what_is_expected_only(world):
    registry = world.registry()
    for _ in range(3):
        world.publish(registry)
    registry.set_alias("churn", "production", 1, None, "first")
    assert registry.get("churn@production").version == 1
    with pytest.raises(Conflict):
        registry.set_alias("churn", "production", 2, None)
    with pytest.raises(Conflict):
        registry.set_alias("churn", "production", 3, 2)
    registry.set_alias("churn", "production", 3, 1)
    with pytest.raises(Conflict):
        registry.set_alias("churn", "staging", 2, 1)
    assert registry.aliases("churn") == {"production": 3}


def test_an_alias_points_at_versions_that_exist(world):
    registry = world.registry()
    world.publish(registry)
    with pytest.raises(NotFound, match="churn@2"):
        registry.set_alias("churn", "production", 2, None)
    with pytest.raises(InvalidInput, match="latest"):
        registry.set_alias("churn", "latest", 1, None)
    assert registry.aliases("churn") == {}


def test_an_alias_s_history_tells_who_moved_it_when_and_why(world, tenant):
    registry = world.registry()
    with tenant("default", "ann"):
        world.publish(registry)
        world.publish(registry)
        registry.set_alias("churn", "production", 1, None, "first")
    with tenant("default", "bob"):
        registry.set_alias("churn", "production", 2, 1, "better")
    first, second = registry.alias_history("churn", "production")
    assert (first.actor, first.before, first.after) == ("ann", None, {"version": 1, "reason": "first"})
    assert (second.actor, second.before, second.after) == ("bob", {"version": 1}, {"version": 2, "reason": "better"})
    assert first.at <= second.at
    assert second.resource == "model:churn@production"


def test_alias_at_tells_where_it_pointed_then(world):
    registry = world.registry()
    world.publish(registry)
    world.publish(registry)
    registry.set_alias("churn", "production", 1, None)
    registry.set_alias("churn", "production", 2, 1)
    first, second = (event.at for event in registry.alias_history("churn", "production"))
    tick = timedelta(microseconds=1)
    assert registry.alias_at("churn", "production", first - tick) is None
    assert registry.alias_at("churn", "production", first) == registry.alias_at("churn", "production", second - tick) == 1
    assert registry.alias_at("churn", "production", second) == registry.alias_at("churn", "production", datetime.now(UTC)) == 2
    with pytest.raises(InvalidInput, match="zone"):
        registry.alias_at("churn", "production", datetime(2026, 1, 1))


def test_lineage_goes_up_to_run_code_data_and_parents(world):
    registry = world.registry()
    base = world.publish(registry, "base")
    model = world.publish(registry, code=CodeVersion("abc", "d1", "env"), parents=("base",))
    assert model.parents == ("base@1",)
    registry.track_lineage("churn@1", [], [DatasetVersion("flights", "7", "abc", 10)])
    registry.track_lineage("churn@1", ["base@1"], [DatasetVersion("flights", "7", "abc", 10)])
    tree = registry.lineage("churn@1")
    assert [(edge.kind, edge.node) for edge in tree.edges] == [
        ("run", model.run_id), ("code", "abc+d1"), ("data", "flights@7"), ("model", "base@1"),
    ]  # fmt: skip
    assert [(edge.kind, edge.node) for edge in tree.edges[-1].edges] == [("run", base.run_id), ("data", "data")]


def test_lineage_goes_down_to_the_versions_made_from_it(world):
    registry = world.registry()
    for name, parents in (("a", ()), ("b", ("a",)), ("c", ("a", "b")), ("d", ("c",))):
        world.publish(registry, name, parents=parents)
    tree = registry.lineage("a@1", upward=False)
    assert [edge.node for edge in tree.edges] == ["b@1", "c@1"]
    assert [edge.node for edge in tree.edges[0].edges] == ["c@1"]
    assert [edge.node for edge in tree.edges[0].edges[0].edges] == ["d@1"]
    assert tree.edges[1].edges == ()  # spelt out once


def test_nothing_comes_from_itself(world):
    registry = world.registry()
    for name, parents in (("a", ()), ("b", ("a",)), ("c", ("b",))):
        world.publish(registry, name, parents=parents)
    for parent in ("a@1", "b@1", "c@1"):
        with pytest.raises(InvalidInput, match="comes from"):
            registry.track_lineage("a@1", [parent], [])
    with pytest.raises(NotFound):
        registry.track_lineage("a@1", ["nobody@1"], [])
    with pytest.raises(NotFound):
        world.publish(registry, "d", parents=("nobody@1",))


def test_a_long_line_of_parents_is_cut_not_crashed(world, monkeypatch):
    monkeypatch.setattr("forge_registry.ancestry._DEEPEST", 4)
    registry = world.registry()
    world.publish(registry, "m0", b"x")
    for number in range(1, 8):
        world.publish(registry, f"m{number}", b"x", parents=(f"m{number - 1}@1",))
    tree, depth = registry.lineage("m7@1"), 1
    while tree.edges and tree.edges[-1].kind == "model":
        tree, depth = tree.edges[-1], depth + 1
    assert depth == 5


def test_R6_one_idempotency_key_makes_one_version_and_is_bound_to_its_body(world, draft):
    registry = world.registry()
    told, folder = draft(idempotency_key="k"), world.folder(b"a")
    assert {registry.register_model(folder, told).version for _ in range(5)} == {1}
    for other_draft, other_folder in (
        (draft(idempotency_key="k"), folder),
        (told, world.folder(b"b")),
        (draft("price", idempotency_key="k"), folder),
    ):
        with pytest.raises(Conflict, match="idempotency key"):
            registry.register_model(other_folder, other_draft)
    assert [model.version for model in registry.search()] == [1]


def test_another_tenant_s_models_do_not_exist(world, tenant, draft):
    registry = world.registry()
    names = ["a", "ab", "a/", "A", "a%2Fb", "../a", "ä"]
    told, folder = draft(idempotency_key="k", tags={"t": "1"}), world.folder(b"shared")
    for name in names:
        with tenant(name):
            model = registry.register_model(folder, told)
            assert (model.version, model.tenant) == (1, name)
            registry.set_alias("churn", "production", 1, None)
            world.publish(registry, f"only-{names.index(name)}")
    for name in names:
        with tenant(name):
            assert {model.tenant for model in registry.search()} == {name}
            assert len(registry.search()) == 2
            assert len(registry.alias_history("churn", "production")) == 1
            for other in set(range(len(names))) - {names.index(name)}:
                for ask in (registry.get, registry.checkout, registry.lineage, registry.verify):
                    with pytest.raises(NotFound):
                        ask(f"only-{other}@1")
                with pytest.raises(NotFound):
                    registry.set_alias(f"only-{other}", "x", 1, None)
                with pytest.raises(NotFound):
                    registry.track_lineage("churn@1", [f"only-{other}@1"], [])
    with tenant("nobody"):
        assert registry.search() == registry.verify() == registry.search(tags={"t": "1"}) == []


def test_tenants_share_no_file(local, tenant, draft):
    registry, folder = local.registry(), local.folder(b"same")
    for name in ("a", "b", "../a", "A"):
        with tenant(name):
            registry.register_model(folder, draft())
            assert registry.checkout("churn@1").is_dir()
    folders = sorted(path.name for path in (local.root / "artifacts").iterdir())
    assert len(folders) == 4
    assert {"a", "b"} < set(folders)
    assert len(local.blobs()) == 8
    assert len(list((local.root / ".forge" / "models").iterdir())) == 4


def test_R8_a_random_walk_of_moves_never_differs_from_the_table(local, seed):
    _walk(local, seed, 400)


@pytest.mark.soak
def test_R8_ten_thousand_moves_never_differ_from_the_table(local, seed):
    _walk(local, seed, 10_000)


def _walk(world, seed, steps):
    registry = world.registry()
    truth = {world.publish(registry).version: VALIDATING for _ in range(5)}
    for _ in range(steps):
        version, expected, to = seed.choice(list(truth)), seed.choice(list(ModelStatus)), seed.choice(list(ModelStatus))
        try:
            registry.transition(f"churn@{version}", expected, to)
        except InvalidInput:
            assert to not in LEGAL_MOVES[expected]
        except Conflict:
            assert truth[version] is not expected
        else:
            assert to in LEGAL_MOVES[expected]
            assert truth[version] is expected
            truth[version] = to
        assert registry.get(f"churn@{version}").status is truth[version]
        live = [number for number, status in truth.items() if status in {VALIDATING, DEPLOYED}]
        assert [model.version for model in registry.search("churn")] == sorted(truth, reverse=True)
        if live:
            assert registry.get("churn").version == max(live)
