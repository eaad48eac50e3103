"""Writes the two Grafana dashboards beside this file. The JSON is what is imported; this is where it is edited.

    python -m deploy.observability.dashboards

users.json       what callers get: latency by stage, decisions by rung, quality and money
platform.json    what gives it: the analyzers' capacity, queue and cache, the router's neighbours, Envoy
"""

import json
from pathlib import Path
from typing import Any

from deploy.observability.panels import Panel, Row
from deploy.observability.platform_rows import PLATFORM
from deploy.observability.users_rows import USERS

HERE = Path(__file__).resolve().parent
SOURCE = {"type": "prometheus", "uid": "${source}"}
COLUMNS = 24
PANEL_HEIGHT = 8


def dashboard(uid: str, title: str, rows: tuple[Row, ...]) -> dict[str, Any]:
    """Returns a dashboard as Grafana 10 and later import it."""
    panels: list[dict[str, Any]] = []
    top = 0
    for row in rows:
        place = {"h": 1, "w": COLUMNS, "x": 0, "y": top}
        panels.append(
            {
                "id": len(panels) + 1,
                "type": "row",
                "title": row.title,
                "collapsed": False,
                "gridPos": place,
                "panels": [],
            }
        )
        left, top = 0, top + 1
        for each in row.panels:
            if left + each.width > COLUMNS:
                left, top = 0, top + PANEL_HEIGHT
            panels.append(panel(each, len(panels) + 1, left, top))
            left += each.width
        top += PANEL_HEIGHT
    return {
        "uid": uid,
        "title": title,
        "tags": ["tinyroute"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "timezone": "utc",
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {
            "list": [{"name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus"}]
        },
        "annotations": {"list": []},
        "panels": panels,
    }


def panel(each: Panel, number: int, left: int, top: int) -> dict[str, Any]:
    """Returns one panel at its place."""
    letters = "ABCDEFGH"
    targets = [
        {"refId": letter, "datasource": SOURCE, "expr": query, "legendFormat": legend}
        for letter, (legend, query) in zip(letters, each.queries.items(), strict=False)
    ]
    custom = {"stacking": {"mode": "normal" if each.stacked else "none"}, "fillOpacity": 30 if each.stacked else 0}
    defaults: dict[str, Any] = {"unit": each.unit, "min": 0}
    if each.kind == "timeseries":
        defaults["custom"] = custom
    return {
        "id": number,
        "type": each.kind,
        "title": each.title,
        "description": each.about,
        "datasource": SOURCE,
        "gridPos": {"h": PANEL_HEIGHT, "w": each.width, "x": left, "y": top},
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": {},
        "targets": targets,
    }


def documents() -> dict[str, dict[str, Any]]:
    """Returns both dashboards by file name."""
    return {
        "users.json": dashboard("tinyroute-users", "tinyroute: what callers get", USERS),
        "platform.json": dashboard("tinyroute-platform", "tinyroute: analyzers and neighbours", PLATFORM),
    }


def main() -> None:
    """Writes them."""
    for name, document in documents().items():
        (HERE / name).write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
