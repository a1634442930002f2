"""What `request`, `downloadFile` and `uploadFile` have in common: results, tasks, templates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeVar

from ftcore.libcurl import HTTP_VERSIONS
from ftcore.profile import Phases
from ftcore.settings import Template
from ftnet import dispatch
from ftnet.errors import FtError, from_engine
from ftnet.profile import Profile
from ftnet.results import Headers, charset_of
from ftnet.tasks import Callback, Task, call_all, remove

if TYPE_CHECKING:
    from ftcore.body import Body
    from ftcore.buffers import Chunk
    from ftcore.sink import Part
    from ftcore.transfer import Pool
    from ftnet.client import Client

HTTP_1_1, HTTP_2_PRIOR = HTTP_VERSIONS["1.1"], HTTP_VERSIONS["2-prior-knowledge"]
_NEGOTIATED: Final = HTTP_VERSIONS["2"]


class HttpResult:
    """What ``success`` gets, whatever the API: ``statusCode``, ``header``, ``cookies``,
    ``profile``, ``errMsg``.

    ``header`` and ``profile`` are built when they are first looked at.
    """

    __slots__ = ("_phases", "_raw", "header", "profile", "statusCode")
    _api: ClassVar[str]

    statusCode: int  #: HTTP status
    header: Headers  #: case-insensitive mapping; repeated fields joined by ", "
    profile: Profile | None  #: None with enableProfile=False

    def __init__(self, status: int, raw: bytes, phases: Phases | None) -> None:
        self.statusCode = status
        self._raw = raw
        self._phases = phases

    def __getattr__(self, name: str) -> Any:
        if name == "header":
            self.header = Headers(self._raw)
            return self.header
        if name == "profile":
            self.profile = None if self._phases is None else Profile(self._phases)
            return self.profile
        raise AttributeError(name)

    @property
    def cookies(self) -> list[str]:
        """Each Set-Cookie field, as it came."""
        return self.header.set_cookies

    @property
    def errMsg(self) -> str:
        """ "<api>:ok"."""
        return f"{self._api}:ok"

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.statusCode}>"


class HeadersReceived:
    """What `onHeadersReceived` gets."""

    __slots__ = ("header", "statusCode")
    _fields_ = ("header", "statusCode", "cookies")

    def __init__(self, raw: bytes, status: int) -> None:
        self.header = Headers(raw)
        self.statusCode = status

    @property
    def cookies(self) -> list[str]:
        """Each Set-Cookie field, as it came."""
        return self.header.set_cookies


R = TypeVar("R")


class HttpTask(Task[R]):
    """An HTTP request under way: `onHeadersReceived`, `abort`, `pause`, `resume`, `result`."""

    __slots__ = ()
    _api: ClassVar[str]

    def onHeadersReceived(self, callback: Callback) -> None:
        """Calls `callback` with ``header``, ``statusCode`` and ``cookies`` when the final
        response's header is there; not for redirects that are followed."""
        self.header_listeners = added(self.header_listeners, callback, "onHeadersReceived")
        self.want_headers()

    def offHeadersReceived(self, callback: Callback | None = None) -> None:
        """Removes one listener, or all of them."""
        remove(self.header_listeners, callback)

    def _headers(self, status: int, raw: bytes) -> None:
        if self.header_listeners:
            call_all(self.header_listeners, HeadersReceived(raw, status))

    def _failed(self, outcome: int, phases: Phases | None, os_errno: int, detail: str) -> None:
        self._settle(self._error(outcome, phases, os_errno, detail), self.context[3])

    def _error(self, outcome: int, phases: Phases | None, os_errno: int, detail: str) -> FtError:
        profile = None if phases is None else Profile(phases)
        return from_engine(self._api, outcome, os_errno, detail, profile)


class ProgressTask(HttpTask[R]):
    """A file under way: as `HttpTask`, and `onProgressUpdate`."""

    __slots__ = ()

    def onProgressUpdate(self, callback: Callback) -> None:
        """Calls `callback` while the file is under way, at most 20 times a second, and once more
        before ``success``.

        It gets ``progress``, a whole number from 0 to 100: 100 comes last and only when everything
        went over; and how many bytes there were so far and will be (0: not known yet).
        """
        self.progress_listeners = added(self.progress_listeners, callback, "onProgressUpdate")
        self.want_progress()

    def offProgressUpdate(self, callback: Callback | None = None) -> None:
        """Removes one listener, or all of them."""
        remove(self.progress_listeners, callback)

    def _event(self, percent: int, done: int, total: int) -> object:
        raise NotImplementedError

    def _progress(self, done: int, total: int) -> None:
        if self.progress_listeners:
            percent = min(99, done * 100 // total) if total else 0
            call_all(self.progress_listeners, self._event(percent, done, total))

    def _last_progress(self) -> None:
        if self.progress_listeners:
            done, total = self.moved
            total = total or done
            percent = 100 if done >= total else done * 100 // total
            call_all(self.progress_listeners, self._event(percent, done, total))


def added(listeners: list[Callback] | None, callback: Callback, method: str) -> list[Callback]:
    """The listeners with one more. Raises TypeError for what can't be called."""
    if not callable(callback):
        raise TypeError(f"{method} takes a callable, got {callback!r}")
    if listeners is None:
        return [callback]
    listeners.append(callback)
    return listeners


def pool_here(client: Client) -> tuple[dispatch.Driver, Pool]:
    """The driver that a call made here and now belongs to, and the client's pool on it."""
    driver = dispatch.current()
    pool = client.pools.get(driver)
    if pool is None or pool.closing:
        pool = client.new_pool(driver)
    return driver, pool


def http_version(client: Client, given: Mapping[str, Any], https: bool) -> int:
    """The CURL_HTTP_VERSION_* that the options and the Client come to."""
    if given["enableQuic"] and https:
        return HTTP_VERSIONS["3"]
    if given["enableHttp2"] is False:
        return HTTP_1_1
    if client.http_version is None:
        return _NEGOTIATED
    if client.http_version == "3" and not https:
        return HTTP_1_1
    return HTTP_VERSIONS[client.http_version]


def on_native_lane(client: Client, https: bool, version: int) -> bool:
    """Whether ftnet speaks HTTP/1.1 itself, on connections that libcurl opens for it.

    It does where HTTP/1.1 is all that was asked for, or all that there is without TLS, and nothing
    is needed of which only libcurl knows: cookies, proxies, DNS over HTTPS. So does it for CONNECT
    and for URLs with a login, which the engine itself sees. FTNET_LANE=libcurl pins libcurl's lane
    for everything, FTNET_LANE=native keeps what would be negotiated to HTTP/1.1 as well.
    """
    if client.lane == "libcurl" or not client.direct:
        return False
    may_be_either = client.lane == "native" or not https
    return version == HTTP_1_1 or (version == _NEGOTIATED and may_be_either)


def template(
    client: Client,
    given: Mapping[str, Any],
    method: str,
    url: str,
    lines: tuple[bytes, ...],
    *,
    has_body: bool = False,
    follow: bool = True,
    chunked: bool = False,
) -> Template:
    """What the engine needs to know of a request to a checked URL, but its body."""
    https = url.startswith("https")
    version = http_version(client, given, https)
    plain_verb = (method == "GET" and not has_body) or method in ("HEAD", "POST")
    place = f"{'https' if https else 'http'}://{authority_of(url).lower()}"
    native = on_native_lane(client, https, version)
    return Template(
        url.encode("ascii"),
        verb=None if plain_verb else method.encode("ascii"),
        lines=lines,
        http_version=version,
        origin=client.origin(f"{version} {place}"),
        multiplex=version == HTTP_2_PRIOR or (https and version != HTTP_1_1),
        head=method == "HEAD",
        with_body=has_body,
        follow=follow,
        chunked=chunked,
        profile=given["enableProfile"],
        native=client.settings if native else None,
    )


def text_of(raw: bytes, body: Chunk, charset: bool) -> str:
    """The body as text: charset of the content-type, else UTF-8; one BOM goes."""
    text = body.decode(charset_of(raw)) if charset else body.decode()
    return text.removeprefix("\ufeff")


def submit(
    client: Client,
    task: HttpTask[Any],
    given: Mapping[str, Any],
    plan: Any,
    made: Template,
    body: Body | None = None,
    part: Part | None = None,
) -> None:
    """Hands a task to the engine of here and now; `plan` is what the task itself keeps."""
    driver, pool = pool_here(client)
    get = given.get
    task.context = (driver, plan, get("success"), get("fail"), get("complete"), client)
    task.start(pool, made, body, given["timeout"] or client.timeout, part)
    if driver.loop is None:
        driver.submitted()


def authority_of(url: str) -> str:
    """``host[:port]`` of a checked URL."""
    return url.partition("://")[2].partition("/")[0].partition("?")[0].rpartition("@")[2]
