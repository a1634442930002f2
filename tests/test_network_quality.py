"""The estimates of a Client: in its profiles, in `network_quality`, and told to listeners."""

from __future__ import annotations

import dataclasses
import gc
import logging
import pickle
import subprocess
import threading
import weakref
from typing import Any

import pytest

import ftnet as ft
from tests.drivers import in_run
from tests.origins import LIMIT, Origin, failure, fetch
from tests.processes import run_script
from tests.servers.awkward import AwkwardServer, closed_port
from tests.servers.behaviours import answers, resets_in_body, resets_unanswered
from tests.servers.program import find

DEFAULTS = (ft.NetType.TYPE_4G, 115.0, 55.0, 1961.0)


def estimates(profile: ft.Profile) -> tuple[Any, ...]:
    return (
        profile.estimate_nettype,
        profile.httpRttEstimate,
        profile.transportRttEstimate,
        profile.downstreamThroughputKbpsEstimate,
    )


def counts(client: ft.Client) -> tuple[int, int, int]:
    quality = client.network_quality
    return (
        quality.http_rtt_observations,
        quality.transport_rtt_observations,
        quality.throughput_observations,
    )


def http_rtt(profile: ft.Profile) -> float:
    return profile.responseStart - profile.requestStart


SURE = 500.0  # ms; an answer that takes longer may be put down to its server, and not count


def assert_counted(client: ft.Client, *profiles: ft.Profile | None) -> None:
    """All of these have an HTTP RTT that counts, but for those the machine was that slow with."""
    seen = [http_rtt(profile) for profile in profiles if profile is not None]
    assert len(seen) == len(profiles)
    assert sum(rtt <= SURE for rtt in seen) <= counts(client)[0] <= len(seen)


def assert_type(profile: ft.Profile) -> None:
    """4G is what has an HTTP RTT of less than 272 ms."""
    assert (profile.estimate_nettype is ft.NetType.TYPE_4G) == (profile.httpRttEstimate < 272)


# --- what counts ----------------------------------------------------------------------------------


def test_before_any_request_it_is_an_unknown_network(plain: ft.Client) -> None:
    quality = plain.network_quality
    assert dataclasses.astuple(quality) == (*DEFAULTS, 0, 0, 0)
    with pytest.raises(dataclasses.FrozenInstanceError):
        quality.http_rtt = 1.0  # type: ignore[misc]


def test_a_profile_has_the_estimates_of_the_requests_before(plain: ft.Client, server: Any) -> None:
    first, second = (fetch(plain, f"{server.http}/hello").profile for _ in range(2))
    assert estimates(first) == DEFAULTS
    # of two observations of one weight it is the lower, of two that a second lies between the newer
    lower = min(http_rtt(first), 115.0)
    newer = http_rtt(first) if http_rtt(first) <= SURE else lower
    assert second.httpRttEstimate in (
        pytest.approx(lower, abs=0.002),
        pytest.approx(newer, abs=0.002),
    )
    assert second.transportRttEstimate == first.rtt
    assert_type(second)


def test_it_is_the_median_of_what_the_profiles_say(plain: ft.Client, server: Any) -> None:
    profiles = [fetch(plain, f"{server.http}/hello").profile for _ in range(8)]
    quality = plain.network_quality
    assert_counted(plain, *profiles)
    seconds = (profiles[-1].responseEnd - profiles[0].requestStart) / 1000
    assert 1 <= quality.transport_rtt_observations <= 1 + 5 * seconds  # of one connection
    counted = [rtt for rtt in map(http_rtt, profiles) if rtt <= SURE]
    ranked = sorted([*counted, 115.0])
    middle = len(counted) // 2  # or its neighbour where they differ by a second
    assert ranked[middle - 1] - 0.002 <= quality.http_rtt <= ranked[middle + 1] + 0.002


@pytest.mark.parametrize("name", ["http", "https", "h2"])
def test_each_version_over_tcp_counts(name: str, server: Any) -> None:
    from tests.origins import origin_of

    origin = origin_of(name, lambda _: server)
    with origin.client() as client:
        assert_counted(client, fetch(client, f"{origin.base}/hello").profile)
        assert counts(client)[1] == 1


def test_http3_does_not_count(caddy: Any) -> None:
    with ft.Client(ca=caddy.ca, http_version="3-only", trust_env=False) as client:
        assert fetch(client, f"{caddy.behind}/hello").profile.protocol == "quic"
        assert counts(client) == (0, 0, 0)


def test_only_a_get_has_an_http_rtt(plain: ft.Client, server: Any) -> None:
    for method in ("POST", "PUT", "HEAD", "OPTIONS", "DELETE"):
        fetch(plain, f"{server.http}/echo", method=method)
    assert counts(plain)[0] == 0
    assert_counted(plain, fetch(plain, f"{server.http}/echo").profile)


def test_a_request_without_a_profile_does_not_count(plain: ft.Client, server: Any) -> None:
    for _ in range(20):
        fetch(plain, f"{server.http}/bytes/100000", enableProfile=False)
    assert counts(plain) == (0, 0, 0)


def test_downloads_count_and_sockets_do_not(
    plain: ft.Client, server: Any, sockets: Any, tmp_path: Any
) -> None:
    task = plain.downloadFile(url=f"{server.http}/hello", filePath=str(tmp_path / "f"))
    assert_counted(plain, task.result(LIMIT).profile)
    before = counts(plain)
    opened = threading.Event()
    socket = plain.connectSocket(url=sockets.url)
    socket.onOpen(lambda _: opened.set())
    assert opened.wait(LIMIT)
    assert counts(plain) == before
    assert before[1] == 1


def test_failures_count_as_far_as_they_came(plain: ft.Client) -> None:
    with closed_port() as port:
        refused = failure(plain, f"http://127.0.0.1:{port}/").profile
    with AwkwardServer(resets_unanswered) as server:
        failure(plain, server.url)
    assert counts(plain)[0] == 0
    assert refused is not None
    assert estimates(refused) == DEFAULTS
    with AwkwardServer(resets_in_body) as server:
        assert_counted(plain, failure(plain, server.url).profile)


def test_a_task_that_never_left_the_queue_has_estimates(server: Any) -> None:
    with ft.Client(max_connections=1, trust_env=False) as client:
        fetch(client, f"{server.http}/hello")
        held = client.request(url=f"{server.http}/delay?before=20000")
        queued = client.request(url=f"{server.http}/hello")
        queued.abort()
        with pytest.raises(ft.FtError) as caught:
            queued.result(LIMIT)
        held.abort()
        assert caught.value.profile is not None
        assert caught.value.profile.httpRttEstimate == client.network_quality.http_rtt


def test_downloads_at_once_show_a_rate(plain: ft.Client, server: Any) -> None:
    for _ in range(50):
        in_run(lambda: [plain.request(url=f"{server.http}/bytes/2000000") for _ in range(8)])
        if counts(plain)[2] >= 3:
            break
    assert counts(plain)[2] >= 3
    assert 10_000 < plain.network_quality.downstream_throughput_kbps < 1_000_000_000


# --- hosts ----------------------------------------------------------------------------------------


def test_private_hosts_can_be_left_out(server: Any) -> None:
    with ft.Client(estimate_private_hosts=False, trust_env=False) as client:
        profiles = [fetch(client, f"{server.http}/hello").profile for _ in range(5)]
        assert counts(client) == (0, 0, 0)
    assert len({estimates(profile) for profile in profiles}) == 1


def test_behind_a_proxy_the_proxys_address_decides(http_proxy: Any, server: Any) -> None:
    settings: dict[str, Any] = {"proxy": http_proxy.url, "trust_env": False}
    with ft.Client(estimate_private_hosts=False, **settings) as client:
        fetch(client, f"{server.http}/hello")
        assert counts(client) == (0, 0, 0)
    with ft.Client(**settings) as client:
        assert_counted(client, fetch(client, f"{server.http}/hello").profile)
        assert counts(client)[1] == 1


def namespaces() -> str:
    """The program to run in a network of its own; skips with the reason where that can't be."""
    unshare = find("unshare")
    make = "ip link set lo up && ip addr add 11.22.33.44/32 dev lo"
    able = subprocess.run([unshare, "-rn", "sh", "-c", make], capture_output=True, text=True)
    if able.returncode:
        pytest.skip(f"no network namespaces here: {able.stderr.strip()}")
    return unshare


PUBLIC = """
    import os, subprocess, threading
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
    import ftnet as ft

    class Hello(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", "5")
            self.end_headers()
            self.wfile.write(b"hello")
        def log_message(self, *_):
            pass

    def shell(*commands):
        for command in commands:
            subprocess.run(command, shell=True, check=True)

    def serve(host):
        server = ThreadingHTTPServer((host, 0), Hello)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"http://{host}:{server.server_port}"

    def until_counted(client, url):  # what takes half a second may be put down to the server
        for _ in range(20):
            client.request(url=url).result(10)
            if client.network_quality.http_rtt_observations:
                break

    def seen(client):
        q = client.network_quality
        offline = q.effective_type is ft.NetType.OFFLINE
        print("offline" if offline else "online", q.http_rtt > 0, q.http_rtt_observations)
"""


def test_public_hosts_count_and_without_an_interface_it_is_offline() -> None:
    lines = run_script(
        PUBLIC
        + """
    with ft.Client(estimate_private_hosts=False) as client, ft.Client() as counts_all:
        seen(client)
        seen(counts_all)
        shell("ip link set lo up", "ip addr add 11.22.33.44/32 dev lo")
        public, private = serve("11.22.33.44"), serve("127.0.0.1")
        client.request(url=private).result(10)
        seen(client)
        shell("ip link add v0 type veth peer name v1", "ip addr add 10.77.0.1/24 dev v0",
              "ip link set v0 up", "ip link set v1 up",
              "timeout 20 sh -c 'until ip link show v0 | grep -q state.UP; do sleep 0.01; done'")
        seen(client)
        until_counted(client, public)
        seen(client)
        shell("ip link set v0 down")
        seen(client)
    with ft.Client(estimate_private_hosts=False, proxy=public) as client:
        until_counted(client, "http://10.1.2.3/")
        print(client.network_quality.http_rtt_observations)
        """,
        under=(namespaces(), "-rn"),
    )
    assert lines == [
        "offline False 0",  # but for private hosts, which are reached anyway
        "online True 0",
        "offline False 0",
        "online True 0",
        "online True 1",
        "offline False 1",
        "1",
    ]


# --- listeners ------------------------------------------------------------------------------------


def until_told(client: ft.Client, url: str, told: list[ft.NetworkQuality]) -> None:
    """Requests until a listener was told; its call comes before the result."""
    for _ in range(20):
        fetch(client, url)
        if told:
            return
    pytest.fail("nobody was told")


def test_a_listener_is_told_of_another_type(plain: ft.Client, server: Any) -> None:
    told: list[ft.NetworkQuality] = []
    plain.on_network_quality_change(told.append)
    until_told(plain, f"{server.http}/delay?before=300", told)
    assert told[0].effective_type < ft.NetType.TYPE_4G
    assert told[0].http_rtt >= 300
    # of 115 300 300 it is the second; the first 300 will do where it is newer by a second
    assert told[0].http_rtt_observations >= 1
    assert plain.network_quality.effective_type == told[0].effective_type


def test_small_changes_are_not_told(plain: ft.Client, server: Any) -> None:
    told: list[ft.NetworkQuality] = []
    for _ in range(40):  # so many that no slow one moves the median any more
        fetch(plain, f"{server.http}/hello")
    plain.network_quality  # noqa: B018
    fetch(plain, f"{server.http}/hello")
    plain.on_network_quality_change(told.append)
    for _ in range(60):
        fetch(plain, f"{server.http}/hello")
    assert told == []


def test_listeners_are_called_in_the_thread_that_drives(
    plain: ft.Client, server: Any, drive: Any
) -> None:
    threads: list[int] = []
    told: list[ft.NetworkQuality] = []
    order: list[str] = []
    plain.on_network_quality_change(lambda quality: threads.append(threading.get_ident()))
    plain.on_network_quality_change(lambda quality: order.append("told"))
    plain.on_network_quality_change(told.append)
    driven: set[int] = set()

    def success(_: object) -> None:
        driven.add(threading.get_ident())
        order.append("success")

    for _ in range(20):
        drive(lambda: [plain.request(url=f"{server.http}/delay?before=300", success=success)])
        if told:
            break
    assert set(threads) <= driven
    assert len(threads) == len(told) > 0
    assert order[-2:] == ["told", "success"]


def test_listeners_can_be_taken_away(plain: ft.Client, server: Any) -> None:
    told: list[ft.NetworkQuality] = []
    other: list[ft.NetworkQuality] = []
    plain.on_network_quality_change(other.append)
    plain.on_network_quality_change(told.append)
    plain.off_network_quality_change(other.append)
    plain.off_network_quality_change(other.append)  # no effect
    until_told(plain, f"{server.http}/delay?before=300", told)
    assert other == []
    plain.off_network_quality_change()
    plain.reset_network_quality()
    before = len(told)
    fetch(plain, f"{server.http}/hello")
    assert len(told) == before


def test_a_listener_that_raises_is_logged(
    plain: ft.Client, server: Any, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[ft.NetworkQuality] = []

    def bad(_: ft.NetworkQuality) -> None:
        raise ValueError("of the listener")

    plain.on_network_quality_change(bad)
    plain.on_network_quality_change(told.append)
    with caplog.at_level(logging.ERROR, "ftnet"):
        until_told(plain, f"{server.http}/delay?before=300", told)
    assert "of the listener" in caplog.text


@pytest.mark.parametrize("listener", [None, 3, "told"])
def test_what_is_no_listener_is_refused(plain: ft.Client, listener: Any) -> None:
    with pytest.raises(TypeError, match="on_network_quality_change: .* callable"):
        plain.on_network_quality_change(listener)


def test_a_reset_forgets_and_is_told(plain: ft.Client, server: Any) -> None:
    told: list[ft.NetworkQuality] = []
    plain.on_network_quality_change(told.append)
    until_told(plain, f"{server.http}/delay?before=300", told)
    plain.reset_network_quality()
    assert dataclasses.astuple(plain.network_quality) == (*DEFAULTS, 0, 0, 0)
    profile = fetch(plain, f"{server.http}/hello").profile
    assert [quality.effective_type for quality in told][-1] == ft.NetType.TYPE_4G
    assert_counted(plain, profile)


def test_requests_under_way_at_a_reset_do_not_count(plain: ft.Client) -> None:
    def behind_the_gate(peer: Any) -> None:
        peer.read_request()
        peer.server.gate.wait(LIMIT)
        peer.answer(b"hello")

    with AwkwardServer(behind_the_gate) as server:
        task = plain.request(url=server.url)
        server.wait_for_requests(1)
        plain.reset_network_quality()
        server.gate.set()
        task.result(LIMIT)
    assert counts(plain)[0] == 0


# --- life -----------------------------------------------------------------------------------------


def test_estimates_of_a_pickled_profile_are_the_same(plain: ft.Client, server: Any) -> None:
    fetch(plain, f"{server.http}/hello")
    profile = fetch(plain, f"{server.http}/hello").profile
    assert estimates(pickle.loads(pickle.dumps(profile))) == estimates(profile)
    quality = plain.network_quality
    assert pickle.loads(pickle.dumps(quality)) == quality
    assert ft.to_dict(profile)["httpRttEstimate"] == profile.httpRttEstimate


def test_clients_have_estimates_of_their_own(plain: ft.Client, server: Any) -> None:
    with ft.Client(trust_env=False) as other:
        profile = fetch(other, f"{server.http}/hello").profile
        assert_counted(other, profile)
    assert counts(plain)[0] == 0
    assert_counted(other, profile)  # also when it is closed


def test_engines_of_several_threads_feed_one_client(plain: ft.Client, server: Any) -> None:
    told: list[ft.NetworkQuality] = []
    plain.on_network_quality_change(told.append)
    ends: list[str] = []

    def work() -> None:
        for _ in range(5):
            in_run(
                lambda: [
                    plain.request(
                        url=f"{server.http}/bytes/20000", complete=lambda r: ends.append(r.errMsg)
                    )
                    for _ in range(40)
                ]
            )

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(200):
        assert plain.network_quality.effective_type is not ft.NetType.UNKNOWN
    for thread in threads:
        thread.join(4 * LIMIT)
    assert ends == ["request:ok"] * 800
    assert counts(plain)[0] == 300
    assert all(isinstance(quality, ft.NetworkQuality) for quality in told)


def test_a_listener_does_not_keep_its_client() -> None:
    def listening() -> weakref.ref[ft.Client]:
        client = ft.Client(trust_env=False)
        client.on_network_quality_change(lambda _: client.close())
        return weakref.ref(client)

    gone = listening()
    gc.collect()
    assert gone() is None


def test_a_forked_child_starts_afresh(server: Any) -> None:
    source = """
    import os, sys
    import ftnet as ft
    url = sys.argv[1]
    client = ft.Client(trust_env=False)

    def ask(count):
        profiles = [client.request(url=url + "/hello").result(20).profile for _ in range(count)]
        quick = sum(p.responseStart - p.requestStart <= 500 for p in profiles)
        assert quick <= client.network_quality.http_rtt_observations <= count
        return quick

    slow = [client.request(url=url + "/delay?before=10000") for _ in range(6)]
    quick = ask(10)
    pid = os.fork()
    if pid == 0:
        try:
            assert client.network_quality.http_rtt_observations == 0
            ask(3)
            client.close()
        except BaseException:
            import traceback
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    print(all(not task.done() for task in slow))
    print(quick <= client.network_quality.http_rtt_observations <= 10)
    client.close()
    """
    assert run_script(source, server.http) == ["0", "True", "True"]


def test_every_origin_tells_estimates(client: ft.Client, origin: Origin) -> None:
    profiles = [fetch(client, f"{origin.base}/hello").profile for _ in range(3)]
    for profile in profiles:
        assert_type(profile)
    assert_counted(client, *(profiles if origin.protocol != "quic" else ()))


def test_answers_in_one_go_are_measured_too(plain: ft.Client) -> None:
    with AwkwardServer(answers) as server:
        profiles = [fetch(plain, server.url).profile for _ in range(3)]
    assert_counted(plain, *profiles)
