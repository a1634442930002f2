"""HTTP steps: requests of virtual users, with their cookies, and the redirects they lead to.

What does not change from one request to the next is made once. Where variables stand in a URL's
path or query, or in header values, the header block that the native lane sends is a template of
its own, made from one that the engine wrote down with marks in place of them; what would change it
in any other way goes the long way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urljoin

import msgspec

from ftcore.pattern import Pattern
from ftcore.profile import MOMENT_NAMES, Phases
from ftcore.visitor import Request, User, Visit
from ftnet.body import form_encode
from ftnet.header import CREDENTIALS, header_lines
from ftnet.http import authority_of, template
from ftnet.plan import template as templates
from ftnet.plan.answers import Answer
from ftnet.plan.jar import keep_cookies
from ftnet.plan.model import Http
from ftnet.plan.urls import split_request, whole_url
from ftnet.plan.work import prepare
from ftnet.results import Headers
from ftnet.url import prepare_url

if TYPE_CHECKING:
    from ftcore.buffers import Chunk
    from ftcore.settings import Template
    from ftnet.client import Client
    from ftnet.plan.share import Workshop

__all__ = ["HttpWork", "whole_url"]

_HOPS: Final = 20
_TIMEOUT, _TOO_MANY_REDIRECTS, _INSECURE_REDIRECT, _BAD_REDIRECT = -2, -3, -4, -5
_REDIRECTS: Final = frozenset((301, 302, 303, 307, 308))
_GIVEN: Final[dict[str, Any]] = {"enableQuic": False, "enableHttp2": None, "enableProfile": True}
_QUEUED, _ENDED = map(MOMENT_NAMES.index, ("queue_start", "ended"))
#: Fields that describe a body, and go with it; those that a stranger must not see.
_OF_BODY: Final = frozenset(
    ("content-type", "content-encoding", "content-language", "content-location")
)
_PRIVATE: Final = CREDENTIALS | {"host"}
_NO_TYPE: Final = b"content-type:"  # libcurl's word for: not even its own one
_encode_json: Final = msgspec.json.Encoder().encode
_Header = dict[str, templates.Template]


class Hop(Visit):
    """A request that a redirect led to."""

    __slots__ = ("before", "estranged", "hops", "method", "with_body")

    before: Phases
    estranged: bool  # it has left the first origin: no credentials any more
    hops: int
    method: str
    with_body: bool

    def _succeeded(
        self, status: int, raw: bytes, body: Chunk | None, phases: Phases, charset: bool
    ) -> None:
        phases.follow(self.before)
        super()._succeeded(status, raw, body, phases, charset)

    def _failed(self, outcome: int, phases: Phases | None, os_errno: int, detail: str) -> None:
        if phases is not None:
            phases.follow(self.before)
        super()._failed(outcome, phases, os_errno, detail)


class HttpWork(Request):
    """A request over HTTP."""

    __slots__ = (
        "_client",
        "_follow",
        "_header",
        "_lines",
        "_method",
        "_typeless",
        "_url",
        "_with_body",
    )

    def __init__(self, step: Http, name: str, shop: Workshop) -> None:
        prepare(self, step, name)
        plan = shop.plan
        self._method, url = split_request(step.request)
        self._url = templates.compile(whole_url(plan.base_url, url))
        self._client: Client = shop.client(step.http_version)
        self.pool = shop.pool(self._client)
        self.timeout = shop.timeout(step) * 1000.0
        self.content, content_type = _body_of(step, shop)
        self._follow = step.follow
        self._with_body = self.content is not None or self._method in ("POST", "PUT")
        header = plan.header_with(step.header)
        typed = any(one.lower() == "content-type" for one in header)
        if content_type and not typed:
            header["Content-Type"] = content_type
        self._typeless = self._with_body and not (content_type or typed)
        self._header: _Header = {key: templates.compile(text) for key, text in header.items()}
        self._lines: tuple[bytes, ...] = ()
        if self._url.static and all(one.static for one in self._header.values()):
            self._lines = self._lines_of(self._header, {})
            self.made = self._fresh(prepare_url(self._url.render({}), name), self._lines)
        elif not self._typeless:
            self.pattern = _pattern_of(self._url, self._header, self._fresh)

    def vary(self, user: User) -> Template:
        """For this user: with its variables, and its cookies."""
        variables, jar = user.variables, user.jar
        if self.made is not None:
            return self._with_jar(user, self.made, jar.header(self.made.url))
        url = prepare_url(self._url.render(variables), self.name)
        lines = self._lines_of(self._header, variables)
        if jar and (cookie := jar.header(url)):
            lines = _with_cookie(lines, cookie)
        return self._fresh(url, lines)

    def _with_jar(self, user: User, plain: Template, cookie: str) -> Template:
        """With the user's cookies, which seldom change from one iteration to the next."""
        if not cookie:
            return plain
        known: tuple[str, Template] | None = user.made.get(self)
        if known is None or known[0] != cookie:
            made = self._fresh(plain.url, _with_cookie(self._lines, cookie))
            known = user.made[self] = cookie, made
        return known[1]

    def _lines_of(self, header: _Header, variables: Mapping[str, Any]) -> tuple[bytes, ...]:
        lines = _header_lines({key: one.render(variables) for key, one in header.items()})
        return (*lines, _NO_TYPE) if self._typeless else lines

    def _fresh(self, url: str, lines: tuple[bytes, ...]) -> Template:
        return self._new(url, self._method, lines, self._with_body)

    def _new(self, url: str, method: str, lines: tuple[bytes, ...], with_body: bool) -> Template:
        return template(self._client, _GIVEN, method, url, lines, has_body=with_body, follow=False)

    # --- answers that lead on, or set cookies -------------------------------------------------

    def came(self, visit: Visit, answer: Answer, phases: Phases) -> None:
        """Keeps the cookies, and follows a redirect (RFC 9110 15.4), as the engine does."""
        user = visit.user
        keep_cookies(user, visit.url, Headers(answer.raw))
        target = None
        if self._follow and answer.status in _REDIRECTS and not user.gone:
            target = answer.header("location")
        if target is None:
            user.answered(self, answer, phases, visit.due)
        else:
            self._hop(visit, answer.status, target, phases)

    def _hop(self, before: Visit, status: int, target: str, phases: Phases) -> None:
        user, due = before.user, before.due
        hops = before.hops if isinstance(before, Hop) else 0
        outcome, detail, url = 0, "", ""
        try:
            url = prepare_url(_led_to(before.url, target), self.name)
        except ValueError as error:
            outcome, detail = _BAD_REDIRECT, str(error)
        if hops == _HOPS:
            outcome = _TOO_MANY_REDIRECTS
        elif before.url.startswith("https:") and url.startswith("http:"):
            outcome, detail = _INSECURE_REDIRECT, url
        left = self.timeout - phases.span(_QUEUED, _ENDED)
        if not outcome and left <= 0:
            outcome = _TIMEOUT
        if outcome:
            user.failed(self, outcome, 0, detail, phases, due)
            return
        method, with_body = self._method, self._with_body
        if isinstance(before, Hop):
            method, with_body = before.method, before.with_body
        was_post = status in (301, 302) and method == "POST"
        if was_post or (status == 303 and method != "HEAD"):
            method, with_body = "GET", False
        hop = Hop()
        hop.user, hop.work, hop.due = user, self, due
        hop.before, hop.hops, hop.method, hop.with_body = phases, hops + 1, method, with_body
        hop.estranged = _origin(url) != _origin(before.url)
        if isinstance(before, Hop):
            hop.estranged |= before.estranged
        lines = self._lines_of_hop(hop, url)
        made = self._new(url, method, lines, with_body)
        body = self.content(user.variables) if with_body and self.content is not None else None
        user.under_way = hop
        hop.start(self.pool, made, body, left)

    def _lines_of_hop(self, hop: Hop, url: str) -> tuple[bytes, ...]:
        left = frozenset() if hop.with_body else _OF_BODY
        if hop.estranged:
            left |= _PRIVATE
        header = {key: one for key, one in self._header.items() if key.lower() not in left}
        lines = self._lines_of(header, hop.user.variables)
        jar = hop.user.jar
        cookie = jar.header(url) if jar else ""
        return _with_cookie(lines, cookie) if cookie else lines


def _pattern_of(
    url: templates.Template, header: _Header, fresh: Callable[[str, tuple[bytes, ...]], Template]
) -> Pattern | None:
    """None: the native lane does not serve it, or variables stand in more than that."""
    marks: dict[str, Any] = {}
    try:
        marked = prepare_url(url.marked(marks))
        in_url = len(marks)
        lines = _header_lines({key: one.marked(marks) for key, one in header.items()})
    except ValueError:
        return None
    if any(_is_apart(line) for line in lines):
        return None
    made = fresh(marked, lines)
    text = made.asked.decode("latin-1")
    if not text or any(text.count(mark) != 1 for mark in marks):
        return None
    if "ftnetMark" in authority_of(marked) or sorted(marks, key=text.index) != list(marks):
        return None
    return Pattern(
        made,
        url=_around(marked, list(marks)[:in_url]),
        head=_around(text, list(marks)),
        values=tuple([(part.name if part.plain else None, part.text) for part in marks.values()]),
        lines=len(lines),
        own_cookie=any(line[:7].lower() == b"cookie:" for line in lines),
    )


def _is_apart(line: bytes) -> bool:
    """Whether a header block does not have it among the caller's own, the last ones."""
    return line.partition(b":")[0].lower() in (b"host", b"connection")


def _led_to(url: str, target: str) -> str:
    """Where a redirect leads; a login goes on to the same origin."""
    there = urljoin(url, target.replace(" ", "%20"))
    login, at_sign, _ = url.partition("://")[2].partition("/")[0].rpartition("@")
    scheme, _, rest = there.partition("://")
    if at_sign and _origin(there) == _origin(url) and "@" not in rest.partition("/")[0]:
        return f"{scheme}://{login}@{rest}"
    return there


def _origin(url: str) -> tuple[str, str]:
    return url.partition("://")[0], authority_of(url).lower()


def _around(text: str, marks: list[str]) -> tuple[bytes, ...]:
    """What stands around the marks."""
    pieces = []
    for mark in marks:
        before, _, text = text.partition(mark)
        pieces.append(before)
    return tuple([piece.encode("latin-1") for piece in (*pieces, text)])


def _header_lines(header: Mapping[str, str]) -> tuple[bytes, ...]:
    return header_lines(header, default_json=False, referer=True)[0]


def _with_cookie(lines: tuple[bytes, ...], cookie: str) -> tuple[bytes, ...]:
    """The plan's own Cookie field first, then the jar's, in one (RFC 6265 5.4)."""
    own = [line for line in lines if line[:7].lower() == b"cookie:"]
    if not own:
        return (*lines, b"cookie: " + cookie.encode())
    return tuple([b"%b; %b" % (line, cookie.encode()) if line in own else line for line in lines])


def _body_of(step: Http, shop: Workshop) -> tuple[Callable[[Mapping[str, Any]], bytes] | None, str]:
    """What makes the body from the variables, and the Content-Type that goes with it."""
    if step.body is not None:
        text = templates.compile(step.body)
        return lambda variables: text.render(variables).encode(), "text/plain; charset=utf-8"
    if step.body_file is not None:
        data = shop.file(step.body_file)
        return lambda variables: data, "application/octet-stream"
    if step.json is not None:
        value = templates.compile_value(step.json)
        return lambda variables: _encode_json(value.render(variables)), "application/json"
    if step.form is not None:
        fields = templates.compile_value(step.form)
        return (
            lambda variables: form_encode(fields.render(variables)),
            "application/x-www-form-urlencoded",
        )
    return None, ""
