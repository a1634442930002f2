"""The rules that every profile obeys, as one check for all tests that get a response.

What the fields mean: https://super-apps.ai/mop/document/en/develop/api/network.html
"""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Sequence
from typing import Any

import ftnet as ft

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
