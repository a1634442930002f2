"""Measures how far each field of a profile is from what the wire says, and writes it down.

    python -m benchmarks.truth                  everything, into docs/: four to eight minutes
    python -m benchmarks.truth --quick          few requests, printed only: below a minute
    python -m benchmarks.truth --only upload    scenarios whose name holds that; printed only

Needs root and tcpdump (on the loopback), for the proxy tinyproxy, for the cost of a profile nginx.
The client has one processor; the server, the resolver and the proxy have another. A scenario
during which other programs took more than 5 % of the processors is measured a second time, while
there is time.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

from benchmarks.peers import version_of
from benchmarks.report import write_into_readme
from benchmarks.rounds import ROOT
from benchmarks.truth import cost, report
from benchmarks.truth.capture import find_tcpdump
from benchmarks.truth.scenarios import SCENARIOS, Bench, Row, Scenario

QUICK = 0.1
QUIET = 0.05  # share of other programs above which a scenario is measured a second time
PATIENCE = 240  # seconds after the start until which that is done
QUICK_SKIPPED = ("4 MiB", "busy", "parts")
ROUNDS, REQUESTS = 9, 60_000


def missing() -> str:
    """Why nothing can be measured here; "" if it can."""
    if platform.system() != "Linux" or os.geteuid() != 0:
        return "packets are captured by root on Linux only"
    try:
        find_tcpdump()
    except FileNotFoundError as error:
        return str(error)
    return ""


def chosen(only: Sequence[str], quick: bool) -> list[Scenario]:
    """The scenarios that a word of `only` is in; all without. If `quick`, not what takes long."""
    some = [one for one in SCENARIOS if not only or any(word in one.name for word in only)]
    if not quick:
        return some
    short = [one for one in some if not any(word in one.name for word in QUICK_SKIPPED)]
    # peers are slow at many requests at once
    return [replace(one, peers=one.peers if one.c == 1 else 0) for one in short if one.c <= 64]


def measured(scenarios: Sequence[Scenario], share: float, patience: float) -> list[Row]:
    """All of them; of two tries the one counts that other programs disturbed less."""
    rows: list[Row] = []
    begun = time.monotonic()
    with Bench() as bench:
        for scenario in scenarios:
            start = time.monotonic()
            tried = bench.measure(scenario, share)
            disturbed = tried[0].others > QUIET and not scenario.busy
            if disturbed and time.monotonic() - begun < patience:
                again = bench.measure(scenario, share)
                tried = min(tried, again, key=lambda some: some[0].others)
            rows += tried
            took = time.monotonic() - start
            sys.stderr.write(f"{scenario.name} c={scenario.c}: {took:.1f} s\n")
    return rows


def facts() -> str:
    versions = version_of("ftnet", "pycurl", "aiohttp", "httpx")()
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} processors,"
        f" {platform.system()} {platform.release()}, Python {platform.python_version()};"
        f" {versions}."
    )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.truth",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="few requests, nothing is written")
    parser.add_argument("--only", action="append", default=[], metavar="SCENARIO")
    options = parser.parse_args(arguments)
    if why := missing():
        parser.error(why)
    scenarios = chosen(options.only, options.quick)
    if not scenarios:
        names = dict.fromkeys(one.name for one in SCENARIOS)
        parser.error(f"no scenario has that name: {'; '.join(names)}")
    start = time.monotonic()
    rows = measured(scenarios, *((QUICK, 0) if options.quick else (1.0, PATIENCE)))
    lines: list[str] = []
    if not options.only:
        lines = list(cost.rounds(*((3, 6_000) if options.quick else (ROUNDS, REQUESTS))))
    text = report.document(rows, lines, facts())
    print(text)
    if not options.quick and not options.only:
        write(rows, text)
    sys.stderr.write(f"took {time.monotonic() - start:.0f} s\n")
    return int(any(row.note for row in rows))


def write(rows: Sequence[Row], text: str) -> None:
    """Into docs/: the tables in timing.md, and the pictures beside it."""
    from benchmarks.truth import plots

    docs = ROOT / "docs"
    docs.mkdir(exist_ok=True)
    page = docs / "timing.md"
    if not page.exists():
        page.write_text(report.STUB, encoding="utf-8")
    write_into_readme(page, text, report.MARKS)
    plots.errors(rows, docs / "timing-errors.svg")
    plots.phases(docs / "timing-phases.svg")


if __name__ == "__main__":
    sys.exit(main())
