"""What all tests share: the servers, the ways to reach them, and the books that must balance."""

from __future__ import annotations

import gc
import sys
import threading
import time
from collections.abc import Generator, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests.servers.certs import Certificates
from tests.servers.program import started, version_of

# a machine that stalls is no fault of an example, nor of what draws it
settings.register_profile(
    "unhurried", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("unhurried")

LIMIT = 20.0
BOOKS = ("transfers", "slabs", "chunks")


def pytest_report_header() -> list[str]:
    """The versions of the servers and of libcurl that this run is about."""
    servers = {
        "nginx": version_of("nginx", "-v").removeprefix("nginx version: nginx/"),
        "caddy": version_of("caddy", "version"),
        "tinyproxy": version_of("tinyproxy", "-v").removeprefix("tinyproxy "),
        "microsocks": version_of("microsocks"),
        "dnsmasq": version_of("dnsmasq", "-v").removeprefix("Dnsmasq version ").partition(" ")[0],
        "socat": version_of("socat"),
        "websockets": version("websockets"),
        "aiohttp": version("aiohttp"),
    }
    lines = ["servers: " + ", ".join(f"{name} {told}" for name, told in servers.items())]
    try:
        from ftnet import engine_info

        lines.append(f"libcurl: {engine_info()['version']}")
    except ImportError as error:
        lines.append(f"libcurl: none ({error})")
    return lines


# --- the books ------------------------------------------------------------------------------------


def _open_accounts() -> dict[str, int]:
    """The engine's live objects; nothing when no test has loaded the engine yet."""
    core: Any = sys.modules.get("ftcore")
    counters = getattr(core, "counters", None)
    return {name: counters()[name] for name in BOOKS} if counters else dict.fromkeys(BOOKS, 0)


def _balanced(before: dict[str, int]) -> bool:
    after = _open_accounts()
    return all(after[name] <= before[name] for name in BOOKS)


_passed = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if call.when == "call":
        item.stash[_passed] = report.passed
    return report


@pytest.fixture(autouse=True)
def books(request: pytest.FixtureRequest) -> Iterator[None]:
    """No test leaves a transfer, a chunk or receive memory behind.

    One that failed is not asked: its traceback holds on to what it had. So do the records of
    callbacks that raised, which another thread may log when the test itself is already over.
    """
    before = _open_accounts()
    yield
    if not request.node.stash.get(_passed, False):
        return
    end, ticker = time.monotonic() + LIMIT, threading.Event()
    logs = request.config.pluginmanager.getplugin("logging-plugin")
    while not _balanced(before):
        for handler in (logs.caplog_handler, logs.report_handler):
            handler.records.clear()
        gc.collect()
        if _balanced(before):
            break
        assert time.monotonic() < end, f"left behind: {_open_accounts()}, before: {before}"
        ticker.wait(0.005)


@pytest.fixture(scope="session", autouse=True)
def no_proxies_around() -> Iterator[None]:
    """The environment's proxies are not for servers on the loopback."""
    names = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
    with pytest.MonkeyPatch.context() as patch:
        for name in names:
            patch.delenv(name, raising=False)
            patch.delenv(name.upper(), raising=False)
        yield


# --- the lanes ------------------------------------------------------------------------------------


#: What runs over both lanes, libcurl's and the native one; all else has the one of the rule.
BOTH_LANES = frozenset(
    (
        "test_back_pressure",
        "test_callbacks",
        "test_chunks",
        "test_download",
        "test_download_kept",
        "test_download_many",
        "test_download_progress",
        "test_download_resume",
        "test_drivers",
        "test_leaks",
        "test_lifecycle",
        "test_lifecycle_abort",
        "test_lifecycle_callbacks",
        "test_profile",
        "test_profile_failures",
        "test_profile_properties",
        "test_redirects_cookies",
        "test_request",
        "test_request_header",
        "test_response",
        "test_tls",
        "test_upload",
        "test_upload_many",
        "test_upload_task",
        "test_connect_faults",
        "test_download_faults",
        "test_handle_reuse",
        "test_http_faults",
        "test_injection",
        "test_redirects",
        "test_rough_but_right",
        "test_timeouts",
        "test_upload_faults",
        "test_upload_files",
    )
)
#: Names of parameters that ask for what only libcurl speaks.
NOT_NATIVE = frozenset(("h2", "h2c", "h3"))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if metafunc.module.__name__.rpartition(".")[2] in BOTH_LANES:
        metafunc.parametrize("lane", ("libcurl", "native"), indirect=True, scope="module")


def _is_libcurls(item: pytest.Item) -> bool:
    """Whether it asks for what only libcurl does: marked so, or by a parameter."""
    given = item.callspec.params.values() if hasattr(item, "callspec") else ()
    asked = any(isinstance(value, str) and value in NOT_NATIVE for value in given)
    return asked or item.get_closest_marker("libcurl_only") is not None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What only libcurl does is not asked of the native lane."""
    spared = [item for item in items if "native" in _lane_of(item) and _is_libcurls(item)]
    if spared:
        config.hook.pytest_deselected(items=spared)
        items[:] = [item for item in items if item not in set(spared)]


def _lane_of(item: pytest.Item) -> tuple[str, ...]:
    params = getattr(item, "callspec", None)
    return (params.params["lane"],) if params and "lane" in params.params else ()


@pytest.fixture(scope="module", autouse=True)
def lane(request: pytest.FixtureRequest) -> Iterator[str]:
    """The lane that is pinned for a module of `BOTH_LANES`; it must have served, if any has."""
    if not hasattr(request, "param"):
        yield "auto"
        return
    import ftnet.client
    from ftcore.transfer import served

    pinned: str = request.param
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FTNET_LANE", pinned)
        patch.setattr(ftnet.client, "_default", None)
        before = served()
        yield pinned
        if ftnet.client._default is not None:
            ftnet.client._default.close()
        native, libcurl = (now - then for now, then in zip(served(), before, strict=True))
        assert native or not libcurl if pinned == "native" else not native


# --- the servers ----------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def servers_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("servers")


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates.make(tmp_path_factory.mktemp("certificates"))


def _room(directory: Path, name: str) -> Path:
    path = directory / name
    path.mkdir()
    return path


@pytest.fixture(scope="session")
def nginx(servers_directory: Path, certificates: Certificates) -> Iterator[Any]:
    """nginx: `.http .h2c .https .h2`, and the ones with something wrong in their TLS."""
    from tests.servers.nginx import Nginx

    room = _room(servers_directory, "nginx")
    with started(lambda: Nginx(room, certificates)) as server:
        yield server


@pytest.fixture(scope="session")
def caddy(servers_directory: Path, certificates: Certificates, server: Any) -> Iterator[Any]:
    """caddy: `.http`, HTTP/1.1, h2 and h3 on `.https`, and `server` behind them on `.behind`."""
    from tests.servers.caddy import Caddy

    room = _room(servers_directory, "caddy")
    with started(lambda: Caddy(room, certificates, server.http)) as running:
        yield running


@pytest.fixture(scope="session")
def hypercorn(servers_directory: Path, certificates: Certificates) -> Iterator[Any]:
    """hypercorn: the endpoints of `server` over HTTP/1.1, h2 and h3 on `.https`."""
    from tests.servers.hypercorn_h3 import Hypercorn

    room = _room(servers_directory, "hypercorn")
    with started(lambda: Hypercorn(room, certificates)) as server:
        yield server


@pytest.fixture(scope="session")
def forms(servers_directory: Path) -> Iterator[Any]:
    """werkzeug: a parser of forms that is not ours, on `.http`."""
    from tests.servers.werkzeug_forms import Forms

    room = _room(servers_directory, "forms")
    with started(lambda: Forms(room)) as running:
        yield running


@pytest.fixture(scope="session")
def server() -> Iterator[Any]:
    """The project's own test server: `.http`, `.https` (HTTP/1.1 and h2), `.ca`."""
    from tests.servers.echo import serving

    with serving() as running:
        yield running


@pytest.fixture(scope="session")
def http_proxy(servers_directory: Path) -> Iterator[Any]:
    """tinyproxy: `.url`, `.tunnels_to(url)`."""
    from tests.servers.proxies import Tinyproxy

    room = _room(servers_directory, "tinyproxy")
    with started(lambda: Tinyproxy(room)) as proxy:
        yield proxy


@pytest.fixture(scope="session")
def login_proxy(servers_directory: Path) -> Iterator[Any]:
    """tinyproxy that wants a user and a password."""
    from tests.servers.proxies import Tinyproxy

    room = _room(servers_directory, "tinyproxy-login")
    with started(lambda: Tinyproxy(room, login=True)) as proxy:
        yield proxy


@pytest.fixture(scope="session")
def https_proxy(http_proxy: Any, certificates: Certificates) -> Iterator[Any]:
    """TLS in front of tinyproxy: `.url`, `.connections`."""
    from tests.servers.proxies import TlsFront

    front = TlsFront(http_proxy.port, certificates)
    yield front
    front.stop()


@pytest.fixture(scope="session")
def socks_proxy(servers_directory: Path) -> Iterator[Any]:
    """microsocks: `.address`, `.connections_to(netloc)`."""
    from tests.servers.proxies import Microsocks

    room = _room(servers_directory, "microsocks")
    with started(lambda: Microsocks(room)) as proxy:
        yield proxy


@pytest.fixture(scope="session")
def login_socks_proxy(servers_directory: Path) -> Iterator[Any]:
    """microsocks that wants a user and a password."""
    from tests.servers.proxies import Microsocks

    room = _room(servers_directory, "microsocks-login")
    with started(lambda: Microsocks(room, login=True)) as proxy:
        yield proxy


@pytest.fixture(scope="session")
def dns(servers_directory: Path, certificates: Certificates) -> Iterator[Any]:
    """dnsmasq behind DNS over HTTPS: `.doh_url`, `.queries_for(name)`."""
    from tests.servers.dns import Dnsmasq

    room = _room(servers_directory, "dns")
    with started(lambda: Dnsmasq(room, certificates)) as server:
        yield server
        server.dnsmasq.stop()


@pytest.fixture(scope="session")
def socket_loop() -> Iterator[Any]:
    """The thread that WebSocket servers run in."""
    from tests.servers.websocket import Loop

    loop = Loop()
    yield loop
    loop.stop()


@pytest.fixture
def sockets(socket_loop: Any) -> Iterator[Any]:
    """A server of the `websockets` library for the test alone: `.url`, `.peer(number)`."""
    from tests.servers.websocket import serving

    with serving(socket_loop) as server:
        yield server


@pytest.fixture
def secure_sockets(socket_loop: Any, certificates: Certificates) -> Iterator[Any]:
    """The same behind TLS."""
    from tests.servers.websocket import serving, tls_context

    with serving(socket_loop, tls=tls_context(certificates.good)) as server:
        yield server


@pytest.fixture(scope="session")
def aiohttp_sockets(socket_loop: Any) -> Iterator[Any]:
    """aiohttp's server, that echoes: `.url`."""
    from tests.servers.websocket import AiohttpServer

    server = AiohttpServer(socket_loop)
    yield server
    server.stop()


@pytest.fixture(scope="session")
def nginx_sockets(
    servers_directory: Path, certificates: Certificates, socket_loop: Any
) -> Iterator[Any]:
    """nginx in front of a server of the library: `.ws`, `.wss`."""
    from tests.servers.websocket import NginxSockets, serving

    room = _room(servers_directory, "nginx-sockets")
    with (
        serving(socket_loop) as behind,
        started(lambda: NginxSockets(room, certificates, behind.netloc)) as server,
    ):
        yield server


# --- ways to get there ----------------------------------------------------------------------------


@pytest.fixture(params=("http", "https", "h2", "h3"))
def origin(request: pytest.FixtureRequest) -> Any:
    """One application, reached over each version of HTTP: see `tests.origins`."""
    from tests.origins import origin_of

    return origin_of(request.param, request.getfixturevalue)


@pytest.fixture
def client(origin: Any) -> Iterator[Any]:
    """A Client of its own for the test, set to trust `origin` and to speak its version."""
    with origin.client() as client:
        yield client


@pytest.fixture
def plain() -> Iterator[Any]:
    """A Client of its own for the test, with default settings but for the environment."""
    import ftnet as ft

    with ft.Client(trust_env=False) as client:
        yield client


@pytest.fixture
def unbounded() -> Iterator[Any]:
    """The same without a limit on what waits to be sent or to be heard."""
    import ftnet as ft

    with ft.Client(trust_env=False, max_buffered_bytes=None) as client:
        yield client


@pytest.fixture(params=("thread", "run", "asyncio", "uvloop"))
def drive(request: pytest.FixtureRequest) -> Any:
    """Each way to drive the engine: see `tests.drivers`."""
    from tests.drivers import DRIVERS

    return DRIVERS[request.param]


@pytest.fixture(params=("thread", "run", "asyncio", "uvloop"))
def drive_sockets(request: pytest.FixtureRequest) -> Any:
    """Each way to drive the engine until sockets are closed: see `tests.sockets`."""
    from tests.sockets import DRIVERS

    return DRIVERS[request.param]


@pytest.fixture
def echoing() -> Iterator[Any]:
    """An `AwkwardServer` that sends back what comes, until the client has ended its side."""
    from tests.servers.awkward import AwkwardServer
    from tests.tcp_sockets import echo

    with AwkwardServer(echo) as server:
        yield server
