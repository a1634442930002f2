"""Files that a run writes while it goes: JSON lines, CSV, HdrHistogram logs.

::

    with open("run.ndjson", "wb") as file:
        load.run("http://localhost:8000/", rate=500, observers=[Ndjson(file)])

What is of an interval is written, and flushed, when it is over: who reads along sees it, and a run
that is killed leaves all lines but the last.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator, Sequence
from time import gmtime, strftime
from typing import Any, BinaryIO, Final
from urllib.parse import quote

from ftcore.histogram import Histogram
from ftcore.tally import Tally
from ftnet.client import VERSION
from ftnet.load.books import Books
from ftnet.load.checks import Check
from ftnet.load.options import Options
from ftnet.load.report import counts_of, failures_of, phases_of, responses
from ftnet.load.result import (
    PERCENTS,
    Counts,
    Interval,
    Result,
    Summary,
    counts_dict,
    failure_dict,
    summary,
)

__all__ = ["Csv", "HdrLog", "Hgrm", "Ndjson", "Output"]

#: Of the lines that `Ndjson` writes: docs/load-interval.schema.json.
LINES: Final = "ftnet.load.interval/1"
_MS: Final = 1e6  # ns


class Output:
    """Follows a run and writes to a binary file, which stays open.

    A file that can't be written to is no reason to lose a run: nothing more is written, and
    `error` says why.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.error: OSError | None = None
        self._file = file

    def begun(self, options: Options, started: float) -> None:
        """There is no head."""

    def gathered(self, interval: Interval, books: Books) -> None:
        """Nothing is written of an interval."""

    def ended(self, result: Result) -> None:
        """There is no end."""

    def _write(self, text: str) -> None:
        if self.error is not None:
            return
        try:
            rest = memoryview(text.encode())
            while rest:  # a file without a buffer may take a part
                rest = rest[self._file.write(rest) :]
            self._file.flush()
        except OSError as error:
            self.error = error


class Ndjson(Output):
    """A JSON object a line: the options, each interval, at the end the result and its checks."""

    def __init__(self, file: BinaryIO, checks: Sequence[Check] = ()) -> None:
        super().__init__(file)
        self._checks = checks

    def begun(self, options: Options, started: float) -> None:
        head = {"format": LINES, "ftnet": VERSION, "started": started}
        self._line("options", {**head, "options": options.to_dict()})

    def gathered(self, interval: Interval, books: Books) -> None:
        iterations = books.iterations and counts_dict(counts_of(books.iterations))
        phases = {
            phase: summary(Summary.of(by_class["all"]))
            for phase, by_class in phases_of(books.total).items()
        }
        steps = {name: _step(tally) for name, tally in books.steps.items()}
        more = {"phases": phases, "iterations": iterations, "steps": steps}
        self._line("interval", {**interval.to_dict(), **_outcomes(books.total), **more})

    def ended(self, result: Result) -> None:
        content = result.to_dict()
        content["intervals"] = []  # they are the lines before
        content["checks"] = [check.judge(result).to_dict() for check in self._checks]
        self._line("summary", {"result": content})

    def _line(self, kind: str, content: dict[str, Any]) -> None:
        self._write(json.dumps({"type": kind, **content}) + "\n")


def _outcomes(tally: Tally) -> dict[str, Any]:
    return {
        "statuses": {str(code): number for code, number in tally.statuses().items()},
        "errors": [failure_dict(one) for one in failures_of(tally)],
    }


def _step(tally: Tally) -> dict[str, Any]:
    return {
        "counts": counts_dict(counts_of(tally)),
        **_outcomes(tally),
        "response": summary(Summary.of(responses(tally, "total"))),
        "service": summary(Summary.of(responses(tally, "service"))),
    }


# ---- CSV

_STOOD: Final = ("in_flight", "waiting", "connections", "target", "cpu")
_VALUES: Final = ("count", "min", "mean", *(f"p{one:g}" for one in PERCENTS), "max")
#: As in JSON; what ends in _ns is ns, other times are s.
COLUMNS: Final = (
    "step", "time", "at", "seconds", "measured", "rate", "wrong", *_STOOD,
    *Counts.__dataclass_fields__,
    *(
        f"{span}_{value}" + ("" if value == "count" else "_ns")
        for span in ("response", "service")
        for value in _VALUES
    ),
)  # fmt: skip


class Csv(Output):
    """CSV (RFC 4180) with a header: a row for each interval, and of a plan one for each step of
    it, which has its name in `step`."""

    def begun(self, options: Options, started: float) -> None:
        self._started = started
        self._rows([dict(zip(COLUMNS, COLUMNS, strict=True))])

    def gathered(self, interval: Interval, books: Books) -> None:
        stood = {name: getattr(interval, name) for name in _STOOD}
        whole = _row(interval.counts, interval.response, interval.service) | stood
        rows = [{"step": ""} | whole]
        for name, tally in books.steps.items():
            spans = [Summary.of(responses(tally, span)) for span in ("total", "service")]
            rows.append({"step": name} | _row(counts_of(tally), *spans))
        for row in rows:
            row["time"] = f"{self._started + interval.at:.6f}"
            row["at"], row["seconds"] = interval.at, interval.seconds
            row["measured"] = "true" if interval.measured else "false"
            row["rate"] = row["answered"] / interval.seconds if interval.seconds else 0.0
        self._rows(rows)

    def _rows(self, rows: Sequence[dict[str, Any]]) -> None:
        text = io.StringIO()
        csv.DictWriter(text, COLUMNS).writerows(rows)
        self._write(text.getvalue())


def _row(counts: Counts, response: Summary, service: Summary) -> dict[str, Any]:
    row: dict[str, Any] = {"wrong": counts.wrong, **counts_dict(counts)}
    for span, found in (("response", response), ("service", service)):
        for name, value in summary(found).items():
            row[f"{span}_{name}" + ("" if name == "count" else "_ns")] = value
    return row


# ---- for the tools of HdrHistogram


class HdrLog(Output):
    """An interval log of HdrHistogram (format 1.3), of what is measured; values are ns.

    Response times have no tag, so that tools take them without being told. Others have
    ``Tag=service``, ``Tag=ttfb`` and so on; those of a plan's step ``Tag=STEP/response``,
    ``Tag=STEP/ttfb``, the step's name percent-encoded. "Interval_Max" is in ms.
    """

    def begun(self, options: Options, started: float) -> None:
        date = strftime("%Y-%m-%dT%H:%M:%SZ", gmtime(started))
        self._write(
            "#[Histogram log format version 1.3]\n"
            f"#[StartTime: {started:.3f} (seconds since epoch), {date}]\n"
            f"#[BaseTime: {started:.3f} (seconds since epoch)]\n"
            '"StartTimestamp","Interval_Length","Interval_Max","Interval_Compressed_Histogram"\n'
        )

    def gathered(self, interval: Interval, books: Books) -> None:
        if not interval.measured:
            return
        lines = list(_tagged(books.total, ""))
        for name, tally in books.steps.items():
            lines += _tagged(tally, quote(name, safe="") + "/")
        began = interval.at - interval.seconds
        self._write(
            "".join(
                f"{tag}{began:.3f},{interval.seconds:.3f},{Summary.of(found).max / _MS:.3f},"
                f"{found.encode()}\n"
                for tag, found in lines
            )
        )


def _tagged(tally: Tally, step: str) -> Iterator[tuple[str, Histogram]]:
    """Each distribution with its tag. The first is there also when it is empty, so that a time
    without answers is seen as one."""
    yield f"Tag={step}response," if step else "", responses(tally, "total")
    service = responses(tally, "service")
    if service.count:
        yield f"Tag={step}service,", service
    for phase, by_class in phases_of(tally).items():
        yield f"Tag={step}{phase},", by_class["all"]


class Hgrm(Output):
    """The percentiles of the response time, in ms, as HdrHistogram's plotters read them."""

    def ended(self, result: Result) -> None:
        found = result.response
        lines = [f"{'Value':>12} {'Percentile':>14} {'TotalCount':>10} {'1/(1-Percentile)':>14}\n"]
        for value, level, count in percentile_steps(found):
            rest = f" {1 / (1 - level):14.2f}" if level < 1 else ""
            lines.append(f"{value / _MS:12.3f} {level:2.12f} {count:10d}{rest}")
        mean, deviation, most = 0.0, 0.0, 0
        if found.count:
            mean, deviation, most = found.mean, found.stddev, found.max
        lines.append(f"#[Mean    = {mean / _MS:12.3f}, StdDeviation   = {deviation / _MS:12.3f}]")
        lines.append(f"#[Max     = {most / _MS:12.3f}, Total count    = {found.count:12d}]\n")
        self._write("\n".join(lines))


def percentile_steps(histogram: Histogram) -> Iterator[tuple[int, float, int]]:
    """(value, level of 0 to 1, values up to it), the levels ever closer to 1.

    As HdrHistogram's PercentileIterator steps, with five ticks in each half of the distance to 1.
    """
    level, count = 0.0, 0
    for value, number in zip(histogram.values, histogram.counts, strict=True):
        count += number
        while number and 100 * count / histogram.count >= level:
            yield value, level / 100, count
            level += 100 / (5 * 2 ** (math.floor(math.log2(100 / (100 - level))) + 1))
            if count == histogram.count:
                yield value, 1.0, count
                return
