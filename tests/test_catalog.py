"""What is installed is read from metadata; every offer that cannot be chosen says what to do."""

from __future__ import annotations

import shutil
import sys
import zipfile
from importlib.metadata import Distribution

import pytest

from forge_core.catalog import Catalog, Policy, fits, normal
from forge_core.faults import ConfigError
from forge_core.roles import KNOWN, ROLES

TRAINER = {"forge.trainers": {"forest": "canary_of_the_catalog:Forest"}}
CANARY = "raise SystemExit('the catalog imported a plugin')"


def state(catalog: Catalog, distribution: str) -> str:
    return next(ref.state for ref in catalog.refs if ref.distribution == distribution)


def test_an_installed_offer_is_ready_with_its_distribution_version_and_summary(fake_distribution):
    fake_distribution.add("Acme_Trees", "2.5", TRAINER, canary_of_the_catalog=CANARY)
    ref = Catalog.scan().get("trainer", "forest")
    assert (ref.distribution, ref.version, ref.state, ref.summary) == ("acme-trees", "2.5", "ready", "About Acme_Trees.")


def test_a_scan_imports_nothing_foreign(fake_distribution):
    fake_distribution.add("acme", entries=TRAINER, canary_of_the_catalog=CANARY)
    Catalog.scan()
    assert "canary_of_the_catalog" not in sys.modules


@pytest.mark.parametrize("spelling", ["acme-trees", "ACME_trees", "acme.trees", "Acme--Trees"])
def test_a_distribution_is_denied_by_any_spelling_of_its_name(fake_distribution, spelling):
    fake_distribution.add("Acme.Trees", entries=TRAINER)
    catalog = Catalog.scan(Policy(deny=(spelling,)))
    assert state(catalog, "acme-trees") == "denied"
    with pytest.raises(ConfigError, match=r"trainer 'forest' of acme-trees 1\.0 is denied") as caught:
        catalog.get("trainer", "forest")
    assert caught.value.remedy == "take acme-trees out of plugins.deny, or add it to plugins.allow"


def test_the_environment_denies_beside_the_project(fake_distribution, monkeypatch):
    fake_distribution.add("acme", entries=TRAINER)
    fake_distribution.add("other", entries={"forge.trainers": {"tree": "other:Tree"}})
    monkeypatch.setenv("FORGE_PLUGINS_DENY", " acme , ,")
    catalog = Catalog.scan(Policy(deny=("other",)))
    assert (state(catalog, "acme"), state(catalog, "other")) == ("denied", "denied")


def test_what_is_not_allowed_is_denied_and_the_kernel_is_always_allowed(fake_distribution):
    fake_distribution.add("acme", entries=TRAINER)
    fake_distribution.add("other", entries={"forge.trainers": {"tree": "other:Tree"}})
    catalog = Catalog.scan(Policy(allow=("Other",)))
    assert (state(catalog, "acme"), state(catalog, "other"), state(catalog, "forge-kernel")) == ("denied", "ready", "ready")


def test_an_empty_allow_list_allows_nobody_but_the_kernel(fake_distribution):
    fake_distribution.add("acme", entries=TRAINER)
    assert {ref.distribution for ref in Catalog.scan(Policy(allow=())).refs if ref.state == "ready"} == {"forge-kernel"}


def test_two_offers_of_one_name_clash_and_the_error_names_both_and_how_to_deny_one(fake_distribution):
    fake_distribution.add("acme", "1.1", TRAINER)
    fake_distribution.add("bolt", "2.2", {"forge.trainers": {"forest": "bolt:Forest", "tree": "bolt:Tree"}})
    catalog = Catalog.scan()
    with pytest.raises(ConfigError, match=r"trainer 'forest' is offered by acme 1\.1 and bolt 2\.2") as caught:
        catalog.get("trainer", "forest")
    assert caught.value.remedy == "deny one of them: plugins: {deny: [bolt]}"
    assert catalog.get("trainer", "tree").distribution == "bolt"


def test_denying_one_of_two_settles_a_clash(fake_distribution):
    fake_distribution.add("acme", entries=TRAINER)
    fake_distribution.add("bolt", entries=TRAINER)
    assert Catalog.scan(Policy(deny=("bolt",))).get("trainer", "forest").distribution == "acme"


def test_one_name_in_two_roles_is_no_clash(fake_distribution):
    fake_distribution.add("acme", entries={"forge.trainers": {"xg": "a:A"}, "forge.flavors": {"xg": "a:B"}})
    assert {Catalog.scan().get(role, "xg").state for role in ("trainer", "flavor")} == {"ready"}


def test_what_the_kernel_offers_cannot_be_replaced(fake_distribution):
    fake_distribution.add("acme", entries={"forge.auth": {"none": "acme:OpenHouse"}})
    catalog = Catalog.scan()
    assert catalog.get("auth", "none").distribution == "forge-kernel"
    assert [(ref.state, ref.reason) for ref in catalog.refs if ref.distribution == "acme"] == [("clash", "'none' is the kernel's own")]


def test_a_distribution_named_like_the_kernel_is_denied_to_nobody_but_never_read_twice(fake_distribution, tmp_path):
    fake_distribution.add("acme", "1.0", TRAINER)
    again = type(fake_distribution)(tmp_path / "again")
    again.add("acme", "0.9", {"forge.trainers": {"forest": "old:Forest"}})
    catalog = Catalog.scan(path=[str(fake_distribution.folder), str(again.folder)])
    assert [(ref.version, ref.state) for ref in catalog.refs] == [("1.0", "ready")]


@pytest.mark.parametrize(
    ("wants", "fitting"),
    [
        (">=1.0,<2", True), (">=1,<1.0.1", True), (">=1.0.1,<2", False), (">=0.1,<1", False), ("<1.0", False), ("~=1.0", True), ("~=0.9", False),
        ("!=1.0.0", False), ("!=1.0.1", True), ("==1.*", True), ("==1.0.0", True), ("===1.0.0", True), ("<=1", True), (">1", False),
        (">=1.0rc1", True), (">=one", False),
    ],
)  # fmt: skip
def test_compatibility_follows_the_plugins_own_requirement(fake_distribution, wants, fitting):
    assert fits(wants, "1.0.0") is fitting
    fake_distribution.add("acme", entries=TRAINER, requires=(f"forge-kernel{wants}",))
    assert state(Catalog.scan(), "acme") == ("ready" if fitting else "incompatible")


@pytest.mark.parametrize(
    "requirement", ["forge-kernel (>=3)", "forge_kernel[arrow]>=3", "Forge.Kernel >= 3", "forge-kernel>=3; python_version >= '3'"]
)
def test_a_requirement_is_read_in_every_spelling_and_the_error_tells_both_versions(fake_distribution, requirement):
    fake_distribution.add("acme", entries=TRAINER, requires=("numpy", requirement))
    with pytest.raises(ConfigError, match=r"incompatible: wants forge-kernel>=3, this is forge-kernel 1\.0\.0") as caught:
        Catalog.scan().get("trainer", "forest")
    assert caught.value.remedy == "pip install -U acme forge-kernel"


def test_what_only_an_extra_asks_for_does_not_count(fake_distribution):
    fake_distribution.add("acme", entries=TRAINER, requires=("forge-kernel>=9; extra == 'next'", "forge-kernel-tools>=9"))
    assert state(Catalog.scan(), "acme") == "ready"


@pytest.mark.parametrize(("place", "distribution"), KNOWN.items())
def test_a_missing_driver_of_this_repository_says_what_to_install(place, distribution):
    assert place[0] in ROLES
    with pytest.raises(ConfigError) as caught:
        Catalog(()).get(*place)
    assert caught.value.remedy == f"pip install {distribution}"


def test_a_mistyped_name_is_answered_with_the_nearest_and_a_strange_one_with_what_there_is(fake_distribution):
    fake_distribution.add("acme", entries=TRAINER)
    with pytest.raises(ConfigError, match="no trainer is called 'forst'") as near:
        Catalog.scan().get("trainer", "forst")
    with pytest.raises(ConfigError) as strange:
        Catalog.scan().get("trainer", "zzz")
    with pytest.raises(ConfigError) as none:
        Catalog(()).get("trainer", "zzz")
    assert (near.value.remedy, strange.value.remedy, none.value.remedy) == (
        "did you mean 'forest'?",
        "installed: forest",
        "installed: none",
    )


def test_without_plugins_only_the_kernels_own_are_there(fake_distribution):
    fake_distribution.add("acme", entries=TRAINER)
    assert {ref.distribution for ref in Catalog.scan(plugins=False).refs} == {"forge-kernel"}


def test_groups_of_others_and_metadata_without_a_name_do_no_harm(fake_distribution):
    fake_distribution.add("acme", entries={"forge.unheard_of": {"x": "a:B"}, "console_scripts": {"acme": "a:main"}})
    info = fake_distribution.folder / "broken-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("")
    (info / "entry_points.txt").write_text("[forge.trainers]\nodd = odd:Odd\n")
    assert [(ref.name, ref.distribution) for ref in Catalog.scan(path=[str(fake_distribution.folder)]).refs] == [("odd", "unknown")]


def test_names_are_normalised_as_pep_503_does():
    assert {normal(name) for name in ("Forge.Lake", "forge_lake", "FORGE--lake", "forge-_.lake")} == {"forge-lake"}


def test_a_distribution_in_an_archive_is_found(fake_distribution, tmp_path, monkeypatch):
    info = fake_distribution.add("forge-zipped", entries=TRAINER)
    with zipfile.ZipFile(tmp_path / "zipped.whl", "w") as archive:
        for file in info.iterdir():
            archive.write(file, f"{info.name}/{file.name}")
    shutil.rmtree(info)
    assert not any(ref.distribution == "forge-zipped" for ref in Catalog.scan().refs)
    monkeypatch.syspath_prepend(str(tmp_path / "zipped.whl"))
    assert state(Catalog.scan(), "forge-zipped") == "ready"


def test_a_distribution_that_another_finder_finds_is_found(fake_distribution, monkeypatch):
    info = fake_distribution.add("forge-elsewhere", entries=TRAINER)
    elsewhere = fake_distribution.folder.parent / "elsewhere"
    elsewhere.mkdir()
    info.rename(elsewhere / info.name)

    class Finder:
        @staticmethod
        def find_spec(*_):
            return None

        @staticmethod
        def find_distributions(_context):
            return [Distribution.at(elsewhere / info.name)]

    assert not any(ref.distribution == "forge-elsewhere" for ref in Catalog.scan().refs)
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, Finder])
    assert state(Catalog.scan(), "forge-elsewhere") == "ready"


def test_metadata_that_cannot_be_read_hides_nothing_else(fake_distribution):
    fake_distribution.add("forge-acme", entries=TRAINER)
    broken = fake_distribution.add("forge-broken", entries={"forge.trainers": {"other": "x:Y"}})
    (broken / "entry_points.txt").write_bytes(b"[forge.trainers]\n\xff = x:Y\n")
    assert state(Catalog.scan(), "forge-acme") == "ready"
