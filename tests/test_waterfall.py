"""The waterfall shows each phase where it was and as long as it was, in any terminal."""

from __future__ import annotations

import io
import itertools
import os
import pty
import re
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftnet import waterfall
from ftnet.terminal import Style

EPOCH = 1_790_000_000_000.0
TIMES = (
    "queueStart", "queueEnd", "redirectStart", "redirectEnd", "invokeStart", "fetchStart",
    "domainLookUpStart", "domainLookUpEnd", "connectStart", "connectEnd", "SSLconnectionStart",
    "SSLconnectionEnd", "requestStart", "requestEnd", "responseStart", "responseEnd",
)  # fmt: skip
BLOCKS = Style(width=80, blocks=True, colour=False)
ASCII = Style(width=80, blocks=False, colour=False)


def profile(**given: Any) -> SimpleNamespace:
    """A profile whose times are given in ms after the start; those not given were not reached."""
    fields: dict[str, Any] = dict.fromkeys(TIMES, 0.0)
    fields.update(
        peerIP="127.0.0.1", port=8443, socketReused=False, protocol="h2", rtt=0.05,
        sendBytesCount=312, receivedBytedCount=15234,
    )  # fmt: skip
    for name, value in given.items():
        fields[name] = EPOCH + value if name in TIMES else value
    return SimpleNamespace(**fields)


TLS = profile(
    queueStart=0, queueEnd=1, fetchStart=1, domainLookUpStart=1, domainLookUpEnd=3,
    connectStart=3, SSLconnectionStart=4, SSLconnectionEnd=9, connectEnd=9, requestStart=10,
    requestEnd=11, responseStart=31, responseEnd=40,
)  # fmt: skip
REUSED = profile(
    queueStart=0, queueEnd=1, fetchStart=1, domainLookUpStart=1, domainLookUpEnd=1,
    connectStart=1, connectEnd=1, requestStart=1, requestEnd=2, responseStart=5, responseEnd=6,
    socketReused=True,
)  # fmt: skip
HANGING_CONNECT = profile(
    queueStart=0, queueEnd=1, fetchStart=1, domainLookUpStart=1, domainLookUpEnd=3,
    connectStart=3, peerIP="", protocol="unknown",
)  # fmt: skip


def table(rows: list[waterfall.Row]) -> dict[str, tuple[float | None, float | None]]:
    return {row.label: (row.start, row.duration) for row in rows}


def test_each_phase_has_its_start_and_duration() -> None:
    assert table(waterfall.rows(TLS)) == {
        "queue": (0, 1),
        "DNS": (1, 2),
        "connect": (3, 1),
        "TLS": (4, 5),
        "send": (10, 1),
        "wait (TTFB)": (11, 20),
        "download": (31, 9),
        "total": (0, 40),
    }


def test_plain_http_connects_until_the_connection_stands() -> None:
    plain = profile(queueStart=0, connectStart=3, connectEnd=5)
    assert table(waterfall.rows(plain))["connect"] == (3, 2)
    assert table(waterfall.rows(plain))["TLS"] == (None, None)


def test_a_reused_connection_has_no_connection_phases() -> None:
    found = table(waterfall.rows(REUSED))
    assert [found[label] for label in ("DNS", "connect", "TLS")] == [(None, None)] * 3
    assert found["send"] == (1, 1)


def test_redirects_have_a_row_only_when_there_were_any() -> None:
    assert "redirects" not in table(waterfall.rows(TLS))
    redirected = profile(queueStart=0, redirectStart=1, redirectEnd=7, responseEnd=9)
    assert table(waterfall.rows(redirected))["redirects"] == (1, 6)


def test_an_answer_before_the_end_of_the_request_waits_for_nothing() -> None:
    early = profile(queueStart=0, requestStart=1, requestEnd=9, responseStart=4, responseEnd=10)
    assert table(waterfall.rows(early))["wait (TTFB)"] == (4, 0)


def test_the_phase_that_failed_lasts_until_the_failure() -> None:
    rows = waterfall.rows(HANGING_CONNECT, ended_after_ms=50.0)
    assert table(rows)["connect"] == (3, 47)
    assert table(rows)["total"] == (0, 50)
    assert [row.label for row in rows if row.failed] == ["connect", "total"]


def test_a_failure_before_any_phase_draws_an_empty_table() -> None:
    lines = waterfall.draw(profile(peerIP=""), tls=False, style=BLOCKS, ended_after_ms=0.1)
    assert all(re.search(r"-\s+-$", line) for line in lines[lines.index("") + 2 :])


def test_facts_name_protocol_peer_connection_bytes_and_rtt() -> None:
    assert waterfall.facts(TLS, tls=True) == [
        "h2",
        "127.0.0.1:8443",
        "new TLS connection",
        "sent 312 B",
        "received 15.2 kB",
        "rtt 0.05 ms",
    ]


@pytest.mark.parametrize(
    ("changes", "tls", "expected"),
    [
        ({"peerIP": "::1"}, True, "[::1]:8443"),
        ({"peerIP": ""}, False, "no connection"),
        ({"socketReused": True}, False, "reused plain connection"),
        ({"rtt": 0.0}, True, "rtt unknown"),
    ],
)
def test_facts_say_what_is_special(changes: dict[str, Any], tls: bool, expected: str) -> None:
    assert expected in waterfall.facts(profile(**changes), tls=tls)


def test_facts_share_lines_as_far_as_they_fit() -> None:
    assert waterfall.joined(["abc", "def", "ghi"], Style(width=9)) == ["abc · def", "ghi"]
    assert waterfall.joined(["abc", "def"], Style(width=8, blocks=False)) == ["abc, def"]
    assert waterfall.joined(["longer than that"], Style(width=9)) == ["longer than that"]


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (15234, "15.2 kB"), (999_499, "999 kB"),
     (999_600, "1 MB"), (2_500_000_000, "2.5 GB"), (7_000_000_000_000, "7 TB")],
)  # fmt: skip
def test_bytes_are_written_short(count: int, text: str) -> None:
    assert waterfall.human_bytes(count) == text


@pytest.mark.parametrize("failed", [False, True])
@pytest.mark.parametrize("style", [BLOCKS, ASCII, Style(width=60), Style(width=120)])
def test_no_line_is_wider_than_the_terminal(style: Style, failed: bool) -> None:
    drawn = HANGING_CONNECT if failed else TLS
    lines = waterfall.draw(drawn, tls=True, style=style, ended_after_ms=9000.0 if failed else None)
    assert max(len(line) for line in lines) <= style.width


def test_numbers_stand_in_columns() -> None:
    drawn = waterfall.draw(TLS, tls=True, style=BLOCKS)
    lines = drawn[drawn.index("") + 1 :]
    ends = [re.match(r".*?\S {2,}\S+(?: ms)? {2,}\S+(?: ms)?(?= {2}|$)", line) for line in lines]
    assert all(ends)
    assert len({match.end() for match in ends if match}) == 1


def test_without_block_characters_the_picture_is_ascii() -> None:
    lines = waterfall.draw(HANGING_CONNECT, tls=True, style=ASCII, ended_after_ms=50.0)
    assert all(line.isascii() for line in lines)
    assert any("###" in line and line.endswith("<- failed") for line in lines)


def test_colours_do_not_change_the_text() -> None:
    coloured = waterfall.draw(TLS, tls=True, style=Style(colour=True))
    bare = [re.sub(r"\x1b\[\d+m", "", line).rstrip() for line in coloured]
    assert coloured != bare
    assert bare == waterfall.draw(TLS, tls=True, style=BLOCKS)


# In eighths of a column: how far a glyph is filled, and from which side.
LEFT = {glyph: eighths for eighths, glyph in enumerate(" ▏▎▍▌▋▊▉█")}
RIGHT = {"▕": 1, "▐": 4}


def painted(text: str) -> tuple[int, int]:
    """(first, last) eighth that is filled; asserts that nothing between them is empty."""
    cells = [(8 - RIGHT[c], 8) if c in RIGHT else (0, LEFT[c]) for c in text]
    filled = [(i * 8 + a, i * 8 + b) for i, (a, b) in enumerate(cells) if a != b]
    assert all(one[1] == two[0] for one, two in itertools.pairwise(filled))
    return filled[0][0], filled[-1][1]


@given(
    start=st.floats(0, 1000),
    duration=st.floats(0, 1000),
    rest=st.floats(0.001, 1000),
    width=st.integers(8, 64),
)
def test_bars_are_to_scale(start: float, duration: float, rest: float, width: int) -> None:
    total = start + duration + rest
    text = waterfall.bar(start, duration, total, width, BLOCKS)
    assert len(text) <= width
    first, last = painted(text)
    scale = width * 8 / total
    # A start is drawn with three glyphs only: up to 3 eighths off. What is shorter than a column
    # sits at one of its sides.
    slack = 4.01 if (start + duration) * scale // 8 > start * scale // 8 else 8.0
    assert abs(first - start * scale) <= slack
    assert abs(last - (start + duration) * scale) <= slack


@given(start=st.floats(0, 100), duration=st.floats(0, 100), width=st.integers(8, 64))
def test_ascii_bars_are_to_scale(start: float, duration: float, width: int) -> None:
    total = start + duration + 1
    text = waterfall.bar(start, duration, total, width, ASCII)
    assert len(text) <= width
    assert abs(text.index("#") - start * width / total) <= 1.2
    assert abs(len(text) - (start + duration) * width / total) <= 1.2


def test_the_shortest_phase_is_visible() -> None:
    assert waterfall.bar(0, 0.0001, 1000, 40, BLOCKS).strip()
    assert waterfall.bar(1000, 0, 1000, 40, BLOCKS).strip()


def test_phases_that_follow_each_other_do_not_overlap() -> None:
    one = painted(waterfall.bar(0, 10, 20, 40, BLOCKS))
    two = painted(waterfall.bar(10, 10, 20, 40, BLOCKS))
    assert one == (0, 160)
    assert two == (160, 320)


class Terminal(io.TextIOWrapper):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("variables", "colour"),
    [({"TERM": "xterm"}, True), ({"TERM": "xterm", "NO_COLOR": ""}, True),
     ({"TERM": "xterm", "NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)],
)  # fmt: skip
def test_colour_only_where_it_is_wanted(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], colour: bool
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert Style.of(Terminal(io.BytesIO(), "utf-8")).colour is colour
    assert Style.of(io.TextIOWrapper(io.BytesIO(), "utf-8")).colour is False


@pytest.mark.parametrize(
    ("encoding", "blocks"), [("utf-8", True), ("ascii", False), ("latin-1", False)]
)
def test_block_characters_only_where_the_encoding_has_them(encoding: str, blocks: bool) -> None:
    assert Style.of(io.TextIOWrapper(io.BytesIO(), encoding)).blocks is blocks


def test_the_width_is_that_of_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl
    import struct
    import termios

    monkeypatch.delenv("COLUMNS", raising=False)
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 97, 0, 0))
    with os.fdopen(master, "rb"), os.fdopen(slave, "w") as stream:
        assert Style.of(stream).width == 97
        monkeypatch.setenv("COLUMNS", "61")
        assert Style.of(stream).width == 61
