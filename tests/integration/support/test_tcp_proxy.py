"""The fault proxy does what the tests under faults rely on."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from tests.support.tcp_proxy import FaultProxy

SOON = 5.0
A_WHILE = 0.2


class Connection:
    """A client's side."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def say(self, data: bytes, seconds: float = SOON) -> bytes:
        """What comes back; raises TimeoutError when nothing does."""
        self.writer.write(data)
        async with asyncio.timeout(seconds):
            return await self.reader.read(100)


Connect = Callable[[], Awaitable[Connection]]


@pytest.fixture
async def proxy() -> AsyncIterator[FaultProxy]:
    """In front of a server that says everything twice."""
    handlers: set[asyncio.Task[None] | None] = set()

    async def twice(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handlers.add(asyncio.current_task())
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(100):
                writer.write(data * 2)
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(twice, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with FaultProxy(f"127.0.0.1:{port}") as made:
        yield made
    server.close()
    await asyncio.gather(*(handler for handler in handlers if handler is not None))


@pytest.fixture
async def connect(proxy: FaultProxy) -> AsyncIterator[Connect]:
    """Opens connections through the proxy, closed at the end."""
    opened: list[Connection] = []

    async def one() -> Connection:
        host, _, port = proxy.address.rpartition(":")
        opened.append(Connection(*await asyncio.open_connection(host, int(port))))
        return opened[-1]

    yield one
    for connection in opened:
        connection.writer.close()
        with contextlib.suppress(ConnectionError):
            await connection.writer.wait_closed()


async def test_usually_everything_passes(connect: Connect) -> None:
    """Both ways."""
    assert await (await connect()).say(b"a") == b"aa"


async def test_latency_comes_on_top(proxy: FaultProxy, connect: Connect) -> None:
    """On each way."""
    proxy.latency_seconds = A_WHILE
    began = asyncio.get_running_loop().time()
    assert await (await connect()).say(b"a") == b"aa"
    assert asyncio.get_running_loop().time() - began >= 2 * A_WHILE


async def test_a_reset_ends_open_connections_and_no_new_ones(proxy: FaultProxy, connect: Connect) -> None:
    """By RST."""
    connection = await connect()
    assert await connection.say(b"a") == b"aa"
    proxy.reset()
    with pytest.raises(ConnectionResetError):
        await connection.say(b"b")
    assert await (await connect()).say(b"c") == b"cc"


async def test_a_blackhole_takes_everything_until_it_is_healed(proxy: FaultProxy, connect: Connect) -> None:
    """Open connections hang, new ones open and hang too; after it only new ones are of use."""
    old = await connect()
    assert await old.say(b"a") == b"aa"
    proxy.blackhole()
    new = await connect()
    for connection in (old, new):
        with pytest.raises(TimeoutError):
            await connection.say(b"b", A_WHILE)
    proxy.heal()
    with contextlib.suppress(ConnectionResetError):
        assert await old.say(b"c") == b""
    assert await (await connect()).say(b"d") == b"dd"


async def test_half_closed_connections_say_that_nothing_more_comes(proxy: FaultProxy, connect: Connect) -> None:
    """Their other half stays open."""
    connection = await connect()
    assert await connection.say(b"a") == b"aa"
    proxy.half_close()
    assert await connection.say(b"b") == b""
    assert not connection.writer.is_closing()
