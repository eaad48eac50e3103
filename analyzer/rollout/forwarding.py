"""A port of a pod on this machine, as `kubectl port-forward` does it: it reaches what listens on a pod's loopback.

The client's own forwarder is not used: when a pod goes away its thread ends with a traceback and leaves sockets open.
"""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Protocol

from kubernetes import client
from kubernetes.stream.ws_client import create_websocket, get_websocket_url

from analyzer.rollout.ports import UnreachableError

LOOPBACK = "127.0.0.1"
SUBPROTOCOL = "v4.channel.k8s.io"
SECONDS_TO_CONNECT = 10.0
_CHUNK = 65_536
_DATA, _ERROR = 0, 1


class Reach(Protocol):
    """A way to a port of a pod."""

    def open(self, pod: str, port: int) -> Any:
        """Returns a context that yields host:port, good for one connection; raises UnreachableError."""
        ...


class PortForwards:
    """Forwards through the API server. The pod's network policies see nothing of it."""

    def __init__(self, api: client.ApiClient, namespace: str) -> None:
        self._configuration = api.configuration
        self._namespace = namespace

    @contextmanager
    def open(self, pod: str, port: int) -> Iterator[str]:
        """Yields host:port, good for one connection."""
        wire = self._connected(pod, port)
        with socket.create_server((LOOPBACK, 0)) as listener:
            carrier = threading.Thread(target=_serve_one, args=(listener, wire), daemon=True)
            carrier.start()
            try:
                yield f"{LOOPBACK}:{listener.getsockname()[1]}"
            finally:
                with suppress(OSError):
                    listener.shutdown(socket.SHUT_RDWR)  # ends a wait for a caller that never came
                carrier.join(SECONDS_TO_CONNECT)
                wire.shutdown()

    def _connected(self, pod: str, port: int) -> Any:
        path = f"/api/v1/namespaces/{self._namespace}/pods/{pod}/portforward"
        url = get_websocket_url(f"{self._configuration.host}{path}", [("ports", port)])  # type: ignore[no-untyped-call]
        headers = {"sec-websocket-protocol": SUBPROTOCOL}
        if token := self._configuration.get_api_key_with_prefix("BearerToken", alias="authorization"):
            headers["authorization"] = token
        try:
            return create_websocket(self._configuration, url, headers)  # type: ignore[no-untyped-call]
        except Exception as error:  # the websocket package has a dozen, without a base of their own
            raise UnreachableError(f"port {port} of {pod} can't be forwarded: {error}") from error


def _serve_one(listener: socket.socket, wire: Any) -> None:
    """Carries bytes between one caller and a pod until one of them is gone."""
    with suppress(OSError):
        near, _ = listener.accept()
        with (
            near,
            suppress(Exception),
        ):  # a pod that goes away breaks the wire in one of many ways; the caller sees an end
            _carry(near, wire)


def _carry(near: socket.socket, wire: Any) -> None:
    greeted: set[int] = set()
    while True:
        readable, _, _ = select.select([near, wire.sock], [], [])
        if near in readable:
            data = near.recv(_CHUNK)
            if not data:
                wire.send_close()
                return
            wire.send_binary(bytes([_DATA]) + data)
        if wire.sock in readable and not _carried_in(near, wire, greeted):
            return


def _carried_in(near: socket.socket, wire: Any, greeted: set[int]) -> bool:
    """Hands over what has arrived, all that TLS has decrypted included; False at the end."""
    while True:
        message = wire.recv()
        if not isinstance(message, bytes) or not message:
            return False
        channel = message[0]
        if channel not in greeted:  # the first message of each channel names the port
            greeted.add(channel)
        elif channel == _ERROR:
            return False
        else:
            near.sendall(message[1:])
        if not getattr(wire.sock, "pending", int)():
            return True
