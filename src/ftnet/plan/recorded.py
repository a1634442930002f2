"""Plans from requests that somebody else has sent or written down: browsers, curl, lists."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit, urlunsplit

import msgspec

from ftnet.handshake import basic
from ftnet.header import CREDENTIALS
from ftnet.plan.model import Http, Plan, Scenario, Step, Upload
from ftnet.plan.problems import PlanError, Problem
from ftnet.plan.read import convert
from ftnet.plan.write import to_mapping

__all__ = ["Asked", "LeftOut", "escaped", "make_plan", "read_text"]

#: What was not taken over, in words; a caller that gives a list is told.
LeftOut = list[str]

_JSON: Final = "application/json"
_FORM: Final = "application/x-www-form-urlencoded"
#: Fields that belong to one connection or message, or that the engine sends itself.
_HOPS: Final = frozenset(
    {
        "connection", "content-length", "expect", "http2-settings", "keep-alive",
        "proxy-authenticate", "proxy-authorization", "proxy-connection", "te", "trailer",
        "transfer-encoding", "upgrade", "accept-encoding",
        "if-modified-since", "if-none-match", "if-match", "if-unmodified-since", "if-range",
    }
)  # fmt: skip


@dataclass(slots=True)
class Asked:
    """One request as it was recorded."""

    url: str
    method: str = "GET"
    header: list[tuple[str, str]] = field(default_factory=list)
    body: str | None = None
    given: dict[str, Any] = field(default_factory=dict)  #: other keys of its step
    joined: bool = False  #: its `body_file` goes without its line breaks

    @property
    def fields(self) -> dict[str, str]:
        """The header, each name once."""
        out: dict[str, str] = {}
        names: dict[str, str] = {}
        for name, value in self.header:
            known = names.setdefault(name.lower(), name)
            joint = "; " if known.lower() == "cookie" else ", "
            out[known] = f"{out[known]}{joint}{value}" if known in out else value
        return out

    def content_type(self) -> str:
        """The Content-Type, "" without."""
        return next((value for name, value in self.header if name.lower() == "content-type"), "")

    def clean(self, *, credentials: bool) -> None:
        """Leaves out what is not to be sent again."""
        left = _HOPS if credentials else _HOPS | CREDENTIALS
        login, _, place = urlsplit(self.url).netloc.rpartition("@")
        if login and not any(name.lower() == "authorization" for name, _ in self.header):
            self.header.append(("Authorization", basic(login)))
        own = {("host", place.lower())}
        self.header = [
            (name, value)
            for name, value in self.header
            if name.lower() not in left
            and not name.lower().startswith((":", "sec-", "proxy-"))
            and (name.lower(), value.lower()) not in own
        ]


def escaped(text: str) -> str:
    """The text as a template that renders to it."""
    return text.replace("${", "$${")


def read_text(path: str | os.PathLike[str]) -> str:
    """A file of UTF-8 text; PlanError says why it can't be read."""
    try:
        with open(path, "rb") as file:
            return file.read().decode("utf-8-sig")
    except OSError as error:
        reason = f"can't be read: {error.strerror}"
    except UnicodeDecodeError as error:
        reason = f"is no UTF-8: {error.reason}"
    raise PlanError([Problem(os.fspath(path), 0, "", reason)])


def make_plan(
    path: str | os.PathLike[str],
    asked: Sequence[Asked],
    *,
    settings: dict[str, Any] | None = None,
) -> Plan:
    """A plan with one scenario that sends the requests in their order.

    What most of them have in common, the origin and header fields, is said once.
    """
    if not asked:
        raise PlanError([Problem(os.fspath(path), 0, "", "has no requests")])
    base = _most_common_origin(asked)
    header = _common_header(asked)
    name = os.path.splitext(os.path.basename(os.fspath(path)))[0] or "plan"
    steps = tuple(_step(one, base, header) for one in asked)
    made = Plan(
        name=name,
        base_url=base,
        header={field: escaped(value) for field, value in header.items()},
        settings=settings or {},
        scenario=(Scenario(name=name, step=steps),),
    )
    folder = os.path.dirname(os.path.abspath(path))
    return convert(to_mapping(made), folder, os.fspath(path))


def _most_common_origin(asked: Iterable[Asked]) -> str:
    return Counter(_origin(one.url) for one in asked).most_common(1)[0][0]


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def _common_header(asked: Sequence[Asked]) -> dict[str, str]:
    """Fields that all requests have with the same value."""
    if len(asked) < 2:
        return {}
    own = CREDENTIALS | {"content-type"}
    common = {name: value for name, value in asked[0].fields.items() if name.lower() not in own}
    for one in asked[1:]:
        there = {(name.lower(), value) for name, value in one.fields.items()}
        common = {name: value for name, value in common.items() if (name.lower(), value) in there}
    return common


def _step(asked: Asked, base: str, common: dict[str, str]) -> Step:
    url = _relative(asked.url, base)
    shared = {name.lower() for name in common}
    header = {name: text for name, text in asked.fields.items() if name.lower() not in shared}
    if "upload" in asked.given:
        given = {key: value for key, value in asked.given.items() if key != "upload"}
        return Upload(upload=url, header=_escaped_all(header), **given)
    sent = _body(asked)
    own = _JSON if "json" in sent else _FORM if "form" in sent else ""
    if asked.content_type() == own:  # which it brings itself
        header = {name: text for name, text in header.items() if name.lower() != "content-type"}
    request = url if asked.method == "GET" and " " not in url else f"{asked.method} {url}"
    return Http(request=request, header=_escaped_all(header), **sent, **asked.given)


def _escaped_all(header: dict[str, str]) -> dict[str, str]:
    return {name: escaped(value) for name, value in header.items()}


def _relative(url: str, base: str) -> str:
    parts = urlsplit(url)
    path = parts.path or "/"
    if _origin(url) == base and not path.startswith("//"):
        return escaped(urlunsplit(("", "", path, parts.query, "")))
    place = parts.netloc.rpartition("@")[2]
    return escaped(urlunsplit((parts.scheme, place, path, parts.query, "")))


def _body(asked: Asked) -> dict[str, Any]:
    """The key of a step for a body: its JSON or form where that says exactly the same."""
    text = asked.body
    if text is None:
        return {}
    kind = asked.content_type().partition(";")[0].strip().lower()
    if kind == _JSON:
        value = _json_of(text)
        if value is not None:
            return {"json": value}
    if kind == _FORM:
        form = _form_of(text)
        if form:
            return {"form": {escaped(name): escaped(value) for name, value in form.items()}}
    return {"body": escaped(text)}


def _form_of(text: str) -> dict[str, str]:
    """The fields; {} where they say less than the text does: a name twice, or without a value."""
    try:
        pairs = parse_qsl(text, keep_blank_values=True, errors="strict")
    except UnicodeDecodeError:
        return {}
    form = dict(pairs)
    whole = len(form) == len(pairs) == text.count("&") + 1 == text.count("=")
    return form if whole else {}


def _json_of(text: str) -> Any:
    """The value, where TOML can hold it and it is sent as the same JSON but for blanks."""
    try:
        value = msgspec.json.decode(text)
        same = msgspec.json.format(text, indent=-1) == msgspec.json.encode(value).decode()
    except (ValueError, RecursionError):
        return None
    return _escaped_json(value) if same and _fits(value) else None


def _fits(value: Any) -> bool:
    if isinstance(value, dict):
        return all(map(_fits, value.values()))
    if isinstance(value, list):
        return all(map(_fits, value))
    if isinstance(value, int):
        return -(1 << 63) <= value < 1 << 63
    return value is not None


def _escaped_json(value: Any) -> Any:
    if isinstance(value, dict):
        return {escaped(key): _escaped_json(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_escaped_json(one) for one in value]
    return escaped(value) if isinstance(value, str) else value
