"""forge.yaml: overlays, `--set`, synonyms, defaults; every error names file, line, column and the nearest key."""

from __future__ import annotations

from pathlib import Path

import pytest

from forge_core import config
from forge_core.document import INFRASTRUCTURE
from forge_core.faults import ConfigError
from forge_core.operations import bare
from forge_core.serialize import to_json

TWO_MODELS = """
project: {name: churn}
datasets:
  - {name: t, path: data, target: y}
models:
  - {name: a, type: xgboost, hyperparameters: {max_depth: 5, eta: 0.1}}
  - {name: b, type: sklearn}
environments:
  production:
    infrastructure: {database: {url: "postgresql+psycopg://db/forge"}}
    models:
      - {name: b, type: lightgbm}
      - {name: c, type: sklearn}
  empty:
"""


def load(text: str, project, **options) -> config.Config:
    project(text)
    return config.load(**options)


# ---- what a file means


def test_a_project_of_one_line_is_a_project_with_all_defaults(project):
    found = load("project: {name: x}", project)
    assert {name: dict(section) for name, section in to_json(found.document.infrastructure).items()} == INFRASTRUCTURE
    assert found.document.project.name == "x"


def test_the_example_of_the_design_is_read_whole(project):
    found = load(
        """
        project: {name: churn, version: 1.0.0, description: Predict churn}
        infrastructure: {storage: {type: file, path: .forge/artifacts}, compute: {engine: pyarrow, memory_limit: 8GB, threads: 4}}
        datasets:
          - {name: transactions, path: data/transactions/, format: parquet, version: latest, partitions: [year, month], target: churned}
        feature_engineering:
          transformations:
            - {type: aggregate, config: {group_by: [customer_id], aggregations: [{column: amount, functions: [sum, mean, std]}]}}
        models:
          - name: churn_classifier
            type: xgboost
            hyperparameters: {n_estimators: 100, max_depth: 5}
            training: {split_ratio: 0.8, validation_strategy: time_series_split, n_splits: 5}
            evaluation: {metrics: [accuracy, f1, auc_roc], threshold_optimization: true, require: {auc_roc: 0.8}}
        deployment:
          strategy: champion_challenger
          endpoints: [{name: churn, url: /predict/churn, model: churn_classifier, version: production}]
          monitoring: {drift_detection: true, performance_tracking: true, alert_thresholds: {accuracy: 0.85, latency_p99: 100}}
        pipeline: {timeout: 3600, retry_policy: {max_attempts: 2}, notifications: [console]}
        plugins: {deny: [], require: [], local: [my_project.forge_plugin]}
        environments: {production: {infrastructure: {database: {url: "${env:DATABASE_URL}"}}}}
        """,
        project,
    )
    document = found.document
    assert document.project.version == "1.0.0"
    assert document.datasets[0].partitions == ("year", "month")
    assert document.models[0].training.n_splits == 5
    assert (document.pipeline.timeout, document.pipeline.retry_policy.max_attempts) == (3600.0, 2)


@pytest.mark.parametrize("key", ["type", "backend", "engine"])
def test_type_backend_and_engine_are_one_key(project, key):
    found = load(f"infrastructure: {{registry: {{{key}: mlflow}}}}\nconnectors: {{raw: {{{key}: lake, root: data}}}}", project)
    assert found.raw["infrastructure"]["registry"] == {"type": "mlflow"}
    assert found.raw["connectors"]["raw"] == {"type": "lake", "root": "data"}


def test_two_of_them_at_once_are_refused_where_the_second_stands(project):
    with pytest.raises(ConfigError, match=r"^forge\.yaml:3:25: 'type' and 'backend' are one key$"):
        load("infrastructure:\n  registry:\n    { type: mlflow,     backend: sql }", project)


def test_a_drivers_name_must_be_text(project):
    with pytest.raises(ConfigError, match=r"^forge\.yaml:1:29: expected a driver's name$"):
        load("infrastructure: {registry: {type: 5}}", project)


def test_settings_of_the_default_driver_are_kept_for_it_and_dropped_for_another(project):
    found = load("infrastructure: {serving: {port: 9000}, database: {url: 'sqlite:///x.db'}, storage: {type: s3, bucket: b}}", project).raw
    assert found["infrastructure"]["serving"] == {"type": "cortex", "host": "127.0.0.1", "port": 9000}
    assert found["infrastructure"]["storage"] == {"type": "s3", "bucket": "b"}


def test_mlforge_yaml_is_read_where_there_is_no_forge_yaml(tmp_path):
    (tmp_path / "mlforge.yaml").write_text("project: {name: old}")
    assert config.load(tmp_path).document.project.name == "old"
    (tmp_path / "forge.yaml").write_text("project: {name: new}")
    assert config.load(tmp_path).document.project.name == "new"


def test_a_missing_file_says_how_to_make_one(tmp_path):
    for place in (tmp_path, tmp_path / "nowhere.yaml"):
        with pytest.raises(ConfigError) as caught:
            config.load(place)
        assert "forge init NAME" in caught.value.remedy


# ---- overlays and --set


def test_an_overlay_merges_mappings_and_lists_of_named_things(project):
    found = load(TWO_MODELS, project, environment="production")
    assert [(one.name, one.type) for one in found.document.models] == [("a", "xgboost"), ("b", "lightgbm"), ("c", "sklearn")]
    assert found.document.models[0].hyperparameters == {"max_depth": 5, "eta": 0.1}
    assert found.raw["infrastructure"]["database"]["url"] == "postgresql+psycopg://db/forge"
    assert "environments" not in found.raw


def test_an_empty_overlay_changes_nothing(project):
    assert load(TWO_MODELS, project, environment="empty").raw == load(TWO_MODELS, project).raw


def test_an_unknown_environment_names_the_known_ones(project):
    with pytest.raises(ConfigError, match="there is no environment 'prod'") as caught:
        load(TWO_MODELS, project, environment="prod")
    assert caught.value.remedy == "known: production, empty"


def test_lists_without_names_are_replaced(project):
    text = (
        "models: [{name: a, type: t, evaluation: {metrics: [x, y]}}]\nenvironments: {e: {models: [{name: a, evaluation: {metrics: [z]}}]}}"
    )
    assert load(text, project, environment="e").document.models[0].evaluation.metrics == ("z",)


def test_an_error_in_an_overlay_is_located_in_the_overlay(project):
    text = "project: {name: x}\nenvironments:\n  e:\n    project:\n      naem: y\n"
    with pytest.raises(ConfigError, match=r"^forge\.yaml:5:7: project\.naem: unknown key 'naem'$"):
        _ = load(text, project, environment="e").document


@pytest.mark.parametrize("overlay", ["5", "[a]", "text"])
def test_an_overlay_that_is_no_mapping_is_refused(project, overlay):
    with pytest.raises(ConfigError, match=r"forge\.yaml:\d"):
        load(f"environments: {{e: {overlay}}}", project, environment="e")


@pytest.mark.parametrize(
    ("text", "look", "value"),
    [
        ("project.name=other", lambda d: d.project.name, "other"),
        ("models.a.hyperparameters.max_depth=7", lambda d: d.models[0].hyperparameters["max_depth"], 7),
        ("models.1.type=lightgbm", lambda d: d.models[1].type, "lightgbm"),
        ("models.b.training.split_ratio=1e-1", lambda d: d.models[1].training.split_ratio, 0.1),
        ("models.a.evaluation.metrics=[f1, auc]", lambda d: d.models[0].evaluation.metrics, ("f1", "auc")),
        ("pipeline.timeout=60", lambda d: d.pipeline.timeout, 60.0),
        ("infrastructure.serving.port=9000", lambda d: d.infrastructure.serving["port"], 9000),
        ("project.description=a=b", lambda d: d.project.description, "a=b"),
    ],
)
def test_set_overrides_any_key_by_name_or_index(project, text, look, value):
    assert look(load(TWO_MODELS, project, sets=(text,)).document) == value


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("project.name", "--set 'project.name' is not key=value"),
        ("=5", "--set '=5' is not key=value"),
        ("models.zzz.type=x", "--set models.zzz.type: there is no 'zzz'"),
        ("models.9.type=x", "--set models.9.type: there is no '9'"),
        ("project.naem=x", "--set: project.naem: unknown key 'naem'"),
        ("project.name=[1", "--set:"),
    ],
)
def test_a_wrong_set_says_so(project, text, cause):
    with pytest.raises(ConfigError) as caught:
        _ = load(TWO_MODELS, project, sets=(text,)).document
    assert caught.value.cause.startswith(cause)


# ---- F2: wrong keys and types


@pytest.mark.parametrize(
    ("text", "cause", "remedy"),
    [
        ("projet: {name: x}", "forge.yaml:1:1: projet: unknown key 'projet'", "did you mean 'project'?"),
        (
            "infrastructure:\n  registery: {}",
            "forge.yaml:2:3: infrastructure.registery: unknown key 'registery'",
            "did you mean 'registry'?",
        ),
        ("models:\n  - name: a\n    typ: b", "forge.yaml:3:5: models.0.typ: unknown key 'typ'", "did you mean 'type'?"),
        ("pipeline:\n  timeout: soon", "forge.yaml:2:3: pipeline.timeout: expected a number, got 'soon'", "forge config schema"),
        ("project: [a]", "forge.yaml:1:1: project: expected a mapping, got a list", "forge config schema"),
        ("infrastructure: 5", "forge.yaml:1:1: infrastructure: expected a mapping, got 5", "forge config schema"),
        (
            "infrastructure: {registry: sql}",
            "forge.yaml:1:18: infrastructure.registry: expected a mapping, got 'sql'",
            "forge config schema",
        ),
        ("plugins: {deny: forge-lake}", "forge.yaml:1:11: plugins.deny: expected a list, got 'forge-lake'", "forge config schema"),
        ("connectors: {raw: lake}", "forge.yaml:1:14: connectors.raw: expected a mapping, got 'lake'", "forge config schema"),
    ],
)
def test_a_wrong_key_or_type_names_file_line_column_and_the_nearest(project, text, cause, remedy):
    with pytest.raises(ConfigError) as caught:
        _ = load(text, project).document
    assert cause in caught.value.cause.splitlines()
    assert caught.value.remedy == remedy


def test_all_that_is_wrong_is_told_at_once(project):
    with pytest.raises(ConfigError) as caught:
        _ = load("projet: 1\nmodels:\n  - {name: a, type: b, training: {n_splits: many}}\n  - {name: 5, type: c}\n", project).document
    assert caught.value.cause.splitlines() == [
        "forge.yaml:1:1: projet: unknown key 'projet'",
        "forge.yaml:3:35: models.0.training.n_splits: expected a whole number, got 'many'",
        "forge.yaml:4:6: models.1.name: expected text, got 5",
    ]


# ---- secrets and references


def test_references_stay_as_written_in_what_is_shown_and_handed_on(project, monkeypatch):
    monkeypatch.setenv("FORGE_SECRET_DB", "hunter2")
    monkeypatch.setenv("TOKEN", "hunter3")
    found = load("infrastructure: {database: {url: 'pg://${secret:db}'}, registry: {type: mlflow, token: '${env:TOKEN}'}}", project)
    _ = found.document
    assert "hunter" not in repr(found) + str(to_json(found.raw))
    assert "${secret:db}" in str(found.raw)


def test_a_secret_may_not_stand_where_the_kernel_itself_reads(project):
    with pytest.raises(ConfigError, match=r"^forge\.yaml:1:11: project\.name: a secret may not stand here$"):
        _ = load("project: {name: '${secret:a}'}", project).document


def test_a_number_may_come_from_the_environment(project, monkeypatch):
    monkeypatch.setenv("LIMIT", "90")
    assert load("pipeline: {timeout: '${env:LIMIT}'}", project).document.pipeline.timeout == 90.0


def test_a_secret_reaches_the_driver_and_no_error_of_its_settings(open_kernel, fake_distribution, monkeypatch):
    source = """
    from attrs import frozen
    from forge_core.contracts import CONTRACTS
    Tracker = CONTRACTS["tracker"]
    class Counting(type("T", (Tracker,), {n: (lambda self, *a, **k: None) for n in Tracker.__abstractmethods__})):
        @frozen
        class Settings:
            password: str = ""
            port: int = 1
        def __init__(self, settings: Settings): self.settings = settings
    """
    fake_distribution.add("forge-counting", entries={"forge.trackers": {"counting": "counting:Counting"}}, counting=source)
    monkeypatch.setenv("FORGE_SECRET_DB_PASSWORD", "hunter2")
    kernel = open_kernel("infrastructure: {tracking: {type: counting, password: '${secret:db/password}'}}")
    assert bare(kernel.tracker).settings.password == "hunter2"
    kernel = open_kernel("infrastructure: {tracking: {type: counting, port: '${secret:db/password}'}}")
    with pytest.raises(ConfigError) as caught:
        _ = kernel.tracker
    assert "infrastructure.tracking.port" in caught.value.cause
    assert "hunter2" not in caught.value.cause + caught.value.remedy
    assert "hunter2" not in str(kernel.spec)


def test_the_same_project_opens_elsewhere_from_json(project):
    found = load(TWO_MODELS, project, environment="production")
    again = config.from_json(found.raw, found.root, found.environment)
    assert (again.raw, again.document) == (found.raw, found.document)
    assert isinstance(again.root, Path)
