"""Settings are structured strictly and collaborators found by annotation; every error names its place."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Literal

import pytest
from attrs import field, frozen

from forge_core.contracts import Flavor, ModelRegistry, Monitor
from forge_core.faults import ConfigError, ForgeError
from forge_core.operations import bare
from forge_core.records import Project
from forge_core.references import Resolved
from forge_core.wiring import build, settings_class, structure


@frozen
class Inner:
    depth: int
    ratio: float = 0.5


@frozen
class Everything:
    flag: bool = False
    number: int = 1
    share: float = 0.5
    text: str = ""
    names: tuple[str, ...] = ()
    many: Sequence[int] = ()
    inner: Inner | None = None
    inners: tuple[Inner, ...] = ()
    by_name: Mapping[str, Inner] = field(factory=dict)
    free: Mapping[str, object] = field(factory=dict)
    mode: Literal["fast", "slow"] = "fast"
    maybe: int | None = None


@pytest.mark.parametrize(
    ("data", "value"),
    [
        ({"flag": True}, True), ({"number": 7}, 7), ({"share": 1}, 1.0), ({"share": 0.25}, 0.25), ({"text": "x"}, "x"), ({"names": ["a", "b"]}, ("a", "b")),
        ({"many": [1, 2]}, (1, 2)), ({"inner": {"depth": 2}}, Inner(2)), ({"inners": [{"depth": 1}]}, (Inner(1),)),
        ({"by_name": {"a": {"depth": 3}}}, {"a": Inner(3)}), ({"free": {"x": [1, "y"]}}, {"x": [1, "y"]}), ({"mode": "slow"}, "slow"),
        ({"maybe": None}, None), ({"maybe": 3}, 3),
    ],
)  # fmt: skip
def test_what_is_of_the_right_type_is_taken(data, value):
    assert getattr(structure(data, Everything), next(iter(data))) == value


@pytest.mark.parametrize(
    ("data", "cause"),
    [
        ({"flag": "false"}, "flag: expected true or false, got 'false'"),
        ({"flag": 0}, "flag: expected true or false, got 0"),
        ({"number": 1.9}, "number: expected a whole number, got 1.9"),
        ({"number": "5"}, "number: expected a whole number, got '5'"),
        ({"number": True}, "number: expected a whole number, got True"),
        ({"number": None}, "number: expected a whole number, got nothing"),
        ({"share": "0.5"}, "share: expected a number, got '0.5'"),
        ({"share": True}, "share: expected a number, got True"),
        ({"text": 5}, "text: expected text, got 5"),
        ({"text": ["a"]}, "text: expected text, got a list"),
        ({"names": "accuracy"}, "names: expected a list, got 'accuracy'"),
        ({"names": {"a": 1}}, "names: expected a list, got a mapping"),
        ({"many": [1, "2", 3.5]}, "many.1: expected a whole number, got '2'\nmany.2: expected a whole number, got 3.5"),
        ({"inner": [1]}, "inner: expected a mapping, got a list"),
        ({"inner": {}}, "inner.depth: 'depth' is missing"),
        ({"inners": [{"depth": 1}, {"depth": "x"}]}, "inners.1.depth: expected a whole number, got 'x'"),
        ({"by_name": ["a"]}, "by_name: expected a mapping, got a list"),
        ({"mode": "slwo"}, "mode: expected one of fast, slow, got 'slwo'; did you mean 'slow'?"),
        ({"maybe": "x"}, "maybe: expected a whole number, got 'x'"),
    ],
)
def test_what_is_of_another_type_is_refused_with_its_place(data, cause):
    with pytest.raises(ConfigError) as caught:
        structure(data, Everything)
    assert caught.value.cause == cause


def test_a_wrong_value_inside_a_mapping_by_name_names_its_key():
    with pytest.raises(ConfigError) as caught:
        structure({"by_name": {"good": {"depth": 1}, "bad": {"depth": "x"}}}, Everything)
    assert caught.value.cause == "by_name.bad.depth: expected a whole number, got 'x'"


def test_an_unknown_key_is_refused_with_the_nearest_and_comes_before_all_else():
    with pytest.raises(ConfigError) as caught:
        structure({"number": "x", "txet": "a", "inner": {"dept": 1}}, Everything, ("models", 0), lambda place: "/".join(map(str, place)))
    first, second, *rest = caught.value.cause.splitlines()
    assert {first, second} == {"models/0/txet: unknown key 'txet'", "models/0/inner/dept: unknown key 'dept'"}
    assert sorted(rest) == ["models/0/inner/depth: 'depth' is missing", "models/0/number: expected a whole number, got 'x'"]
    assert caught.value.remedy in ("did you mean 'text'?", "did you mean 'depth'?")


def test_a_strange_key_is_answered_with_what_is_known():
    with pytest.raises(ConfigError) as caught:
        structure({"zzz": 1}, Inner)
    assert caught.value.remedy == "known here: depth, ratio"


@pytest.mark.parametrize(
    ("name", "said", "value"), [("number", "5", 5), ("share", "1e-3", 0.001), ("flag", "True", True), ("flag", "false", False), ("text", "5", "5"), ("maybe", "5", 5),
     ("mode", "slow", "slow")]
)  # fmt: skip
def test_text_from_a_reference_becomes_what_is_wanted(name, said, value):
    found = getattr(structure({name: Resolved(said)}, Everything), name)
    assert found == value
    assert isinstance(found, type(value))


@pytest.mark.parametrize("name", ["number", "share", "flag", "maybe", "mode", "names", "inner"])
def test_text_from_a_reference_that_does_not_fit_is_an_error_that_does_not_show_it(name):
    with pytest.raises(ConfigError, match=f"^{name}: expected ") as caught:
        structure({name: Resolved("hunter2")}, Everything)
    assert "hunter2" not in caught.value.cause + caught.value.remedy


# ---- building


class Plain:
    """No `__init__`: no settings, no collaborators."""


class WithSettings:
    @frozen
    class Settings:
        depth: int = 3

    def __init__(self, settings: Settings) -> None:
        self.settings = settings


class Child(WithSettings):
    """Inherits `__init__`, and with it the Settings of its parent's body."""


class Deeper(WithSettings):
    @frozen
    class Settings(WithSettings.Settings):
        width: int = 1

    def __init__(self, settings: Settings, *, registry: ModelRegistry, monitor: Monitor | None = None) -> None:
        super().__init__(settings)
        self.registry, self.monitor = registry, monitor


def nothing(_kind: object, _optional: bool) -> None:
    return None


def test_a_driver_without_settings_takes_none():
    assert isinstance(build(Plain, {}, nothing), Plain)
    with pytest.raises(ConfigError, match="models.depth: Plain has no settings") as caught:
        build(Plain, {"depth": 1}, nothing, ("models",))
    assert caught.value.remedy == "take 'depth' out"


@pytest.mark.parametrize(
    ("cls", "expected"), [(WithSettings, WithSettings.Settings), (Child, WithSettings.Settings), (Deeper, Deeper.Settings), (Plain, None)]
)
def test_nested_settings_are_found_along_the_classes_bases(cls, expected):
    assert settings_class(cls) is expected


def test_settings_and_collaborators_are_given_by_annotation():
    asked = []

    def resolve(kind, optional):
        asked.append((kind, optional))
        return None if optional else "the registry"

    made = build(Deeper, {"depth": 5, "width": 2}, resolve)
    assert (made.settings, made.registry, made.monitor) == (Deeper.Settings(5, 2), "the registry", None)
    assert asked == [(ModelRegistry, False), (Monitor, True)]


def test_a_collaborator_that_nobody_configured_is_an_error():
    with pytest.raises(ForgeError, match="nothing is configured for 'registry' of Deeper"):
        build(Deeper, {}, nothing)


def test_a_parameter_without_an_annotation_is_an_error():
    class Vague:
        def __init__(self, registry): ...

    with pytest.raises(ConfigError, match="Vague.__init__ does not say what 'registry' is"):
        build(Vague, {}, nothing)


def test_an_annotation_that_exists_for_type_checkers_only_says_so(fake_distribution):
    source = """
    from __future__ import annotations
    from typing import TYPE_CHECKING
    if TYPE_CHECKING:
        from forge_core.contracts import ModelRegistry
    class Checked:
        def __init__(self, *, registry: ModelRegistry): ...
    """
    fake_distribution.add("acme", only_for_checkers=source)
    with pytest.raises(ConfigError, match=r"only_for_checkers\.Checked\.__init__ is annotated with 'ModelRegistry'") as caught:
        build(importlib.import_module("only_for_checkers").Checked, {}, nothing)
    assert caught.value.remedy == "import it outside `if TYPE_CHECKING`"


# ---- through a kernel

DRIVERS = """
from __future__ import annotations
from collections.abc import Mapping
from attrs import frozen
from forge_core.contracts import *
from forge_core.contracts import CONTRACTS, Flavor, Transformation
from forge_core.database import Database
from forge_core.records import Compute, KernelSpec, Project, Storage

def whole(role):
    contract = CONTRACTS[role]
    return type(role, (contract,), {name: (lambda self, *a, **k: None) for name in contract.__abstractmethods__})

closed = []
class Noted:
    def open(self): self.opened = getattr(self, "opened", 0) + 1
    def close(self): closed.append(type(self).__name__)

class Registry(Noted, whole("registry")):
    def __init__(self, *, deployer: Deployer): self.deployer = deployer
class Tracker(Noted, whole("tracker")):
    def __init__(self, *, project: Project, storage: Storage, database: Database, compute: Compute, spec: KernelSpec):
        self.given = (project, storage, database, compute, spec)
class Serving(Noted, whole("deployer")):
    def __init__(self, *, registry: ModelRegistry): self.registry = registry
class Lonely(Noted, whole("deployer")):
    def __init__(self, *, tracker: ExperimentTracker, monitor: Monitor | None = None, notifier: Notifier | None = None,
                 flavors: Mapping[str, Flavor]):
        self.tracker, self.monitor, self.notifier, self.flavors = tracker, monitor, notifier, flavors
class Odd(Noted, whole("deployer")):
    def __init__(self, *, what: dict[str, int]): ...
class Loud(Noted, whole("deployer")):
    def open(self): raise RuntimeError("no port")
class A(whole("flavor")):
    @frozen
    class Settings:
        depth: int = 1
    def __init__(self, settings: Settings): self.settings = settings
class Partly(CONTRACTS["flavor"]):
    def save(self, trained, folder, sample): ...
def function(): ...
"""
ENTRIES = {
    "forge.registries": {"circle": "wired:Registry"},
    "forge.trackers": {"plain": "wired:Tracker"},
    "forge.deployers": {"circle": "wired:Serving", "lonely": "wired:Lonely", "odd": "wired:Odd", "loud": "wired:Loud"},
    "forge.flavors": {
        "a": "wired:A",
        "partly": "wired:Partly",
        "function": "wired:function",
        "alien": "wired:Registry",
        "gone": "wired:Gone",
    },
}


@pytest.fixture
def wired(fake_distribution, open_kernel):
    fake_distribution.add("forge-wired", entries=ENTRIES, wired=DRIVERS)
    return lambda serving: open_kernel(
        f"infrastructure: {{registry: {{type: circle}}, tracking: {{type: plain}}, serving: {{type: {serving}}}}}\nflavors: {{mine: {{type: a, depth: 4}}}}"
    )


def test_a_circle_of_drivers_is_spelt_out(wired):
    with pytest.raises(ConfigError, match="in a circle: deployer -> registry -> deployer"):
        _ = wired("circle").deployer


def test_a_circle_leaves_the_kernel_usable(wired):
    kernel = wired("circle")
    for _ in range(2):
        with pytest.raises(ConfigError, match="in a circle"):
            _ = kernel.registry
    assert kernel.tracker is not None


def test_an_optional_collaborator_is_none_where_none_is_configured_not_even_by_default(wired):
    mine = bare(wired("lonely").deployer)
    assert mine.notifier is None
    assert isinstance(mine.monitor, Monitor)


def test_a_mapping_of_drivers_is_lazy_and_has_instances_and_installed_names(wired):
    flavors = bare(wired("lonely").deployer).flavors
    assert {"a", "mine"} <= set(flavors)
    assert (bare(flavors["mine"]).settings.depth, bare(flavors["a"]).settings.depth) == (4, 1)
    assert isinstance(flavors["a"], Flavor)
    with pytest.raises(KeyError):
        flavors["nobody"]


def test_resources_are_injected(wired):
    kernel = wired("lonely")
    project, storage, database, compute, spec = bare(kernel.tracker).given
    assert isinstance(project, Project)
    assert project.root == kernel.config.root
    assert storage.url == (kernel.config.root / ".forge/artifacts").as_uri()
    assert database is kernel.database
    assert (compute.engine, spec.root) == ("pyarrow", kernel.config.root)


def test_drivers_open_once_and_close_last_first_also_after_one_fails(wired):
    kernel = wired("lonely")
    _ = kernel.deployer, kernel.tracker
    assert bare(kernel.tracker).opened == 1
    kernel.close()
    closed = importlib.import_module("wired").closed
    assert closed == ["Lonely", "Tracker"]


def test_a_driver_that_fails_to_open_is_not_kept(wired):
    kernel = wired("loud")
    for _ in range(2):
        with pytest.raises(ForgeError, match=r"deployer 'loud' of forge-wired .* cannot be opened: RuntimeError: no port"):
            _ = kernel.deployer


def test_an_annotation_that_the_kernel_does_not_know_is_an_error(wired):
    with pytest.raises(ConfigError, match=r"nothing is known of dict\[str, int\]"):
        _ = wired("odd").deployer


@pytest.mark.parametrize(
    ("name", "cause"),
    [
        ("partly", "flavor 'partly' does not implement load"),
        ("function", "flavor 'function' of forge-wired 1.0 is not a class"),
        ("alien", "flavor 'alien' is no Flavor"),
        ("gone", "flavor 'gone' of forge-wired 1.0 does not load: AttributeError"),
    ],
)
def test_what_is_no_driver_is_a_typed_error_that_names_it(wired, name, cause):
    with pytest.raises(ForgeError, match=cause) as caught:
        wired("lonely").driver("flavor", name)
    assert caught.value.remedy


def test_settings_errors_name_file_line_and_column(open_kernel, fake_distribution):
    fake_distribution.add("forge-wired", entries=ENTRIES, wired=DRIVERS)
    kernel = open_kernel("project: {name: x}\nflavors:\n  mine:\n    type: a\n    dept: 4\n")
    with pytest.raises(ConfigError, match=r"^forge\.yaml:5:5: flavors\.mine\.dept: unknown key 'dept'$") as caught:
        kernel.driver("flavor", "mine")
    assert caught.value.remedy == "did you mean 'depth'?"
