"""What metadata, forge.yaml and the last opening tell: each finding with its cause and remedy, and nothing imported."""

from __future__ import annotations

import sys

import pytest

from forge_core import config
from forge_core.catalog import Catalog, Policy
from forge_core.diagnosis import diagnose, missing
from forge_core.faults import Fault

CANARY = "raise SystemExit('the diagnosis imported a plugin')"


def findings(project=None, *faults, policy=None, **how):
    catalog = Catalog.scan(policy or Policy())
    return [
        (one.distribution, one.version, one.level, one.where, one.cause, one.remedy) for one in diagnose(catalog, project, faults, **how)
    ]


def test_an_ordinary_plugin_has_no_finding_and_is_not_imported(fake_distribution):
    entries = {"forge.plugins": {"acme": "canary_a"}, "forge.trainers": {"acme": "canary_a:T"}, "forge.commands": {"acme": "canary_a:app"}}
    requires = ("forge-kernel>=1.0,<2", "attrs>=20", "pytest ; extra == 'tests'", "nothing-such ; python_version < '3'")
    fake_distribution.add("forge-acme", entries={**entries, "forge.contracts": {"acme": "canary_a"}}, requires=requires, canary_a=CANARY)
    assert findings() == []
    assert "canary_a" not in sys.modules


@pytest.mark.parametrize(
    ("group", "meant"),
    [
        ("forge.trainer", "forge.trainers"),
        ("forge_trainers", "forge.trainers"),
        ("Forge.Plugins", "forge.plugins"),
        ("forge-command", "forge.commands"),
    ],
)
def test_a_group_that_is_nearly_ours_is_named_with_the_right_one(fake_distribution, group, meant):
    fake_distribution.add("forge-acme", entries={group: {"a": "m:A"}}, requires=())
    cause, remedy = f"the entry-point group {group!r} means nothing to Forge", f"its author should write {meant!r}"
    assert findings() == [("forge-acme", "1.0", "error", group, cause, remedy)]


def test_another_programs_group_is_left_alone(fake_distribution):
    fake_distribution.add("minecraft", entries={"forge.biomes": {"a": "m:A"}, "forgery.plugins": {"a": "m:A"}}, requires=())
    assert findings() == []
    fake_distribution.add("forge-acme", entries={"forge.biomes": {"a": "m:A"}})  # a plugin of this kernel
    assert [(one[0], one[3]) for one in findings()] == [("forge-acme", "forge.biomes")]


@pytest.mark.parametrize(
    ("group", "target", "cause", "remedy"),
    [
        ("trainers", "here", "'here' names a module and no object in it: it is written module:object", "its author should write it right: a = module:object"),
        ("commands", "here", "'here' names a module and no object in it: it is written module:object", "its author should write it right: a = module:object"),
        ("trainers", "here:A B", "'here:A B' is no target: it is written module:object", "its author should write it right: a = module:object"),
        ("plugins", "not-a-module", "'not-a-module' is no target: it is written module:object", "its author should write it right: a = module:object"),
        ("plugins", "gone", "'gone' cannot be imported: there is no module gone", "pip install --force-reinstall forge-acme; until then: forge plugins disable forge-acme"),
        ("trainers", "pack.gone.x:A", "'pack.gone.x:A' cannot be imported: there is no module pack.gone", "pip install --force-reinstall forge-acme; until then: forge plugins disable forge-acme"),
        ("trainers", "here.x:A", "'here.x:A' cannot be imported: there is no module here.x", "pip install --force-reinstall forge-acme; until then: forge plugins disable forge-acme"),
    ],
)  # fmt: skip
def test_a_target_that_cannot_be_right_is_named_without_importing_a_parent(fake_distribution, group, target, cause, remedy):
    package = fake_distribution.folder / "pack"
    package.mkdir()
    (package / "__init__.py").write_text(CANARY)
    fake_distribution.add("forge-acme", entries={f"forge.{group}": {"a": target}}, here=CANARY)
    role = group.removesuffix("s")
    assert findings() == [("forge-acme", "1.0", "error", f"{role} a", cause, remedy)]
    assert not {"pack", "here"} & set(sys.modules)
    left = [] if "there is no module" in cause else [cause]
    assert [one[4] for one in findings(probed=True)] == left  # where it is imported, that tells better


@pytest.mark.parametrize("target", ["here:A", "here:A.B", "here:A [extra]", "pack.below:A", "space.below:A", "json.decoder:A"])
def test_a_target_that_may_be_right_is_no_finding(fake_distribution, target):
    for folder in ("pack", "space"):  # the second has no __init__: a namespace
        (fake_distribution.folder / folder).mkdir()
        (fake_distribution.folder / folder / "below.py").write_text(CANARY)
    (fake_distribution.folder / "pack" / "__init__.py").write_text(CANARY)
    fake_distribution.add("forge-acme", entries={"forge.trainers": {"a": target}}, here=CANARY)
    assert findings() == []


def test_a_namespace_below_a_namespace_is_not_judged(fake_distribution):
    (fake_distribution.folder / "outer" / "inner").mkdir(parents=True)
    (fake_distribution.folder / "outer" / "inner" / "module.py").write_text(CANARY)
    assert missing("outer.inner.module") == ""
    assert missing("outer.absent.module") == "outer.absent"


def test_a_command_of_the_kernels_name_is_never_reached(fake_distribution):
    fake_distribution.add("forge-acme", entries={"forge.commands": {"train": "here:app"}}, here=CANARY)
    cause = "`forge train` is the kernel's own command: this one is never reached"
    expected = ("forge-acme", "1.0", "error", "command train", cause, "its author should give it another name")
    assert findings(core=("train",)) == [expected]


@pytest.mark.parametrize(
    ("requirement", "cause", "remedy"),
    [
        ("nothing-such", "requires nothing-such, which is not installed", "pip install nothing-such"),
        ("Nothing_Such[x]>=1.2", "requires nothing-such, which is not installed", "pip install 'nothing-such>=1.2'"),
        ("nothing-such (>=1.2) ; python_version > '3'", "requires nothing-such, which is not installed", "pip install 'nothing-such>=1.2'"),
        ("other<2", "requires other<2, 2.5 is installed", "pip install 'other<2'"),
        ("other[x] ~= 1.4", "requires other~=1.4, 2.5 is installed", "pip install 'other~=1.4'"),
        ("other==1.*", "requires other==1.*, 2.5 is installed", "pip install 'other==1.*'"),
        ("other @ https://example.org/other.whl", "", ""),
        ("other>=2,!=2.4", "", ""),
    ],
)
def test_a_requirement_that_is_not_met_is_named(fake_distribution, requirement, cause, remedy):
    fake_distribution.add("other", "2.5")
    fake_distribution.add("forge-acme", entries={"forge.trainers": {"a": "here:A"}}, requires=("forge-kernel>=1", requirement), here=CANARY)
    assert findings() == ([("forge-acme", "1.0", "error", "requirements", cause, remedy)] if cause else [])


def test_a_plugin_that_requires_a_denied_one_is_warned_of(fake_distribution):
    fake_distribution.add("forge-base", entries={"forge.trainers": {"b": "here:A"}}, here=CANARY)
    fake_distribution.add("forge-acme", entries={"forge.trainers": {"a": "here:A"}}, requires=("forge-kernel>=1", "forge-base"))
    remedy = "forge plugins enable forge-base, or forge plugins disable forge-acme"
    expected = ("forge-acme", "1.0", "warning", "requirements", "requires forge-base, which is denied", remedy)
    assert findings(policy=Policy(deny=("forge_base",))) == [expected]


def test_two_offers_of_one_name_are_both_named(fake_distribution):
    for name in ("forge-one", "forge-two"):
        fake_distribution.add(name, entries={"forge.trainers": {"same": "here:A"}}, here=CANARY)
    fake_distribution.add("forge-usurper", entries={"forge.auth": {"none": "here:A"}})
    assert findings() == [
        (
            "forge-one", "1.0", "error", "trainer same", "'same' is also offered by forge-two: neither can be chosen",
            "disable one of them: forge plugins disable forge-one",
        ),
        (
            "forge-two", "1.0", "error", "trainer same", "'same' is also offered by forge-one: neither can be chosen",
            "disable one of them: forge plugins disable forge-two",
        ),
        (
            "forge-usurper", "1.0", "error", "auth none", "'none' is the kernel's own, and cannot be replaced",
            "its author should give it another name",
        ),
    ]  # fmt: skip


def test_one_for_another_kernel_has_that_finding_alone(fake_distribution):
    entries = {"forge.plugins": {"a": "gone"}, "forge.trainers": {"a": "gone"}}
    fake_distribution.add("forge-acme", entries=entries, requires=("forge-kernel>=99", "nothing-such"))
    cause = "wants forge-kernel>=99, this is forge-kernel 1.0.0"
    remedy = "pip install -U forge-acme forge-kernel; until then: forge plugins disable forge-acme"
    assert findings() == [("forge-acme", "1.0", "error", "catalog", cause, remedy)]


def test_a_denied_one_is_no_finding_whatever_is_wrong_with_it(fake_distribution):
    fake_distribution.add(
        "forge-acme", entries={"forge.plugins": {"a": "gone"}, "forge.trainer": {"a": "gone"}}, requires=("nothing-such",)
    )
    fault = Fault("import", "forge-acme", "1.0", "ValueError: boom", "")
    assert findings(None, fault, policy=Policy(deny=("forge-acme",))) == []


def test_names_in_the_lists_that_mean_nothing_are_named_with_their_places(fake_distribution, project):
    fake_distribution.add("forge-acme", entries={"forge.trainers": {"a": "here:A"}}, here=CANARY)
    folder = project("plugins:\n  deny: [forge-acne, attrs]\n  allow: [forge-acme, zzz]\n  require: [Forge_Amce, yyy, forge-acme]\n")
    policy = Policy(("forge-acne", "attrs"), ("forge-acme", "zzz"), ("Forge_Amce", "yyy", "forge-acme"))
    assert findings(config.load(folder), policy=policy) == [
        ("attrs", "", "warning", "forge.yaml:2:22: plugins.deny.1", "attrs offers nothing to Forge", "take it out of plugins.deny"),
        ("forge-acne", "", "warning", "forge.yaml:2:10: plugins.deny.0", "forge-acne is not installed", "did you mean forge-acme?"),
        ("forge-amce", "", "error", "forge.yaml:4:13: plugins.require.0", "Forge_Amce is not installed", "did you mean forge-acme?"),
        ("yyy", "", "error", "forge.yaml:4:25: plugins.require.1", "yyy is not installed", "pip install yyy"),
        ("zzz", "", "warning", "forge.yaml:3:23: plugins.allow.1", "zzz is not installed", "take it out of plugins.allow"),
    ]


def test_a_name_that_the_environment_denies_is_shown_as_such(monkeypatch):
    monkeypatch.setenv("FORGE_PLUGINS_DENY", "zzz")
    assert ("zzz", "", "warning", "FORGE_PLUGINS_DENY", "zzz is not installed", "take it out of plugins.deny") in findings()


@pytest.mark.parametrize(
    ("policy", "remedy"),
    [
        (Policy(deny=("forge-acme",), require=("forge-acme",)), "forge plugins enable forge-acme"),
        (Policy(allow=(), require=("forge-acme",)), "add it to plugins.allow: forge-acme"),
    ],
)
def test_one_that_is_required_and_may_not_be_loaded_is_an_error(fake_distribution, policy, remedy):
    entries = {"forge.trainers": {"a": "here:A"}, "forge.flavors": {"a": "here:A"}}
    fake_distribution.add("forge-acme", entries=entries, here=CANARY)
    (found,) = findings(policy=policy)
    assert (found[0], found[2], found[5]) == ("forge-acme", "error", remedy)
    assert "nothing may be changed" in found[4]


def test_a_driver_that_forge_yaml_names_and_nobody_offers_is_named_with_its_place(fake_distribution, project):
    fake_distribution.add("forge-acme", entries={"forge.secrets": {"safe": "here:A"}}, here=CANARY)
    folder = project("infrastructure:\n  registry: {backend: mlflow}\n  auth: {type: '${env:AUTH}'}\n  secrets: {type: sage}\n")
    assert findings(config.load(folder)) == [
        ("", "", "error", "forge.yaml:2:3: infrastructure.registry", "no registry is called 'mlflow'", "pip install forge-mlflow"),
        ("", "", "error", "forge.yaml:4:3: infrastructure.secrets", "no secrets is called 'sage'", "did you mean 'safe'?"),
    ]


def test_defaults_are_nobodys_mistake_until_they_are_written_down(project):
    assert findings(config.load(project("infrastructure: {}\n"))) == []
    folder = project("infrastructure:\n  registry: {type: sql}\n")
    (found,) = findings(config.load(folder))
    assert found[3] == "forge.yaml:2:3: infrastructure.registry"
    assert "sql" in found[4]


def test_faults_of_the_last_opening_are_shown_for_the_version_that_is_here(fake_distribution):
    fake_distribution.plugin("forge-acme", CANARY)
    now, old = (Fault("import", "forge-acme", version, "ValueError: boom", "mend it") for version in ("1.0", "0.9"))
    gone, told = Fault("import", "forge-gone", "1.0", "x", "y"), Fault("forge_run_finished", "forge-acme", "1.0", "KeyError", "z")
    assert findings(None, now, old, gone, told) == [
        ("forge-acme", "1.0", "error", "forge_run_finished", "KeyError", "z"),
        ("forge-acme", "1.0", "error", "import", "ValueError: boom", "mend it"),
    ]
    assert [one[3] for one in findings(None, now, told, probed=True)] == ["forge_run_finished"]  # an import of now tells better


def test_a_module_that_is_gone_is_said_once(fake_distribution):
    fake_distribution.add("forge-acme", entries={"forge.plugins": {"a": "gone"}})
    fault = Fault("import", "forge-acme", "1.0", "ModuleNotFoundError: No module named 'gone'", "reinstall it")
    assert [one[3] for one in findings(None, fault)] == ["plugin a"]


def test_an_entry_points_file_that_is_none_stops_nothing(fake_distribution):
    info = fake_distribution.add("forge-acme", entries={"forge.trainers": {"a": "here:A"}}, here=CANARY)
    (info / "entry_points.txt").write_text("[forge.trainers]\nno equals sign\n[forge.trainer]\n = \n")
    assert findings() == []
