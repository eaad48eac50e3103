"""A scriptable OpenAI-compatible server: each request takes the next step of the script, then the last one for ever.

async with FakeOpenAI(status(429, retry_after=2), Reply(("Hi",)), latency=0.4) as server:
    client = AsyncOpenAI(base_url=server.base_url, api_key="k", max_retries=0)
"""

import asyncio
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Self


@dataclass(frozen=True)
class Reply:
    """One scripted answer: a chat completion, streamed when asked for, or `body` as it is."""

    pieces: tuple[str, ...] = ("Hello", " there")
    finish_reason: str | None = "stop"
    usage: Mapping[str, Any] | None = field(default_factory=lambda: {"prompt_tokens": 11, "completion_tokens": 2})
    logprobs: Mapping[str, float] | None = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    first_token_after: float = 0.0
    between_pieces: float = 0.0
    cut_after: int | None = None
    hang_after_head: bool = False


def status(code: int, *, error: str = "scripted", retry_after: float | str | None = None) -> Reply:
    """An error as the OpenAI API tells it; `error` is its code."""
    body = json.dumps({"error": {"message": f"{error}: scripted", "type": error, "code": error}}).encode()
    headers = {"content-type": "application/json"} | ({} if retry_after is None else {"retry-after": str(retry_after)})
    return Reply(status=code, body=body, headers=headers)


def html(code: int = 200) -> Reply:
    """What a proxy in the way answers."""
    return Reply(status=code, body=b"<html><body>Sign in</body></html>", headers={"content-type": "text/html"})


def cut_inside_a_character() -> Reply:
    """A stream that breaks between the two bytes of an umlaut."""
    text = _event({"choices": [{"index": 0, "delta": {"content": "gr"}}]})
    half = 'data: {"choices":[{"index":0,"delta":{"content":"ü'.encode()[:-1]
    return Reply(body=text + half, headers={"content-type": "text/event-stream"}, cut_after=len(text + half))


@dataclass
class Seen:
    """One request the server has read."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]


class FakeOpenAI:
    """The server, on any free port unless told; `latency` seconds pass before anything of an answer is sent."""

    def __init__(self, *script: Reply, latency: float = 0.0, port: int = 0) -> None:
        self.script = list(script) or [Reply()]
        self.latency = latency
        self.port = port
        self.seen: list[Seen] = []
        self.abandoned = 0
        self._handlers: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        self.base_url = f"http://127.0.0.1:{self.port}/v1"
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._server.close()
        for handler in self._handlers:
            handler.cancel()
        await asyncio.gather(*self._handlers, return_exceptions=True)

    def __repr__(self) -> str:
        return f"FakeOpenAI(seen={len(self.seen)}, abandoned={self.abandoned})"

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._handlers.add(task)
        try:
            while (request := await _read_request(reader)) is not None:
                self.seen.append(request)
                if not await self._answer_unless_left(self._next(), request, reader, writer):
                    break
        except ConnectionError:
            self.abandoned += 1
        except asyncio.CancelledError:
            return  # the server closes; a cancelled handler would be reported by the stream's own callback
        finally:
            self._handlers.discard(task)
            writer.close()

    def _next(self) -> Reply:
        return self.script.pop(0) if len(self.script) > 1 else self.script[0]

    async def _answer_unless_left(
        self, reply: Reply, request: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        """Whether the connection can take another request."""
        answering = asyncio.ensure_future(_answer(reply, request, writer, self.latency))
        leaving = asyncio.ensure_future(reader.read(1))
        try:
            await asyncio.wait((answering, leaving), return_when=asyncio.FIRST_COMPLETED)
            if answering.done():
                return answering.result()
            self.abandoned += 1
            return False
        finally:
            for future in (answering, leaving):
                future.cancel()
                with suppress(asyncio.CancelledError, ConnectionError):
                    await future


async def _read_request(reader: asyncio.StreamReader) -> Seen | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.strip().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Seen(first.split(" ")[1], headers, json.loads(body) if body else {})


async def _answer(reply: Reply, request: Seen, writer: asyncio.StreamWriter, latency: float) -> bool:
    await asyncio.sleep(latency)
    streamed = bool(request.body.get("stream")) and reply.body is None
    content_type = "text/event-stream" if streamed else "application/json"
    _write_head(writer, reply, {"content-type": content_type} | dict(reply.headers))
    if reply.hang_after_head:
        await writer.drain()
        await asyncio.sleep(3600)
    sent = 0
    async for part in _parts(reply, request, streamed=streamed):
        if reply.cut_after is not None and sent + len(part) >= reply.cut_after:
            _write_chunk(writer, part[: reply.cut_after - sent])
            await writer.drain()
            return False
        sent += len(part)
        _write_chunk(writer, part)
        await writer.drain()
    writer.write(b"0\r\n\r\n")
    await writer.drain()
    return True


async def _parts(reply: Reply, request: Seen, *, streamed: bool) -> Any:
    if reply.body is not None:
        yield reply.body
        return
    await asyncio.sleep(reply.first_token_after)
    if not streamed:
        yield json.dumps(_completion(reply)).encode()
        return
    yield _event({"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]})
    for piece in reply.pieces:
        yield _event({"choices": [{"index": 0, "delta": {"content": piece}}]})
        await asyncio.sleep(reply.between_pieces)
    if reply.finish_reason is not None:
        yield _event({"choices": [{"index": 0, "delta": {}, "finish_reason": reply.finish_reason}]})
    if reply.usage is not None and request.body.get("stream_options", {}).get("include_usage"):
        yield _event({"choices": [], "usage": dict(reply.usage)})
    yield b"data: [DONE]\n\n"


def _completion(reply: Reply) -> dict[str, Any]:
    choice: dict[str, Any] = {
        "index": 0,
        "message": {"role": "assistant", "content": "".join(reply.pieces)},
        "finish_reason": reply.finish_reason,
    }
    if reply.logprobs is not None:
        top = [{"token": token, "logprob": value, "bytes": None} for token, value in reply.logprobs.items()]
        choice["logprobs"] = {"content": [{**top[0], "top_logprobs": top}]} if top else {"content": []}
    usage = {} if reply.usage is None else {"usage": dict(reply.usage)}
    return {"id": "chatcmpl-1", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice]} | usage


def _event(data: dict[str, Any]) -> bytes:
    chunk = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 0, "model": "m"} | data
    return b"data: " + json.dumps(chunk, ensure_ascii=False).encode() + b"\n\n"


def _write_head(writer: asyncio.StreamWriter, reply: Reply, headers: Mapping[str, str]) -> None:
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    writer.write(f"HTTP/1.1 {reply.status} Scripted\r\n{lines}transfer-encoding: chunked\r\n\r\n".encode())


def _write_chunk(writer: asyncio.StreamWriter, data: bytes) -> None:
    if data:
        writer.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
