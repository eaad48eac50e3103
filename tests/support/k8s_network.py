"""Says which connections a set of NetworkPolicies allows, by the rules of the API's documentation.

A pod that no policy of a direction selects is open in that direction; one that is selected may do what any of its
policies lists. A connection needs the source's egress and the destination's ingress.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

Policy = dict[str, Any]
Labels = dict[str, str]


@dataclass(frozen=True)
class Port:
    """Something that listens."""

    name: str
    number: int
    protocol: str = "TCP"


@dataclass(frozen=True)
class Party:
    """A pod, or (without a namespace) an address outside the cluster."""

    name: str
    address: str
    namespace: str = ""
    namespace_labels: Labels = field(default_factory=dict)
    labels: Labels = field(default_factory=dict)
    ports: tuple[Port, ...] = ()


def allowed(policies: Iterable[Policy], source: Party, destination: Party, port: Port) -> bool:
    """Says whether a connection gets through."""
    policies = list(policies)
    return _passes(policies, source, destination, port, "Egress") and _passes(
        policies, destination, source, port, "Ingress"
    )


def _passes(policies: list[Policy], subject: Party, other: Party, port: Port, direction: str) -> bool:
    selecting = [each["spec"] for each in policies if _selects(each, subject, direction)]
    if not selecting:
        return True
    side, peers = ("egress", "to") if direction == "Egress" else ("ingress", "from")
    return any(
        _port_fits(rule.get("ports"), port) and _peer_fits(rule.get(peers), other, subject.namespace)
        for spec in selecting
        for rule in spec.get(side, [])
    )


def _selects(policy: Policy, pod: Party, direction: str) -> bool:
    return (
        policy["metadata"]["namespace"] == pod.namespace
        and direction in policy["spec"]["policyTypes"]
        and _matches(policy["spec"]["podSelector"], pod.labels)
    )


def _matches(selector: dict[str, Any], labels: Labels) -> bool:
    assert set(selector) <= {"matchLabels"}, "this evaluator reads matchLabels alone"
    return selector.get("matchLabels", {}).items() <= labels.items()


def _port_fits(ports: list[dict[str, Any]] | None, port: Port) -> bool:
    return ports is None or any(
        each.get("protocol", "TCP") == port.protocol and each.get("port", port.number) in {port.number, port.name}
        for each in ports
    )


def _peer_fits(peers: list[dict[str, Any]] | None, other: Party, own_namespace: str) -> bool:
    return peers is None or any(_one_peer_fits(peer, other, own_namespace) for peer in peers)


def _one_peer_fits(peer: dict[str, Any], other: Party, own_namespace: str) -> bool:
    if block := peer.get("ipBlock"):
        address = ipaddress.ip_address(other.address)
        inside = address in ipaddress.ip_network(block["cidr"])
        return inside and not any(address in ipaddress.ip_network(each) for each in block.get("except", []))
    if not other.namespace:
        return False
    if "namespaceSelector" in peer:
        if not _matches(peer["namespaceSelector"], other.namespace_labels):
            return False
    elif other.namespace != own_namespace:
        return False
    return _matches(peer.get("podSelector", {}), other.labels)
