"""Metrics of a running stack are those that dashboards and alerts read."""

import re
from urllib.request import urlopen

import pytest

from deploy.observability.dashboards import documents
from tests.support.local_stack import LocalStack

pytestmark = pytest.mark.e2e

ENVOY = re.compile(r"\benvoy_[a-z0-9_]+(?=\{)")
CLUSTER = re.compile(r'envoy_cluster_name="(\w+)"')


def test_envoys_metrics_on_the_dashboards_are_there(stack: LocalStack) -> None:
    """With the names of its clusters."""
    asked = {
        found
        for document in documents().values()
        for panel in document["panels"]
        for target in panel.get("targets", ())
        for found in ENVOY.findall(target["expr"]) + CLUSTER.findall(target["expr"])
    }
    with urlopen(f"http://{stack.envoy_admin}/stats/prometheus", timeout=10) as answer:
        page = answer.read().decode()
    there = set(ENVOY.findall(page)) | set(CLUSTER.findall(page))
    assert len(asked) > 5
    assert asked - there == set()
