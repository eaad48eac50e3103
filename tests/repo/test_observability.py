"""Alerts, dashboards and the collector's configuration name nothing that the services don't export."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from analyzer.adapters import telemetry as analyzer_telemetry
from deploy.observability.dashboards import COLUMNS, documents
from router import attributes
from router.answer import AttemptOutcome
from router.decision import Cause
from servicekit import tracing
from servicekit.tracing import RPC_METHOD, RPC_STATUS
from tests.support.exporters import exported, make_analyzer, make_router

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "deploy" / "observability"
DASHBOARDS = ("users.json", "platform.json")
RECORDED = re.compile(r"\btinyroute:[\w:]+")
METRIC = re.compile(r"\b(?:tinyroute|gen_ai|rpc_server|envoy)_[a-z0-9_]+")
SELECTOR = re.compile(r"\{([^}]*)\}")
GROUPING = re.compile(r"\b(?:by|ignoring|on|group_left)\s*\(([^)]*)\)")
LABEL = re.compile(r"(\w+)\s*(?:=~|!~|!=|=)")
UNITS = {"short", "s", "percentunit", "reqps", "currencyUSD"}
promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool (Debian: prometheus) is not installed")


def read(name: str) -> Any:
    """Returns a YAML file."""
    return YAML(typ="safe").load(FOLDER / name)


def rules() -> list[dict[str, Any]]:
    """Returns every rule of the alert file."""
    return [rule for group in read("alerts.yaml")["groups"] for rule in group["rules"]]


def panels(name: str) -> list[dict[str, Any]]:
    """Returns a dashboard's panels without the headings."""
    return [each for each in json.loads((FOLDER / name).read_text())["panels"] if each["type"] != "row"]


def expressions() -> list[str]:
    """Returns all PromQL there is."""
    shown = [target["expr"] for name in DASHBOARDS for each in panels(name) for target in each["targets"]]
    return [rule["expr"] for rule in rules()] + shown


def labels_of(expression: str) -> set[str]:
    """Returns the labels that a query selects or groups by."""
    named = {label for inside in SELECTOR.findall(expression) for label in LABEL.findall(inside)}
    grouped = {label.strip() for inside in GROUPING.findall(expression) for label in inside.split(",")}
    return named | grouped - {""}


def metrics_of(expression: str) -> set[str]:
    """Returns the metrics that a query reads: what is left when labels and strings are taken out."""
    bare = RECORDED.sub("", GROUPING.sub("", SELECTOR.sub("", expression)))
    return set(METRIC.findall(bare))


def known_attributes() -> set[str]:
    """Returns every attribute name of both services."""
    modules = (attributes, analyzer_telemetry, tracing)
    return {value for module in modules for value in vars(module).values() if isinstance(value, str)}


async def test_every_metric_of_alerts_and_dashboards_is_exported() -> None:
    """By the names that the real exporter gives them. Envoy's are looked for in tests/e2e/test_metrics.py."""
    page = await exported(make_router) + await exported(make_analyzer)
    there = {line.split("{")[0].split(" ")[0] for line in page.splitlines() if line and not line.startswith("#")}
    asked = {metric for expression in expressions() for metric in metrics_of(expression)}
    assert len(asked) > 30
    assert {metric for metric in asked if not metric.startswith("envoy_")} - there == set()


async def test_every_metric_is_on_a_dashboard_or_in_an_alert() -> None:
    """Nothing is measured that nobody looks at."""
    page = await exported(make_router) + await exported(make_analyzer)
    families = set(re.findall(r"^# TYPE (\w+)", page, re.MULTILINE)) - {"target_info"}
    asked = " ".join(expressions())
    assert [family for family in sorted(families) if family not in asked] == []


def test_every_label_is_one_that_the_services_set() -> None:
    """Attributes with dots become labels with underscores."""
    dotted = {name.replace(".", "_") for name in known_attributes()}
    known = dotted | {RPC_METHOD.replace(".", "_"), RPC_STATUS.replace(".", "_")}
    known |= {"le", "job", "instance", "source", "reason", "outcome", "revision", "envoy_cluster_name"}
    asked = {label for expression in expressions() for label in labels_of(expression)}
    assert asked - known == set()


def test_recorded_series_are_recorded_before_they_are_asked_for() -> None:
    """An alert on a series that no rule records would never fire."""
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    asked = {series for expression in expressions() for series in RECORDED.findall(expression)}
    assert asked == recorded


def test_every_alert_says_how_bad_it_is_and_what_to_do() -> None:
    """Each leads to a section of the runbook, and each section is led to."""
    alerts = [rule for rule in rules() if "alert" in rule]
    runbook = (ROOT / "docs" / "runbook.md").read_text()
    anchors = {title.lower().replace(" ", "-") for title in re.findall(r"^## (.+)$", runbook, re.MULTILINE)}
    assert {rule["labels"]["severity"] for rule in alerts} == {"page", "ticket"}
    assert all(rule["annotations"]["summary"] for rule in alerts)
    assert {rule["annotations"]["runbook"] for rule in alerts} == {f"docs/runbook.md#{anchor}" for anchor in anchors}


def test_every_alert_has_a_rule_test() -> None:
    """Fired once at least in alerts.test.yaml."""
    fired = {
        case["alertname"]
        for test in read("alerts.test.yaml")["tests"]
        for case in test.get("alert_rule_test", ())
        if case["exp_alerts"]
    }
    slow_twins = {"TinyrouteErrorsBurnSlowly"}
    assert {rule["alert"] for rule in rules() if "alert" in rule} - fired == slow_twins


@promtool
@pytest.mark.parametrize(
    "command",
    [
        ("check", "rules", "alerts.yaml"),
        ("test", "rules", "alerts.test.yaml"),
        ("check", "config", "--syntax-only", "prometheus.yml"),
    ],
    ids=" ".join,
)
def test_promtool_agrees(command: tuple[str, ...]) -> None:
    """The real parser, and the rule tests on synthetic series."""
    done = subprocess.run(["promtool", *command], cwd=FOLDER, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@promtool
@pytest.mark.parametrize("name", DASHBOARDS)
def test_every_query_of_a_dashboard_parses(name: str, tmp_path: Path) -> None:
    """Grafana's own variable is put in first; then Prometheus reads each as a rule."""
    queries = [target["expr"] for each in panels(name) for target in each["targets"]]
    made = [
        {"record": f"q:{number}", "expr": query.replace("$__rate_interval", "5m")}
        for number, query in enumerate(queries)
    ]
    file = tmp_path / "rules.yaml"
    file.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": made}]}))
    command = ["promtool", "check", "rules", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", DASHBOARDS)
def test_a_dashboard_is_what_its_source_says(name: str) -> None:
    """`python -m deploy.observability.dashboards` was run after the last edit."""
    assert json.loads((FOLDER / name).read_text()) == documents()[name]


@pytest.mark.parametrize("name", DASHBOARDS)
def test_a_dashboard_can_be_imported(name: str) -> None:
    """What Grafana needs of a dashboard and of each panel, and that no two panels share a place."""
    document = json.loads((FOLDER / name).read_text())
    assert {"uid", "title", "schemaVersion", "panels", "time", "templating"} <= document.keys()
    assert len(document["uid"]) <= 40
    assert len({each["id"] for each in document["panels"]}) == len(document["panels"])
    taken: set[tuple[int, int]] = set()
    for each in document["panels"]:
        place = each["gridPos"]
        assert place["x"] + place["w"] <= COLUMNS
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken
        taken |= cells
    for each in panels(name):
        assert each["type"] in {"timeseries", "stat"}
        assert each["fieldConfig"]["defaults"]["unit"] in UNITS
        references = [target["refId"] for target in each["targets"]]
        assert references
        assert len(set(references)) == len(references)


def test_the_collector_keeps_what_somebody_will_ask_about() -> None:
    """By attributes that the services really set, with values that they know."""
    policies = {each["name"]: each for each in read("collector.yaml")["processors"]["tail_sampling"]["policies"]}
    wanted = {"fallback", "refusal", "missed-deadline", "low-confidence", "shadow-disagreement", "some-of-the-rest"}
    assert wanted <= policies.keys()
    keys = {each[each["type"]]["key"] for each in policies.values() if each["type"].endswith("_attribute")}
    assert keys - known_attributes() == set()
    failed = {outcome.value for outcome in AttemptOutcome} - {"ANSWERED", "CANCELLED"}
    assert set(policies["backend-fallback"]["string_attribute"]["values"]) == failed
    assert Cause(policies["low-confidence"]["string_attribute"]["values"][0])


def test_the_collectors_pipelines_use_what_is_configured() -> None:
    """And leave nothing unused."""
    config = read("collector.yaml")
    pipelines = config["service"]["pipelines"].values()
    for kind in ("receivers", "processors", "exporters"):
        assert {name for pipeline in pipelines for name in pipeline[kind]} == set(config[kind])
