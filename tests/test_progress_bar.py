"""The bar tells the truth about a file under way, fits any terminal, and leaves it tidy."""

from __future__ import annotations

import io
import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftnet.progress_bar import Progress, Rate, State, clock, draw, three_digits, told
from ftnet.terminal import Style, cells, displayable, fitted

HALF = State("archive.tar", 20_000_000, 40_000_000, 4_000_000, 5.0)
UNKNOWN = replace(HALF, total=0)
DONE = replace(HALF, done=40_000_000, elapsed=10.0, finished=True)
ASCII = Style(80, blocks=False)

# ---- lines


@pytest.mark.parametrize(
    ("state", "width", "line"),
    [
        (HALF, 72, "archive.tar  ▕█████     ▏  50%  20.0 MB / 40.0 MB  4.00 MB/s  ETA 0:05"),
        (HALF, 60, "archive.tar  ▕██████      ▏  50%  20.0 MB  4.00 MB/s   0:05"),
        (HALF, 40, "arc…tar  ▕██▌  ▏  50%  4.00 MB/s   0:05"),
        (HALF, 20, "▕██████      ▏  50%"),
        (HALF, 8, "50%"),
        (UNKNOWN, 60, "archive.tar  ▕        ███        ▏ 20.0 MB  4.00 MB/s  0:05"),
        (DONE, 72, "archive.tar  ▕████████████████████▏ 100%  40.0 MB  4.00 MB/s  in 10.0 s"),
        (DONE, 40, "arch…tar  ▕██████▏ 4.00 MB/s  in 10.0 s"),
    ],
)
def test_a_line_says_what_there_is_room_for(state: State, width: int, line: str) -> None:
    assert draw(state, Style(width)) == line


def test_a_line_is_ascii_where_it_must_be() -> None:
    line = draw(HALF, Style(72, blocks=False))
    assert line == "archive.tar  [#####     ]  50%  20.0 MB / 40.0 MB  4.00 MB/s  ETA 0:05"


def test_a_wide_terminal_has_room_for_a_long_name() -> None:
    state = replace(HALF, name="a" * 60)
    assert draw(state, Style(200)).startswith("a" * 60 + "  ▕")


def test_colours_change_nothing_but_the_colour() -> None:
    coloured = draw(HALF, Style(80, colour=True))
    assert "\x1b[32m" in coloured
    assert re.sub(r"\x1b\[\d+m", "", coloured) == draw(HALF, Style(80))


@pytest.mark.parametrize(
    ("done", "percent"), [(0, "  0%"), (399_999, "  0%"), (400_000, "  1%"), (40_000_000, " 99%")]
)
def test_a_hundred_percent_is_for_the_end(done: int, percent: str) -> None:
    assert f"▏ {percent}  " in draw(replace(HALF, done=done), Style(80))


def test_without_a_rate_nobody_knows_how_long_it_takes() -> None:
    assert draw(replace(HALF, rate=0.0), Style(80)).endswith("0 B/s  ETA -:--")


def test_a_marker_moves_there_and_back_where_the_length_is_unknown() -> None:
    places = [
        draw(replace(UNKNOWN, elapsed=seconds), ASCII).index("#") for seconds in (0, 1, 2, 3, 4)
    ]
    assert places[0] < places[1] < places[2] > places[3] > places[4] == places[0]


def test_an_empty_file_is_complete() -> None:
    assert "100%      0 B      0 B/s  in 0.01 s" in draw(State("x", finished=True), Style(80))


names = st.text(st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp")), max_size=300)
states = st.builds(
    State,
    name=names.filter(str.isprintable),
    done=st.integers(0, 2**63),
    total=st.integers(0, 2**63),
    rate=st.floats(0, 1e18),
    elapsed=st.floats(0, 1e9),
    finished=st.booleans(),
)


@given(states, st.integers(1, 300), st.booleans())
def test_every_line_fits(state: State, width: int, blocks: bool) -> None:
    line = draw(state, Style(width, blocks=blocks))
    assert cells(line) < width
    assert line.isprintable()


def test_what_is_told_at_the_end() -> None:
    assert told(DONE, "saved /tmp/x") == "saved /tmp/x: 40.0 MB in 10.0 s, 4.00 MB/s"


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"), (999, "999 B"), (1000, "1.00 kB"), (99_949, "99.9 kB"), (99_951, "100 kB"),
        (999_499, "999 kB"), (999_500, "1.00 MB"), (1.5e9, "1.50 GB"), (2e15, "2.00 PB"),
        (1e21, "1000 EB"),
    ],
)  # fmt: skip
def test_bytes_have_three_digits(count: float, text: str) -> None:
    assert three_digits(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "-:--"), (0, "0:00"), (59.4, "0:59"), (59.6, "1:00"), (3599, "59:59"),
        (3600, "1:00:00"), (359_999, "99:59:59"), (864_000, "10 d"), (float("inf"), "9999 d"),
    ],
)  # fmt: skip
def test_times(seconds: float | None, text: str) -> None:
    assert clock(seconds) == text


# ---- names


@pytest.mark.parametrize(
    ("text", "width", "shown"),
    [
        ("short", 8, "short   "),
        ("archive-1.2.3.tar.gz", 10, "archi…r.gz"),
        ("日本語の長いファイル", 8, "日本…ル "),
        ("ab", 1, "…"),
        ("ab", 0, ""),
    ],
)
def test_names_are_cut_in_the_middle(text: str, width: int, shown: str) -> None:
    assert fitted(text, width, Style()) == shown


def test_names_are_cut_in_ascii_too() -> None:
    assert fitted("archive-1.2.3.tar.gz", 10, ASCII) == "arch..r.gz"


class Screen(io.StringIO):
    """A terminal, or a stream that is none, which keeps what is written to it."""

    def __init__(self, terminal: bool = True, encoding: str = "utf-8") -> None:
        super().__init__()
        self._terminal = terminal
        self._encoding = encoding

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._encoding

    def isatty(self) -> bool:
        return self._terminal

    def drawings(self) -> list[str]:
        """What was drawn one after the other, without what moves the cursor."""
        text = re.sub(r"\x1b\[(J|K|\d*m)", "", self.getvalue())
        return [line for line in re.split(r"[\r\n]+", text) if line]


def test_a_name_cannot_move_the_cursor() -> None:
    assert displayable("a\x1b[2J\n\u202eb\udcff", Screen()) == "a?[2J??b?"
    assert displayable("grüße", Screen(encoding="ascii")) == "gr??e"


# ---- rate


def test_the_rate_is_that_of_the_last_seconds() -> None:
    rate = Rate()
    assert rate.update(0.0, 0) == 0.0
    assert [rate.update(second, second * 1000) for second in (1, 2, 3)] == [1000.0] * 3
    assert rate.update(4, 5000) == 1250.0
    for second in range(5, 9):
        last = rate.update(second, 5000)
    assert last == 0.0  # it stalls


# ---- showing them


@pytest.fixture(autouse=True)
def eighty_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def made(screen: Screen, clock: Clock, **given: bool) -> Progress:
    return Progress("x.bin", screen, what="saved x.bin", clock=clock, **given)


def test_the_bar_is_drawn_over_itself_and_stays_at_the_end() -> None:
    screen, clock = Screen(), Clock()
    progress = made(screen, clock)
    for done in (1_000_000, 2_000_000, 3_000_000):
        clock.now += 1
        progress.update(done, 4_000_000)
        progress.tick()
        assert screen.getvalue().endswith("\r")
    clock.now += 1
    progress.update(4_000_000, 4_000_000)
    progress.finish()
    drawings = screen.drawings()
    assert [re.findall(r"\d+%", line) for line in drawings] == [["25%"], ["50%"], ["75%"], ["100%"]]
    assert drawings[2].endswith("1.00 MB/s  ETA 0:01")
    assert drawings[3].endswith("4.00 MB  1.00 MB/s  in 4.00 s")
    assert screen.getvalue().count("\n") == 1
    assert screen.getvalue().endswith("\n")


def test_it_is_drawn_twenty_times_a_second_at_most() -> None:
    screen, clock = Screen(), Clock()
    progress = made(screen, clock)
    for _ in range(1000):
        clock.now += 0.001
        progress.tick()
    assert 10 <= len(screen.drawings()) <= 20


def test_what_was_there_before_does_not_count_for_the_rate() -> None:
    screen, clock = Screen(), Clock()
    progress = made(screen, clock)
    progress.starts_from(3_000_000)
    clock.now += 1
    progress.update(3_500_000, 4_000_000)
    progress.tick()
    progress.update(4_000_000, 4_000_000)
    clock.now += 1
    progress.finish()
    assert "87%" in screen.drawings()[0]
    assert "  500 kB/s  ETA 0:01" in screen.drawings()[0]
    assert screen.drawings()[1].endswith("4.00 MB   500 kB/s  in 2.00 s")


def test_the_width_follows_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    screen, clock = Screen(), Clock()
    progress = made(screen, clock)
    for columns in ("80", "40"):
        monkeypatch.setenv("COLUMNS", columns)
        clock.now += 1
        progress.update(1, 2)
        progress.tick()
    assert [len(line) for line in screen.drawings()] == [78, 39]
    assert "\r\x1b[J" in screen.getvalue()  # the old line may have been broken in two


def test_a_failure_leaves_the_cursor_in_a_new_line() -> None:
    screen, clock = Screen(), Clock()
    progress = made(screen, clock)
    clock.now += 1
    progress.update(1, 2)
    progress.tick()
    progress.leave()
    assert screen.getvalue().endswith("\r\n")
    assert "50%" in screen.drawings()[-1]


def test_a_failure_before_anything_was_drawn_leaves_nothing() -> None:
    screen = Screen()
    made(screen, Clock()).leave()
    assert screen.getvalue() == ""


@pytest.mark.parametrize("dumb", [False, True])
def test_where_nothing_can_be_redrawn_one_line_tells_the_end(
    dumb: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if dumb:
        monkeypatch.setenv("TERM", "dumb")
    screen, clock = Screen(terminal=dumb), Clock()
    progress = made(screen, clock)
    assert not progress.live
    clock.now += 2
    progress.update(1_000_000, 1_000_000)
    progress.tick()
    assert screen.getvalue() == ""
    progress.finish(size=5_000_000)
    assert screen.getvalue() == "saved x.bin: 5.00 MB in 2.00 s, 500 kB/s\n"


@pytest.mark.parametrize("terminal", [False, True])
def test_silent_shows_nothing(terminal: bool) -> None:
    screen, clock = Screen(terminal), Clock()
    progress = made(screen, clock, silent=True)
    clock.now += 1
    progress.tick()
    progress.finish()
    assert screen.getvalue() == ""


def test_a_screen_that_has_gone_is_no_failure() -> None:
    class Gone(Screen):
        def write(self, text: str) -> int:
            raise OSError(5, "Input/output error")

    clock = Clock()
    progress = made(Gone(), clock)
    clock.now += 1
    progress.tick()
    progress.finish()
