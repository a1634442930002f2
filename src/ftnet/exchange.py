"""One request and what came of it, as the exports read them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

import msgspec

from ftnet.body import encode_body, merge_query
from ftnet.errors import FtError
from ftnet.header import header_lines
from ftnet.http import HeadersReceived, HttpResult
from ftnet.results import content_charset
from ftnet.url import prepare_url

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from ftnet.profile import Profile

_FORM_DATA: Final = ("Content-Type", "multipart/form-data")
#: Statuses of responses that never have a body (RFC 9110 6.4.1).
_WITHOUT_BODY: Final = (204, 304)


class Exchange(NamedTuple):
    """What was asked for and what came of it; a plain tuple of the first two is as good.

    ``asked`` is the mapping of options that `ftnet.request`, `downloadFile` or `uploadFile` got,
    or the URL alone where that was all; ``outcome`` what ``success`` or ``fail`` got.

    ``body`` is the response's body (bytes-like, out of any content coding) where the outcome does
    not have it, as with ``enableChunked``, or its length in bytes alone. ``head`` is what
    `onHeadersReceived` got, for a task that failed later: an `FtError` has no status.
    """

    asked: Mapping[str, Any] | str
    outcome: HttpResult | FtError
    body: Buffer | int | None = None
    head: HeadersReceived | None = None

    @property
    def api(self) -> str:
        """ "request", "downloadFile" or "uploadFile"."""
        return self.outcome.errMsg.partition(":")[0]

    @property
    def error(self) -> FtError | None:
        """The outcome where it is a failure."""
        return self.outcome if isinstance(self.outcome, FtError) else None

    @property
    def response(self) -> HttpResult | HeadersReceived | None:
        """What has the response's status and header; None where none came."""
        return self.head if isinstance(self.outcome, FtError) else self.outcome

    @property
    def profile(self) -> Profile | None:
        """The outcome's profile; None with ``enableProfile=False``."""
        return cast("Profile | None", self.outcome.profile)

    def timed(self) -> Profile:
        """The outcome's profile; ValueError where it has none."""
        profile = self.profile
        if profile is None:
            raise ValueError(f"{self.api}: there is no profile to export; set enableProfile=True")
        return profile


@dataclass(frozen=True, slots=True)
class Sent:
    """A request as ftnet made it of its options; ``size`` is that of the body, -1: not known."""

    method: str
    url: str
    fields: list[tuple[str, str]]
    body: Buffer | None
    size: int

    def field(self, name: str) -> str:
        """The value of a header field; "" without it."""
        return next((value for field, value in self.fields if field.lower() == name), "")


@dataclass(frozen=True, slots=True)
class Content:
    """The body of a response: sizes in bytes, -1: not known; ``data`` None: it was not kept."""

    encoded_size: int  # as it came
    size: int  # out of any content coding
    coded: bool
    data: Any
    text: str | None  # of `data`, None where it is none
    rewritten: bool  # `text` is JSON made anew of `data`, not what came


def exchange_of(given: Exchange | tuple[Any, ...]) -> Exchange:
    """Return a tuple as an `Exchange`; TypeError for an outcome that is not of HTTP."""
    exchange = Exchange(*given)
    if not isinstance(exchange.outcome, (HttpResult, FtError)):
        raise TypeError(f"the outcome must be a result or an FtError, got {exchange.outcome!r}")
    if exchange.api not in ("request", "downloadFile", "uploadFile"):
        raise TypeError(f"only HTTP requests are exported, not {exchange.api}")
    return exchange


def sent(exchange: Exchange) -> Sent:
    """What the options come down to: the same steps that the call itself took.

    Header fields are the caller's and the default content-type; those that the engine adds (Host,
    User-Agent, Accept, Content-Length ...) are not among them. The body of an upload is not kept.
    """
    asked, api = exchange.asked, exchange.api
    given: Mapping[str, Any] = {"url": asked} if isinstance(asked, str) else asked
    if "url" not in given:
        raise TypeError(f"{api}: the options to export have no url")
    url = prepare_url(given["url"], api)
    header = {n: v for n, v in (given.get("header") or {}).items() if n.lower() != "referer"}
    lines, content_type = header_lines(header, api, default_json=api == "request")
    fields = [_field(line) for line in lines]
    if api == "downloadFile":
        return Sent("GET", url, fields, None, 0)
    if api == "uploadFile":
        fields = [field for field in fields if field[0].lower() != "content-type"]
        return Sent("POST", url, [*fields, _FORM_DATA], None, -1)
    method, data = (given.get("method") or "GET").upper(), given.get("data")
    if method in ("GET", "HEAD") and isinstance(data, Mapping):
        url, data = merge_query(url, data), None
    body = encode_body(data, content_type, method)
    return Sent(method, url, fields, body, 0 if body is None else memoryview(body).nbytes)


def _field(line: bytes) -> tuple[str, str]:
    name, colon, value = line.partition(b": ")
    if not colon:
        return line[:-1].decode(), ""  # libcurl's "name;"
    try:
        return name.decode(), value.decode()
    except UnicodeDecodeError:
        return name.decode(), value.decode("latin-1")


def content(exchange: Exchange, method: str) -> Content:
    """What is known of the response's body; of one that was cut off by a failure only its part."""
    response = exchange.response
    if response is None:
        return Content(-1, 0, False, None, None, False)
    coding = response.header.get("content-encoding", "").strip().lower()
    coded = coding not in ("", "identity")
    bodiless = method == "HEAD" or response.statusCode in _WITHOUT_BODY
    if bodiless or (method == "CONNECT" and 200 <= response.statusCode < 300):
        return Content(0, 0, False, None, "", False)
    data = None if isinstance(exchange.body, int) else exchange.body
    text, rewritten = None, False
    if data is not None:
        text = _text(data, response.header.get("content-type"))
    elif exchange.body is None and hasattr(exchange.outcome, "data"):
        data = exchange.outcome.data
        text = _text(data, response.header.get("content-type"))
        rewritten = text is None and not _is_buffer(data)
        if rewritten:
            text = msgspec.json.encode(data).decode()
    size = _length(exchange, data)
    encoded = size if size >= 0 and not coded else _size_as_it_came(response, exchange)
    if size < 0 and not coded:
        size = encoded
    if size < 0 and text is not None:
        size = len(text.encode("utf-8", "replace"))
    return Content(encoded, size, coded, data, text, rewritten)


def _is_buffer(data: Any) -> bool:
    try:
        memoryview(data)
    except TypeError:
        return False
    return True


def _length(exchange: Exchange, data: Any) -> int:
    """Bytes of the body out of any content coding; -1: they were made into something else."""
    if isinstance(exchange.body, int):
        return exchange.body
    if _is_buffer(data):
        return memoryview(data).nbytes
    partial = exchange.response is not None and exchange.response.statusCode == 206
    return -1 if partial else int(getattr(exchange.outcome, "dataLength", -1))


def _size_as_it_came(response: HttpResult | HeadersReceived, exchange: Exchange) -> int:
    """What the Content-Length of a whole response says.

    `Profile.receivedBytedCount` can't tell: headers of interim responses are in it.
    """
    told = response.header.get("content-length", "")
    if exchange.error is not None or "transfer-encoding" in response.header:
        return -1
    return int(told) if told.isascii() and told.isdecimal() else -1


def _text(data: Any, content_type: str | None) -> str | None:
    """The body where it is text; None for binary, and for what JSON was decoded to."""
    if isinstance(data, str):
        return data
    if not _is_buffer(data):
        return None
    try:
        return bytes(memoryview(data)).decode(content_charset(content_type))
    except UnicodeDecodeError:
        return None
