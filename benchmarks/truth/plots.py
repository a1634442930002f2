"""The pictures: how far off each client was, and the phases in their order."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

from benchmarks.truth.clients import CLIENTS, FIELDS
from benchmarks.truth.report import bar, percentile
from benchmarks.truth.scenarios import Row, Scenario

PANELS = (("http", 1), ("https, new", 1), ("https", 64))  # scenario, concurrency
COLOURS = (
    "#d55e00",
    "#0072b2",
    "#56b4e9",
    "#009e73",
    "#cc79a7",
    "#777777",
)  # told apart by everybody
LINEAR, WIDEST = 10.0, 100_000.0  # µs: linear up to the first, shown up to the second
INK, FAINT = "#222222", "#bbbbbb"
STYLE = {
    "font.size": 9,
    "font.family": "sans-serif",
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "ftnet",  # the same picture gives the same file
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": INK,
}

#: Phase, its first and last moment (field, place in the picture), colour. Not to scale.
PHASES = (
    ("waiting for a connection", ("invokeStart", 0), ("queueEnd", 5), FAINT),
    ("redirects before", ("redirectStart", 5), ("redirectEnd", 16), FAINT),
    ("the final request", ("fetchStart", 17), ("", 100), "#eeeeee"),
    ("name look-up", ("domainLookUpStart", 18), ("domainLookUpEnd", 28), "#009e73"),
    ("connection", ("connectStart", 30), ("connectEnd", 58), "#e69f00"),
    ("TLS", ("SSLconnectionStart", 40), ("SSLconnectionEnd", 58), "#cc79a7"),
    ("request", ("requestStart", 60), ("requestEnd", 68), "#0072b2"),
    ("response", ("responseStart", 84), ("responseEnd", 100), "#d55e00"),
)
LEFT = -38
PATCH = {"facecolor": "white", "edgecolor": "none", "pad": 0.6}  # so that no line crosses a word
#: What goes over the wire at a place; up: from the client.
ON_THE_WIRE = (
    (18, True, "query"),
    (28, False, "answer"),
    (30, True, "SYN"),
    (40, False, "SYN-ACK"),
    (58, True, "Finished"),
    (60, True, "first byte"),
    (68, True, "last byte"),
    (84, False, "first byte"),
    (100, False, "last byte"),
)


def _pyplot() -> Any:
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    plt.rcParams.update(STYLE)
    return plt


def _save(figure: Any, path: Path) -> None:
    figure.savefig(path, bbox_inches="tight", metadata={"Date": None} | _creator(path))


def _creator(path: Path) -> dict[str, None]:
    return {"Creator": None} if path.suffix == ".svg" else {}


def errors(rows: Sequence[Row], path: Path) -> None:
    """Boxes of the errors by field and client, a panel for each of PANELS that was measured."""
    plt = _pyplot()
    panels = [
        some
        for name, c in PANELS
        if (some := [r for r in rows if (r.scenario.name, r.scenario.c) == (name, c) and r.errors])
    ]
    heights = [len(_fields(some)) for some in panels]
    figure, axes = plt.subplots(
        len(panels), 1, figsize=(9, 1.3 * len(panels) + 0.62 * sum(heights)),
        gridspec_kw={"height_ratios": heights}, squeeze=False, layout="constrained",
    )  # fmt: skip
    for axis, some in zip(axes[:, 0], panels, strict=True):
        _panel(axis, some)
    axes[-1, 0].set_xlabel(
        "reported minus true, µs (logarithmic beyond ±10): box 25-75 %, line 1-99 %, tick: median"
    )
    shown = dict.fromkeys(row.client for some in panels for row in some)
    handles = [plt.Line2D([], [], color=_colour(one), linewidth=6, label=one) for one in shown]
    figure.legend(handles=handles, loc="outside upper center", ncols=len(shown), frameon=False)
    _save(figure, path)
    plt.close(figure)


def _colour(client: str) -> str:
    return COLOURS[list(CLIENTS).index(client)]


def _fields(rows: Sequence[Row]) -> list[str]:
    return [name for name in FIELDS[1:] if any(row.errors.get(name) for row in rows)]


def _panel(axis: Any, rows: Sequence[Row]) -> None:
    scenario: Scenario = rows[0].scenario
    fields, step = _fields(rows), 0.8 / len(rows)
    limit = bar(scenario)
    axis.axvspan(-limit, limit, color="#eeeeee", zorder=0)
    axis.axvline(0, color=FAINT, linewidth=0.8, zorder=1)
    for number, row in enumerate(rows):
        for place, name in enumerate(fields):
            if off := row.errors.get(name):
                _box(axis, off, place + (number - (len(rows) - 1) / 2) * step, step, row.client)
    axis.set_xscale("symlog", linthresh=LINEAR, linscale=0.7)
    axis.set_xlim(-WIDEST, WIDEST)
    ticks = [sign * 10**power for sign in (-1, 1) for power in range(1, 6)]
    axis.set_xticks(sorted([*ticks, 0]), labels=[f"{tick:,}" for tick in sorted([*ticks, 0])])
    axis.set_yticks(range(len(fields)), labels=fields)
    axis.set_ylim(len(fields) - 0.5, -0.5)
    for place in range(1, len(fields)):
        axis.axhline(place - 0.5, color="#e4e4e4", linewidth=0.6, zorder=0)
    axis.tick_params(axis="y", length=0)
    connections = "new" if scenario.new else "reused"
    what = f"{scenario.kind}, {connections} connections, {scenario.c} at once"
    axis.set_title(f"{what} (grey: the bar, ±{limit:.0f} µs)", loc="left", fontsize=10)


def _box(axis: Any, off: Sequence[float], y: float, step: float, client: str) -> None:
    low, left, middle, right, high = (percentile(off, p) for p in (0.01, 0.25, 0.5, 0.75, 0.99))
    colour = _colour(client)
    axis.plot([low, high], [y, y], color=colour, linewidth=1.2, zorder=2)
    axis.barh(y, right - left, left=left, height=step * 0.75, color=colour, zorder=3)
    axis.plot([middle, middle], [y - step * 0.42, y + step * 0.42], color=INK, lw=1.1, zorder=4)


def phases(path: Path) -> None:
    """The phases of a request over TLS on a new connection, after a redirect; not to scale."""
    plt = _pyplot()
    figure, axis = plt.subplots(figsize=(10, 4.6), layout="constrained")
    bottom = len(PHASES) + 0.6
    for row, (what, *moments, colour) in enumerate(PHASES):
        (_, start), (_, end) = moments
        axis.barh(row, end - start, left=start, height=0.52, color=colour, zorder=3)
        for (name, at), side in zip(moments, ("right", "left"), strict=True):
            shift = -0.6 if side == "right" else 0.6
            axis.plot([at, at], [row, bottom], color=FAINT, lw=0.7, ls=":", zorder=1)
            if name:
                words = {"ha": side, "va": "center", "family": "monospace", "size": 8.5}
                axis.text(at + shift, row, name, bbox=PATCH, zorder=2, **words)
        axis.text(LEFT, row, what, ha="left", va="center", color=INK)
    _wire(axis, bottom)
    axis.set_xlim(LEFT, 112)
    axis.set_ylim(bottom + 1.6, -0.7)
    axis.axis("off")
    _save(figure, path)
    plt.close(figure)


def _wire(axis: Any, y: float) -> None:
    """The line of the packets: up from the client, down from the server."""
    axis.text(LEFT, y, "on the wire", ha="left", va="center", color=INK)
    axis.plot([0, 100], [y, y], color=INK, lw=0.8)
    for number, (at, up, what) in enumerate(ON_THE_WIRE):
        head = {"arrowstyle": "-|>", "color": INK, "lw": 0.9, "shrinkA": 0, "shrinkB": 0}
        low, high = y + 0.3, y - 0.3
        axis.annotate("", (at, high if up else low), (at, low if up else high), arrowprops=head)
        axis.text(at, y + 0.6 + 0.5 * (number % 2), what, ha="center", va="center", size=8)


def main() -> None:
    """Draws the picture of the phases alone: python -m benchmarks.truth.plots FILE."""
    import sys

    phases(Path(sys.argv[1]))


if __name__ == "__main__":
    main()
