"""A TCP proxy that breaks what passes through it: latency, reset, blackhole, half-close.

async with FaultProxy("127.0.0.1:50060") as proxy:
    client_of(proxy.address)
    proxy.blackhole()
    proxy.heal()
"""

import asyncio
import contextlib
import socket
import struct
from enum import Enum
from typing import Self

CHUNK_BYTES = 65_536
RESET = struct.pack("ii", 1, 0)
"""SO_LINGER for an end by RST."""


class Fault(Enum):
    """What is done to bytes."""

    NONE = "passed on"
    BLACKHOLE = "taken and lost"
    HALF_CLOSE = "passed on to the target; the way back is closed"


class FaultProxy:
    """Listens on a port (0: any free one) and hands bytes to `target`, host:port, as told."""

    def __init__(self, target: str, port: int = 0) -> None:
        self.target = target
        self.latency_seconds = 0.0
        self.accepted = 0
        self._port = port
        self._fault = Fault.NONE
        self._healed = asyncio.Event()
        self._healed.set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self._port)
        self.address = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in self._writers:
            writer.close()

    def __repr__(self) -> str:
        return f"<FaultProxy {self.target}: {self._fault.value}, {len(self._tasks)} connections>"

    def blackhole(self) -> None:
        """From now on nothing arrives, though connections open and stay open."""
        self._strike(Fault.BLACKHOLE)

    def half_close(self) -> None:
        """From now on the target's side of every connection is closed, the caller's stays open."""
        self._strike(Fault.HALF_CLOSE)
        for writer in self._writers:
            with contextlib.suppress(OSError):
                writer.write_eof()

    def reset(self) -> None:
        """Ends every open connection by RST; new ones pass."""
        for writer in self._writers:
            raw: socket.socket = writer.get_extra_info("socket")
            with contextlib.suppress(OSError):
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            writer.transport.abort()

    def heal(self) -> None:
        """Passes everything on again. What a blackhole took is lost: connections that had bytes in it are reset."""
        if self._fault is not Fault.NONE:
            self.reset()
        self._fault = Fault.NONE
        self._healed.set()

    def _strike(self, fault: Fault) -> None:
        self._fault = fault
        self._healed.clear()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        self.accepted += 1
        try:
            await self._join(reader, writer)
        except (OSError, asyncio.CancelledError):
            return  # the fault itself, or the end of the test
        finally:
            self._tasks.discard(task)
            self._writers.discard(writer)
            writer.close()

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._fault is Fault.BLACKHOLE:
            await self._healed.wait()
            return
        host, _, port = self.target.rpartition(":")
        from_target, to_target = await asyncio.open_connection(host, int(port))
        if self._fault is Fault.HALF_CLOSE:
            writer.write_eof()
        try:
            there = asyncio.ensure_future(self._pump(reader, to_target, back=False))
            back = asyncio.ensure_future(self._pump(from_target, writer, back=True))
            _, pending = await asyncio.wait((there, back), return_when=asyncio.FIRST_COMPLETED)
            for task in pending:
                task.cancel()
            await asyncio.gather(there, back, return_exceptions=True)
        finally:
            to_target.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, back: bool) -> None:
        while data := await reader.read(CHUNK_BYTES):
            if self.latency_seconds:
                await asyncio.sleep(self.latency_seconds)
            if self._fault is Fault.BLACKHOLE or (back and self._fault is Fault.HALF_CLOSE):
                continue
            writer.write(data)
            await writer.drain()
