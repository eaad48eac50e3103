"""The analysis rung in the cloud: any OpenAI-compatible model says in one token how demanding a prompt is.

The prompt is data to it: it travels as one JSON string, cut to its head and tail. The answer is one digit; where the
endpoint offers log probabilities, the whole distribution over the digits counts, else the digit alone. Each stands
for a row of predicted success at the three reference abilities. Whatever else comes back means "undecided", never an
exception of its own.
"""

import asyncio
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import openai

from router.adapters.cloud_rubric import conversation, is_cut
from router.adapters.openai_client import Endpoint, Headers, connect
from router.adapters.openai_failures import backend_failed
from router.adapters.openai_shapes import first_choice, usage_of
from router.analysis import Analysis, AnalysisSource, Rung, RungFailed, SkipReason
from router.answer import AttemptOutcome, BackendFailed, Usage
from router.request import Message, RouteRequest
from servicekit.deadline import Deadline

SUCCESS_BY_LABEL: Mapping[str, tuple[float, float, float]] = {
    "1": (0.97, 0.98, 0.99),
    "2": (0.90, 0.95, 0.98),
    "3": (0.72, 0.87, 0.95),
    "4": (0.45, 0.70, 0.90),
    "5": (0.22, 0.48, 0.82),
}
"""A prior, not a fit: the rubric's words on the scale of abilities. No row decreases, so no mixture of them does."""

LABEL = re.compile(r"\W*([1-5])\b")
TOP_LOGPROBS = (20, 5, 0)
"""Alternatives asked for; an endpoint that refuses is asked for the next number, at last for none."""

MASS_MIN = 0.1
"""Below this share of the probability on labels, the model was not answering the question."""

CONFIDENCE_MAX = 0.7
CONFIDENCE_OF_BARE_LABEL = 0.5

SKIP_REASONS: Mapping[AttemptOutcome, SkipReason] = {
    AttemptOutcome.TIMEOUT: SkipReason.TIMEOUT,
    AttemptOutcome.RATE_LIMITED: SkipReason.OVERLOADED,
    AttemptOutcome.UNAVAILABLE: SkipReason.UNAVAILABLE,
    AttemptOutcome.UNAUTHENTICATED: SkipReason.UNAVAILABLE,
}
"""Of a failed call; one that is not here is UNDECIDED."""

Price = Callable[[str, Usage], int | None]
"""Micro-dollars for these tokens of that model; None when it has no known price."""


@dataclass(frozen=True)
class Verdict:
    """What the model said: predicted success at the three abilities, and how far to rely on it."""

    success: tuple[float, float, float]
    confidence: float


class CloudJudge:
    """Asks one endpoint, once a call. `close` it at the end."""

    name = Rung.CLOUD_TINY

    def __init__(self, endpoint: Endpoint, price: Price, headers: Headers = dict) -> None:
        self._endpoint = endpoint
        self._price = price
        self._headers = headers
        self._client = connect(endpoint)
        self._alternatives = list(TOP_LOGPROBS)

    def __repr__(self) -> str:
        return f"CloudJudge({self._endpoint}, top_logprobs={self._alternatives[0]})"

    async def close(self) -> None:
        """Closes its connections."""
        await self._client.close()

    async def analyze(self, request: RouteRequest, deadline: Deadline) -> Analysis:
        """The analysis, billed. Raises RungFailed, with what the attempt cost all the same."""
        completion = await self._ask(request.messages, deadline)
        usage = usage_of(completion)
        cost = self._price(self._endpoint.model, usage) if usage is not None else None
        verdict = verdict_of(completion)
        if verdict is None:
            raise RungFailed(SkipReason.UNDECIDED, cost_micros=cost)
        return Analysis(
            success=verdict.success,
            confidence=verdict.confidence,
            source=AnalysisSource.CLOUD_TINY,
            prompt_token_count=0,
            truncated=is_cut(request.messages),
            revision=self._endpoint.model,
            cost_micros=cost,
        )

    async def _ask(self, messages: Sequence[Message], deadline: Deadline) -> Any:
        remaining = deadline.remaining()
        try:
            async with asyncio.timeout(remaining):
                return await self._client.chat.completions.create(
                    model=self._endpoint.model,
                    messages=conversation(messages),
                    temperature=0,
                    timeout=remaining,
                    extra_headers=dict(self._headers()),
                    **self._label_fields(),
                )
        except (openai.OpenAIError, TimeoutError, OSError, ValueError) as error:
            self._learn(error)
            raise rung_failed(backend_failed(error, started=False)) from error

    def _label_fields(self) -> dict[str, Any]:
        limit, alternatives = self._endpoint.max_tokens_field, self._alternatives[0]
        if alternatives:
            return {limit: 1, "logprobs": True, "top_logprobs": alternatives}
        return {limit: 4}

    def _learn(self, error: Exception) -> None:
        """An endpoint that calls so many logprobs a mistake is not asked for them again."""
        refused = isinstance(error, openai.BadRequestError) and "logprob" in error.message.lower()
        if refused and len(self._alternatives) > 1:
            del self._alternatives[0]


def rung_failed(failure: BackendFailed) -> RungFailed:
    """The rung's failure that a failed call is. A refused or broken call is taken as not billed."""
    reason = SKIP_REASONS.get(failure.outcome, SkipReason.UNDECIDED)
    return RungFailed(reason, retry_after_seconds=failure.retry_after_seconds)


def verdict_of(completion: Any) -> Verdict | None:
    """What the completion says; None when it is no verdict, whatever shape it has."""
    choice = first_choice(completion)
    shares = label_shares(choice)
    if shares is not None:
        return mixture(shares)
    content = getattr(getattr(choice, "message", None), "content", None)
    label = LABEL.fullmatch(content.strip().rstrip(".")) if isinstance(content, str) else None
    return None if label is None else Verdict(SUCCESS_BY_LABEL[label[1]], CONFIDENCE_OF_BARE_LABEL)


def label_shares(choice: Any) -> dict[str, float] | None:
    """Probability by label from the first token's alternatives; None when the endpoint sent none."""
    tokens = getattr(getattr(choice, "logprobs", None), "content", None)
    if not isinstance(tokens, list) or not tokens:
        return None
    shares = dict.fromkeys(SUCCESS_BY_LABEL, 0.0)
    alternatives = getattr(tokens[0], "top_logprobs", None)
    for alternative in alternatives if isinstance(alternatives, list) else ():
        token, logprob = getattr(alternative, "token", None), getattr(alternative, "logprob", None)
        if isinstance(token, str) and token.strip() in shares and isinstance(logprob, int | float) and logprob <= 0:
            shares[token.strip()] += math.exp(logprob)
    return shares


def mixture(shares: Mapping[str, float]) -> Verdict | None:
    """The labels' rows by their probability. None when too little of it is on labels."""
    mass = sum(shares.values())
    if not math.isfinite(mass) or mass < MASS_MIN:
        return None
    rows = [(share / mass, SUCCESS_BY_LABEL[label]) for label, share in shares.items()]
    small, medium, frontier = (sum(share * row[ability] for share, row in rows) for ability in range(3))
    entropy = -sum(share * math.log(share) for share, _ in rows if share > 0)
    return Verdict((small, medium, frontier), CONFIDENCE_MAX * min(1.0, mass) * (1 - entropy / math.log(len(rows))))
