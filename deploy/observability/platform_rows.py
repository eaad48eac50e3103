"""The dashboard of the platform team: the analyzers' capacity, queue and cache, the router's neighbours, Envoy."""

from deploy.observability.panels import ANALYZER, CHAT, ROUTER, Panel, Row, mean, percentile, rate, share

LEGEND = "{{tinyroute_revision_policy}}, {{tinyroute_revision_prices}}"

PLATFORM = (
    Row(
        "Analyzer capacity",
        (
            Panel("Analyses", {"{{source}}": rate(f"{ANALYZER}analyses_total", "source")}, "reqps", stacked=True),
            Panel(
                "Time inside the model",
                {
                    "{{instance}}": rate(f"{ANALYZER}forward_duration_seconds_sum", "instance"),
                },
                "percentunit",
                "Share of the time a replica computes. Above 0.7 the queue grows: add replicas.",
            ),
            Panel(
                "Forward pass",
                {
                    "p50": percentile(0.5, f"{ANALYZER}forward_duration_seconds"),
                    "p99": percentile(0.99, f"{ANALYZER}forward_duration_seconds"),
                },
                "s",
            ),
            Panel(
                "Whole analysis, p99",
                {
                    "{{source}}": percentile(0.99, f"{ANALYZER}analysis_duration_seconds", "source"),
                },
                "s",
            ),
            Panel("Tokenize, p99", {"p99": percentile(0.99, f"{ANALYZER}tokenize_duration_seconds")}, "s"),
            Panel("Revision in use", {"{{revision}}": f"count by (revision) ({ANALYZER}revision_info)"}, stacked=True),
        ),
    ),
    Row(
        "Queue",
        (
            Panel(
                "Wait",
                {
                    "p50": percentile(0.5, f"{ANALYZER}queue_wait_seconds"),
                    "p99": percentile(0.99, f"{ANALYZER}queue_wait_seconds"),
                },
                "s",
                "What the autoscaler goes by.",
            ),
            Panel(
                "Prompts and tokens of a batch, mean",
                {
                    "prompts": mean(f"{ANALYZER}batch_size"),
                    "padded tokens": mean(f"{ANALYZER}batch_tokens"),
                },
            ),
            Panel(
                "Refused, failed",
                {
                    "{{reason}}": rate(f"{ANALYZER}refusals_total", "reason"),
                    "model failed": rate(f"{ANALYZER}forward_failures_total"),
                },
                "reqps",
            ),
        ),
    ),
    Row(
        "Cache",
        (
            Panel(
                "Hit rate",
                {
                    "{{source}}": share(f"{ANALYZER}analyses_total", "source"),
                },
                "percentunit",
                stacked=True,
            ),
            Panel(
                "Wrong similar hits",
                {
                    "wrong": f'sum(increase({ANALYZER}similar_checks_total{{outcome="wrong"}}[6h]))'
                    f" / sum(increase({ANALYZER}similar_checks_total[6h]))",
                },
                "percentunit",
                "Of the hits that were analysed again. Above 2 % the cache switches itself off.",
            ),
            Panel("Similar cache on", {"{{instance}}": f"{ANALYZER}similar_on"}),
        ),
    ),
    Row(
        "Router and its neighbours",
        (
            Panel(
                "Breakers",
                {
                    "{{tinyroute_breaker}}": f"max by (tinyroute_breaker) ({ROUTER}breaker_state)",
                },
                about="0 closed, 1 half-open, 2 open.",
            ),
            Panel(
                "Backend calls that failed",
                {
                    "{{tinyroute_backend}} {{tinyroute_attempt_outcome}}": rate(
                        f'{CHAT}duration_seconds_count{{tinyroute_attempt_outcome!="ANSWERED"}}',
                        "tinyroute_backend, tinyroute_attempt_outcome",
                    ),
                },
                "reqps",
            ),
            Panel(
                "Backend calls, p95",
                {
                    "{{tinyroute_backend}}": percentile(0.95, f"{CHAT}duration_seconds", "tinyroute_backend"),
                },
                "s",
            ),
            Panel(
                "Rungs, p99",
                {
                    "{{tinyroute_rung}}": percentile(0.99, f"{ROUTER}rung_duration_seconds", "tinyroute_rung"),
                },
                "s",
            ),
            Panel(
                "Ledger",
                {
                    "{{tinyroute_status}}": rate(f"{ROUTER}ledger_records_total", "tinyroute_status"),
                    "not kept": rate(f"{ROUTER}ledger_failures_total"),
                },
                "short",
            ),
            Panel(
                "Bugs that requests went on without",
                {
                    "{{tinyroute_where}}": rate(f"{ROUTER}faults_total", "tinyroute_where"),
                },
            ),
            Panel(
                "Calls by status",
                {
                    "{{rpc_method}} {{rpc_response_status_code}}": rate(
                        "rpc_server_call_duration_seconds_count", "rpc_method, rpc_response_status_code"
                    ),
                },
                "reqps",
                width=12,
            ),
            Panel(
                "Policy and prices in force",
                {LEGEND: f"count by (tinyroute_revision_policy, tinyroute_revision_prices) ({ROUTER}revision_info)"},
                width=12,
            ),
        ),
    ),
    Row(
        "Envoy",
        (
            Panel(
                "Healthy analyzers",
                {
                    "healthy": 'envoy_cluster_membership_healthy{envoy_cluster_name="analyzers"}',
                    "all": 'envoy_cluster_membership_total{envoy_cluster_name="analyzers"}',
                },
            ),
            Panel(
                "Tried again",
                {
                    "retries": rate('envoy_cluster_upstream_rq_retry{envoy_cluster_name="analyzers"}'),
                    "no budget left": rate('envoy_cluster_upstream_rq_retry_overflow{envoy_cluster_name="analyzers"}'),
                    "too slow": rate('envoy_cluster_upstream_rq_per_try_timeout{envoy_cluster_name="analyzers"}'),
                },
                "reqps",
                "A hedge is a try that was too slow and went on while another began.",
            ),
            Panel(
                "Calls under way",
                {
                    "analyzers": 'envoy_cluster_upstream_rq_active{envoy_cluster_name="analyzers"}',
                    "router": 'envoy_cluster_upstream_rq_active{envoy_cluster_name="router"}',
                },
            ),
        ),
    ),
)
