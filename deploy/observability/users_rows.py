"""The dashboard of callers: latency by stage, decisions by rung, quality and money."""

from deploy.observability.panels import CHAT, ROUTER, Panel, Row, mean, percentile, rate, share

DECISIONS = f"{ROUTER}decisions_total"
REQUESTS = f"{ROUTER}request_duration_seconds"
OWN = 'tinyroute_rung="SELF_HOSTED"'
MICROS = 1_000_000

USERS = (
    Row(
        "First of all",
        (
            Panel(
                "Decisions by our own analyzers",
                {"coverage": f"sum(rate({DECISIONS}{{{OWN}}}[1h])) / sum(rate({DECISIONS}[1h]))"},
                "percentunit",
                "The first service-level indicator. Objective 99 %. Callers hardly feel its loss: answers go on.",
                kind="stat",
                width=6,
            ),
            Panel("Requests", {"a second": rate(f"{REQUESTS}_count")}, "reqps", kind="stat", width=6),
            Panel(
                "p99 of the analysis",
                {"p99": percentile(0.99, f"{ROUTER}stage_duration_seconds", matching='{tinyroute_stage="analysis"}')},
                "s",
                kind="stat",
                width=6,
            ),
            Panel(
                "Saved against always using the top tier",
                {"a day": f"sum(increase({ROUTER}saving[1d])) / {MICROS}"},
                "currencyUSD",
                kind="stat",
                width=6,
            ),
        ),
    ),
    Row(
        "Latency by stage",
        (
            Panel(
                "Requests",
                {
                    "p50 {{tinyroute_rpc}}": percentile(0.5, REQUESTS, "tinyroute_rpc"),
                    "p99 {{tinyroute_rpc}}": percentile(0.99, REQUESTS, "tinyroute_rpc"),
                },
                "s",
                "From arrival to answer. An answer's length rules it; the stages beside it are ours.",
            ),
            Panel(
                "Stages, p99",
                {
                    "{{tinyroute_stage}}": percentile(0.99, f"{ROUTER}stage_duration_seconds", "tinyroute_stage"),
                },
                "s",
            ),
            Panel(
                "First token by backend, p95",
                {
                    "{{tinyroute_backend}}": percentile(
                        0.95, f"{CHAT}time_to_first_chunk_seconds", "tinyroute_backend"
                    ),
                },
                "s",
            ),
        ),
    ),
    Row(
        "Decisions",
        (
            Panel("By rung", {"{{tinyroute_rung}}": share(DECISIONS, "tinyroute_rung")}, "percentunit", stacked=True),
            Panel("By tier", {"{{tinyroute_tier}}": share(DECISIONS, "tinyroute_tier")}, "percentunit", stacked=True),
            Panel(
                "By cause", {"{{tinyroute_cause}}": share(DECISIONS, "tinyroute_cause")}, "percentunit", stacked=True
            ),
            Panel(
                "Rungs without an analysis, by reason",
                {
                    "{{tinyroute_rung}} {{tinyroute_rung_skip_reason}}": rate(
                        f"{ROUTER}fail_open_total", "tinyroute_rung, tinyroute_rung_skip_reason"
                    ),
                },
                "reqps",
                width=12,
            ),
            Panel(
                "No answer, by reason",
                {
                    "{{tinyroute_status}} {{tinyroute_reason}}": rate(
                        f"{ROUTER}failures_total", "tinyroute_status, tinyroute_reason"
                    ),
                    "turned away: {{tinyroute_reason}}": rate(f"{ROUTER}refusals_total", "tinyroute_reason"),
                },
                "reqps",
                width=12,
            ),
        ),
    ),
    Row(
        "Quality and money",
        (
            Panel(
                "Predicted and reported",
                {
                    "predicted": mean(f"{ROUTER}predicted_success"),
                    "reported": mean(f"{ROUTER}reported_quality"),
                },
                "percentunit",
                "Reported by callers with ReportOutcome. Lasting distance: see the runbook, quality.",
            ),
            Panel(
                "Shadow comparisons that disagree",
                {
                    "disagree": f'sum(rate({ROUTER}shadow_comparisons_total{{tinyroute_shadow="DISAGREE"}}[1d]))'
                    f" / sum(rate({ROUTER}shadow_comparisons_total[1d]))",
                },
                "percentunit",
            ),
            Panel(
                "Cost a day by tier",
                {
                    "{{tinyroute_tier}}": f"sum by (tinyroute_tier) (increase({ROUTER}cost_total[1d])) / {MICROS}",
                },
                "currencyUSD",
                stacked=True,
            ),
            Panel(
                "Budget of the day spent",
                {
                    "{{tinyroute_tenant}}": f"max by (tinyroute_tenant) ({ROUTER}budget_spent)",
                },
                "percentunit",
                width=12,
            ),
            Panel(
                "Tokens",
                {
                    "{{tinyroute_tier}} {{tinyroute_token_type}}": rate(
                        f"{ROUTER}tokens_total", "tinyroute_tier, tinyroute_token_type"
                    ),
                },
                "short",
                width=12,
            ),
        ),
    ),
)
