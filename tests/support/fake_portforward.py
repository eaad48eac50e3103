"""The server's side of a port forward over a websocket: frames of one channel byte and data, as kubelets speak it."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import socket
import struct
import threading
from http.server import BaseHTTPRequestHandler
from typing import Any

PROTOCOL = "v4.channel.k8s.io"
_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_BINARY, _CLOSE = 2, 8


def serve(handler: BaseHTTPRequestHandler, nominal_port: int, actual_port: int) -> None:
    """Answers a request for a forward, and carries bytes until one end is gone."""
    key = handler.headers["Sec-WebSocket-Key"]
    accept = base64.b64encode(hashlib.sha1(f"{key}{_GUID}".encode()).digest()).decode()
    handler.send_response(101)
    handler.send_header("Upgrade", "websocket")
    handler.send_header("Connection", "Upgrade")
    handler.send_header("Sec-WebSocket-Accept", accept)
    handler.send_header("Sec-WebSocket-Protocol", PROTOCOL)
    handler.end_headers()
    handler.close_connection = True
    wire = handler.connection
    for channel in (0, 1):
        _send(wire, bytes([channel]) + struct.pack("<H", nominal_port))
    with socket.create_connection(("127.0.0.1", actual_port)) as backend:
        threading.Thread(target=_outwards, args=(backend, wire), daemon=True).start()
        while (data := _frame(handler.rfile)) is not None:
            with contextlib.suppress(OSError):  # the backend may be gone; the client learns it by the close
                backend.sendall(data[1:])


def _outwards(backend: socket.socket, wire: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := backend.recv(65_536):
            _send(wire, b"\0" + data)
        wire.sendall(bytes([0x80 | _CLOSE, 0]))


def _send(wire: socket.socket, data: bytes) -> None:
    size = len(data)
    length = bytes([size]) if size < 126 else b"\x7e" + struct.pack(">H", size) if size < 65_536 else None
    length = length or b"\x7f" + struct.pack(">Q", size)
    wire.sendall(bytes([0x80 | _BINARY]) + length + data)


def _frame(stream: Any) -> bytes | None:
    """Returns the data of the next frame; None at the end."""
    head = stream.read(2)
    if len(head) < 2 or head[0] & 0x0F == _CLOSE:
        return None
    size = head[1] & 0x7F
    if size >= 126:
        size = struct.unpack(">H" if size == 126 else ">Q", stream.read(2 if size == 126 else 8))[0]
    mask = stream.read(4) if head[1] & 0x80 else b"\0\0\0\0"
    data = stream.read(size)
    return bytes(byte ^ mask[index % 4] for index, byte in enumerate(data))
