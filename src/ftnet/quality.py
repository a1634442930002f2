"""The quality of a Client's network as its requests have met it, and who listens to that."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from ftcore.quality import Estimator
from ftnet.profile import NetType
from ftnet.tasks import call_all, remove

Listener = Callable[["NetworkQuality"], object]


@dataclass(frozen=True, slots=True)
class NetworkQuality:
    """Estimates of a network, made of the requests of a Client as Chromium makes them.

    Each estimate is the median of the last 300 observations, which weigh half as much every 60 s;
    before there are any, and as one observation among others, it is what Chromium takes an unknown
    network for: 115 ms, 55 ms, 1961 kbit/s. Sources: Chromium's net/nqe, and
    https://wicg.github.io/netinfo/#effective-connection-types.
    """

    #: effective connection type, by the HTTP round-trip time: from 2010 ms on slow-2G, from 1420
    #: 2G, from 272 3G, else 4G; OFFLINE without a network, where private hosts don't count
    effective_type: NetType
    #: ms from a GET's first byte sent to the first byte of its response; never less than the next
    http_rtt: float
    #: ms, of the kernel's smoothed round-trip times of the connections
    transport_rtt: float
    #: kbit/s received while five or more GETs were under way
    downstream_throughput_kbps: int
    #: observations behind each of these three, 300 at most
    http_rtt_observations: int
    transport_rtt_observations: int
    throughput_observations: int


class Quality:
    """An engine's estimator, and the listeners of a Client."""

    __slots__ = ("_listeners", "estimator")

    def __init__(self, private_hosts: bool) -> None:
        self.estimator: Final = Estimator(private_hosts)
        self._listeners: list[Listener] = []

    def read(self, anew: bool = True) -> NetworkQuality:
        """The estimates: now, or as they were computed last."""
        kind, http, transport, kbps, *counts = self.estimator.read(anew)
        return NetworkQuality(NetType(kind), http / 1000, transport / 1000, kbps, *counts)

    def listen(self, listener: Listener) -> None:
        """Adds a listener; raises TypeError where it can't be called."""
        if not callable(listener):
            raise TypeError("on_network_quality_change: the listener must be callable")
        self._listeners.append(listener)
        self.estimator.listener = self._tell

    def unlisten(self, listener: Listener | None) -> None:
        """Takes one listener away, or all of them."""
        remove(self._listeners, listener)

    def _tell(self) -> None:
        call_all(self._listeners, self.read(anew=False))
