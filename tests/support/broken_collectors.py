"""Collectors that are no use: gone, hung, or so slow that nothing ever gets through. Each has threads of its own."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

KINDS = ("down", "hung", "one byte a second")
FIRST_FRAME = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
"""An empty HTTP/2 SETTINGS frame, with which a server begins."""

Serve = Callable[[socket.socket, threading.Event], None]


@contextmanager
def broken_collector(kind: str) -> Iterator[str]:
    """Yields the endpoint of a collector of that kind."""
    stop, serve = threading.Event(), _hang if kind == "hung" else _trickle
    with socket.create_server(("127.0.0.1", 0)) as listener:
        endpoint = f"http://127.0.0.1:{listener.getsockname()[1]}"
        if kind == "down":
            listener.close()
        else:
            threading.Thread(target=_accept, args=(listener, serve, stop), daemon=True).start()
        try:
            yield endpoint
        finally:
            stop.set()


def _accept(listener: socket.socket, serve: Serve, stop: threading.Event) -> None:
    with contextlib.suppress(OSError):
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=serve, args=(connection, stop), daemon=True).start()


def _hang(connection: socket.socket, stop: threading.Event) -> None:
    """Accepts, and does nothing ever after."""
    with connection:
        stop.wait()


def _trickle(connection: socket.socket, stop: threading.Event) -> None:
    """Reads and writes one byte a second."""
    with connection, contextlib.suppress(OSError):
        left = list(FIRST_FRAME)
        while connection.recv(1) and not stop.wait(1):
            if left:
                connection.send(bytes([left.pop(0)]))
