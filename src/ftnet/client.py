"""Client: settings, a pool on each engine it is used with, and the way in for every API."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Mapping
from resource import RLIMIT_NOFILE, getrlimit
from types import TracebackType
from typing import TYPE_CHECKING, Any

from ftcore import _libcurl
from ftcore.libcurl import can_keylog, library
from ftcore.settings import Settings, Template
from ftcore.transfer import Pool
from ftnet import dispatch
from ftnet.quality import Listener, NetworkQuality, Quality
from ftnet.settings import check_client_settings

if TYPE_CHECKING:
    from ftnet.download import DownloadTask
    from ftnet.policy import Policy
    from ftnet.request import Plan, RequestTask
    from ftnet.tasks import Callback
    from ftnet.tcp import TCPSocket
    from ftnet.udp import UDPSocket
    from ftnet.upload import UploadTask
    from ftnet.websocket import SocketTask

VERSION = "0.1.0"

_PROXY_VARIABLES = ("http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")
_TEMPLATES_AT_MOST = 4096
_UNLIMITED = 1_000_000_000


def _default_connections() -> int:
    """As many as descriptors allow, 10,000 at most: meant for load, not for politeness."""
    soft, _ = getrlimit(RLIMIT_NOFILE)
    return max(16, min(10_000, soft - 128)) if soft > 0 else 10_000


def _bytes(value: str | None) -> bytes | None:
    return None if value is None else os.fsencode(value)


def _trust(given: str | None) -> tuple[str | None, str | None]:
    """(CA file, CA directory)."""
    if given is None:
        return _libcurl.ca_location()
    return (None, given) if os.path.isdir(given) else (given, None)


def _no_proxy(checked: Mapping[str, Any]) -> str | None:
    """As `proxy_of`: "" where the environment must not, or need not, be asked."""
    if checked["no_proxy"] is None and (not checked["trust_env"] or proxy_of(checked) == ""):
        return ""
    no_proxy: str | None = checked["no_proxy"]
    return no_proxy


def proxy_of(checked: Mapping[str, Any]) -> str | None:
    """None leaves the choice to libcurl, which asks the environment for each request; so "", no
    proxy at all, where the environment names none."""
    if checked["proxy"] is not None:
        return str(checked["proxy"])
    if checked["trust_env"] and any(os.environ.get(name) for name in _PROXY_VARIABLES):
        return None
    return ""


def _lane() -> str:
    """FTNET_LANE of the environment, for debugging: "auto", "libcurl" or "native"."""
    lane = os.environ.get("FTNET_LANE") or "auto"
    if lane not in ("auto", "libcurl", "native"):
        raise ValueError(f"FTNET_LANE is {lane!r}; it takes auto, libcurl or native")
    return lane


class Client:
    """A caller of the ft API with a connection pool, limits and settings of its own.

    ``with ft.Client(...) as client: client.request(...)``. All settings are keywords; times are
    in milliseconds, sizes in bytes.

    ``ca`` CA bundle or directory, read once; ``cert``, ``key`` client certificate (PEM);
    ``verify``; ``proxy`` http, https, socks5 or socks5h URL; ``no_proxy``; ``trust_env`` whether
    the environment's proxies count; ``resolve`` ``{"host:port": "ip"}``; ``doh_url``;
    ``interface`` name or address to send from; ``cookies`` whether a jar is kept (default: no, as
    in the ft API); ``user_agent``; ``timeout`` (60000); ``max_connections`` (what descriptors
    allow, at most 10,000), ``max_connections_per_host`` (no limit): tasks beyond wait in order,
    each engine the Client is used on (a thread's, a loop's) counting for itself;
    ``max_body_bytes`` largest decoded body (256 MiB; when not given, no limit for chunks that go
    to a listener); ``max_buffered_bytes`` chunks waiting for their listener before the peer has to
    wait (4 MiB); ``http_version`` None, "1.1", "2", "2-prior-knowledge", "3", "3-only";
    ``allow_insecure_redirects`` https to http; ``keylog_file`` TLS secrets in NSS format;
    ``happy_eyeballs_timeout`` head start of IPv6 (200); ``tcp_nodelay`` (True); ``tcp_keepalive``
    idle time before probes, None: off; ``temp_dir`` where downloads without a filePath stay (None:
    a directory of the process, gone with it); ``policy`` what TCP sockets may reach (None:
    anything), such as `MINI_PROGRAM_POLICY`; ``max_message_bytes`` largest message of a WebSocket
    (64 MiB); ``estimate_private_hosts`` (True) whether private and loopback addresses count in
    `network_quality`, as they do not in Chromium.

    FTNET_LANE of the environment, looked at when a Client is made, pins what serves its requests,
    for debugging: "libcurl", or "native" (ftnet's own HTTP/1.1) wherever that can; default "auto".

    Raises TypeError or ValueError for a setting that can't be, naming it.
    """

    _closed = True  # until the settings are found good

    def __init__(self, **settings: Any) -> None:
        checked = check_client_settings(settings)
        if checked["keylog_file"] is not None and not can_keylog():
            raise ValueError(
                f"Client: keylog_file needs a libcurl with OpenSSL, this one has"
                f" {library.ssl_version}; set SSLKEYLOGFILE in the environment instead"
            )
        self.lane = _lane()
        self.settings = engine_settings(checked, "max_body_bytes" in settings)
        self._quality = Quality(checked["estimate_private_hosts"])
        self.timeout: float = checked["timeout"]
        self.http_version: str | None = checked["http_version"]
        agent = checked["user_agent"]
        self.user_agent: str = f"ftnet/{VERSION}" if agent is None else agent
        self.max_buffered: int | None = checked["max_buffered_bytes"]
        self.max_message: int | None = checked["max_message_bytes"]
        self.sockets = Sockets()
        self.nodelay: bool = checked["tcp_nodelay"]
        self.policy: Policy | None = checked["policy"]
        self.created: deque[float] = deque()  # when TCP sockets were, as far as the policy asks
        self.temp_dir: str | None = checked["temp_dir"]
        self.resolve: tuple[str, ...] = checked["resolve"]
        self.tunnels_through: str | None = _http_proxy(checked)
        # nothing between it and the server, or asked of it, that only libcurl knows
        self.direct: bool = (
            proxy_of(checked) == "" and checked["doh_url"] is None and not checked["cookies"]
        )
        self.pools: dict[dispatch.Driver, Pool] = {}
        self._origins: dict[str, int] = {}
        self._templates: dict[Any, Template] = {}
        self.plans: dict[str, Plan] = {}
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._closed = False

    def request(self, options: Mapping[str, Any] | None = None, /, **kw: Any) -> RequestTask:
        """As `ftnet.request`, with this client's connections and settings."""
        return _request(self, options, kw)

    def downloadFile(self, options: Mapping[str, Any] | None = None, /, **kw: Any) -> DownloadTask:
        """As `ftnet.downloadFile`, with this client's connections and settings."""
        return _download(self, options, kw)

    def uploadFile(self, options: Mapping[str, Any] | None = None, /, **kw: Any) -> UploadTask:
        """As `ftnet.uploadFile`, with this client's connections and settings."""
        return _upload(self, options, kw)

    def connectSocket(self, options: Mapping[str, Any] | None = None, /, **kw: Any) -> SocketTask:
        """As `ftnet.connectSocket`, with this client's settings."""
        return _connect(self, options, kw)

    def createTCPSocket(self, options: Mapping[str, Any] | None = None, /, **kw: Any) -> TCPSocket:
        """As `ftnet.createTCPSocket`, with this client's settings."""
        return _create_tcp(self, options, kw)

    def sendSocketMessage(self, options: Mapping[str, Any] | None = None, /, **kw: Any) -> None:
        """As `ftnet.sendSocketMessage`, about this client's sockets."""
        _send_message(self, options, kw)

    def closeSocket(self, options: Mapping[str, Any] | None = None, /, **kw: Any) -> None:
        """As `ftnet.closeSocket`, about this client's sockets."""
        _close_socket(self, options, kw)

    def onSocketOpen(self, callback: Callback) -> None:
        """As `ftnet.onSocketOpen`, about this client's sockets."""
        self.sockets.set("open", callback, "onSocketOpen")

    def onSocketMessage(self, callback: Callback) -> None:
        """As `ftnet.onSocketMessage`, about this client's sockets."""
        self.sockets.set("message", callback, "onSocketMessage")

    def onSocketError(self, callback: Callback) -> None:
        """As `ftnet.onSocketError`, about this client's sockets."""
        self.sockets.set("error", callback, "onSocketError")

    def onSocketClose(self, callback: Callback) -> None:
        """As `ftnet.onSocketClose`, about this client's sockets."""
        self.sockets.set("close", callback, "onSocketClose")

    def createUDPSocket(self, options: Mapping[str, Any] | None = None, /, **kw: Any) -> UDPSocket:
        """As `ftnet.createUDPSocket`, with this client's ``resolve`` and limits."""
        return _create_udp(self, options, kw)

    @property
    def network_quality(self) -> NetworkQuality:
        """Estimates of the network, from the HTTP requests of this client that had a profile.

        Each profile has them as they were when its request ended. HTTP/3 and sockets don't count;
        through a proxy, the way to it does. Thread-safe, like the other three.
        """
        return self._quality.read()

    def on_network_quality_change(self, listener: Listener) -> None:
        """Calls `listener` with the new `NetworkQuality` when it has changed notably.

        That is, at the end of a request after which the effective type is another, or an estimate
        differs from what was told before by a fifth and by 100 ms or kbit/s (Chromium's measure).
        In the thread that drives that request, before its own callbacks. Several may be added.
        """
        self._quality.listen(listener)

    def off_network_quality_change(self, listener: Listener | None = None) -> None:
        """Takes one listener away, or all of them."""
        self._quality.unlisten(listener)

    def reset_network_quality(self) -> None:
        """Forgets what was observed: for when the network is another one.

        Requests that are under way don't count any more.
        """
        self._quality.estimator.reset()

    def new_pool(self, driver: dispatch.Driver) -> Pool:
        """The client's pool on a driver's engine, made at the first use."""
        with self._lock:
            if self._closed:
                raise RuntimeError("the client is closed")
            for other in [d for d in self.pools if d.engine.closed]:
                del self.pools[other]
            pool = self.pools.get(driver)
            if pool is None or pool.closing:
                pool = self.pools[driver] = Pool(
                    driver.engine, self.settings, self._quality.estimator
                )
                driver.pools.add(pool)
        return pool

    def origin(self, key: str) -> int:
        """A small number for HTTP version, scheme, host and port, as lower-case text."""
        with self._lock:
            return self._origins.setdefault(key, len(self._origins))

    def template(self, key: Any, make: Any) -> Template:
        """The template kept under `key`, or a new one from ``make()``."""
        template = self._templates.get(key)
        if template is None:
            if len(self._templates) >= _TEMPLATES_AT_MOST:
                self._templates.clear()
                self.plans.clear()
            template = self._templates[key] = make()
        return template

    def close(self) -> None:
        """Fails the tasks that are open, with their callbacks, and closes all connections.

        Returns when that has happened; inside a callback, or the loop whose engine it is, it
        happens as soon as that returns. A second call does nothing.
        """
        with self._lock:
            if self._closed:
                return
            self._closed = True
            pools = list(self.pools.items())
        self.plans.clear()
        for driver, pool in pools:
            if not driver.engine.closed:
                pool.close()
                driver.settle(pool)

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if not self._closed and self._pid == os.getpid():
            for driver, pool in self.pools.items():
                if not driver.engine.closed:
                    pool.close()


def _http_proxy(checked: Mapping[str, Any]) -> str | None:
    """The proxy that a CONNECT request can be sent to itself."""
    proxy: str | None = checked["proxy"]
    return proxy if proxy is not None and proxy.startswith("http") else None


def engine_settings(checked: Mapping[str, Any], limits_chunks: bool) -> Settings:
    ca_file, ca_path = _trust(checked["ca"])
    agent = checked["user_agent"]
    keepalive = checked["tcp_keepalive"]
    eyeballs = checked["happy_eyeballs_timeout"]
    return Settings(
        ca_file=_bytes(ca_file),
        ca_path=_bytes(ca_path),
        cert=_bytes(checked["cert"]),
        key=_bytes(checked["key"]),
        proxy=_bytes(proxy_of(checked)),
        no_proxy=_bytes(_no_proxy(checked)),
        doh_url=_bytes(checked["doh_url"]),
        interface=_bytes(checked["interface"]),
        user_agent=(f"ftnet/{VERSION}" if agent is None else agent).encode(),
        resolve=[entry.encode() for entry in checked["resolve"]],
        verify=checked["verify"],
        cookies=checked["cookies"],
        insecure_redirects=checked["allow_insecure_redirects"],
        nodelay=checked["tcp_nodelay"],
        happy_eyeballs_ms=200 if eyeballs is None else max(1, round(eyeballs)),
        keepalive_s=0 if keepalive is None else max(1, round(keepalive / 1000)),
        keylog_file=checked["keylog_file"],
        max_body=checked["max_body_bytes"] if limits_chunks else None,
        max_kept_body=checked["max_body_bytes"],
        max_buffered=checked["max_buffered_bytes"] or 1 << 62,
        max_connections=checked["max_connections"] or _default_connections(),
        max_connections_per_host=checked["max_connections_per_host"] or _UNLIMITED,
        max_descriptors=_default_connections(),
    )


_default: Client | None = None
_default_lock = threading.Lock()


def default_client() -> Client:
    """The client that the module's functions use."""
    global _default
    if _default is None:
        with _default_lock:
            if _default is None:
                _default = Client()
    return _default


def request(options: Mapping[str, Any] | None = None, /, **kw: Any) -> RequestTask:
    """Sends an HTTP request; returns a `RequestTask` at once.

    Options come as keywords or as one mapping:

    ``url`` absolute http or https URL. ``data`` a mapping goes into the query of GET and HEAD;
    else it is the body: str as UTF-8, bytes-like as it is (uncopied, kept until sent), anything
    else as form pairs or JSON by content-type. ``header`` mapping; content-type defaults to
    application/json, Referer can't be set. ``method`` OPTIONS GET HEAD POST PUT DELETE TRACE
    CONNECT. ``timeout`` ms for the whole task, waiting in the queue included (60000).
    ``dataType`` "json" decodes the body when it is JSON and leaves the text when not; another
    str leaves the text; a type is what msgspec decodes into, and a body that doesn't fit fails
    (``data`` is None for HEAD, 204 and 304).
    ``responseType`` "text" or "arraybuffer" (a read-only buffer). ``enableChunked`` body bytes go
    to `onChunkReceived`. ``redirect`` "follow" (20 at most) or "manual". ``enableHttp2`` None
    negotiates, False keeps to HTTP/1.1. ``enableQuic`` tries HTTP/3, falls back.
    ``enableProfile`` (True) whether the result has a `Profile`. ``forceCellularNetwork`` is
    accepted and ignored. ``success``, ``fail``, ``complete`` callbacks.

    Any HTTP status is a success. Raises TypeError or ValueError at the call for an option that
    can't be; everything else goes to ``fail``, or comes out of ``result()`` or ``await``, as
    `FtError`.
    """
    return _request(_default or default_client(), options, kw)


def downloadFile(options: Mapping[str, Any] | None = None, /, **kw: Any) -> DownloadTask:
    """Downloads a file; returns a `DownloadTask` at once.

    ``url`` absolute http or https URL. ``header`` mapping; Referer can't be set. ``timeout`` ms
    for the whole task, waiting in the queue included (the Client's, 60000). ``filePath`` where the
    file goes; without it a temporary file is made, in the Client's ``temp_dir`` or a directory of
    the process that goes at its exit, its suffix taken from the content-type. ``enableProfile``
    (True) whether the result has a `Profile`. ``success``, ``fail``, ``complete`` callbacks.

    Beyond the ft API: ``resume=True`` keeps what an interrupted download to `filePath` wrote (in
    ``.NAME.ftpart`` beside it) and goes on there the next time, if the server's validator says
    that it is still the same (RFC 9110 13.1.5); else it starts over. ``sync=True`` has the file on
    the disk (fsync) when ``success`` is called. ``enableHttp2``, ``enableQuic`` as in `request`.

    The file appears at `filePath` when it is complete, in one step (rename); until then its bytes
    are in a hidden file beside it. A download that fails or is aborted leaves nothing, and what was
    there before untouched; what a killed process leaves is removed by the next one's first download
    to that directory. Permissions are those of the file that is replaced, or of any new file. A
    device such as /dev/null is written to as it is. Content codings are undone. Any HTTP status is
    a success: look at ``statusCode``.

    ``success`` gets a `DownloadResult`. Raises TypeError or ValueError at the call for an option
    that can't be; everything else goes to ``fail``, or comes out of ``result()`` or ``await``, as
    `FtError`: no space, no such directory, not permitted are errno 600006 with the system's cause.
    Source: https://super-apps.ai/mop/document/en/develop/api/network.html#downloadfile
    """
    return _download(_default or default_client(), options, kw)


def uploadFile(options: Mapping[str, Any] | None = None, /, **kw: Any) -> UploadTask:
    """Sends a file as multipart/form-data with POST; returns an `UploadTask` at once.

    ``url`` absolute http or https URL. ``filePath`` the file; ``name`` the form field it goes in.
    ``header`` mapping; content-type is the form's own, Referer can't be set. ``formData`` further
    fields, which come first: str as UTF-8, bytes as they are, numbers as JavaScript prints them,
    anything else as JSON. ``timeout`` ms for the whole task (the Client's, 60000).
    ``enableProfile`` (True). ``success``, ``fail``, ``complete`` callbacks.

    Beyond the ft API: ``files`` is a list of further files, each a mapping of ``name`` and either
    ``filePath`` or ``data`` (str or bytes-like, sent without a copy), and if wanted ``fileName``
    and ``contentType``; with it `filePath` and `name` may be left out. ``enableHttp2``,
    ``enableQuic`` as in `request`.

    The file is read while it is sent, whatever its size. Its length is taken when the task leaves
    the queue; when it is another file at the end, or the same with other content, the task fails.
    Before a body of more than 1 MB the server is asked over HTTP/1.1 (Expect: 100-continue) and
    has 300 ms to refuse. A redirect with 307 or 308 sends the body again; after 301, 302 and 303
    the new request has none.

    ``success`` gets an `UploadResult`; its ``data`` is always a str. Any HTTP status is a success.
    Raises TypeError or ValueError at the call for an option that can't be; everything else, a
    missing file included, goes to ``fail`` or comes out of ``result()`` or ``await`` as `FtError`.
    Source: https://super-apps.ai/mop/document/en/develop/api/network.html#uploadfile
    """
    return _upload(_default or default_client(), options, kw)


def connectSocket(options: Mapping[str, Any] | None = None, /, **kw: Any) -> SocketTask:
    """Opens a WebSocket (RFC 6455); returns a `SocketTask` at once.

    ``url`` absolute ws or wss URL. ``header`` mapping; Referer can't be set. ``protocols``
    sub-protocols, the preferred first. ``tcpNoDelay`` (False) whether small messages go at once
    though earlier ones are under way. ``perMessageDeflate`` (False) compression (RFC 7692), True
    or a mapping of ``serverNoContextTakeover``, ``clientNoContextTakeover``,
    ``serverMaxWindowBits``, ``clientMaxWindowBits``. ``timeout`` ms for the opening (the Client's,
    60000). ``success`` and ``complete`` are called when the connection was begun; how it went is
    told by the task's ``onOpen`` and ``onError``.

    Beyond the ft API: ``pingInterval`` ms between pings (none); when one is not answered before
    the next is due and nothing else came either, the socket is closed. ``closeTimeout`` ms to wait
    for the server's close frame (10000). ``enableChunked`` messages come in pieces, as they come.

    A message larger than the Client's ``max_message_bytes`` closes the socket with 1009. Redirects
    are not followed. Proxies are used as for `request`, by CONNECT.
    Raises TypeError or ValueError at the call for an option that can't be.
    Source: https://super-apps.ai/mop/document/en/develop/api/network.html#connectsocket
    """
    return _connect(_default or default_client(), options, kw)


def createTCPSocket(options: Mapping[str, Any] | None = None, /, **kw: Any) -> TCPSocket:
    """Makes a TCP socket; it is not connected: see `TCPSocket.connect`.

    Beyond the ft API: ``type`` "ipv4" (default), "ipv6" or "any" is which addresses of a host name
    are used; with "any" the first that answers (RFC 8305). ``allowHalfOpen`` True: when the peer
    has ended its side (`TCPSocket.onEnd`) the socket stays open until `TCPSocket.end` or `close`.

    With a ``policy`` on the Client, such as `MINI_PROGRAM_POLICY`, what it does not allow is an
    ``onError`` event of `TCPSocket.connect`.
    Raises TypeError or ValueError at the call for an option that can't be.
    Source: https://super-apps.ai/mop/document/en/develop/api/network.html#ft-createtcpsocket
    """
    return _create_tcp(_default or default_client(), options, kw)


def sendSocketMessage(options: Mapping[str, Any] | None = None, /, **kw: Any) -> None:
    """`SocketTask.send` of the earliest socket that is not closed; ``fail`` when there is none."""
    _send_message(_default or default_client(), options, kw)


def closeSocket(options: Mapping[str, Any] | None = None, /, **kw: Any) -> None:
    """`SocketTask.close` of the earliest socket that is not closed.

    Before that is open it closes nothing and ``fail`` is called, as the ft API has it.
    """
    _close_socket(_default or default_client(), options, kw)


def onSocketOpen(callback: Callback) -> None:
    """Calls `callback` when the earliest socket that is not closed has opened; one listener."""
    default_client().onSocketOpen(callback)


def onSocketMessage(callback: Callback) -> None:
    """Calls `callback` for messages of the earliest socket that is not closed; one listener."""
    default_client().onSocketMessage(callback)


def onSocketError(callback: Callback) -> None:
    """Calls `callback` for the error of the earliest socket that is not closed; one listener."""
    default_client().onSocketError(callback)


def onSocketClose(callback: Callback) -> None:
    """Calls `callback` when the earliest socket that was not closed has closed; one listener."""
    default_client().onSocketClose(callback)


def createUDPSocket(options: Mapping[str, Any] | None = None, /, **kw: Any) -> UDPSocket:
    """Makes a UDP socket; returns a `UDPSocket`, which opens at its first use.

    Beyond the ft API: ``type`` "udp4" (default) or "udp6"; ``reuseAddr`` (False) whether other
    sockets may be bound to its port, as receivers of multicast need it. Of the Client's settings
    ``resolve`` and ``max_buffered_bytes`` count. Raises TypeError or ValueError for an option that
    can't be.
    Source: https://super-apps.ai/mop/document/en/develop/api/network.html#ft-createudpsocket
    """
    return _create_udp(_default or default_client(), options, kw)


def _after_fork() -> None:
    """The child's default client starts afresh; its others find their engines closed."""
    global _default, _default_lock
    _default = None
    _default_lock = threading.Lock()


os.register_at_fork(after_in_child=_after_fork)

# they import Client's module first
from ftnet.download import download as _download  # noqa: E402
from ftnet.request import request as _request  # noqa: E402
from ftnet.tcp import create as _create_tcp  # noqa: E402
from ftnet.udp import create as _create_udp  # noqa: E402
from ftnet.upload import upload as _upload  # noqa: E402
from ftnet.websocket import connect as _connect  # noqa: E402
from ftnet.websocket_global import Sockets  # noqa: E402
from ftnet.websocket_global import close_socket as _close_socket  # noqa: E402
from ftnet.websocket_global import send_message as _send_message  # noqa: E402
