"""`request`: options → template → Transfer, and its way back to callbacks."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from ftcore.buffers import Chunk, joined
from ftcore.profile import Phases
from ftcore.settings import Template
from ftnet.body import encode_body, merge_query
from ftnet.header import header_lines
from ftnet.http import (
    HTTP_1_1,
    HttpResult,
    HttpTask,
    added,
    authority_of,
    pool_here,
    template,
    text_of,
)
from ftnet.options import REQUEST_OPTIONS, json_decoder, merge_options
from ftnet.results import charset_of
from ftnet.tasks import Callback, call_all, remove
from ftnet.url import prepare_url

if TYPE_CHECKING:
    from ftnet.client import Client

log = logging.getLogger("ftnet")

#: Options that change nothing about the request itself.
_CALLBACKS_AND_URL: Final = frozenset(("url", "success", "fail", "complete"))
#: Bytes of a body from which libcurl asks for a "100 Continue" first.
_EXPECTED_AT: Final = 1_000_000
_BODY_MISFIT: Final = -12
#: Statuses of responses that never have a body (RFC 9110 6.4.1).
_WITHOUT_BODY: Final = (204, 304)

_decode_json = msgspec.json.Decoder().decode


class Response(HttpResult):
    """What ``success`` gets: ``data``, ``statusCode``, ``header``, ``cookies``, ``profile``.

    ``header`` and ``profile`` are built when they are first looked at.
    """

    __slots__ = ("data",)
    _fields_ = ("data", "statusCode", "header", "cookies", "profile", "errMsg")
    _api = "request"

    data: Any  #: decoded as dataType and responseType say

    def __init__(self, data: Any, status: int, raw: bytes, phases: Phases | None) -> None:
        self.data = data
        self.statusCode = status
        self._raw = raw
        self._phases = phases


class ChunkReceived:
    """What `onChunkReceived` gets: ``data``, a read-only buffer that owns its memory."""

    __slots__ = ("data",)
    _fields_ = ("data",)

    def __init__(self, data: Chunk) -> None:
        self.data = data


#: (header block, body, whether the content-type names a charset) -> `data`
Decode = Callable[[bytes, Chunk, bool], Any]


def _json_or_text(raw: bytes, body: Chunk, charset: bool) -> Any:
    """JSON whatever the content-type says, straight from the receive memory; else the text."""
    if body.may_be_json() and not charset:
        try:
            return _decode_json(body)
        except msgspec.DecodeError:
            return body.decode()
    text = text_of(raw, body, charset)
    if not charset and len(body) and body[0] != 0xEF:
        return text  # neither JSON, nor JSON in another charset or behind a BOM
    try:
        return _decode_json(text)
    except msgspec.DecodeError:
        return text


def _chunk(raw: bytes, body: Chunk, charset: bool) -> Chunk:
    return body


def _typed(data_type: Any) -> Decode:
    decoder = json_decoder(data_type)

    def decode(raw: bytes, body: Chunk, charset: bool) -> Any:
        if charset and charset_of(raw) != "utf-8":
            return decoder.decode(text_of(raw, body, charset))
        return decoder.decode(body)

    return decode


class Plan(NamedTuple):
    """What a checked request comes down to."""

    template: Template
    timeout: float
    decode: Decode
    empty: Any  # `data` of a response without a body
    typed: bool  # such a response is a failure, where one should be there


class RequestTask(HttpTask[Response]):
    """A request under way: listeners, `abort`, `pause`, `resume`, `result`, ``await``."""

    __slots__ = ()
    _api = "request"

    def onChunkReceived(self, callback: Callback) -> None:
        """Calls `callback` with ``data``, a `ftcore.Chunk`, for body bytes as they come.

        Only with ``enableChunked=True``. The first listener also gets what came before it, as one
        chunk; without any, the bytes are kept for the result's ``data``.
        """
        self.chunk_listeners = added(self.chunk_listeners, callback, "onChunkReceived")
        self.want_chunks()

    def offChunkReceived(self, callback: Callback | None = None) -> None:
        """Removes one listener, or all of them; without any, chunks are kept for ``data``."""
        remove(self.chunk_listeners, callback)
        if not self.chunk_listeners:
            self.want_chunks(False)

    def _chunk(self, chunk: Chunk) -> None:
        if self.chunk_listeners and not self.unheard_chunks:
            call_all(self.chunk_listeners, ChunkReceived(chunk))
            return
        if self.unheard_chunks is None:
            self.unheard_chunks = []
        self.unheard_chunks.append(chunk)
        self._tell_unheard()

    def _tell_unheard(self) -> None:
        """What was under way when the last listener was removed goes to the next one."""
        unheard = self.unheard_chunks
        while unheard and self.chunk_listeners and not (self.aborted or self.paused):
            call_all(self.chunk_listeners, ChunkReceived(unheard.pop(0)))

    def _succeeded(
        self, status: int, raw: bytes, body: Chunk | None, phases: Phases | None, charset: bool
    ) -> None:
        _, plan, success, fail, _, _ = self.context
        if self.unheard_chunks:
            self._tell_unheard()
            rest = self.unheard_chunks if body is None else [*self.unheard_chunks, body]
            body = joined(rest) if rest else None
        try:
            if body is not None:
                data = plan.decode(raw, body, charset)
            elif plan.typed and status not in _WITHOUT_BODY:
                raise msgspec.DecodeError("the body is empty")
            else:
                data = plan.empty
        except msgspec.DecodeError as error:
            self._settle(self._error(_BODY_MISFIT, phases, 0, str(error)), fail)
            return
        self._settle(Response(data, status, raw, phases), success)


def request(client: Client, options: Mapping[str, Any] | None, kw: dict[str, Any]) -> RequestTask:
    """Checks the options, submits the request to the engine of here and now, returns its task."""
    task = RequestTask()  # which notes when it was asked for
    body = None
    # a URL that came before with nothing but callbacks needs no second check
    plan = client.plans.get(kw.get("url")) if options is None else None  # type: ignore[arg-type]
    given: Mapping[str, Any] = kw
    if plan is None or (len(kw) > 1 and not _only_callbacks(kw)):
        given = merge_options("request", options, kw, REQUEST_OPTIONS)
        plan, body = _plan(client, given)
        if options is None and kw.keys() <= _CALLBACKS_AND_URL:
            client.plans[given["url"]] = plan
    driver, pool = pool_here(client)
    if len(kw) == 1 and given is kw:
        task.context = (driver, plan, None, None, None, client)
    else:
        get = given.get
        task.context = (driver, plan, get("success"), get("fail"), get("complete"), client)
    task.start(pool, plan.template, body, plan.timeout)
    if driver.loop is None:
        driver.submitted()
    return task


def _only_callbacks(kw: dict[str, Any]) -> bool:
    """Whether there are but a URL and good callbacks."""
    for name, value in kw.items():
        if name != "url" and (
            name not in _CALLBACKS_AND_URL or (value is not None and not callable(value))
        ):
            return False
    return True


def _plan(client: Client, given: Mapping[str, Any]) -> tuple[Plan, Any]:
    """Template, time limit and decoder for checked options, and the body."""
    method, data = given["method"], given["data"]
    url = prepare_url(given["url"])
    lines, content_type = header_lines(given["header"])
    if method in ("GET", "HEAD") and isinstance(data, Mapping):
        url, data = merge_query(url, data), None
    body = encode_body(data, content_type, method)
    if given["forceCellularNetwork"]:
        log.debug("request: forceCellularNetwork is ignored: there is no mobile network to choose")
    if body is not None and memoryview(body).nbytes > _EXPECTED_AT:
        lines = (*lines, b"Expect:")  # libcurl would wait a second for servers that don't know it
    has_body = body is not None or method in ("POST", "PUT")
    key = (
        url,
        method,
        lines,
        has_body,
        given["redirect"],
        given["enableHttp2"],
        given["enableQuic"],
        given["enableChunked"],
        given["enableProfile"],
    )
    made = client.template(key, lambda: _template(client, given, method, url, lines, has_body))
    decode, empty = _decoder(given)
    typed = empty is None and method not in ("HEAD", "CONNECT")
    return Plan(made, given["timeout"] or client.timeout, decode, empty, typed), body


def _decoder(given: Mapping[str, Any]) -> tuple[Decode, Any]:
    """How the body becomes `data`, and `data` when there is no body."""
    data_type = given["dataType"]
    if not isinstance(data_type, str):
        return _typed(data_type), None
    if given["responseType"] == "arraybuffer":
        return _chunk, b""
    return (_json_or_text if data_type == "json" else text_of), ""


def _template(
    client: Client,
    given: Mapping[str, Any],
    method: str,
    url: str,
    lines: tuple[bytes, ...],
    has_body: bool,
) -> Template:
    if method == "CONNECT":
        return _tunnel(client, given, url, lines)
    follow, chunked = given["redirect"] == "follow", given["enableChunked"]
    return template(
        client, given, method, url, lines, has_body=has_body, follow=follow, chunked=chunked
    )


def _tunnel(
    client: Client, given: Mapping[str, Any], url: str, lines: tuple[bytes, ...]
) -> Template:
    """CONNECT (RFC 9110 9.3.6): asks the client's HTTP proxy, or else the URL's host itself, for
    a tunnel to the URL's host and port; the answer is the result, the tunnel is closed."""
    authority = authority_of(url)
    has_port = authority.rpartition("]")[2].find(":") >= 0
    target = authority if has_port else f"{authority}:{443 if url.startswith('https') else 80}"
    ask = client.tunnels_through or url
    host = () if any(line.lower().startswith(b"host:") for line in lines) else (target,)
    return Template(
        ask.encode("ascii"),
        verb=b"CONNECT",
        target=target.encode("ascii"),
        lines=(*(f"Host: {name}".encode("ascii") for name in host), *lines),
        http_version=HTTP_1_1,
        origin=client.origin(f"CONNECT {ask}"),
        tunnel=True,
        no_proxy=True,
        follow=False,
        profile=given["enableProfile"],
    )
