"""Chromium's Network Quality Estimator once more, the plain way: what the kernel is compared with.

Lists and sorting where the kernel has rings and partitions. Sources: net/nqe/observation_buffer.cc,
network_quality_estimator.cc, network_quality_estimator_params.cc, throughput_analyzer.cc.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

SECOND = 1_000_000_000
ABSENT, GET, OTHER, DEGRADING = range(4)
OFFLINE, SLOW_2G, TYPE_2G, TYPE_3G, TYPE_4G = range(1, 6)
THRESHOLDS = {SLOW_2G: 2_010_000, TYPE_2G: 1_420_000, TYPE_3G: 272_000, TYPE_4G: 0}
TYPICAL_KBPS = {SLOW_2G: 40, TYPE_2G: 75, TYPE_3G: 400}


def weight(seconds: int) -> int:
    """0.5 ** (seconds / 60), in the steps that the kernel counts in, 2 ** -40."""
    return max(1, int(2**40 * 0.5 ** (seconds % 60 / 60)) >> seconds // 60)


def weighted_median(observations: list[tuple[int, int]], now: int) -> int:
    """Of (value, time) pairs; 0 without any."""
    ages = [(now - at) // SECOND for _, at in observations]
    weights = [weight(age - min(ages)) for age in ages]
    values = [value for value, _ in observations]
    so_far, total = 0, sum(weights)
    for value, its_weight in sorted(zip(values, weights, strict=True)):
        so_far += its_weight
        if 2 * so_far >= total:
            return value
    return 0


@dataclass(eq=False)
class Request:
    kind: int = ABSENT
    began: int = 0
    heard: int = 0


@dataclass
class Reference:
    """The same operations as in c/quality.h, times in ns."""

    now: int
    http: list[tuple[int, int]] = field(default_factory=list)
    transport: list[tuple[int, int]] = field(default_factory=list)
    throughput: list[tuple[int, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.following: set[Request] = set()
        self.degrading: set[Request] = set()
        self.bytes = 0
        self.looked = 0
        self.forget(self.now)

    def forget(self, now: int) -> None:
        self.http, self.transport = [(115_000, now)], [(55_000, now)]
        self.throughput = [(1961, now)]
        self.window: tuple[int, int] | None = None
        self.transport_at = 0
        self.reset_at = now
        self.compute(now)

    def reset(self, now: int) -> None:
        for request in list(self.following):
            self.move(request, DEGRADING)
        self.forget(now)

    def compute(self, now: int) -> None:
        self.http_rtt = weighted_median(self.http, now)
        self.transport_rtt = weighted_median(self.transport, now)
        self.kbps = weighted_median(self.throughput, now)
        if len(self.transport) >= 5:
            self.http_rtt = max(self.http_rtt, self.transport_rtt)
        self.type = next(kind for kind, ms in THRESHOLDS.items() if self.http_rtt >= ms)
        if self.type in TYPICAL_KBPS:
            self.kbps = min(self.kbps, int(TYPICAL_KBPS[self.type] * 3.5))
        self.computed_at = now
        self.counts = len(self.http) + len(self.transport), len(self.throughput)
        self.transports = len(self.transport)
        self.fresh = 0

    def refresh(self, now: int) -> None:
        rtts, throughputs = self.counts
        if (
            now - self.computed_at >= 10 * SECOND
            or self.fresh >= 50
            or len(self.http) + len(self.transport) > rtts * 1.5
            or len(self.throughput) > throughputs * 1.5
        ):
            self.compute(now)

    def observe(self, into: list[tuple[int, int]], value: int, now: int) -> None:
        into.append((value, now))
        del into[:-300]
        self.fresh += 1

    def move(self, request: Request, kind: int) -> None:
        self.following.discard(request)
        self.degrading.discard(request)
        request.kind = kind
        if kind == GET:
            self.following.add(request)
        elif kind == DEGRADING:
            self.degrading.add(request)
        if len(self.following) < 5:
            self.window = None

    def open_window(self, now: int) -> None:
        if not self.degrading and self.window is None and len(self.following) >= 5:
            self.window = now, self.bytes

    def drop_hanging(self, request: Request | None, now: int) -> None:
        suspects = {request} & self.following
        if now - self.looked >= SECOND:
            self.looked = now
            suspects = set(self.following)
        limit = max(5 * self.http_rtt * 1000, 3 * SECOND)
        for one in suspects:
            if one is not None and now - one.heard >= limit:
                self.move(one, OTHER)
                self.window = None

    def begin(self, request: Request, kind: int, now: int) -> None:
        self.move(request, ABSENT)
        if kind == GET:
            self.drop_hanging(None, now)
        self.move(request, kind)
        request.began = request.heard = now
        if kind == DEGRADING:
            self.window = None
        if kind == GET:
            self.open_window(now)

    def hear(self, request: Request, count: int, now: int) -> None:
        if request.kind != ABSENT:
            self.bytes += count
            self.drop_hanging(request, now)
            request.heard = now

    def end(self, request: Request, count: int, now: int) -> None:
        before = request.kind
        self.hear(request, count, now)
        if request.kind == GET:
            self.measure(now)
        changed = request.kind != before or before == DEGRADING
        self.move(request, ABSENT)
        if changed:
            self.open_window(now)

    def measure(self, now: int) -> None:
        if self.window is None:
            return
        begun, had = self.window
        bits, duration = (self.bytes - had) * 8, now - begun
        if bits < 256_000 or duration <= 0:
            return
        self.window = None
        if bits * self.http_rtt * 1000 / duration < 120_000:
            for request in list(self.following):
                self.move(request, OTHER)
            return
        self.observe(self.throughput, math.ceil(bits * 1e6 / duration), now)
        self.open_window(now)

    def add_http_rtt(self, request: Request, us: int, now: int) -> None:
        by_transport = self.transports >= 5 and us < 8 * self.transport_rtt
        plausible = us <= 500_000 or by_transport or us < 6 * self.http_rtt
        if us > 0 and request.began >= self.reset_at and plausible:
            self.observe(self.http, us, now)

    def add_transport_rtt(self, us: int, last: int, now: int) -> bool:
        due = last == 0 or now - last >= SECOND or now - self.transport_at >= SECOND // 5
        if us <= 1 or not due:
            return False
        self.observe(self.transport, us, now)
        self.transport_at = now
        return True
