"""The backend adapter against a real HTTP server that misbehaves as told."""

import asyncio
from contextlib import aclosing
from dataclasses import replace

import pytest

from router.adapters.openai_client import Endpoint, OpenAIBackend, Place
from router.adapters.openai_shapes import generation_body
from router.answer import AttemptOutcome, BackendFailed, Chunk, FinishReason, Usage
from router.request import Generation, Message, ResponseFormatType, Role, RouteRequest, Tier
from servicekit.deadline import Deadline
from tests.support.fake_openai import FakeOpenAI, Reply, cut_inside_a_character, html, status
from tests.support.holding import until

MESSAGES = (Message(Role.SYSTEM, "Be brief."), Message(Role.USER, "What is a monad?"))


REQUEST = RouteRequest("r", "local", MESSAGES)
PLACE = Place("b", Tier.SMALL, weight=1, context_window=4096, max_output_tokens=256)


async def ask(server: FakeOpenAI, *, seconds: float = 5.0, generation: Generation | None = None) -> list[Chunk]:
    """All chunks of one answer."""
    backend = OpenAIBackend(PLACE, Endpoint(server.base_url, "m", "secret-key"))
    try:
        request = replace(REQUEST, generation=generation or Generation())
        stream = backend.stream(request, 9, Deadline.after(seconds))
        return [chunk async for chunk in stream]
    finally:
        await backend.close()


async def test_an_answer_comes_in_pieces_and_ends_with_reason_and_usage() -> None:
    """Only the last chunk has a finish reason, and the usage that comes behind it on the wire."""
    async with FakeOpenAI(Reply(("Hel", "lo"), usage={"prompt_tokens": 7, "completion_tokens": 2})) as server:
        chunks = await ask(server)
    assert [chunk.text for chunk in chunks] == ["Hel", "lo", ""]
    assert chunks[-1] == Chunk("", FinishReason.STOP, Usage(7, 2))


async def test_the_request_carries_messages_settings_and_key() -> None:
    """What the caller set is sent under the API's names, and nothing else."""
    generation = Generation(5, 0.5, 0.9, ("END",), 3, ResponseFormatType.JSON_SCHEMA, '{"type": "object"}')
    async with FakeOpenAI() as server:
        await ask(server, generation=generation)
    seen = server.seen[0]
    assert seen.path == "/v1/chat/completions"
    assert seen.headers["authorization"] == "Bearer secret-key"
    assert "openai-organization" not in seen.headers
    assert seen.body == {
        "model": "m",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What is a monad?"}],
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": 9,
        "temperature": 0.5,
        "top_p": 0.9,
        "stop": ["END"],
        "seed": 3,
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "answer", "schema": {"type": "object"}, "strict": True},
        },
    }


def test_unset_settings_are_not_sent() -> None:
    """The backend's defaults stay the backend's."""
    assert generation_body(Generation()) == {}
    assert generation_body(Generation(temperature=0.0, seed=0)) == {"temperature": 0.0, "seed": 0}


@pytest.mark.parametrize(
    ("reply", "outcome"),
    [
        (status(400), AttemptOutcome.BAD_REQUEST),
        (status(400, error="context_length_exceeded"), AttemptOutcome.CONTEXT_TOO_LONG),
        (status(500, error="exceed_context_size_error"), AttemptOutcome.CONTEXT_TOO_LONG),
        (status(400, error="content_filter"), AttemptOutcome.CONTENT_FILTERED),
        (status(401), AttemptOutcome.UNAUTHENTICATED),
        (status(403), AttemptOutcome.UNAUTHENTICATED),
        (status(404), AttemptOutcome.BACKEND_ERROR),
        (status(408), AttemptOutcome.TIMEOUT),
        (status(413), AttemptOutcome.CONTEXT_TOO_LONG),
        (status(422), AttemptOutcome.BAD_REQUEST),
        (status(429), AttemptOutcome.RATE_LIMITED),
        (status(500), AttemptOutcome.BACKEND_ERROR),
        (status(502), AttemptOutcome.UNAVAILABLE),
        (status(503), AttemptOutcome.UNAVAILABLE),
        (html(), AttemptOutcome.BACKEND_ERROR),
        (html(502), AttemptOutcome.UNAVAILABLE),
        (Reply(body=b"", headers={"content-type": "text/event-stream"}), AttemptOutcome.BACKEND_ERROR),
        (Reply(body=b"data: {nonsense\n\n"), AttemptOutcome.BACKEND_ERROR),
        (
            Reply(body=b'data: {"error": {"message": "x", "code": "rate_limit_exceeded"}}\n\n'),
            AttemptOutcome.RATE_LIMITED,
        ),
        (cut_inside_a_character(), AttemptOutcome.CUT_OFF),
        (Reply(finish_reason=None), AttemptOutcome.CUT_OFF),
        (Reply(("a" * 100, "b" * 100), cut_after=300), AttemptOutcome.CUT_OFF),
        (Reply((), finish_reason="content_filter"), AttemptOutcome.CONTENT_FILTERED),
    ],
)
async def test_every_fault_is_one_outcome(reply: Reply, outcome: AttemptOutcome) -> None:
    """No exception of another library gets out, and no text of the backend either."""
    async with FakeOpenAI(reply) as server:
        with pytest.raises(BackendFailed) as failed:
            await ask(server)
    assert failed.value.outcome is outcome
    assert "scripted" not in str(failed.value)
    assert len(server.seen) == 1, "the client retried by itself"


async def test_nobody_listening_is_unavailable() -> None:
    """A refused connection is told at once."""
    backend = OpenAIBackend(PLACE, Endpoint("http://127.0.0.1:9/v1", "m"))
    with pytest.raises(BackendFailed) as failed:
        await anext(backend.stream(REQUEST, 9, Deadline.after(5)))
    assert failed.value.outcome is AttemptOutcome.UNAVAILABLE
    await backend.close()


@pytest.mark.parametrize("reply", [Reply(first_token_after=30), Reply(hang_after_head=True)])
async def test_no_token_before_the_deadline_is_a_timeout(reply: Reply) -> None:
    """However far the answer had got without saying anything."""
    async with FakeOpenAI(reply) as server:
        with pytest.raises(BackendFailed) as failed:
            await ask(server, seconds=0.3)
    assert failed.value.outcome is AttemptOutcome.TIMEOUT


async def test_a_stream_that_stalls_is_cut_off_at_the_deadline() -> None:
    """One byte now and then keeps no call alive beyond its deadline."""
    async with FakeOpenAI(Reply(("a",) * 50, between_pieces=0.1)) as server:
        with pytest.raises(BackendFailed) as failed:
            await ask(server, seconds=0.35)
    assert failed.value.outcome is AttemptOutcome.CUT_OFF


@pytest.mark.parametrize(
    ("told", "seconds"), [(2, 2.0), ("1.5", 1.5), ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0), ("soon", None), ("-3", None)]
)
async def test_retry_after_is_read_in_both_forms(told: float | str, seconds: float | None) -> None:
    """A number or a date; nonsense is as if unsaid."""
    async with FakeOpenAI(status(429, retry_after=told)) as server:
        with pytest.raises(BackendFailed) as failed:
            await ask(server)
    assert failed.value.retry_after_seconds == seconds


async def test_redirects_are_not_followed() -> None:
    """A prompt goes where the operator said, nowhere else."""
    async with FakeOpenAI() as elsewhere:
        reply = Reply(status=307, body=b"", headers={"location": elsewhere.base_url + "/chat/completions"})
        async with FakeOpenAI(reply) as server:
            with pytest.raises(BackendFailed) as failed:
                await ask(server)
    assert failed.value.outcome is AttemptOutcome.BACKEND_ERROR
    assert not elsewhere.seen


async def test_a_missing_usage_is_missing_and_nonsense_too() -> None:
    """Tokens are the backend's to tell; the core estimates what it did not."""
    async with FakeOpenAI(
        Reply(usage=None),
        Reply(usage={"prompt_tokens": -1, "completion_tokens": 2}),
        Reply(usage={"prompt_tokens": "many", "completion_tokens": 2}),
    ) as server:
        assert [(await ask(server))[-1].usage for _ in range(3)] == [None, None, None]


async def test_cached_and_reasoning_tokens_are_read() -> None:
    """They have prices of their own."""
    usage = {
        "prompt_tokens": 10,
        "completion_tokens": 8,
        "prompt_tokens_details": {"cached_tokens": 4},
        "completion_tokens_details": {"reasoning_tokens": 5},
    }
    async with FakeOpenAI(Reply(usage=usage)) as server:
        assert (await ask(server))[-1].usage == Usage(10, 8, cached=4, reasoning=5)


async def test_a_break_after_the_finish_reason_breaks_nothing() -> None:
    """The answer is whole; only its usage is missing."""
    body = b'data: {"choices":[{"index":0,"delta":{"content":"hi"},"finish_reason":"length"}]}\n\ndata: {"cho'
    async with FakeOpenAI(Reply(body=body, cut_after=len(body))) as server:
        assert await ask(server) == [Chunk("hi"), Chunk("", FinishReason.LENGTH)]


async def test_leaving_the_stream_closes_the_connection() -> None:
    """A caller that goes away stops the backend's work."""
    async with FakeOpenAI(Reply(("a",) * 100, between_pieces=0.05)) as server:
        backend = OpenAIBackend(PLACE, Endpoint(server.base_url, "m"))
        async with aclosing(backend.stream(REQUEST, 9, Deadline.after(30))) as stream:
            assert (await anext(stream)).text == "a"
        await until(lambda: server.abandoned == 1)
        await backend.close()


async def test_cancelling_closes_the_connection() -> None:
    """Before the first token as well."""
    async with FakeOpenAI(Reply(first_token_after=30)) as server:
        task = asyncio.create_task(ask(server, seconds=30))
        await until(lambda: len(server.seen) == 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until(lambda: server.abandoned == 1)
