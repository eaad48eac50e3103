"""Names of what the router tells on its spans and metrics. Those of other conventions are in the telemetry adapter."""

REQUEST_ID = "tinyroute.request_id"
TENANT = "tinyroute.tenant"
RPC = "tinyroute.rpc"
STAGE = "tinyroute.stage"

TIER = "tinyroute.tier"
BACKEND = "tinyroute.backend"
CAUSE = "tinyroute.cause"
COMPLEXITY = "tinyroute.complexity"
EXPECTED_GAIN = "tinyroute.expected_gain"
CONFIDENCE = "tinyroute.confidence"
TASK = "tinyroute.task"
TRUNCATED = "tinyroute.truncated"

RUNG = "tinyroute.rung"
SKIP_REASON = "tinyroute.rung.skip_reason"
ANALYSIS_SOURCE = "tinyroute.analysis.source"
FAIL_OPEN = "tinyroute.fail_open"
BUDGET_REMAINING_MS = "tinyroute.budget.remaining_ms"

ANALYZER_REVISION = "tinyroute.revision.analyzer"
POLICY_REVISION = "tinyroute.revision.policy"
PRICE_REVISION = "tinyroute.revision.prices"

ATTEMPT_OUTCOME = "tinyroute.attempt.outcome"
STATUS = "tinyroute.status"
REASON = "tinyroute.reason"
COST_MICROS = "tinyroute.cost_micros"
SAVED_MICROS = "tinyroute.saved_micros"
LEDGER_KEPT = "tinyroute.ledger.kept"
BREAKER = "tinyroute.breaker"
WHERE = "tinyroute.where"
SHADOW = "tinyroute.shadow"
SCORE = "tinyroute.score"
TOKEN_TYPE = "tinyroute.token.type"  # noqa: S105 - a name, no secret

FIRST_TOKEN = "first_token"  # noqa: S105 - the name of an event
