"""Steps made ready: what virtual users carry out, again and again.

A `Work` is made once for a share. ``begin(user, due)`` sends it off and returns; when it is over,
in the thread that drives, it calls ``user.answered`` or ``user.failed``, once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Final
from urllib.parse import urljoin

import msgspec

from ftcore.profile import Phases
from ftcore.transfer import Pool, Transfer
from ftnet.body import form_encode
from ftnet.header import header_lines
from ftnet.http import authority_of, template
from ftnet.plan import template as templates
from ftnet.plan.answers import Answer, Expectation, expectations, extractions
from ftnet.plan.model import Http, Step
from ftnet.results import Headers
from ftnet.url import prepare_url

if TYPE_CHECKING:
    from ftcore.buffers import Chunk
    from ftcore.settings import Template
    from ftnet.client import Client
    from ftnet.plan.share import Workshop
    from ftnet.plan.user import User

__all__ = ["HttpWork", "Work"]

_HOPS: Final = 20
_TOO_MANY_REDIRECTS, _INSECURE_REDIRECT, _BAD_REDIRECT = -3, -4, -5
_REDIRECTS: Final = frozenset((301, 302, 303, 307, 308))
_FALSE: Final = ("", "0", "false")
_encode_json: Final = msgspec.json.Encoder().encode
_GIVEN: Final[dict[str, Any]] = {"enableQuic": False, "enableHttp2": None, "enableProfile": True}


class Work:
    """What every step has, whatever it does."""

    kind: ClassVar[str]
    __slots__ = ("any_status", "expected", "extract", "name", "number", "stops", "think", "when")

    def __init__(self, step: Step, name: str) -> None:
        self.name = name
        self.number = 0  #: among the steps of its plan
        self.think = step.think
        self.stops = step.on_fail == "stop"
        self.expected: tuple[Expectation, ...] = expectations(step.expect)
        self.any_status = "status" not in step.expect
        self.extract: Callable[[Answer, dict[str, Any]], None] | None = None
        if step.extract:
            self.extract = extractions(step.extract)
        self.when = templates.compile(step.when) if step.when else None

    def wanted(self, variables: Mapping[str, Any]) -> bool:
        """Whether it is to be done at all; `Undefined` when that can't be said."""
        return self.when is None or self.when.render(variables) not in _FALSE

    def begin(self, user: User, due: int) -> None:
        """Sends it off, and sets ``user.under_way`` to what can be aborted.

        What it raises (ValueError, LookupError) is its failure.
        """
        raise NotImplementedError


# --- HTTP -------------------------------------------------------------------------------------


class Trip(Transfer):
    """One request of a user, or one hop of it."""

    __slots__ = ("before", "due", "hops", "method", "url", "user", "with_body", "work")

    before: Phases | None  # of the hops so far
    due: int
    hops: int
    method: str
    url: str
    user: User
    with_body: bool
    work: HttpWork

    def _succeeded(
        self, status: int, raw: bytes, body: Chunk | None, phases: Phases, charset: bool
    ) -> None:
        if self.before is not None:
            phases.follow(self.before)
        self.work.came(self, Answer(status, raw, body, charset), phases)

    def _failed(self, outcome: int, phases: Phases | None, os_errno: int, detail: str) -> None:
        self.user.failed(self.work, outcome, os_errno, detail, phases, self.due)


class HttpWork(Work):
    """A request over HTTP, and the redirects it leads to."""

    kind = "http"
    __slots__ = (
        "_body",
        "_client",
        "_follow",
        "_header",
        "_lines",
        "_made",
        "_method",
        "_pool",
        "_timeout",
        "_url",
        "_with_body",
    )

    def __init__(self, step: Http, name: str, shop: Workshop) -> None:
        super().__init__(step, name)
        plan = shop.plan
        self._method, url = split_request(step.request)
        self._url = templates.compile(whole_url(plan.base_url, url))
        self._client: Client = shop.client(step.http_version)
        self._pool: Pool = shop.pool(self._client)
        self._follow = step.follow
        self._timeout = shop.timeout(step) * 1000.0
        self._body, content_type = _body_of(step, shop)
        self._with_body = self._body is not None or self._method in ("POST", "PUT")
        header = {**plan.header, **step.header}
        if content_type and not any(one.lower() == "content-type" for one in header):
            header["Content-Type"] = content_type
        self._header = {key: templates.compile(value) for key, value in header.items()}
        self._lines: tuple[bytes, ...] | None = None
        if all(one.static for one in self._header.values()):
            given = {key: one.render({}) for key, one in self._header.items()}
            self._lines = header_lines(given)[0]
        self._made: Template | None = None  # of a request without variables and cookies

    def begin(self, user: User, due: int) -> None:
        trip = Trip()  # which notes the time
        url = prepare_url(self._url.render(user.variables), self.name)
        body = None if self._body is None else self._body(user.variables)
        trip.user, trip.work, trip.due, trip.url = user, self, due, url
        trip.method, trip.with_body, trip.before, trip.hops = self._method, self._with_body, None, 0
        made = self._template(user, url)
        user.under_way = trip
        trip.start(self._pool, made, body, self._timeout)

    def _template(self, user: User, url: str) -> Template:
        lines = self._lines
        if lines is None:
            rendered = {key: one.render(user.variables) for key, one in self._header.items()}
            lines = header_lines(rendered)[0]
        if user.jar and (cookie := user.jar.header(url)):
            return self._new(url, self._method, _with_cookie(lines, cookie), self._with_body)
        if not self._url.static or self._lines is None:
            return self._new(url, self._method, lines, self._with_body)
        if self._made is None:
            self._made = self._new(url, self._method, lines, self._with_body)
        return self._made

    def _new(self, url: str, method: str, lines: tuple[bytes, ...], with_body: bool) -> Template:
        return template(self._client, _GIVEN, method, url, lines, has_body=with_body, follow=False)

    def came(self, trip: Trip, answer: Answer, phases: Phases) -> None:
        """The answer to a request, or to one hop of it."""
        user = trip.user
        if user.jar is not None and answer.field(b"\nset-cookie:") is not None:
            user.jar.take(trip.url, Headers(answer.raw).set_cookies)
        if self._follow and answer.status in _REDIRECTS and not user.gone:
            target = answer.header("location")
            if target is not None:
                self._hop(trip, answer.status, target, phases)
                return
        user.answered(self, answer, phases, trip.due)

    def _hop(self, before: Trip, status: int, target: str, phases: Phases) -> None:
        """Follows a redirect (RFC 9110 15.4), as the engine does for a Client."""
        user, due = before.user, before.due
        try:
            url = prepare_url(urljoin(before.url, target), self.name)
        except ValueError as error:
            user.failed(self, _BAD_REDIRECT, 0, str(error), phases, due)
            return
        if before.hops == _HOPS:
            user.failed(self, _TOO_MANY_REDIRECTS, 0, "", phases, due)
            return
        if before.url.startswith("https:") and url.startswith("http:"):
            user.failed(self, _INSECURE_REDIRECT, 0, url, phases, due)
            return
        trip = Trip()
        trip.user, trip.work, trip.due, trip.url = user, self, due, url
        trip.method, trip.with_body = before.method, before.with_body
        trip.before, trip.hops = phases, before.hops + 1
        if (status == 303 and trip.method != "HEAD") or (
            status in (301, 302) and trip.method == "POST"
        ):
            trip.method, trip.with_body = "GET", False
        lines = self._lines_of_hop(user, before.url, url, trip.with_body)
        made = self._new(url, trip.method, lines, trip.with_body)
        body = self._body(user.variables) if trip.with_body and self._body is not None else None
        user.under_way = trip
        trip.start(self._pool, made, body, self._timeout)

    def _lines_of_hop(
        self, user: User, before: str, url: str, with_body: bool
    ) -> tuple[bytes, ...]:
        left = set() if with_body else {"content-type"}
        if authority_of(url) != authority_of(before):
            left |= {"authorization", "cookie"}
        header = {
            key: one.render(user.variables)
            for key, one in self._header.items()
            if key.lower() not in left
        }
        lines = header_lines(header)[0]
        cookie = user.jar.header(url) if user.jar else ""
        return _with_cookie(lines, cookie) if cookie else lines


#: What makes each kind of step ready.
_MADE_BY: Final[dict[type, Callable[[Any, str, Workshop], Work]]] = {Http: HttpWork}


def made_ready(step: Step, name: str, shop: Workshop) -> Work:
    """The step, ready to be carried out."""
    return _MADE_BY[type(step)](step, name, shop)


def _with_cookie(lines: tuple[bytes, ...], cookie: str) -> tuple[bytes, ...]:
    """The plan's own Cookie field first, then the jar's, in one (RFC 6265 5.4)."""
    own = [line for line in lines if line[:7].lower() == b"cookie:"]
    if not own:
        return (*lines, b"cookie: " + cookie.encode())
    rest = tuple([line for line in lines if line not in own])
    return (*rest, own[0] + b"; " + cookie.encode())


def split_request(text: str) -> tuple[str, str]:
    """Method and URL of ``"POST /cart"`` or ``"/cart"``."""
    method, space, url = text.strip().partition(" ")
    return (method.upper(), url.strip()) if space else ("GET", method)


def whole_url(base: str, url: str) -> str:
    """A step's URL, relative to the plan's base; either may hold variables."""
    if not base or "://" in url.partition("?")[0] or url.startswith("${"):
        return url
    if url.startswith("/"):  # from the root, whatever the base's path is
        scheme, _, rest = base.partition("://")
        return f"{scheme}://{rest.partition('/')[0]}{url}"
    return f"{base.rstrip('/')}/{url}" if url else base


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
