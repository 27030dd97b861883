"""The composition root: opening, closing, who acts, what a project says of its pipelines."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import sqlalchemy as sa

from forge_core import Kernel, hookimpl
from forge_core.faults import ConfigError, Refused
from forge_core.hookspecs import KernelHooks
from forge_core.operations import acting_as, bare, current
from forge_core.processes import me
from forge_core.records import Notice, Principal, Refusal, Session

AUTH = """
from forge_core.contracts import AuthProvider
from forge_core.faults import Refused
from forge_core.records import Decision, Principal
class Keys(AuthProvider):
    def authenticate(self, credentials):
        if not credentials: return Principal("anonymous")
        if credentials.get("api_key") != "good": raise Refused("the key is not known", "get another")
        return Principal("ann", ("admin",), "acme")
    def authorize(self, principal, action, resource):
        return Decision("admin" in principal.roles or action.endswith(":read"), "admins only")
"""
MODELS = """
project: {name: churn}
datasets: [{name: old, path: a, target: x}, {name: rows, path: b, target: y}]
models: [{name: a, type: forest}, {name: b, type: forest, dataset: old}, {name: c, type: forest, dataset: gone}]
deployment: {automatic: true, strategy: canary, endpoints: [{name: front, model: a}]}
pipeline: {timeout: 5, notifications: [console], parameters: {p: 1}}
"""


@pytest.fixture
def keys(fake_distribution):
    fake_distribution.add("forge-keys", entries={"forge.auth": {"keys": "fake_keys:Keys"}}, fake_keys=AUTH)
    return "infrastructure: {auth: {type: keys}}"


# ---- opening and closing


def test_opening_and_closing_are_told_and_opening_writes_nothing(fake_distribution, project):
    fake_distribution.plugin(
        "forge-heard",
        "from forge_core import hookimpl\nheard = []\n@hookimpl\ndef forge_kernel_opened(project): heard.append(('opened', project.name))\n"
        "@hookimpl\ndef forge_kernel_closed(project): heard.append(('closed', project.name))",
    )
    folder = project()
    with Kernel.open(folder) as kernel:
        assert kernel.faults == ()
        assert [path.name for path in folder.iterdir()] == ["forge.yaml"]
    import forge_heard

    assert forge_heard.heard == [("opened", "test"), ("closed", "test")]


def test_a_driver_that_fails_to_close_is_a_fault_and_the_others_are_closed(open_kernel, fake_distribution):
    source = """
    from forge_core.contracts import Notifier
    closed = []
    class Good(Notifier):
        def notify(self, notice): ...
        def close(self): closed.append("good")
    class Bad(Good):
        def close(self): raise OSError("busy")
    """
    fake_distribution.add("forge-closing", entries={"forge.notifiers": {"good": "closing:Good", "bad": "closing:Bad"}}, closing=source)
    kernel = open_kernel()
    for name in ("good", "bad"):
        kernel.notifier(name)
    kernel.close()
    import closing

    assert closing.closed == ["good"]
    assert [(fault.where, fault.cause) for fault in kernel.faults] == [("close", "OSError: busy")]


def test_a_projects_own_modules_shadow_nothing(open_kernel):
    open_kernel(json="raise SystemExit('shadowed')", colorsys="raise SystemExit('shadowed')")
    import colorsys

    assert "python" in colorsys.__file__


def test_the_same_kernel_opens_from_its_spec_and_the_spec_has_no_secret(open_kernel, monkeypatch):
    monkeypatch.setenv("FORGE_SECRET_DB", "hunter2")
    kernel = open_kernel("project: {name: x}\ninfrastructure: {monitoring: {type: log}, storage: {type: file, path: '${secret:db}'}}")
    assert "hunter2" in kernel.storage.url
    assert "hunter2" not in repr(kernel.spec) + repr(kernel.storage.options)
    with Kernel.from_spec(kernel.spec) as again:
        assert (again.project, again.storage) == (kernel.project, kernel.storage)


def test_intents_that_a_dead_process_left_are_settled_at_the_next_opening(open_kernel):
    kernel = open_kernel()
    with kernel.database.transaction() as connection:
        connection.exec_driver_sql(
            "INSERT INTO forge_events (id, action, resource, actor, tenant, at, request_id, outcome, owner) "
            "VALUES ('evt_1', 'a:b', 'r', 'ann', 'default', '2026-01-01T00:00:00+00:00', 'q', 'intent', ?)",
            (_dead(),),
        )
    with Kernel.open() as again:
        assert [event.outcome for _, event in again.database.events()] == ["unknown"]


def _dead() -> str:
    machine, pid, _started, token = me().split(":")
    return f"{machine}:{pid}:1:{token}"


# ---- who acts


def test_without_an_auth_driver_the_system_acts(kernel):
    assert kernel.session.principal == Principal("system", ("admin",))


def test_credentials_prove_who_acts(keys, open_kernel, project, monkeypatch):
    project(keys)
    with Kernel.open(credentials={"api_key": "good"}) as kernel:
        assert kernel.session.principal == Principal("ann", ("admin",), "acme")
    monkeypatch.setenv("FORGE_API_KEY", "good")
    assert open_kernel(keys).session.principal.name == "ann"
    monkeypatch.setenv("FORGE_API_KEY", "bad")
    with pytest.raises(Refused, match="the key is not known") as caught:
        _ = open_kernel(keys).session
    assert "bad" not in caught.value.cause


def test_who_has_no_role_is_told_how_to_show_a_key(keys, open_kernel):
    kernel = open_kernel(keys)
    with pytest.raises(Refused, match="anonymous may not notice:send on notice:x: admins only") as caught:
        kernel.notifier("console").notify(Notice("x", "y"))
    assert caught.value.remedy == "give a key with the role it needs: FORGE_API_KEY or --api-key-file"
    assert kernel.runs() == ()  # run:read


def test_a_plugin_may_refuse_more_and_never_allow_more(keys, open_kernel):
    kernel = open_kernel(keys)

    class Plugin:
        @hookimpl
        def forge_authorize(self, principal, action, resource):
            return Refusal("not this one") if resource == "closed" else None

    kernel.hub.listen(Plugin(), "forge-strict")
    ann = Session(Principal("ann", ("admin",)), "r")
    assert kernel.authorize(ann, "a:write", "open").allowed
    with pytest.raises(Refused, match="forge-strict: not this one"):
        kernel.authorize(ann, "a:write", "closed")
    with pytest.raises(Refused, match="admins only"):
        kernel.authorize(Session(Principal("bob", ("user",)), "r"), "a:write", "open")


def test_sessions_of_threads_do_not_mix(kernel):
    seen = {}

    def act(name: str) -> None:
        with acting_as(Session(Principal(name, ("admin",), name), "r")):
            barrier.wait()
            assert kernel.runs() == ()
            seen[name] = current().principal.name

    barrier = threading.Barrier(4)
    threads = [threading.Thread(target=act, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == {name: name for name in "abcd"}


# ---- pipelines


def test_a_models_pipeline_is_what_the_project_says(open_kernel):
    config = open_kernel(MODELS).pipeline("a")
    assert (config.model.dataset, config.model.target, [one.name for one in config.datasets]) == ("rows", "y", ["rows"])
    assert (config.deployment.strategy, config.deployment.endpoint, config.timeout, config.parameters) == ("canary", "front", 5.0, {"p": 1})


@pytest.mark.parametrize(
    ("name", "cause", "remedy"),
    [
        (None, "which model?", "one of a, b, c"),
        ("z", "there is no model 'z'", "models: a, b, c"),
        ("c", "model 'c' wants the data set 'gone'", "listed: old, rows"),
    ],
)
def test_a_model_that_cannot_be_meant_is_a_configuration_error(open_kernel, name, cause, remedy):
    with pytest.raises(ConfigError) as caught:
        open_kernel(MODELS).pipeline(name)
    assert (caught.value.cause, caught.value.remedy) == (cause, remedy)


def test_a_project_without_models_has_no_pipeline(kernel):
    with pytest.raises(ConfigError, match="no model is listed"):
        kernel.pipeline()


def test_notices_are_sent(open_kernel, capsys):
    text = "pipeline: {notifications: [console], steps: [{name: s, stage: TRAINING, target: 'kernel_steps:fine'}]}"
    kernel = open_kernel("project: {name: p}\n" + text, kernel_steps="def fine(): ...")
    run = kernel.execute()
    assert f"info: p is done: {run.run_id}" in capsys.readouterr().err


def test_a_notifier_that_nobody_offers_is_refused_before_a_run_begins(open_kernel):
    text = "pipeline: {notifications: [consol], steps: [{name: s, stage: TRAINING, target: 'kernel_steps:fine'}]}"
    kernel = open_kernel("project: {name: p}\n" + text, kernel_steps="def fine(): ...")
    with pytest.raises(ConfigError, match="no notifier is called 'consol'"):
        kernel.execute()
    assert kernel.runs() == ()


# ---- drivers


def test_a_named_instance_has_its_own_settings_and_an_unlisted_name_the_defaults(open_kernel, fake_distribution):
    source = """
    from attrs import frozen
    from forge_core.contracts import Notifier
    class Mail(Notifier):
        @frozen
        class Settings:
            to: str = "root"
        def __init__(self, settings: Settings): self.settings = settings
        def notify(self, notice): ...
    """
    fake_distribution.add("forge-mail", entries={"forge.notifiers": {"mail": "mail:Mail"}}, mail=source)
    kernel = open_kernel("notifiers: {ann: {type: mail, to: ann}, bob: {type: mail, to: bob}}")
    assert [bare(kernel.notifier(name)).settings.to for name in ("ann", "bob", "mail")] == ["ann", "bob", "root"]
    assert kernel.notifier("ann") is kernel.notifier("ann")


@pytest.mark.parametrize(
    ("said", "url"),
    [
        ("{type: file, path: kept}", "file://{root}/kept"),
        ("{path: /elsewhere}", "file:///elsewhere"),
        ("{type: s3, bucket: b, prefix: /p/}", "s3://b/p"),
        ("{url: 'memory://x'}", "memory://x"),
    ],
)
def test_storage_is_a_url(open_kernel, said, url):
    kernel = open_kernel(f"infrastructure: {{storage: {said}}}")
    assert kernel.storage.url == url.format(root=kernel.config.root)


def test_the_options_of_a_storage_are_its_filesystems(open_kernel):
    kernel = open_kernel("infrastructure: {storage: {type: s3, bucket: b, endpoint: 'http://x', key: k}}")
    assert kernel.storage.options == {"endpoint_url": "http://x", "key": "k"}


def test_a_relative_database_lies_in_the_project_wherever_one_stands(open_kernel, tmp_path, monkeypatch):
    kernel = open_kernel()
    monkeypatch.chdir(tmp_path)
    kernel.database.prepare("forge-x", sa.MetaData())
    assert Path(kernel.config.root, ".forge", "forge.db").exists()


def test_the_hub_is_there_before_any_driver(kernel):
    assert kernel.hub.listeners(KernelHooks.forge_kernel_opened) == 0
