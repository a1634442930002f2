"""Checks: what a run has to come up to, as a person writes it: ``p99<20ms``, ``errors<0.1%``.

::

    check = NAME  < | <= | > | >= | =  LIMIT
    NAME  = [OF[.CLASS].]STATISTIC | errors | failed | late | unfinished | unsent | retried
          | status.CODE | status.CLASS | rate | requests
    OF    = response (unless it is named) | service | lateness | a phase: queue dns connect ssl
            send ttfb download total
    CLASS = 1xx 2xx 3xx 4xx 5xx, and failed for phases
    STATISTIC = p50, p99.9 ... | min | mean | max

A percentile of the response time (or of ``total``) that depends on requests without an answer by
the end is not known, and does not keep its limit.

A statistic's limit is a time with its unit (ns us ms s m), that of requests a number or a share
(``5``, ``0.1%``), that of ``rate`` responses a second. Numbers may end in k or M.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, NoReturn

from ftnet.load.result import CLASSES, PHASES

if TYPE_CHECKING:
    from ftcore.histogram import Histogram
    from ftnet.load.result import Result, Summary

__all__ = ["Check", "CheckError", "Outcome", "enough", "needed"]

_OPERATORS: Final[dict[str, Callable[[float, float], bool]]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
    "=": operator.eq,
}
_OPERATOR: Final = re.compile("|".join(_OPERATORS))
_NUMBER: Final = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*(\D*)")
_PERCENTILE: Final = re.compile(r"p(?=.*[1-9])\d{1,2}(?:\.\d{1,4})?")
_STATUS: Final = re.compile(r"[1-9]\d\d|[1-5]xx")
_TIMES: Final = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}
_THOUSANDS: Final = {"": 1.0, "k": 1e3, "M": 1e6}
_SPANS: Final = ("response", "service", "lateness")

#: Requests that are counted: which they are, and of how many they are a share.
_COUNTED: Final[dict[str, Callable[[Result], tuple[int, int]]]] = {
    "errors": lambda r: (r.wrong, r.counts.completed + r.counts.failed),
    "failed": lambda r: (r.counts.failed, r.counts.completed + r.counts.failed),
    "late": lambda r: (r.counts.late, r.counts.sent),
    "unfinished": lambda r: (r.counts.unfinished, r.counts.scheduled),
    "unsent": lambda r: (r.counts.unsent, r.counts.scheduled),
    "retried": lambda r: (r.counts.retried, r.counts.sent),
}
_NUMBERS: Final[dict[str, Callable[[Result], float]]] = {
    "rate": lambda r: r.rate,
    "requests": lambda r: r.counts.completed,
}
_STATISTICS: Final = ("min", "mean", "max")
_KNOWN: Final = (
    "p50 p99.9 min mean max, service.p99 lateness.max, a phase as ttfb.p95 or ttfb.2xx.p95,"
    f" {' '.join(_COUNTED)} status.404 status.5xx, {' '.join(_NUMBERS)}"
)

#: From a result to a value, or None with the reason why there is none.
_Reader = Any


def needed(percent: float) -> int:
    """Samples that a percentile needs: so many that at least one of them lies above it."""
    return -int(-(100 / (100 - percent) - 1e-6) // 1)


def enough(histogram: Histogram | Summary, percent: float) -> bool:
    """Whether there are samples enough for this percentile to be more than a guess."""
    return histogram.count >= needed(percent)


class CheckError(ValueError):
    """A check that can't be read: what is wrong, and where (``text[start:end]``)."""

    def __init__(self, text: str, start: int, end: int, reason: str) -> None:
        super().__init__(text, start, end, reason)
        self.text, self.start, self.end, self.reason = text, start, end, reason

    def __str__(self) -> str:
        marks = " " * self.start + "^" * max(1, self.end - self.start)
        return f"{self.reason}\n  {self.text}\n  {marks}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one check."""

    check: Check
    got: float | None  #: seconds, a share of 0 to 1, or a number, as `check.unit`; None: `note`
    ok: bool  #: False when there is nothing to go by, too
    note: str = ""  #: why there is no value

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        check = self.check
        return {
            "check": check.text,
            "got": self.got,
            "limit": check.limit,
            "unit": check.unit,
            "ok": self.ok,
            "note": self.note,
        }


@dataclass(frozen=True, slots=True)
class Check:
    """One limit that a result keeps or not."""

    text: str  #: as it was written
    name: str
    sign: str  #: "<", "<=", ">", ">=" or "="
    limit: float  #: seconds, a share of 0 to 1, or a number
    unit: str  #: "s", "%" or "": which of them
    _read: _Reader

    @classmethod
    def parse(cls, text: str) -> Check:
        """Reads ``p99<20ms``; CheckError, a ValueError, says what is wrong and where."""
        found = _OPERATOR.search(text)
        if found is None:
            raise CheckError(text, len(text), len(text), "a comparison is missing: < <= > >= or =")
        before, after = text[: found.start()], text[found.end() :]
        name, limit = before.strip(), after.strip()
        where = len(before) - len(before.lstrip())
        kind, read = _Name(text, where, name).reader()
        where = found.end() + len(after) - len(after.lstrip())
        value, unit = _limit(text, where, limit, kind)
        if unit == "%":
            read = _share(read)
        return cls(text.strip(), name, found[0], value, unit, read)

    def judge(self, result: Result) -> Outcome:
        """Whether the result keeps the limit."""
        got, note = self._read(result)
        ok = got is not None and _OPERATORS[self.sign](got, self.limit)
        return Outcome(self, got, ok, note)


# --- names ------------------------------------------------------------------------------------


class _Name:
    """What stands before the comparison, and where, for errors that point at it."""

    def __init__(self, text: str, start: int, name: str) -> None:
        self._text, self._start, self._name = text, start, name

    def reader(self) -> tuple[str, _Reader]:
        """Its kind ("time", "requests", "number"), and what reads it from a result."""
        name = self._name
        if name in _COUNTED:
            return "requests", _counted(_COUNTED[name])
        if name in _NUMBERS:
            return "number", _number(_NUMBERS[name])
        *of, last = name.split(".") if not _PERCENTILE.fullmatch(name) else [name]
        # the point in p99.9 is none between names
        if of and last.isdecimal() and _PERCENTILE.fullmatch(f"{of[-1]}.{last}"):
            last = f"{of.pop()}.{last}"
        if of == ["status"]:
            return "requests", self._status(last)
        return "time", self._statistic(of, last)

    def _status(self, status: str) -> _Reader:
        if not _STATUS.fullmatch(status):
            self._refuse(status, f"{status!r} is no status and no class of them: 404, 5xx")
        return _counted(_status_counter(status))

    def _statistic(self, of: list[str], last: str) -> _Reader:
        if not _PERCENTILE.fullmatch(last) and last not in _STATISTICS:
            self._refuse(last, f"unknown name {self._name!r}; there are {_KNOWN}")
        what, group = [*of, "all"][:2] if of else ("response", "all")
        if len(of) > 2 or (what not in _SPANS and what not in PHASES):
            self._refuse(of[0], f"{of[0]!r} is none of {' '.join((*_SPANS, *PHASES))}")
        if group != "all" and (what in _SPANS or group not in CLASSES):
            of_phases = " ".join(CLASSES)
            self._refuse(group, f"{group!r} is no class; phases alone have them: {of_phases}")
        return _statistic(what, group, last)

    def _refuse(self, part: str, reason: str) -> NoReturn:
        start = self._start + self._name.rfind(part)
        raise CheckError(self._text, start, start + len(part), reason)


def _status_counter(status: str) -> Callable[[Result], tuple[int, int]]:
    def count(result: Result) -> tuple[int, int]:
        fits = (n for code, n in result.statuses.items() if _is(code, status))
        return sum(fits), result.counts.completed

    return count


def _is(code: int, status: str) -> bool:
    return str(code) == status or f"{code // 100}xx" == status


def _counted(count: Callable[[Result], tuple[int, int]]) -> _Reader:
    def read(result: Result, share: bool = False) -> tuple[float | None, str]:
        some, of = count(result)
        if not share:
            return some, ""
        return (some / of, "") if of else (None, "there were no requests")

    return read


def _share(read: _Reader) -> _Reader:
    return lambda result: read(result, share=True)


def _number(read: Callable[[Result], float]) -> _Reader:
    return lambda result: (read(result), "")


def _statistic(what: str, group: str, name: str) -> _Reader:
    def read(result: Result) -> tuple[float | None, str]:
        if what in _SPANS:
            histogram = getattr(result, what)
        else:
            histogram = result.phases.get(what, {}).get(group)
        if histogram is None or not histogram.count:
            return None, "there are no samples"
        if name in _STATISTICS:
            return getattr(histogram, name) / 1e9, ""
        percent = float(name[1:])
        if result.percentiles_refused:
            return None, f"refused: {result.percentiles_refused}"
        if not enough(histogram, percent):
            return None, f"{histogram.count:,} samples; it needs {needed(percent):,}"
        if what in ("response", "total") and result.hides(percent):
            return None, f"{result.unanswered:,} requests had no answer by the end"
        return min(histogram.percentile(percent), histogram.max) / 1e9, ""

    return read


# --- limits -----------------------------------------------------------------------------------


def _limit(text: str, start: int, limit: str, kind: str) -> tuple[float, str]:
    """The value and "s", "%" or ""."""
    units = {
        "time": _TIMES,
        "requests": {**_THOUSANDS, "%": 0.01},
        "number": _THOUSANDS,
    }[kind]
    takes = {
        "time": "a time with its unit: 20ms (ns us ms s m)",
        "requests": "a number or a share: 5, 0.1%",
        "number": "a number: 9000, 9k, 1.5M",
    }[kind]
    found = _NUMBER.fullmatch(limit)
    if found is None:
        raise CheckError(text, start, start + len(limit), f"{limit!r} is no limit; it is {takes}")
    unit = found[2].strip()
    if unit not in units:
        at = start + found.start(2)
        said = f"{unit!r} is no unit here" if unit else "the unit is missing"
        raise CheckError(text, at, at + len(unit), f"{said}; the limit is {takes}")
    value = float(Decimal(found[1]) * Decimal(str(units[unit])))  # 99.9% is 0.999
    return value, "s" if kind == "time" else "%" if unit == "%" else ""
