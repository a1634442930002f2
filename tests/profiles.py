"""The rules that every profile obeys, as one check for all tests that get a response.

What the fields mean: https://super-apps.ai/mop/document/en/develop/api/network.html
"""

from __future__ import annotations

import ipaddress
import struct
import time
from collections.abc import Sequence
from typing import Any

import ftnet as ft
from ftcore.profile import Phases, restored

FIELDS = (
    "fetchStart",
    "domainLookUpStart",
    "domainLookUpEnd",
    "connectStart",
    "connectEnd",
    "SSLconnectionStart",
    "SSLconnectionEnd",
    "requestStart",
    "requestEnd",
    "responseStart",
    "responseEnd",
    "rtt",
    "estimate_nettype",
    "httpRttEstimate",
    "transportRttEstimate",
    "downstreamThroughputKbpsEstimate",
    "peerIP",
    "port",
    "socketReused",
    "sendBytesCount",
    "receivedBytedCount",
    "protocol",
)
LATER_FIELDS = (
    "queueStart",
    "queueEnd",
    "redirectStart",
    "redirectEnd",
    "invokeStart",
    "throughputKbps",
)
DURATIONS = (
    "queue", "redirect", "blocked", "dns", "connect", "ssl", "send", "ttfb", "download", "total",
)  # fmt: skip
OF_A_CONNECTION = ("domainLookUpStart", "domainLookUpEnd", "connectStart", "connectEnd")
SSL = ("SSLconnectionStart", "SSLconnectionEnd")
REUSED_AT = 156  # where the engine's phases have it, in bytes
CLOCK_TOLERANCE = 2000.0  # ms; the wall clock may be stepped while the tests run


def in_order(profile: ft.Profile, names: Sequence[str]) -> None:
    """Assert that these moments were reached, and one not before the other."""
    times = {name: getattr(profile, name) for name in names}
    assert all(times.values()), times
    assert sorted(times.values()) == list(times.values()), times


def check_profile(
    result: Any,
    *,
    reused: bool | None = None,
    tls: bool | None = None,
    protocol: str | None = None,
    early_answer: bool = False,
) -> ft.Profile:
    """Assert the rules on the profile of a response, and what the caller knows; returns it.

    `early_answer` is for servers that answer before the request has been sent to its end.
    """
    profile: ft.Profile = result.profile
    for name in (*FIELDS[:11], *LATER_FIELDS[:5]):
        assert type(getattr(profile, name)) is float, name
    assert abs(profile.invokeStart - time.time() * 1000) < 60_000 + CLOCK_TOLERANCE
    in_order(profile, ("invokeStart", "queueStart", "queueEnd", "fetchStart"))
    in_order(profile, ("fetchStart", *OF_A_CONNECTION[:3]))
    in_order(profile, ("connectStart", "connectEnd", "requestStart"))
    if early_answer:
        in_order(profile, ("requestStart", "responseStart", "responseEnd"))
        in_order(profile, ("requestStart", "requestEnd"))
    else:
        in_order(profile, ("requestStart", "requestEnd", "responseStart", "responseEnd"))
    if reused is not None:
        assert profile.socketReused is reused
    if protocol is not None:
        assert profile.protocol == protocol
    _check_connection(profile, tls)
    _check_redirects(profile)
    _check_counts(profile)
    _check_durations(profile)
    return profile


def _check_connection(profile: ft.Profile, tls: bool | None) -> None:
    assert type(profile.socketReused) is bool
    assert profile.protocol in ("http/1.1", "h2", "quic", "unknown")
    if profile.socketReused:
        times = {name: getattr(profile, name) for name in OF_A_CONNECTION}
        assert set(times.values()) == {profile.fetchStart}, times
    if profile.socketReused or tls is False:
        assert [getattr(profile, name) for name in SSL] == [0.0, 0.0]
    elif tls:
        in_order(profile, ("connectStart", *SSL, "connectEnd"))


def _check_redirects(profile: ft.Profile) -> None:
    if profile.redirectStart or profile.redirectEnd:
        in_order(profile, ("queueEnd", "redirectStart", "redirectEnd", "fetchStart"))


def _check_counts(profile: ft.Profile) -> None:
    assert ipaddress.ip_address(profile.peerIP).is_loopback
    assert type(profile.port) is int
    assert 0 < profile.port < 65536
    assert profile.sendBytesCount > len("GET / HTTP/1.1")
    assert profile.receivedBytedCount > len("HTTP/1.1 200")
    assert profile.receivedBytesCount == profile.receivedBytedCount
    assert profile.rtt >= 0
    assert profile.throughputKbps >= 0
    assert profile.estimate_nettype in range(7)
    for name in ("httpRttEstimate", "transportRttEstimate", "downstreamThroughputKbpsEstimate"):
        assert getattr(profile, name) >= 0, name


def check_sum(profile: ft.Profile) -> dict[str, int]:
    """Assert that the phases add up to the total, to the microsecond; returns them in µs."""
    durations = {name: microseconds(ms) for name, ms in profile.durations.items()}
    assert tuple(durations) == DURATIONS
    assert all(us >= 0 for us in durations.values()), durations
    assert sum(durations.values()) == 2 * durations["total"], durations
    return durations


def microseconds(ms: float) -> int:
    """Milliseconds with microsecond digits as a whole number."""
    return round(ms * 1000)


def _check_durations(profile: ft.Profile) -> None:
    durations = check_sum(profile)
    between = {
        "queue": ("queueStart", "queueEnd"),
        "redirect": ("redirectStart", "redirectEnd"),
        "dns": ("domainLookUpStart", "domainLookUpEnd"),
        "connect": ("connectStart", "SSLconnectionStart", "connectEnd"),
        "ssl": SSL,
        "send": ("requestStart", "requestEnd", "responseStart"),
        "total": ("queueStart", "responseEnd"),
    }
    for name, (start, *ends) in between.items():
        end = next((getattr(profile, end) for end in ends if getattr(profile, end)), 0.0)
        assert durations[name] == microseconds(end) - microseconds(getattr(profile, start)), name
    answered, sent = microseconds(profile.responseStart), microseconds(profile.requestEnd)
    assert durations["ttfb"] == (max(0, answered - sent) if sent else 0)
    download = microseconds(profile.responseEnd) - max(answered, sent)
    assert durations["download"] == download


# --- what holds for every profile, of a success as of a failure ----------------------------------

_BEFORE = ("invokeStart", "queueStart", "queueEnd", "redirectStart", "redirectEnd", "fetchStart")
ORDER = (
    "fetchStart",
    "domainLookUpStart",
    "domainLookUpEnd",
    "connectStart",
    "SSLconnectionStart",
    "SSLconnectionEnd",
    "connectEnd",
    "requestStart",
    "requestEnd",
    "responseStart",
    "responseEnd",
)
_CONNECTING, _EXCHANGE = ORDER[:7], ORDER[6:]
MOMENTS = (*_BEFORE[1:], *_CONNECTING[1:-1], *_EXCHANGE)
_IN_THE_ENGINE = (*MOMENTS[:8], "connectEnd", *SSL, *MOMENTS[11:])
EPOCH = 1_790_000_000_000_000  # µs


def profile_of(reached: dict[str, int], *, reused: bool = False, ended: int = 0) -> ft.Profile:
    """A profile whose moments are µs after EPOCH; those not given were not reached."""
    raw, _ = Phases().__reduce__()[1]
    content = bytearray(raw)
    ended = ended or reached.get("responseEnd") or max(reached.values())
    moments = {**reached, "ended": ended}
    for number, name in enumerate((*_IN_THE_ENGINE, "ended")):
        if name in moments:
            struct.pack_into("q", content, number * 8, (moments[name] + 1) * 1000)
    struct.pack_into("i", content, REUSED_AT, reused)
    profile = ft.Profile(restored(bytes(content), (EPOCH - 1) * 1000))
    assert profile.socketReused is reused
    return profile


def check_invariants(profile: ft.Profile, *, tls: bool) -> None:
    """Assert what holds for the profile of any task that has ended, however it did.

    Moments are in the order of the contract and none is later than the end, which is not later
    than now; none is there without those before it; a connection was reused exactly when its
    moments equal fetchStart; durations add up.
    """
    times = {name: microseconds(getattr(profile, name)) for name in ("invokeStart", *MOMENTS)}
    check_sum(profile)
    _in_order_as_reached(times, _BEFORE)
    _in_order_as_reached(times, _CONNECTING)
    early = times["requestEnd"] > times["responseStart"] > 0
    if early:
        _in_order_as_reached(times, ("connectEnd", "requestStart", "responseStart", "responseEnd"))
        _in_order_as_reached(times, ("requestStart", "requestEnd", "responseEnd"))
    else:
        _in_order_as_reached(times, _EXCHANGE)
    _none_without_those_before(profile, times, tls)
    ended = times["queueStart"] + microseconds(profile.durations["total"])
    assert max(times.values()) <= ended, (ended, times)
    assert ended <= _now(profile), times
    if times["responseEnd"]:
        assert ended == times["responseEnd"], (ended, times)


def _in_order_as_reached(times: dict[str, int], names: Sequence[str]) -> None:
    reached = [times[name] for name in names if times[name]]
    assert reached == sorted(reached), {name: times[name] for name in names}


def _none_without_those_before(profile: ft.Profile, times: dict[str, int], tls: bool) -> None:
    path = [*_CONNECTING, *_EXCHANGE[1:]]
    if times["responseStart"] and not times["requestEnd"]:
        path.remove("requestEnd")  # answered before all was sent, which it never was
    connection = {times[name] for name in OF_A_CONNECTION}
    if profile.socketReused:
        assert connection == {times["fetchStart"]}, times
    elif times["connectEnd"]:
        assert connection != {times["fetchStart"]}, times
    if profile.socketReused or not tls:
        assert [times.pop(name) for name in SSL] == [0, 0], times
        path = [name for name in path if name not in SSL]
    reached = [bool(times[name]) for name in path]
    assert reached == sorted(reached, reverse=True), times
    assert times["queueStart"]
    assert times["queueEnd"]
    assert bool(times["redirectStart"]) is bool(times["redirectEnd"]), times


def _now(profile: ft.Profile) -> int:
    """The present in µs as the engine counts them: its monotonic clock, shifted once."""
    _, (_, offset) = profile._phases.__reduce__()
    return (time.monotonic_ns() + offset) // 1000
