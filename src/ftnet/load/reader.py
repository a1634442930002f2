"""Results from the JSON that `Result.to_dict` and ``ftnet load --json`` make."""

from __future__ import annotations

import errno as os_errors
import os
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import IO, Annotated, Any, Literal, TypeAlias, TypeVar

import msgspec
from msgspec import Meta

from ftcore.histogram import Histogram
from ftnet.errors import Cause, Errno, curl_code
from ftnet.load.options import Options
from ftnet.load.result import (
    FORMAT,
    PERCENTS,
    Counts,
    Failure,
    Interval,
    Result,
    Step,
    Summary,
    Verdict,
    Worker,
)

__all__ = ["KeptOptions", "read"]

_FAMILY, _, _VERSION = FORMAT.rpartition("/")

T = TypeVar("T")
_Number: TypeAlias = Annotated[float, Meta(ge=0)]
_Whole: TypeAlias = Annotated[int, Meta(ge=0)]


def read(source: str | os.PathLike[str] | IO[bytes] | IO[str]) -> Result:
    """The result in a file that ``ftnet load --json`` wrote: its path, or the file when it is open.

    Writing it again gives the same. What the file has not, the result has not either:

    - ``options.data`` is empty, its length is ``options.data_length``; ``options.plan`` is None,
      the plan's name is `Result.plan`; ``options.settings`` has no more than ``verify=False``.
    - A failure's ``cause.code`` is 0 where the cause is an error of the system.
    - A histogram's ``sum`` is what its mean, which is exact, allows: wrong by 1 in 2**53 at most.
      `min`, `max`, `below` and `above` are as they were, and so are all counts.
    - The outcomes of ``--check`` are not part of a result: judge it again.

    Raises OSError where the file can't be read, and ValueError, which names the file and the key,
    where it has no result, or one of a newer format, or one that is broken.
    """
    if isinstance(source, (str, os.PathLike)):
        name = os.fspath(source)
        with open(source, "rb") as file:
            content: bytes | str = file.read()
    else:
        name = str(getattr(source, "name", "the file"))
        content = source.read()
    try:
        return from_dict(msgspec.json.decode(content))
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError(f"{name}: no JSON, or only a part of it: {error}") from error
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def from_dict(document: Mapping[str, Any]) -> Result:
    """See `Result.from_dict`."""
    _check_format(document)
    return _converted(document, _Result).made()


def _converted(value: object, kind: type[T], key: str = "") -> T:
    """A value of this kind. ValueError names the key within it, or `key` itself."""
    try:
        return msgspec.convert(value, kind, dec_hook=_special, str_keys=True)
    except msgspec.ValidationError as error:
        raise ValueError(_by_key(str(error), key)) from error


def _phases(kept: Mapping[str, Mapping[str, Any]], key: str) -> dict[str, dict[str, Histogram]]:
    return {
        phase: {
            name: _converted(value, Histogram, f"{key}.{phase}.{name}")
            for name, value in by_class.items()
        }
        for phase, by_class in kept.items()
    }


def _check_format(document: object) -> None:
    said = document.get("format") if isinstance(document, Mapping) else None
    family, _, version = said.rpartition("/") if isinstance(said, str) else ("", "", "")
    if family != _FAMILY:
        what = "there is no format" if said is None else f"format is {said!r:.40}"
        raise ValueError(f"no result of ftnet load: {what}, not {FORMAT!r}")
    if version != _VERSION:
        raise ValueError(f"format is {said!r:.40}, and this ftnet reads {FORMAT!r}; a newer may")


def _by_key(message: str, of: str = "") -> str:
    """The key first, as a person writes it: "counts.sent: Expected `int`, got `str`"; `of`: what
    it is a key of."""
    reason, at, path = message.rpartition(" - at `")
    if not at:
        reason, path = message, ""
    key = f"{of}{path.rstrip('`').removeprefix('$')}".removeprefix(".")
    return f"{key}: {reason}" if key else reason


def _special(kind: type, value: object) -> Any:
    """What msgspec does not know of; its errors get the key."""
    if kind is not Histogram:
        raise NotImplementedError(kind)
    try:
        return _histogram(msgspec.convert(value, _Histogram))
    except msgspec.ValidationError as error:  # has no key of what is around it
        raise ValueError(_by_key(str(error))) from error


# ---- histograms


class _Histogram(msgspec.Struct, frozen=True):
    """What is needed of what `result.full` writes."""

    count: _Whole
    min: _Whole | None
    max: _Whole | None
    mean: _Number | None
    below: _Whole
    above: _Whole
    hdr: str


def _histogram(kept: _Histogram) -> Histogram:
    """Counts from the blob, and what is exact from beside it. ValueError: they don't agree."""
    found = Histogram.decode(kept.hdr)
    if found.count != kept.count:
        raise ValueError(f"count is {kept.count}, and hdr has {found.count} values")
    span = None
    if kept.count:
        if kept.min is None or kept.max is None or kept.mean is None:
            raise ValueError("min, max and mean must be numbers where there are values")
        if not kept.min <= kept.mean <= kept.max:
            raise ValueError("mean is not between min and max")
        span = kept.min, kept.max, round(Fraction(kept.mean) * kept.count)
    pickled: Any = found.__reduce__()
    restored, (payload, *_) = pickled
    try:
        made: Histogram = restored(payload, kept.below, kept.above, True, span)
    except OverflowError as error:
        raise ValueError("a number has more than 64 bits") from error
    return made


def _percentile(percent: float) -> Any:
    return msgspec.field(name=f"p{percent:g}")


class _Summary(msgspec.Struct, frozen=True):
    """What `result.summary` writes: all are None when count is 0."""

    count: _Whole
    min: _Whole | None
    max: _Whole | None
    mean: _Number | None
    p50: _Whole | None
    p75: _Whole | None
    p90: _Whole | None
    p95: _Whole | None
    p99: _Whole | None
    p999: _Whole | None = _percentile(99.9)
    p9999: _Whole | None = _percentile(99.99)

    def made(self) -> Summary:
        if not self.count:
            return Summary()
        found = (self.p50, self.p75, self.p90, self.p95, self.p99, self.p999, self.p9999)
        return Summary(
            self.count,
            self.min or 0,
            self.max or 0,
            self.mean or 0.0,
            tuple(value or 0 for value in found),
        )


assert [f"p{percent:g}" for percent in PERCENTS] == list(_Summary.__struct_encode_fields__[4:])


# ---- the rest


class _Counts(msgspec.Struct, frozen=True):
    """Those of `Counts`."""

    scheduled: _Whole
    sent: _Whole
    completed: _Whole
    failed: _Whole
    unfinished: _Whole
    unsent: _Whole
    late: _Whole
    wrong_status: _Whole
    wrong_length: _Whole
    wrong_content: _Whole
    retried: _Whole
    bytes_sent: _Whole
    bytes_received: _Whole
    opened: _Whole
    connect_failed: _Whole
    closed: _Whole
    answered: _Whole

    def made(self) -> Counts:
        return Counts(**msgspec.structs.asdict(self))


class _Failure(msgspec.Struct, frozen=True):
    errno: Errno
    cause: str
    text: str
    count: _Whole

    def made(self) -> Failure:
        code = curl_code(self.cause)
        number = getattr(os_errors, self.cause, 0) if self.cause.isalnum() else 0
        return Failure(self.errno, Cause(code, self.cause, self.text, number), self.count)


class _Interval(msgspec.Struct, frozen=True):
    at: _Number
    seconds: _Number
    measured: bool
    counts: _Counts
    in_flight: _Whole
    waiting: _Whole
    connections: _Whole
    target: _Number
    cpu: _Number
    response: _Summary
    service: _Summary

    def made(self) -> Interval:
        given = msgspec.structs.asdict(self)
        for name in ("counts", "response", "service"):
            given[name] = given[name].made()
        return Interval(**given)


class _Step(msgspec.Struct, frozen=True):
    kind: str
    counts: _Counts
    errors: tuple[_Failure, ...]
    statuses: dict[_Whole, _Whole]
    service: Histogram
    response: Histogram
    phases: dict[str, dict[str, Any]]  # of histograms, whose keys errors name
    checks: dict[str, tuple[_Whole, _Whole]]

    def made(self, key: str) -> Step:
        given = msgspec.structs.asdict(self)
        given["phases"] = _phases(self.phases, f"{key}.phases")
        given["counts"] = self.counts.made()
        given["errors"] = tuple(one.made() for one in self.errors)
        return Step(**given)


class _Worker(msgspec.Struct, frozen=True):
    name: str
    host: str
    clock_offset: float
    clock_error: _Number
    cpu: _Number
    busiest: _Number
    late: _Number
    counts: _Counts
    lost: str
    lost_at: float | None
    missing: _Whole | None

    def made(self) -> Worker:
        return Worker(**msgspec.structs.asdict(self) | {"counts": self.counts.made()})


@dataclass(frozen=True, slots=True)
class KeptOptions(Options):
    """Options as a result keeps them: to be looked at and compared, not to run with."""

    data_length: int = 0  #: bytes of `data`, which was not kept
    plan_name: str | None = None  #: of the `plan`, which was not kept

    def to_dict(self) -> dict[str, Any]:
        """For JSON, as the options that these are of."""
        out = Options.to_dict(self)
        out["data"] = out.pop("data_length")
        out["plan"] = out.pop("plan_name")
        return out


class _Options(msgspec.Struct, frozen=True):
    """What `Options.to_dict` writes."""

    url: str
    method: str
    header: dict[str, str]
    data: _Whole
    connections: _Whole
    streams: _Whole
    http_version: Literal["1.1", "2", "2-prior-knowledge", "3", "3-only"] | None
    rate: _Number | None
    stages: tuple[tuple[_Number, _Number], ...]
    arrivals: Literal["constant", "poisson"]
    seed: _Whole
    think: _Number
    warmup: _Number
    duration: _Number | None
    requests: _Whole | None
    timeout: _Number
    grace: _Number
    expect_status: tuple[int, ...]
    expect_length: _Whole | None
    late_after: _Number
    workers: _Whole
    verify: bool
    plan: str | None = None

    def made(self) -> KeptOptions:
        given = msgspec.structs.asdict(self)
        given["data_length"] = given.pop("data")
        given["plan_name"] = given.pop("plan")
        given["settings"] = {} if given.pop("verify") else {"verify": False}
        return KeptOptions(**given)


class _Result(msgspec.Struct, frozen=True):
    """What `Result.to_dict` writes, but what follows from the rest."""

    options: _Options
    started: float
    warmup: _Number
    duration: _Number
    interrupted: bool
    reasons: tuple[Verdict, ...]
    warnings: tuple[Verdict, ...]
    counts: _Counts
    errors: tuple[_Failure, ...]
    statuses: dict[_Whole, _Whole]
    peer: str
    protocol: str
    cpu: _Number
    cpu_workers: tuple[_Number, ...]
    service: Histogram
    response: Histogram
    lateness: Histogram
    phases: dict[str, dict[str, Any]]  # of histograms, whose keys errors name
    plan: str | None
    iterations: _Counts | None
    steps: dict[str, Any]  # likewise
    intervals: tuple[_Interval, ...]
    workers: tuple[_Worker, ...] = ()

    def made(self) -> Result:
        given = msgspec.structs.asdict(self)
        given["options"] = self.options.made()
        given["counts"] = self.counts.made()
        given["errors"] = tuple(one.made() for one in self.errors)
        given["plan"] = self.plan or ""
        given["iterations"] = self.iterations and self.iterations.made()
        given["phases"] = _phases(self.phases, "phases")
        given["steps"] = {
            name: _converted(step, _Step, f"steps.{name}").made(f"steps.{name}")
            for name, step in self.steps.items()
        }
        given["intervals"] = tuple(one.made() for one in self.intervals)
        given["workers"] = tuple(one.made() for one in self.workers)
        return Result(**given)
