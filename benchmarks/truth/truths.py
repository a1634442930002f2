"""What was true, from the packets and the server's places; and how far off a client was."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from benchmarks.truth.capture import Connection, Wire
from benchmarks.truth.clients import Call

Moments = dict[str, int]


@dataclass(frozen=True, slots=True)
class Around:
    """What the truth of a scenario needs to know: ports, and how the client gets to the server."""

    kind: str  # http, https, h2, h3
    ports: tuple[int, int]  # plain, TLS and QUIC
    proxy: int = 0
    queue: bool = False  # whether requests wait for a connection that another one has

    @property
    def port(self) -> int:
        return self.ports[self.kind != "http"]


def truths(
    calls: Iterable[Call], seen: Iterable[dict[str, Any]], wire: Wire, around: Around
) -> dict[str, tuple[int, Moments]]:
    """By the id of a request: how many its connection had served, and when what was on the wire.

    `seen` are the server's exchanges. Raises KeyError, IndexError when the wire lacks one of them.
    """
    hops: dict[str, list[dict[str, Any]]] = {}
    for one in seen:
        hops.setdefault(one["id"], []).append(one)
    found = {}
    last: dict[int, int] = {}
    for call in sorted(calls, key=lambda call: hops[call.id][-1]["stamps"]["request_first"]):
        *before, final = hops[call.id]
        moments = _exchange(final, wire, around)
        moments["invokeStart"] = call.invoke
        if around.queue:
            moments["queueEnd"] = max(call.invoke, last.get(final["port"], 0))
        last[final["port"]] = moments["responseEnd"]
        if before:
            moments["redirectStart"] = call.invoke
            moments["redirectEnd"] = _exchange(before[-1], wire, around)["responseEnd"]
        name = f"{call.id}.ftnet.test".lower()
        if name in wire.asked:
            moments["domainLookUpStart"] = min(wire.asked[name])
            moments["domainLookUpEnd"] = max(wire.told[name])
        found[call.id] = hops[call.id][0]["order"], moments
    return found


def _exchange(seen: dict[str, Any], wire: Wire, around: Around) -> Moments:
    if around.kind == "h3":
        return _quic(seen, wire)
    if around.proxy:
        return _proxied(seen, wire, around)
    at = seen["stamps"]["request_first"]
    return _tcp(seen, wire.connection(seen["port"], around.port, at))


def _tcp(seen: dict[str, Any], connection: Connection, up: int = 0, down: int = 0) -> Moments:
    """`up`, `down`: bytes before those that the server knows; a proxy's."""
    (first, end), (begin, over) = seen["request"], seen["response"]
    moments = {
        "requestStart": connection.up.at(up + first),
        "requestEnd": connection.up.at(up + end - 1),
        "responseStart": connection.down.at(down + begin),
        "responseEnd": connection.down.at(down + over - 1),
    }
    if seen["order"] == 0:
        moments["connectStart"], stands = connection.syn, connection.syn_ack
        if seen["finished"] is not None:
            # after a proxy's part, if it had one: the ClientHello
            moments["SSLconnectionStart"] = connection.up.at(up) if up else stands
            stands = moments["SSLconnectionEnd"] = connection.up.at(up + seen["finished"] - 1)
        moments["connectEnd"] = stands
    return moments


def _proxied(seen: dict[str, Any], wire: Wire, around: Around) -> Moments:
    """By way of a proxy, one request after the other: its connection is the newest one."""
    opened = [
        one
        for (_, port), some in wire.connections.items()
        for one in some
        if port == around.proxy and one.syn <= seen["stamps"]["request_first"]
    ]
    newest = max(opened, key=lambda one: one.syn)
    up, down = newest.up, newest.down
    if seen["finished"] is not None:
        lengths = [one.head.index(b"\r\n\r\n") + 4 for one in (up, down)]
        return _tcp(seen, newest, *lengths)
    # all there was on it is this request and its answer
    whole = {"request": (0, up.length), "response": (0, down.length)}
    return _tcp(seen | whole, newest)


def _quic(seen: dict[str, Any], wire: Wire) -> Moments:
    def at(place: str) -> int:
        return wire.datagram(bytes.fromhex(place))

    (first, end), (begin, over) = seen["request"], seen["response"]
    moments = {"requestStart": at(first), "requestEnd": at(end)}
    moments |= {"responseStart": at(begin), "responseEnd": at(over)}
    if seen["order"] == 0:
        moments["connectStart"] = moments["SSLconnectionStart"] = at(seen["opened"])
        moments["SSLconnectionEnd"] = moments["connectEnd"] = at(seen["finished"])
    return moments


def errors(
    calls: Iterable[Call],
    found: dict[str, tuple[int, Moments]],
    *,
    new: bool,
    skip: int,
) -> dict[str, list[float]]:
    """Reported minus true, µs, by field; of requests on new connections, or of those on old ones.

    The first `skip` calls are left out. Fields that count from an unknown moment are moved so
    that the first of them is true: it is left out.
    """
    off: dict[str, list[float]] = {}
    for call in calls:
        order, true = found[call.id]
        if int(call.id.rpartition("-")[2]) < skip or (order == 0) != new:
            continue
        fields = {name: at for name, at in call.fields.items() if name in true}
        if call.floating:
            first = min(fields, key=lambda name: fields[name])
            moved = true[first] - fields.pop(first)
            fields = {name: at + moved for name, at in fields.items()}
        for name, at in fields.items():
            off.setdefault(name, []).append((at - true[name]) / 1e3)
    return off


def witness(seen: Iterable[dict[str, Any]], wire: Wire, around: Around) -> dict[str, list[float]]:
    """What the server itself saw, of direct TCP: µs from what comes first to what comes then."""
    gaps: dict[str, list[float]] = {}
    for one in seen:
        stamps, (first, _) = one["stamps"], one["response"]
        connection = wire.connection(one["port"], around.port, stamps["request_first"])
        spans = {
            "the packet with a request's first byte → the server has read it": (
                connection.up.at(one["request"][0]),
                stamps["request_first"],
            ),
            "the server is about to answer → the packet with the response's first byte": (
                stamps["response_first"],
                connection.down.at(first),
            ),
        }
        if one["order"] == 0 and one["finished"] is not None:
            finished = connection.up.at(one["finished"] - 1)
            what = "the packet with the client's Finished → the server's handshake is over"
            spans[what] = finished, stamps["handshake"]
        for what, (before, after) in spans.items():
            gaps.setdefault(what, []).append((after - before) / 1e3)
    return gaps
