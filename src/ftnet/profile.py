"""Profile: the timing fields of the ft API over the engine's phases."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Any, Final

from ftcore.profile import MOMENT_NAMES, Phases

if TYPE_CHECKING:
    from typing import Self


class NetType(IntEnum):
    """``estimate_nettype``: Chromium's effective connection types, by the ft API's numbers."""

    UNKNOWN = 0
    OFFLINE = 1
    SLOW_2G = 2
    TYPE_2G = 3
    TYPE_3G = 4
    TYPE_4G = 5
    LAST = 6


_AT: Final = {name: number for number, name in enumerate(MOMENT_NAMES)}
_PROTOCOLS: Final = ("unknown", "http/1.1", "h2", "quic")


def _moment(name: str, doc: str) -> Any:
    number = _AT[name]

    def read(self: Connected) -> float:
        return self._phases.at(number)

    read.__doc__ = f"{doc} Milliseconds since the Unix epoch; 0.0: not reached."
    return property(read)


class Connected:
    """What profiles have in common: when the connection was made, and with whom."""

    __slots__ = ("_phases",)

    def __init__(self, phases: Phases) -> None:
        self._phases = phases

    def __reduce__(self) -> tuple[type[Self], tuple[Phases]]:
        return type(self), (self._phases,)

    domainLookUpStart = _moment("dns_start", "DNS look-up begins.")
    domainLookUpEnd = _moment("dns_end", "DNS look-up is over.")
    connectStart = _moment("connect_start", "The first connection attempt begins.")
    SSLconnectionStart = _moment("ssl_start", "TCP stands, TLS begins (after a proxy's part).")
    SSLconnectionEnd = _moment("ssl_end", "The TLS handshake is over.")

    @property
    def peerIP(self) -> str:
        """Address of the peer (of the proxy, where there is one); "" without a connection."""
        return self._phases.ip

    @property
    def port(self) -> int:
        """Port of the peer; 0 without a connection."""
        return self._phases.port


class Profile(Connected):
    """When each phase of a request began and ended, and what its connection was.

    Times are float milliseconds since the Unix epoch with microsecond digits, taken on the
    monotonic clock and shifted once, so differences are exact and never run backwards. On a
    reused connection the DNS and connect fields equal `fetchStart`; the SSL fields are 0 there
    and on plain http. A phase that was not reached is 0. Field names are those of the ft API
    (https://super-apps.ai/mop/document/en/develop/api/network.html#request) and of newer wx ones.
    Where each is read, and how far it is from the wire: docs/timing.md.
    """

    __slots__ = ()
    _fields_ = (
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
        "invokeStart",
        "queueStart",
        "queueEnd",
        "redirectStart",
        "redirectEnd",
        "throughputKbps",
    )

    def __repr__(self) -> str:
        spans = ", ".join(f"{name}={ms:.3f}" for name, ms in self.durations.items())
        return f"<Profile {self.protocol} {self.peerIP}:{self.port} {spans}>"

    invokeStart = _moment("queue_start", "The call of the API.")
    queueStart = _moment("queue_start", "The same: the task begins to wait for a connection slot.")
    queueEnd = _moment("queue_end", "The task had its slot; queueStart plus µs without a queue.")
    redirectStart = _moment("redirect_start", "The first of the redirects that were followed.")
    redirectEnd = _moment("redirect_end", "The last redirect was over.")
    fetchStart = _moment("fetch_start", "The final request begins, redirects are behind it.")
    connectEnd = _moment("connect_end", "The connection stands, TLS and proxies included.")
    requestStart = _moment("request_start", "The request's first byte is about to be sent.")
    requestEnd = _moment("request_end", "The request's last byte was handed to the kernel.")
    responseStart = _moment("response_start", "The response's first byte came in.")
    responseEnd = _moment(
        "response_end", "The response's last byte came in, or the close that was its end."
    )

    @property
    def rtt(self) -> float:
        """The kernel's smoothed round-trip time of this connection (TCP_INFO), ms; 0: unknown.

        Read when the request ends, at most every 10 ms on one connection.
        For QUIC the time of the handshake, known on a new connection only.
        """
        return self._phases.rtt

    @property
    def estimate_nettype(self) -> NetType:
        """Effective connection type by `httpRttEstimate`; the first one is made of defaults."""
        return NetType(self._phases.nettype)

    @property
    def httpRttEstimate(self) -> float:
        """HTTP round-trip time estimated from the requests before, ms; 0: offline.

        This and the other estimates are those of `Client.network_quality` when the request ended,
        itself left out; see `NetworkQuality`.
        """
        return self._phases.http_rtt

    @property
    def transportRttEstimate(self) -> float:
        """Transport round-trip time estimated from the requests before, ms; 0: offline."""
        return self._phases.transport_rtt

    @property
    def downstreamThroughputKbpsEstimate(self) -> float:
        """Download rate estimated from the requests before, kbit/s; 0: offline."""
        return float(self._phases.downstream_kbps)

    @property
    def socketReused(self) -> bool:
        """Whether the connection had served a request before."""
        return self._phases.reused

    @property
    def sendBytesCount(self) -> int:
        """Header and body bytes sent, redirects included, as carried in HTTP: no TLS, no frames."""
        return self._phases.sent

    @property
    def receivedBytedCount(self) -> int:
        """Header and body bytes received, redirects included, before content decoding.

        As in `sendBytesCount`; what frames the chunks of a body is left out, too.
        """
        return self._phases.received

    receivedBytesCount = receivedBytedCount

    @property
    def protocol(self) -> str:
        """ "http/1.1", "h2", "quic" (HTTP/3) or "unknown"."""
        return _PROTOCOLS[self._phases.http]

    @property
    def throughputKbps(self) -> float:
        """Received bits over the time from requestStart to responseEnd, kbit/s."""
        ms = self._phases.span(_AT["request_start"], _AT["response_end"])
        return self._phases.received * 8 / ms if ms > 0 else 0.0

    @property
    def durations(self) -> dict[str, float]:
        """Milliseconds of each phase, and their ``total``: from queueStart to the end.

        ``queue redirect blocked dns connect ssl send ttfb download`` follow each other and are
        never negative: to the microsecond they add up to ``total``. ``connect`` is TCP alone (and
        a proxy's part), ``redirect`` all requests before the last, ``ttfb`` from the request's
        last byte to the response's first; ``blocked`` is what lies between two phases. 0.0: the
        phase did not take place.

        A task that failed ends with the failure, up to which the phase lasts that it cut off.
        Where the answer began before the request was sent, ``send`` lasts until it was (or until
        the answer, if it never was), ``ttfb`` is 0 and ``download`` the rest.
        """
        return self._phases.durations()


class SocketProfile(Connected):
    """When the connection of a socket was made, and what it cost, ms (fields of the wx API).

    ``cost`` is from the call to the open socket and the sum of what it consists of: DNS
    (`domainLookUpEnd` - `domainLookUpStart`), TCP (`connectEnd` - `connectStart`) and
    ``handshakeCost``, TLS and a WebSocket's opening request; ``rtt`` is that of TCP and TLS
    together.
    """

    __slots__ = ()
    _fields_ = (
        "fetchStart",
        "domainLookUpStart",
        "domainLookUpEnd",
        "connectStart",
        "connectEnd",
        "SSLconnectionStart",
        "SSLconnectionEnd",
        "rtt",
        "handshakeCost",
        "cost",
        "peerIP",
        "port",
    )

    fetchStart = _moment("fetch_start", "The call of the API.")

    @property
    def _connected(self) -> int:
        return _AT["ssl_start"] if self._phases.at(_AT["ssl_start"]) else _AT["connect_end"]

    @property
    def connectEnd(self) -> float:
        """TCP stands (after a proxy's part). Milliseconds since the Unix epoch; 0.0: not."""
        return self._phases.at(self._connected)

    @property
    def rtt(self) -> float:
        """Milliseconds that TCP and TLS took."""
        return self._phases.span(_AT["connect_start"], _AT["connect_end"])

    @property
    def handshakeCost(self) -> float:
        """Milliseconds that TLS and the opening request took."""
        return self._phases.span(self._connected, _AT["response_end"])

    @property
    def cost(self) -> float:
        """Milliseconds from the call to the open socket."""
        return self._phases.span(_AT["queue_start"], _AT["response_end"])
