"""What a run of load is asked for, checked at the call."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Final

from ftnet.errors import redact
from ftnet.header import CREDENTIALS
from ftnet.options import TOKEN, Option, Table, count, merge, word
from ftnet.settings import CLIENT_SETTINGS, check_client_settings
from ftnet.url import prepare_url

if TYPE_CHECKING:
    from ftnet.plan.model import Load, Plan

__all__ = ["Options"]

_DURATION: Final = 10.0  # s, of a load without another end
_LONGEST: Final = 30 * 86400.0
_FASTEST: Final = 100_000_000.0

#: Settings of a Client that a run takes too, by the same names.
CLIENT_NAMES: Final = (
    "ca",
    "cert",
    "key",
    "verify",
    "proxy",
    "no_proxy",
    "trust_env",
    "resolve",
    "doh_url",
    "interface",
    "user_agent",
    "keylog_file",
    "happy_eyeballs_timeout",
    "tcp_nodelay",
    "tcp_keepalive",
)


#: What may be given beside a plan.
PLAN_NAMES: Final = (
    "connections",
    "rate",
    "stages",
    "arrivals",
    "seed",
    "warmup",
    "duration",
    "requests",
    "grace",
    "late_after",
)


@dataclass(frozen=True, slots=True)
class Options:
    """What a run is to do: as it was given, checked, and with the defaults filled in.

    ``run("http://...", rate=100)`` makes one; ``Options.of(url, **options)`` does, too.
    """

    url: str  #: absolute http or https URL
    method: str = "GET"  #: any token (RFC 9110 9.1)
    header: Mapping[str, str] = field(default_factory=dict)  #: beside Host, User-Agent, Accept
    data: bytes = b""  #: the body of each request
    connections: int = 64  #: open at once, at most; over HTTP/1.1 requests under way, too
    streams: int = 1  #: requests under way on one connection; over HTTP/2 and 3 100 by default
    http_version: str | None = None  #: as for a Client; None is "1.1"
    rate: float | None = None  #: requests a second that are due; None: closed model
    stages: tuple[tuple[float, float], ...] = ()  #: (seconds, rate they end at), each a ramp
    arrivals: str = "constant"  #: or "poisson": how requests that are due are spread
    seed: int = 1  #: of "poisson"; the same requests are due when with the same seed
    think: float = 0.0  #: s between an answer and the next request (closed model)
    warmup: float = 0.0  #: s before the measured part; what was due then is not recorded
    duration: float | None = None  #: s that are measured; None: until `requests`, or 10
    requests: int | None = None  #: that are measured; None: until `duration` is over
    timeout: float = 30.0  #: s for one request, from when a connection takes it up
    grace: float = 5.0  #: s that requests under way may take after the end
    expect_status: tuple[int, ...] = ()  #: what is right; (): whatever is below 400
    expect_length: int | None = None  #: bytes of a right body; None: any
    late_after: float = 0.001  #: s after which a request counts as sent late
    workers: int = 1  #: threads with an engine each
    settings: Mapping[str, Any] = field(default_factory=dict)  #: Client settings, those given
    #: what virtual users do in place of requests to the `url`: `connections` are users then, and
    #: `rate`, `requests` and all the rest are of iterations
    plan: Plan | None = None

    @classmethod
    def of(cls, url: str, **given: Any) -> Options:
        """Options from keywords, those of a Client's settings among them (`CLIENT_NAMES`).

        Raises TypeError for an unknown option or a wrong type and ValueError for a wrong value,
        saying which option it is, what it got and what it takes.
        """
        own = {name: value for name, value in given.items() if name not in CLIENT_NAMES}
        settings = {name: value for name, value in given.items() if name in CLIENT_NAMES}
        checked = merge("load", own, LOAD_OPTIONS)
        check_client_settings(settings)
        made = cls(url=prepare_url(url, "load"), settings=settings, **_completed(checked, given))
        _check_together(made, given)
        return made

    @classmethod
    def of_plan(cls, plan: Plan, **given: Any) -> Options:
        """What a plan's load says, with what is given in its place; errors as in `of`.

        ``connections`` (users), ``rate``, ``stages``, ``arrivals``, ``seed``, ``warmup``,
        ``duration``, ``requests`` (iterations), ``grace``, ``late_after`` can be given. A ``rate``
        or ``stages`` stand for both of them, and so do ``duration`` and ``requests``.
        """
        takes = PLAN_NAMES
        for name in given:
            if name not in takes:
                raise TypeError(f"load: a plan says {name} itself; given can be {', '.join(takes)}")
        load = plan.load
        own = {name: getattr(load, name) for name in takes if hasattr(load, name)}
        own |= {"connections": load.users, "requests": load.iterations}
        for either in (("rate", "stages"), ("duration", "requests")):
            if any(given.get(name) is not None for name in either):
                own = {name: value for name, value in own.items() if name not in either}
        checked = merge("load", own | given, LOAD_OPTIONS)
        made = cls(url=plan.target, plan=plan, **_completed(checked, given))
        _check_together(made, given)
        return made

    def with_load(self, load: Load) -> Options:
        """The same for a scenario that has a load of its own."""
        own = {name: getattr(load, name) for name in PLAN_NAMES if hasattr(load, name)}
        own |= {"connections": load.users, "requests": load.iterations, "warmup": self.warmup}
        if own["duration"] is None and own["stages"]:
            own["duration"] = sum(seconds for seconds, _ in load.stages)
        elif own["duration"] is None and own["requests"] is None:
            own["duration"] = self.duration or _DURATION
        return replace(self, **own)

    def to_dict(self) -> dict[str, Any]:
        """For JSON: without credentials, `data` as its length, a plan's name."""
        out = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "settings"}
        out["plan"] = None if self.plan is None else self.plan.name
        out["url"] = redact(self.url)
        out["header"] = {
            name: "REDACTED" if name.lower() in CREDENTIALS else value
            for name, value in self.header.items()
        }
        out["data"] = len(self.data)
        out["stages"] = [list(stage) for stage in self.stages]
        out["expect_status"] = list(self.expect_status)
        out["verify"] = self.settings.get("verify", True)
        return out

    @property
    def open_model(self) -> bool:
        """Whether requests are due at times of their own."""
        return self.rate is not None or bool(self.stages)


def _completed(checked: dict[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Defaults that depend on other options."""
    if checked["http_version"] not in (None, "1.1") and "streams" not in given:
        checked["streams"] = 100
    if checked["stages"]:
        if checked["duration"] is None:
            checked["duration"] = sum(seconds for seconds, _ in checked["stages"])
    elif checked["duration"] is None and checked["requests"] is None:
        checked["duration"] = _DURATION
    return checked


def _check_together(made: Options, given: Mapping[str, Any]) -> None:
    if made.http_version in (None, "1.1") and made.streams != 1:
        raise ValueError(
            f"load: streams must be 1 over HTTP/1.1, got {made.streams}: one request at a time"
        )
    if made.open_model and made.think:
        raise ValueError(
            "load: think must be 0 with a rate or stages: requests start when they are due"
        )
    if not made.open_model and made.arrivals != "constant":
        raise ValueError("load: arrivals must be 'constant' without a rate or stages")
    if made.rate == 0 and not made.stages:
        raise ValueError("load: rate must be more than 0 without stages, got 0")
    if made.workers > made.connections:
        raise ValueError(
            f"load: workers must be at most connections ({made.connections}), got {made.workers}"
        )


# --- checks -----------------------------------------------------------------------------------


def _number(least: float, most: float, above: bool = False) -> Any:
    def check(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise TypeError
        if not math.isfinite(value) or not least <= value <= most or (above and value == least):
            raise ValueError
        return float(value)

    return check


def _stages(value: Any) -> tuple[tuple[float, float], ...]:
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise TypeError
    out = []
    for stage in value:
        if isinstance(stage, str) or not isinstance(stage, Sequence) or len(stage) != 2:
            raise TypeError(f"{stage!r:.40} is no pair of seconds and a rate")
        out.append((_seconds_above(stage[0]), _rate(stage[1])))
    if out and not any(rate for _, rate in out):
        raise ValueError("no rate of them is more than 0")
    return tuple(out)


def _token(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    if not value or not TOKEN.issuperset(value):
        raise ValueError
    if value.upper() == "CONNECT":
        raise ValueError("a tunnel is no request that load can measure")
    return value


def _header(value: Any) -> dict[str, str]:
    if not isinstance(value, Mapping):
        raise TypeError
    for name, content in value.items():
        if not isinstance(name, str) or not isinstance(content, str):
            raise TypeError("names and values must be str")
        if not name or not TOKEN.issuperset(name):
            raise ValueError(f"{name!r:.40} is no header name")
        if any(char in "\r\n\0" for char in content):
            raise ValueError(f"the value of {name} holds a line break or NUL")
        if name.lower() in ("content-length", "transfer-encoding", "connection"):
            raise ValueError(f"{name} is the engine's to set")
    return dict(value)


def _data(value: Any) -> bytes:
    if isinstance(value, str):
        return value.encode()
    return bytes(memoryview(value))  # TypeError when it is no buffer


def _statuses(value: Any) -> tuple[int, ...]:
    given = (value,) if isinstance(value, int) else value
    if isinstance(given, str) or not isinstance(given, Sequence):
        raise TypeError
    for status in given:
        if isinstance(status, bool) or not isinstance(status, int):
            raise TypeError
        if not 100 <= status <= 999:
            raise ValueError
    return tuple(given)


def _whole(least: int, most: int) -> Any:
    def check(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise TypeError
        if not least <= value <= most:
            raise ValueError
        return value

    return check


_seconds_above = _number(0, _LONGEST, above=True)
_rate = _number(0, _FASTEST)

_ABOVE: Final = "a number of seconds > 0, at most 30 days"
_SECONDS: Final = "a number of seconds >= 0, at most 30 days"

LOAD_OPTIONS: Final = Table(
    "option",
    Option("method", "a method's name", _token, "GET", "any but CONNECT"),
    Option("header", "a mapping of names to values", _header, {}, "request header"),
    Option("data", "a str or bytes-like", _data, b"", "the body of each request"),
    Option("connections", "an int from 1 to 1000000", _whole(1, 1_000_000), 64, "open at once"),
    Option("streams", "an int from 1 to 10000", _whole(1, 10_000), 1, "under way on each"),
    Option(
        "http_version",
        "None, '1.1', '2', '2-prior-knowledge', '3' or '3-only'",
        word("1.1", "2", "2-prior-knowledge", "3", "3-only"),
        doc="None is HTTP/1.1",
    ),
    Option("rate", "requests a second, up to 1e8, or None", _rate, doc="that are due"),
    Option(
        "stages",
        "a sequence of (seconds, rate at their end)",
        _stages,
        (),
        "the rate goes evenly from that of the stage before (`rate`, or 0) to this one's",
    ),
    Option(
        "arrivals", "'constant' or 'poisson'", word("constant", "poisson"), "constant", "spread"
    ),
    Option("seed", "an int from 0 to 2**64 - 1", _whole(0, 2**64 - 1), 1, "of 'poisson'"),
    Option("think", _SECONDS, _number(0, _LONGEST), 0.0, "between an answer and the next request"),
    Option("warmup", _SECONDS, _number(0, _LONGEST), 0.0, "not recorded"),
    Option("duration", _ABOVE, _seconds_above, doc="of the measured part"),
    Option("requests", "an int >= 1", count, doc="of the measured part"),
    Option("timeout", _ABOVE, _seconds_above, 30.0, "for one request"),
    Option("grace", _SECONDS, _number(0, _LONGEST), 5.0, "for those under way at the end"),
    Option("expect_status", "a status or a sequence of them", _statuses, (), "what is right"),
    Option("expect_length", "an int >= 0", _whole(0, 2**62), doc="bytes of a right body"),
    Option("late_after", _ABOVE, _seconds_above, 0.001, "when a request was sent late"),
    Option("workers", "an int from 1 to 256", _whole(1, 256), 1, "threads with an engine each"),
)

RATE_OPTIONS: Final = Table(
    "option", Option("rate", "requests a second, up to 1e8", _rate, required=True)
)

assert all(name in CLIENT_SETTINGS.rows for name in CLIENT_NAMES)
