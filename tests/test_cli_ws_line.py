"""The line that is typed in `ftnet ws`: the keys it knows, and how much of it is drawn."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftnet.cli_line import LineEditor
from ftnet.cli_ws_screen import hex_rows, milliseconds, one_line, text_rows, told_close
from ftnet.terminal import Style, cells

LEFT, RIGHT, UP, DOWN = b"\x1b[D", b"\x1b[C", b"\x1b[A", b"\x1b[B"


def typed(*keys: bytes) -> LineEditor:
    editor = LineEditor()
    for key in keys:
        editor.feed(key)
    return editor


# ---- keys


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        (b"abc", "abc"),
        ("é世👨‍👩‍👧".encode(), "é世👨‍👩‍👧"),
        (b"a\tb", "a\tb"),
        (b"abc\x7f\x08d", "ad"),
        (b"\x7f", ""),
        (b"abc" + LEFT + b"x", "abxc"),
        (b"abc" + LEFT * 9 + b"x" + RIGHT * 9 + b"y", "xabcy"),
        (b"abc\x1bOD\x1bODx\x1bOCy", "axbyc"),
        (b"abc\x01x\x05y", "xabcy"),
        (b"abc\x1b[Hx\x1b[Fy", "xabcy"),
        (b"abc\x1b[1~x\x1b[4~y", "xabcy"),
        (b"abc\x02\x02x\x06y", "axbyc"),
        (b"abc" + LEFT * 2 + b"\x1b[3~", "ac"),
        (b"abc" + LEFT * 2 + b"\x04", "ac"),
        (b"one two  \x17x", "one x"),
        (b"one\x17\x17x", "x"),
        (b"one two" + LEFT * 3 + b"\x15", "two"),
        (b"one two" + LEFT * 3 + b"\x0b", "one "),
        (b"a\x1b[15~\x1b[1;5C\x00\x12\x1c\x1fb\x1bxc", "abc"),  # keys that do nothing here
        (b"a\x1b\x1b[Db", "ba"),
        (b"a\xffb", "a\ufffdb"),
        (b"a\xc2\x9bb", "ab"),  # a control character of C1
        (b"a\x1b[1\x80b", "a[1\ufffdb"),
    ],
)
def test_keys_change_the_line(keys: bytes, text: str) -> None:
    assert typed(keys).text == text
    assert typed(*(bytes([byte]) for byte in keys)).text == text


def test_enter_ends_a_line_and_ctrl_d_on_an_empty_one_ends_all() -> None:
    editor = LineEditor()
    assert editor.feed(b"one\rtwo\n\nth") == ["one", "two", ""]
    assert editor.feed(b"\x04ree\r\x04") == ["three", None]


def test_lines_can_be_fetched_back() -> None:
    editor = typed(b"one\r", b"two\r", b"two\r", b"\r", b"dra")
    shown = []
    for key in (UP, UP, UP, DOWN, DOWN, DOWN, b"ft\r", UP, b"s\r", UP):
        editor.feed(key)
        shown.append(editor.text)
    assert shown == ["two", "one", "one", "two", "dra", "dra", "", "draft", "", "drafts"]


@given(st.lists(st.binary(max_size=20), max_size=10))
def test_it_does_not_matter_how_the_bytes_come(pieces: list[bytes]) -> None:
    whole, parts = LineEditor(), LineEditor()
    ended = whole.feed(b"".join(pieces))
    assert ended == [line for piece in pieces for line in parts.feed(piece)]
    assert whole.text == parts.text
    assert all(ord(char) >= 0x20 or char == "\t" for char in whole.text)


# ---- drawing


@pytest.mark.parametrize(
    ("keys", "width", "shown", "column"),
    [
        (b"", 10, "", 0),
        (b"abc", 10, "abc", 3),
        (b"abc" + LEFT, 10, "abc", 2),
        (b"a\tb", 10, "a b", 3),
        (b"012345678", 10, "012345678", 9),
        (b"0123456789", 10, "…23456789", 9),
        (b"0123456789" + LEFT * 2, 10, "…23456789", 7),
        (b"0123456789abc" + LEFT * 6, 10, "…2345678…", 6),
        (b"0123456789\x01", 10, "01234567…", 0),
        ("世世世世世".encode(), 10, "…世世世世", 9),
        ("é世".encode() + LEFT, 10, "é世", 1),
    ],
)
def test_what_fits_is_drawn(keys: bytes, width: int, shown: str, column: int) -> None:
    assert typed(keys).view(width, Style()) == (shown, column)


def test_what_is_left_out_is_marked_in_ascii_where_it_must_be() -> None:
    editor = typed(b"0123456789abc" + LEFT * 6)
    assert editor.view(10, Style(blocks=False)) == ("<2345678>", 6)


@given(st.text("ab世é\u0301 ", max_size=40), st.integers(0, 40), st.integers(4, 30))
def test_a_line_never_fills_the_row(text: str, back: int, width: int) -> None:
    shown, column = typed(text.encode(), LEFT * back).view(width, Style())
    assert cells(shown) < width
    assert 0 <= column <= cells(shown)


# ---- messages


def test_a_text_keeps_its_rows_and_loses_what_moves_the_cursor() -> None:
    assert text_rows("one\r\ntwo\n\tthree") == ["one", "two", "    three"]
    assert text_rows("") == [""]
    assert one_line("\x1b[31m\r\x9b\u202e é👨‍👩‍👧") == "\\x1b[31m\\r\\x9b\\u202e é👨‍👩‍👧"


def test_a_long_text_is_cut() -> None:
    first, more = text_rows("x" * 10_000)
    assert (len(first), more) == (8192, "(1,808 more characters)")


def test_binary_is_shown_in_hexadecimal() -> None:
    assert hex_rows(b"", 0, 80) == []
    assert hex_rows(b"\x00Az\xff", 4, 80) == ["0000  00 41 7a ff" + " " * 36 + "  .Az."]
    rows = hex_rows(bytes(64), 1064, 80)
    assert len(rows) == 5
    assert rows[3].startswith("0030  00 00")
    assert rows[4] == "(1 kB more)"


@pytest.mark.parametrize("width", [40, 75, 76, 80, 120])
def test_hexadecimal_fits(width: int) -> None:
    assert max(len(row) for row in hex_rows(bytes(64), 64, width)) <= width - (
        2 if width > 60 else 0
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.04, " 0.0 ms"), (9.96, "10.0 ms"), (99.9, "99.9 ms"), (99.96, " 100 ms"),
     (9999.0, "9999 ms"), (12_345.0, "   12 s")],
)  # fmt: skip
def test_ping_times_take_seven_columns(value: float, text: str) -> None:
    assert milliseconds(value) == text


def test_close_codes_have_names() -> None:
    assert told_close(1000, "") == "1000 (normal)"
    assert told_close(1011, "why\n") == "1011 (internal error): why\\n"
    assert told_close(4321, "") == "4321"
