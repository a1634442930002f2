"""The kernel that estimates the quality of a network: known values, and a second implementation."""

from __future__ import annotations

import ipaddress
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ftnet import NetType
from tests.kernels import Kernels, build_kernels
from tests.quality_reference import (
    ABSENT,
    DEGRADING,
    GET,
    OTHER,
    SECOND,
    Reference,
    Request,
)

MS = SECOND // 1000
START = 1000 * SECOND
KB = 1000


@pytest.fixture(scope="module")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> Kernels:
    return build_kernels(tmp_path_factory.mktemp("kernels"), "quality", "network")


class Estimator:
    """The kernel with a clock that is moved by hand."""

    def __init__(self, kernels: Kernels) -> None:
        self.ffi, self.lib = kernels.ffi, kernels.lib
        self.q = self.ffi.new("quality *")
        self.clock = START
        self.lib.quality_init(self.q, self.clock)

    def wait(self, seconds: float) -> None:
        self.clock += round(seconds * SECOND)

    def request(self, kind: int = GET) -> Any:
        request = self.ffi.new("quality_request *")
        self.lib.quality_begin(self.q, request, kind, self.clock)
        return request

    def hear(self, request: Any, size: int) -> None:
        self.lib.quality_heard(self.q, request, size, self.clock)

    def end(self, request: Any, size: int = 0) -> None:
        self.lib.quality_end(self.q, request, size, self.clock)

    def http_rtt(self, ms: float) -> None:
        request = self.request()
        self.lib.quality_http_rtt(self.q, request, round(ms * 1000), self.clock)
        self.end(request)

    def transport_rtt(self, ms: float, last: int = 0) -> bool:
        return bool(self.lib.quality_transport_rtt(self.q, round(ms * 1000), last, self.clock))

    def compute(self) -> Any:
        self.lib.quality_compute(self.q, self.clock)
        return self.q.now

    def refresh(self) -> Any:
        self.lib.quality_refresh(self.q, self.clock)
        return self.q.now

    def http(self) -> float:
        return self.compute().http_rtt_us / 1000


@pytest.fixture
def estimator(kernels: Kernels) -> Estimator:
    return Estimator(kernels)


# --- medians, by hand -----------------------------------------------------------------------------


def test_it_begins_with_what_an_unknown_network_is_taken_for(estimator: Estimator) -> None:
    now = estimator.compute()
    assert (now.http_rtt_us, now.transport_rtt_us) == (115_000, 55_000)
    assert now.downstream_kbps == 1961
    assert now.type == NetType.TYPE_4G
    assert estimator.q.http_rtt.added == 0


@pytest.mark.parametrize(
    ("observed", "median"),
    [
        ([20], 20),  # 20 | 115: half of the weight lies on the first
        ([200], 115),  # 115 | 200
        ([200, 300], 200),  # 115 200 300
        ([200, 300, 10], 115),  # 10 115 | 200 300
        ([10, 10, 10, 400, 400], 10),  # 10 10 10 | 115 400 400
        ([0.25] * 7, 0.25),
    ],
)
def test_of_observations_of_one_age_it_is_the_median(
    estimator: Estimator, observed: list[float], median: float
) -> None:
    for ms in observed:
        estimator.http_rtt(ms)
    assert estimator.http() == median


def test_a_weight_halves_every_sixty_seconds(estimator: Estimator) -> None:
    for _ in range(2):
        estimator.http_rtt(300)
    estimator.wait(60)
    estimator.http_rtt(100)
    # 100 (1), 115 (1/2), 300 (1/2), 300 (1/2): of 2.5 a half, 1.25, is reached at 115
    assert estimator.http() == 115
    estimator.http_rtt(100)
    # 100 (1), 100 (1), 115 (1/2), 300 (1/2), 300 (1/2): 1.75 is reached at the second 100
    assert estimator.http() == 100
    estimator.wait(30 * 24 * 3600)
    assert estimator.http() == 100  # all are older, none against another


def test_ages_count_in_whole_seconds(estimator: Estimator) -> None:
    # 300 three times at 0 s, 100 three times at 0.999 s, and 115 of the beginning
    for _ in range(3):
        estimator.http_rtt(300)
    estimator.wait(0.999)
    for _ in range(3):
        estimator.http_rtt(100)
    assert estimator.http() == 115  # three below, three above, all of age 0
    estimator.wait(0.0005)
    assert estimator.http() == 115  # 0.9995 s: still
    estimator.wait(0.0005)
    # the older four weigh 0.98851 each: 3 of 6.954 is not half, with 115 it is
    assert estimator.http() == 115
    estimator.wait(0)
    estimator.http_rtt(100)
    # 4 of 4 * 1 + 4 * 0.98851 = 7.954: 100
    assert estimator.http() == 100


def test_old_observations_never_weigh_nothing(estimator: Estimator) -> None:
    estimator.wait(30 * 24 * 3600)
    assert estimator.http() == 115
    for ms in (200, 300):
        estimator.http_rtt(ms)
    estimator.wait(30 * 24 * 3600)
    # 200 and 300 have one weight, which 115, a month older, adds something to
    assert estimator.http() == 200


def test_three_hundred_are_kept_and_the_oldest_goes(estimator: Estimator) -> None:
    for _ in range(150):
        estimator.http_rtt(20)
    for _ in range(150):
        estimator.http_rtt(80)
    # 115 has gone: 150 of 20, 150 of 80; half of the weight is on 20
    assert estimator.http() == 20
    estimator.http_rtt(80)
    assert estimator.http() == 80  # 149 against 151
    assert estimator.q.http_rtt.count == 300
    assert estimator.q.http_rtt.added == 301


# --- what the types are ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ms", "kind"),
    [
        (2010, NetType.SLOW_2G),
        (2009, NetType.TYPE_2G),
        (1420, NetType.TYPE_2G),
        (1419, NetType.TYPE_3G),
        (272, NetType.TYPE_3G),
        (271, NetType.TYPE_4G),
        (1, NetType.TYPE_4G),
    ],
)
def test_the_type_goes_by_the_http_rtt(estimator: Estimator, ms: int, kind: NetType) -> None:
    for _ in range(5):
        estimator.transport_rtt(255)  # so that long HTTP RTTs are believed: up to 8 times this
    estimator.compute()
    for _ in range(9):
        estimator.http_rtt(ms)
    assert estimator.compute().type == kind


@pytest.mark.parametrize(("ms", "most"), [(2010, 140), (1500, 262), (300, 1400), (100, 1961)])
def test_a_slow_type_has_no_high_rate(estimator: Estimator, ms: int, most: int) -> None:
    for _ in range(5):
        estimator.transport_rtt(300)
    estimator.compute()
    for _ in range(9):
        estimator.http_rtt(ms)
    for _ in range(9):
        estimator.transport_rtt(50)
    assert estimator.compute().downstream_kbps == most


def test_offline_knows_nothing_else(estimator: Estimator) -> None:
    estimator.q.offline = 1
    now = estimator.compute()
    assert (now.type, now.http_rtt_us, now.transport_rtt_us, now.downstream_kbps) == (
        NetType.OFFLINE,
        *(0, 0, 0),
    )
    estimator.q.offline = 0
    assert estimator.http() == 115


def test_the_http_rtt_is_no_less_than_the_transports(estimator: Estimator) -> None:
    for _ in range(3):
        estimator.http_rtt(10)
        estimator.transport_rtt(90)
    assert estimator.http() == 10  # four transport RTTs, the default included
    estimator.transport_rtt(90)
    assert estimator.http() == 90


# --- which round-trip times count -----------------------------------------------------------------


def test_a_transport_rtt_is_taken_once_a_second_of_a_socket(estimator: Estimator) -> None:
    first = estimator.clock
    assert estimator.transport_rtt(10)
    estimator.wait(0.199)
    assert not estimator.transport_rtt(10, first)
    assert estimator.transport_rtt(10)  # of another socket
    second = estimator.clock
    estimator.wait(0.199)
    assert not estimator.transport_rtt(10, first)
    estimator.wait(0.001)
    assert estimator.transport_rtt(10, first)  # 200 ms after the last of any socket
    assert not estimator.transport_rtt(10, second)
    assert estimator.q.transport_rtt.added == 3


def test_a_transport_rtt_of_a_microsecond_is_none(estimator: Estimator) -> None:
    assert not estimator.transport_rtt(0)
    assert not estimator.transport_rtt(0.001)
    assert estimator.transport_rtt(0.002)


@pytest.mark.parametrize(
    ("ms", "counts"), [(0, False), (500, True), (689, True), (690, False), (5000, False)]
)
def test_a_response_that_took_too_long_was_the_servers_doing(
    estimator: Estimator, ms: int, counts: bool
) -> None:
    estimator.http_rtt(ms)  # 6 * 115 ms is 690
    assert estimator.q.http_rtt.added == counts


def test_with_enough_transport_rtts_eight_of_them_are_believed(estimator: Estimator) -> None:
    for _ in range(4):
        estimator.transport_rtt(200)
    estimator.http_rtt(1599)
    assert estimator.q.http_rtt.added == 0  # they are not in an estimate yet
    estimator.compute()
    estimator.http_rtt(1600)
    assert estimator.q.http_rtt.added == 0
    estimator.http_rtt(1599)
    assert estimator.q.http_rtt.added == 1


def test_after_a_reset_only_new_requests_count(estimator: Estimator) -> None:
    estimator.http_rtt(20)
    old = estimator.request()
    estimator.wait(1)
    estimator.lib.quality_reset(estimator.q, estimator.clock)
    estimator.lib.quality_http_rtt(estimator.q, old, 20_000, estimator.clock)
    assert estimator.http() == 115
    assert old.kind == DEGRADING
    estimator.end(old)
    estimator.http_rtt(30)
    assert estimator.http() == 30


# --- when it is computed --------------------------------------------------------------------------


def test_it_is_computed_when_there_is_a_reason_to(estimator: Estimator) -> None:
    estimator.http_rtt(20)
    assert estimator.refresh().http_rtt_us == 115_000  # 3 RTTs are not more than 1.5 times 2
    estimator.http_rtt(20)
    assert estimator.refresh().http_rtt_us == 20_000  # 4 are
    for _ in range(2):
        estimator.http_rtt(200)
    assert estimator.refresh().http_rtt_us == 20_000  # 6 to 4
    estimator.wait(9.999)
    assert estimator.refresh().http_rtt_us == 20_000
    estimator.wait(0.001)
    assert estimator.refresh().http_rtt_us == 115_000  # 10 s; 20 20 115 200 200


def test_it_is_computed_after_fifty_observations(estimator: Estimator) -> None:
    for _ in range(200):
        estimator.http_rtt(20)
    estimator.compute()
    for _ in range(49):
        estimator.http_rtt(10)
    computed = estimator.q.computed_at
    estimator.wait(1)
    estimator.refresh()
    assert estimator.q.computed_at == computed
    estimator.http_rtt(10)
    estimator.refresh()
    assert estimator.q.computed_at == estimator.clock


def test_news_are_another_type_or_a_fifth_and_a_hundred_more(estimator: Estimator) -> None:
    q = estimator.q

    def news(ms: float) -> bool:
        for _ in range(q.http_rtt.count + 1):
            estimator.http_rtt(ms)
        estimator.compute()
        told, q.news = bool(q.news), 0
        return told

    assert not q.news
    assert not news(20)  # 115 to 20: less than 100
    assert news(215)  # by 100 from 115
    assert news(300)  # another type
    assert news(490)
    for _ in range(300):
        estimator.http_rtt(2900)
    assert news(2900)
    for _ in range(300):
        estimator.http_rtt(3400)
    assert not news(3400)  # by 500, but less than a fifth
    for _ in range(300):
        estimator.http_rtt(3480)
    assert news(3480)


# --- throughput -----------------------------------------------------------------------------------


def test_five_requests_open_a_window(estimator: Estimator) -> None:
    """Each of five gets 20 kB in 0.1 s: 100 kB, 800 kbit in 0.1 s are 8000 kbit/s."""
    requests = [estimator.request() for _ in range(5)]
    estimator.wait(0.1)
    for request in requests:
        estimator.hear(request, 20 * KB)
    estimator.end(requests[0])
    assert estimator.q.throughput.added == 1
    assert estimator.q.throughput.kept[1].value == 8000
    for request in requests[1:]:
        estimator.end(request, 50 * KB)
    assert estimator.q.throughput.added == 1  # four are too few


def test_four_open_none(estimator: Estimator) -> None:
    requests = [estimator.request() for _ in range(4)] + [estimator.request(OTHER)]
    estimator.wait(0.1)
    for request in requests:
        estimator.end(request, 100 * KB)
    assert estimator.q.throughput.added == 0


def test_a_window_needs_32_kB(estimator: Estimator) -> None:
    requests = [estimator.request() for _ in range(7)]
    estimator.wait(0.01)
    estimator.end(requests[0], 32 * KB - 1)
    assert estimator.q.throughput.added == 0
    estimator.end(requests[1], 1)
    # 256,000 bits in 10 ms
    assert estimator.q.throughput.kept[1].value == 25_600


def test_a_rate_is_rounded_up(estimator: Estimator) -> None:
    requests = [estimator.request() for _ in range(5)]
    estimator.wait(0.07)
    estimator.end(requests[0], 40 * KB)
    # 320,000 bits in 70 ms: 4571.43
    assert estimator.q.throughput.kept[1].value == math.ceil(320_000 / 70) == 4572


def test_windows_follow_each_other(estimator: Estimator) -> None:
    requests = [estimator.request() for _ in range(6)]
    for number in range(4):
        estimator.wait(0.05)
        estimator.end(requests[number % 2], (50 + number) * KB)
        estimator.lib.quality_begin(estimator.q, requests[number % 2], GET, estimator.clock)
    rates = [estimator.q.throughput.kept[i].value for i in range(1, 5)]
    assert rates == [8000, 8160, 8320, 8480]


def test_bytes_of_other_requests_count_in_a_window(estimator: Estimator) -> None:
    requests = [estimator.request() for _ in range(5)]
    post = estimator.request(OTHER)
    estimator.wait(0.1)
    estimator.hear(post, 60 * KB)
    estimator.end(requests[0], 40 * KB)
    assert estimator.q.throughput.kept[1].value == 8000


def test_a_private_host_spoils_the_window(estimator: Estimator) -> None:
    requests = [estimator.request() for _ in range(6)]
    private = estimator.request(DEGRADING)
    estimator.wait(0.1)
    estimator.end(requests[0], 100 * KB)
    assert estimator.q.throughput.added == 0
    estimator.end(private, 100 * KB)  # a window opens
    estimator.wait(0.1)
    estimator.end(requests[1], 100 * KB)
    assert estimator.q.throughput.kept[1].value == 8000


def test_a_rate_below_a_congestion_window_per_rtt_is_not_the_networks(
    estimator: Estimator,
) -> None:
    """32 kB in 0.4 s: in the 115 ms that a round trip takes 9.2 kB, less than 15."""
    requests = [estimator.request() for _ in range(6)]
    estimator.wait(0.4)
    estimator.end(requests[0], 32 * KB)
    assert estimator.q.throughput.added == 0
    assert estimator.q.following == 0
    assert [request.kind for request in requests] == [ABSENT, *[OTHER] * 5]
    later = [estimator.request() for _ in range(5)]
    estimator.wait(0.1)
    estimator.end(later[0], 40 * KB)
    assert estimator.q.throughput.added == 1


def test_a_request_that_nothing_comes_of_is_let_go(estimator: Estimator) -> None:
    requests = [estimator.request() for _ in range(6)]
    for _ in range(29):
        estimator.wait(0.1)
        for request in requests[1:]:
            estimator.hear(request, 10 * KB)
    assert estimator.q.following == 6
    estimator.wait(0.1)  # 3 s without a byte of the first, and more than 5 * 115 ms
    estimator.hear(requests[0], 10 * KB)
    assert estimator.q.following == 5
    assert estimator.q.window_at == 0
    assert requests[0].kind == OTHER


def test_hanging_requests_are_looked_for_once_a_second(estimator: Estimator) -> None:
    requests = [estimator.request() for _ in range(7)]
    for tenth in range(1, 31):
        estimator.wait(0.1)
        for request in requests[1:]:
            estimator.hear(request, 10 * KB)
        assert estimator.q.following == (7 if tenth < 30 else 6)
    assert requests[0].kind == OTHER


def test_a_reset_takes_requests_out(estimator: Estimator) -> None:
    requests = [estimator.request() for _ in range(5)]
    estimator.lib.quality_reset(estimator.q, estimator.clock)
    later = [estimator.request() for _ in range(6)]
    estimator.wait(0.1)
    estimator.end(later.pop(), 100 * KB)
    assert estimator.q.throughput.added == 0
    for request in requests:
        estimator.end(request)
    estimator.wait(0.1)
    estimator.end(later.pop(), 100 * KB)
    assert estimator.q.throughput.kept[1].value == 8000


def test_any_number_of_requests_is_followed(estimator: Estimator) -> None:
    requests = [estimator.request() for _ in range(5000)]
    assert estimator.q.following == 5000
    estimator.wait(0.1)
    for request in requests:
        estimator.end(request, KB)
    assert estimator.q.following == 0
    assert estimator.q.throughput.added > 0


# --- against the second implementation ------------------------------------------------------------

STEPS = st.lists(
    st.tuples(
        st.sampled_from(["begin", "hear", "end", "http", "transport", "refresh", "reset"]),
        st.integers(0, 11),  # which request, or socket
        st.sampled_from([GET, GET, GET, OTHER, DEGRADING]),
        st.one_of(st.integers(0, 3 * MS), st.integers(0, 12 * SECOND)),
        st.one_of(st.integers(0, 3_000_000), st.integers(0, 1000)),
    ),
    max_size=120,
)


def state_of(q: Any) -> tuple[Any, ...]:
    now = q.now
    counts = [(b.count, b.added) for b in (q.http_rtt, q.transport_rtt, q.throughput)]
    rates = sorted(q.throughput.kept[i].value for i in range(q.throughput.count))
    estimates = (now.http_rtt_us, now.transport_rtt_us, now.downstream_kbps, now.type)
    return (*estimates, counts, rates, q.following, q.degrading, q.window_at)


def state_of_reference(r: Reference, added: list[int]) -> tuple[Any, ...]:
    kept = (r.http, r.transport, r.throughput)
    counts = [(len(b), n) for b, n in zip(kept, added, strict=True)]
    rates = sorted(value for value, _ in r.throughput)
    window = r.window[0] if r.window else 0
    estimates = (r.http_rtt, r.transport_rtt, r.kbps, r.type)
    return (*estimates, counts, rates, len(r.following), len(r.degrading), window)


@settings(max_examples=400, deadline=None)
@given(steps=STEPS)
def test_any_sequence_is_estimated_as_the_reference_does(kernels: Kernels, steps: Any) -> None:
    mine = Estimator(kernels)
    theirs = Reference(START)
    pairs = [(kernels.ffi.new("quality_request *"), Request()) for _ in range(12)]
    sockets = [0] * 12
    lib, q = kernels.lib, mine.q
    for what, number, kind, later, value in steps:
        mine.clock += later
        now = mine.clock
        request, other = pairs[number]
        if what == "begin":
            lib.quality_begin(q, request, kind, now)
            theirs.begin(other, kind, now)
        elif what == "hear":
            lib.quality_heard(q, request, value, now)
            theirs.hear(other, value, now)
        elif what == "end":
            lib.quality_end(q, request, value, now)
            theirs.end(other, value, now)
        elif what == "http":
            lib.quality_http_rtt(q, request, value, now)
            theirs.add_http_rtt(other, value, now)
        elif what == "transport":
            taken = bool(lib.quality_transport_rtt(q, value, sockets[number], now))
            assert taken == theirs.add_transport_rtt(value, sockets[number], now)
            sockets[number] = now if taken else sockets[number]
        elif what == "refresh":
            lib.quality_refresh(q, now)
            theirs.refresh(now)
        else:
            lib.quality_reset(q, now)
            theirs.reset(now)
        added = [len(b) - 1 for b in (theirs.http, theirs.transport, theirs.throughput)]
        assert state_of(q) == state_of_reference(theirs, added)
        assert request.kind == other.kind


OBSERVED = st.lists(
    st.tuples(
        st.integers(1, 2_000_000), st.sampled_from([0, 0, MS, SECOND, 7 * SECOND, 90 * SECOND])
    ),
    max_size=400,
)


@settings(max_examples=150, deadline=None)
@given(observed=OBSERVED, later=st.integers(0, 7200))
def test_medians_of_many_are_those_of_the_reference(
    kernels: Kernels, observed: list[tuple[int, int]], later: int
) -> None:
    mine, theirs = Estimator(kernels), Reference(START)
    for us, wait in observed:
        mine.clock += wait
        taken = mine.transport_rtt(us / 1000)
        assert taken == theirs.add_transport_rtt(us, 0, mine.clock)
    mine.wait(later)
    theirs.compute(mine.clock)
    assert mine.compute().transport_rtt_us == theirs.transport_rtt


# --- addresses and interfaces ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "address",
    [
        "0.1.2.3",
        "10.0.0.1",
        "100.64.0.1",
        "100.127.255.255",
        "127.0.0.1",
        "169.254.1.1",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.1",
        "192.0.2.1",
        "192.88.99.1",
        "192.168.0.1",
        "198.18.0.1",
        "198.19.255.255",
        "198.51.100.1",
        "203.0.113.1",
        "224.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "fe80::1",
        "fc00::1",
        "fdff::1",
        "::ffff:10.0.0.1",
        "::ffff:127.0.0.1",
    ],
)
def test_a_private_address_is_known(kernels: Kernels, address: str) -> None:
    ipaddress.ip_address(address)
    assert kernels.lib.network_is_private(address.encode())


@pytest.mark.parametrize(
    "address",
    [
        "1.1.1.1",
        "9.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "126.0.0.1",
        "128.0.0.1",
        "169.253.0.1",
        "172.15.255.255",
        "172.32.0.0",
        "192.0.1.1",
        "192.88.98.1",
        "192.167.0.1",
        "192.169.0.1",
        "198.17.0.1",
        "198.20.0.1",
        "223.255.255.255",
        "2606:4700::1111",
        "3fff::1",
        "::ffff:1.1.1.1",
    ],
)
def test_a_public_address_is_not_private(kernels: Kernels, address: str) -> None:
    assert not kernels.lib.network_is_private(address.encode())


def test_what_is_no_address_is_not_private(kernels: Kernels) -> None:
    for text in (b"", b"localhost", b"127.0.0.1.", b"/run/socket"):
        assert not kernels.lib.network_is_private(text)
