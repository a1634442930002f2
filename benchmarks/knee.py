"""Draws how a server takes a growing load: answers and response times by the rate that was due.

ftnet load --stages 20s:2k --json knee.json 'http://127.0.0.1:8080/work'
python -m benchmarks.knee knee.json docs/load-knee.svg
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

BLUE, ORANGE, GREEN, FAINT = "#0072b2", "#d55e00", "#009e73", "#bbbbbb"  # told apart by everybody
STYLE = {
    "font.size": 9,
    "font.family": "sans-serif",
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "ftnet",  # the same picture gives the same file
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def due(stages: Sequence[Sequence[float]], first: float, at: float) -> float:
    """The rate that is due ``at`` so many seconds after the start."""
    before = first
    for seconds, rate in stages:
        if at <= seconds:
            return before + (rate - before) * at / seconds
        at, before = at - seconds, rate
    return before


def points(result: Mapping[str, Any]) -> list[tuple[float, float, float | None, float | None]]:
    """Of each interval: rate due, answers a second, median and 99th percentile in ms."""
    options = result["options"]
    found = []
    for one in result["intervals"]:
        middle = one["at"] - one["seconds"] / 2
        rate = due(options["stages"], options["rate"] or 0.0, middle)
        times = [one["response"][name] for name in ("p50", "p99")]
        p50, p99 = (None if time is None else time / 1e6 for time in times)
        found.append((rate, one["rate"], p50, p99))
    return found


def draw(result: Mapping[str, Any], path: Path) -> None:
    """Two panels above each other, on one axis of the rate that was due."""
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    plt.rcParams.update(STYLE)
    rates, answers, p50, p99 = zip(*points(result), strict=True)
    figure, (upper, lower) = plt.subplots(
        2, 1, figsize=(7.5, 5), sharex=True, layout="constrained", height_ratios=(2, 3)
    )
    upper.plot(rates, rates, color=FAINT, ls="--", label="as many as were due")
    upper.plot(rates, answers, color=GREEN, marker="o", ms=3, label="answers a second")
    lower.semilogy(rates, p99, color=ORANGE, marker="o", ms=3, label="99th percentile, ms")
    lower.semilogy(rates, p50, color=BLUE, marker="o", ms=3, label="median, ms")
    lower.set_yticks(ticks := [5, 10, 20, 50, 100, 200, 500], labels=map(str, ticks))
    lower.minorticks_off()
    lower.set_xlabel("requests due a second")
    for axis in (upper, lower):
        axis.legend(frameon=False, loc="upper left")
        axis.grid(color="#eeeeee")
    upper.set_title(result["options"]["url"], loc="left", fontsize=10)
    figure.savefig(path, bbox_inches="tight", metadata={"Date": None, "Creator": None})
    plt.close(figure)


if __name__ == "__main__":
    draw(json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2]))
