"""``ftnet compare``: whether one result of ``ftnet load --json`` is worse than another."""

from __future__ import annotations

import argparse
import json
import math
import sys
from typing import TYPE_CHECKING, Final

from ftnet import cli

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ftnet.cli import Subparsers
    from ftnet.load import Change, Comparison
    from ftnet.terminal import Style

REGRESSION, NOT_COMPARABLE = 1, 3

_DESCRIPTION = """\
Tells whether NOW is worse than BASE, beyond chance; both are what `ftnet load --json` wrote.

The requests of a run are not independent of each other: a slow second makes all of its requests
slow. So not requests but seconds are the witnesses, and they may be like their neighbours. From how
p50, p90, p99, p99.9, mean, rate and error rate go up and down from second to second comes how sure
each of them is, and so the interval in which its change lies. All intervals hold together with
probability 1 - ALPHA: so often, runs that are alike are not said to differ in anything.
A regression is a figure that is surely worse, and worse by more than --max-regression. Where one
can't be ruled out either, because too little is known, a note says so.
D, the greatest distance of the two distributions (0 to 1), and the area between them tell how far
the response times differ as a whole, and p how likely as much is by chance."""

_EPILOG = """\
What changes from run to run and not within one (a cold cache, other work on the machine) can't be
seen in one run of each. Repeat them in turn and `ftnet merge` each side, measure for 30 s at least,
and let --max-regression be more than what two runs of the same build differ by.
A percentile is compared when ten requests of each run are above it: p99 takes 1,000 requests.
Of a plan's steps no seconds are kept: they are taken to go up and down as the whole run does.

examples:
  ftnet load --rate 1k --duration 1m --json base.json --quiet URL
  ftnet compare base.json now.json
  ftnet compare --max-regression 10% --markdown base.json now.json >> "$GITHUB_STEP_SUMMARY"

exit codes:
  0 no regression   1 regression   2 usage: a file can't be read, or is no result
  3 not comparable: a run was INVALID or too short, they were asked for another load, or one of
  them ended with many requests unanswered
"""

_TELLING: Final = 10.0  # a change that may be more is not told of
_WORDS: Final = {"ns": ("slower", "faster"), "1/s": ("less", "more"), "share": ("more", "fewer")}


def add_compare(commands: Subparsers) -> None:
    """Adds ``compare`` to the commands."""
    parser = cli.add_command(
        commands,
        "compare",
        "BASE NOW",
        help="tell whether one result of ftnet load --json is worse than another",
        description=_DESCRIPTION,
        epilog=_EPILOG,
    )
    add = parser.add_argument
    add("base", metavar="BASE", help="result to compare with; -: stdin")
    add("now", metavar="NOW", help="result that must not be worse; -: stdin")
    add("--max-regression", metavar="PERCENT", type=share, default=0.05,
        help="by how much each figure may be worse (default: 5%%)")  # fmt: skip
    add("--alpha", metavar="ALPHA", type=chance, default=0.01,
        help="how likely runs that are alike may be said to differ (default: 0.01)")  # fmt: skip
    add("--force", action="store_true",
        help="also runs that were asked for another load; INVALID ones stay so")  # fmt: skip
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--markdown", action="store_true", help="a table for a pull request")
    form.add_argument("--json", action="store_true", help="one JSON object")
    parser.set_defaults(run=_run)


def share(text: str) -> float:
    """``5%``, ``0.5%`` as 0.05, 0.005."""
    number = text.removesuffix("%").strip()
    try:
        value = float(number) / 100
    except ValueError:
        value = math.nan
    if not text.endswith("%") or not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no percentage of 0% or more: 5%, 0.5%")
    return value


def chance(text: str) -> float:
    """A number between 0 and 0.5."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < 0.5:
        raise argparse.ArgumentTypeError(f"{text!r} is not more than 0 and less than 0.5: 0.01")
    return value


def _run(args: argparse.Namespace) -> int:
    from ftnet import load
    from ftnet.cli_merge import read_results
    from ftnet.terminal import Style

    base, now = read_results([args.base, args.now])
    found = load.compare(
        base, now, max_regression=args.max_regression, alpha=args.alpha, force=args.force,
        names=(args.base, args.now),
    )  # fmt: skip
    if args.json:
        cli.say(json.dumps(found.to_dict()), sys.stdout)
    elif args.markdown:
        cli.say("\n".join(markdown(found)), sys.stdout)
    else:
        for line in table(found, Style.of(sys.stdout)):
            cli.say(line, sys.stdout)
    return code(found)


def code(found: Comparison) -> int:
    """The exit code."""
    if not found.comparable:
        return NOT_COMPARABLE
    return REGRESSION if found.regressions else 0


# ---- in words


def verdict(found: Comparison) -> str:
    """One line: what came of it."""
    if not found.comparable:
        return "not comparable"
    allowed = f"{found.max_regression * 100:g} %"
    if found.regressions:
        return f"regression: {_told(found.regressions)}; up to {allowed} is allowed"
    better = _told([(of, one) for of, one in _rows(found) if one.better])
    worse = _told([(of, one) for of, one in _rows(found) if one.worse])
    parts = [f"better: {better}"] if better else []
    parts += [f"worse, but not by more than {allowed}: {worse}"] if worse else []
    if found.different and not parts:
        parts = ["the response times differ, but no figure surely does"]
    nothing = f"nothing differs beyond chance (alpha {found.alpha:g})"
    return f"no regression: {'; '.join(parts) or nothing}"


def notes(found: Comparison) -> list[str]:
    """What should be known."""
    out = list(found.notes)
    if found.comparable and found.unsure:
        names = _listed([f"{of} {one.name}".lstrip() for of, one in found.unsure])
        out.append(
            f"worse by more than {found.max_regression * 100:g} % can't be ruled out for {names}:"
            " longer runs, or several merged, tell more"
        )
    return out


def _told(changes: Sequence[tuple[str, Change]]) -> str:
    return _listed([f"{of} {one.name} {_change(one)}".lstrip() for of, one in changes])


def _listed(names: Sequence[str]) -> str:
    """The first of them."""
    more = [f"{len(names) - 4} more"] if len(names) > 4 else []
    return ", ".join([*names[:4], *more])


def _value(one: Change, value: float) -> str:
    from ftnet.cli_load_report import duration, percent, rate

    if one.unit == "ns":
        return duration(value / 1e9)
    return f"{rate(value)}/s" if one.unit == "1/s" else percent(value)


def _change(one: Change) -> str:
    unit = "points" if one.unit == "share" else "%"
    return f"{_signed(one.change)} {unit}" if math.isfinite(one.change) else "from 0"


def _interval(one: Change) -> str:
    if one.unit != "share" and one.high > _TELLING:
        if one.low < 0:
            return "unknown"
        return f"{_signed(one.low)} or more"
    return f"{_signed(one.low)} to {_signed(one.high)}"


def _signed(share: float) -> str:
    """Percent, with a sign: ``+4.9``, ``-0.02``, ``+1,234``."""
    value = 100 * share
    size = abs(value)
    decimals = 0 if size >= 100 else 1 if size >= 1 or not size else 2
    return f"{value:+,.{decimals}f}"


def _rows(found: Comparison) -> Iterator[tuple[str, Change]]:
    """(step, change), those of the run first."""
    yield from (("", one) for one in found.changes)
    for step, changes in found.steps.items():
        yield from ((step, one) for one in changes)


def _whole(found: Comparison) -> str:
    from ftnet.cli_load_report import duration

    p = "p < 0.0001" if found.p < 1e-4 else f"p = {found.p:.2g}"
    return (
        f"response times as a whole: D = {found.distance:.3f} ({p}),"
        f" {duration(found.area / 1e9)} apart on average"
    )


# ---- for a person


def table(found: Comparison, style: Style) -> list[str]:
    """The whole report, without line ends."""
    from ftnet.cli_load_report import shown
    from ftnet.terminal import BOLD, DIM, RED, fitted, paint

    word, _, rest = verdict(found).partition(": ")
    word = word.upper()
    first, *out = _wrapped(f"{word}  {rest}", style)
    colour = "" if code(found) == 0 else RED
    out.insert(0, paint(word, colour + BOLD, style) + first[len(word) :])
    for one in [*found.problems, *(f"NOTE  {note}" for note in notes(found))]:
        out += _wrapped(one, style)
    if not found.changes:
        return out
    heads = f"{'base':>11}{'now':>11}{'change':>14}   surely between"
    out += ["", f"base  {shown(found.base)}", f"now   {shown(found.now)}", ""]
    out.append(paint(f"{'':<8}{heads}", DIM, style))
    before = ""
    for step, change in _rows(found):
        if step != before:
            out += ["", fitted(f"step {shown(step)}", style.width, style).rstrip()]
            before = step
        both = "".join(f"{_value(change, one):>11}" for one in (change.base, change.now))
        word = _word(change)
        line = (
            f"{change.name:<8}{both}{_change(change):>14}   {_interval(change):<22} {word}".rstrip()
        )
        out.append(line.removesuffix(word) + paint(word, RED if change.regression else "", style))
    out += ["", _whole(found)]
    return out if style.blocks else [line.replace("µ", "u") for line in out]


def _wrapped(text: str, style: Style) -> list[str]:
    import textwrap

    from ftnet.cli_load_report import shown

    width = max(style.width, 20)
    return textwrap.wrap(shown(text), width, subsequent_indent="  ", break_on_hyphens=False)


def _word(one: Change) -> str:
    if one.regression:
        return "REGRESSION"
    worse, better = _WORDS[one.unit]
    return worse if one.worse else better if one.better else ""


# ---- for a pull request


def markdown(found: Comparison) -> list[str]:
    """A table with the verdict above it, as GitHub and GitLab show it."""
    mark = "✅" if code(found) == 0 else "❌" if found.comparable else "⚠️"
    out = [f"{mark} **Load: {_escaped(verdict(found))}**"]
    told = [*found.problems, *(f"Note: {note}" for note in notes(found))]
    out += ["", *(f"- {_escaped(one)}" for one in told)] if told else []
    if not found.changes:
        return out
    out += ["", "| | base | now | change | surely between | |", "|:--|--:|--:|--:|:-:|:--|"]
    for step, one in _rows(found):
        name = f"{_escaped(step)} {one.name}" if step else one.name
        cells = [name, _value(one, one.base), _value(one, one.now), _change(one), _interval(one)]
        out.append(f"| {' | '.join(cells)} | {_arrow(one)} |")
    names = f"{_escaped(found.base)} → {_escaped(found.now)}"
    return [*out, "", f"<sub>{names}; alpha {found.alpha:g}; {_whole(found)}</sub>"]


def _arrow(one: Change) -> str:
    if not (one.worse or one.better):
        return "≈"
    arrow = "▲" if one.low > 0 else "▼"
    word = _word(one)
    return f"{arrow} **{word}** ❌" if one.regression else f"{arrow} {word}"


def _escaped(text: str) -> str:
    """As it is, whatever Markdown makes of its characters."""
    line = "".join(char if char.isprintable() else "?" for char in text)
    return "".join(f"\\{char}" if char in "\\`*_[]<>|#~" else char for char in line)
