"""Which line of a plan's file each key is in."""

from __future__ import annotations

import json
import tomllib
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from ftnet.plan.places import Path, json_lines, toml_lines

DOCUMENT = """\
title = "a # b"   # [no.header]
a.b."c.d" = 1
text = \"\"\"
[no] = header
x = "#" \\\"\\\"\\\"
\"\"\"
raw = '''
[[no]]'''
list = [  # [ {
  1.5, "]",
  [2, 3],
  {x = 1, y = {z = [1, 2]}},  # }
  1979-05-27 07:32:00,
]
[table."x y"]
'k=v' = "}"
empty = []
none = {}
after = ""

[[scenario]]
name = "one"
  [[scenario.step]]
  request = "/"
  expect.status = 200
  [scenario.step.header]
  Accept = "*/*"
  [[scenario.step]]
  request = "/b"
[[scenario]]
name = "two"
[[scenario.step]]
request = '/c'
[scenario.step.extract]
id = 'regex:"(.*?)"'
[last]
x = 1"""

LINES: dict[Path, int] = {
    ("title",): 1,
    ("a",): 2,
    ("a", "b", "c.d"): 2,
    ("text",): 3,
    ("raw",): 7,
    ("list",): 9,
    ("list", 0): 10,
    ("list", 1): 10,
    ("list", 2, 1): 11,
    ("list", 3, "x"): 12,
    ("list", 3, "y", "z", 1): 12,
    ("list", 4): 13,
    ("table", "x y"): 15,
    ("table", "x y", "k=v"): 16,
    ("table", "x y", "empty"): 17,
    ("table", "x y", "none"): 18,
    ("table", "x y", "after"): 19,
    ("scenario", 0): 21,
    ("scenario", 0, "name"): 22,
    ("scenario", 0, "step", 0): 23,
    ("scenario", 0, "step", 0, "expect", "status"): 25,
    ("scenario", 0, "step", 0, "header"): 26,
    ("scenario", 0, "step", 0, "header", "Accept"): 27,
    ("scenario", 0, "step", 1, "request"): 29,
    ("scenario", 1): 30,
    ("scenario", 1, "step", 0, "request"): 33,
    ("scenario", 1, "step", 0, "extract", "id"): 35,
    ("last", "x"): 37,
}


def paths(value: Any, path: Path = ()) -> list[Path]:
    """Of every key and item in a document."""
    if isinstance(value, dict):
        items: Any = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    else:
        return [path]
    return [path, *(found for key, one in items for found in paths(one, (*path, key)))]


def test_finds_the_lines_of_toml() -> None:
    lines = toml_lines(DOCUMENT)
    assert {path: lines.get(path) for path in LINES} == LINES
    assert lines.keys() | {()} >= set(paths(tomllib.loads(DOCUMENT)))


def test_knows_nothing_that_is_not_there() -> None:
    there = set(paths(tomllib.loads(DOCUMENT)))
    assert toml_lines(DOCUMENT).keys() <= there
    assert toml_lines("") == toml_lines("\n# only\n") == {}


def test_finds_what_is_there_twice_in_json() -> None:
    lines, twice = json_lines('{"a": 1,\n "b": {"a": 2,\n"c": 3, "a": [{"a": 1}]}, "a": 4}')
    assert twice == [(("b", "a"), 3), (("a",), 3)]
    assert lines[("a",)] == 1
    assert lines["b", "c"] == 3


_JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=50, deadline=None)
@given(_JSON, st.booleans())
def test_finds_every_line_of_any_json(value: Any, ascii_only: bool) -> None:
    """Where `json` begins a line for each key and item, they are counted through."""
    text = json.dumps(value, indent=1, ensure_ascii=ascii_only)
    lines, twice = json_lines(text)
    assert not twice
    assert [path for path in paths(value) if path] == list(lines)
    closing = text.split("\n")
    begun = [n for n, line in enumerate(closing, 1) if line.strip(" ,") not in ("]", "}")]
    assert list(lines.values()) == begun[1:]
    assert set(json_lines(json.dumps(value))[0].values()) <= {1}


_KEYS = st.text(min_size=1, max_size=3)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.lists(_KEYS, min_size=1, max_size=3), _JSON), max_size=5))
def test_finds_every_key_of_toml(tables: list[tuple[list[str], Any]]) -> None:
    """A table for each, with one value in an inline form and a text of several lines."""
    text, want = "", {}
    for at, (header, value) in enumerate(tables):
        quoted = ".".join(_toml(key) for key in [f"t{at}", *header])
        text += f"# {at}\n[{quoted}] # [x]\n\nvalue = {_toml(value)}\nlong = '''\n[x]\n\n'''\n"
        want |= {(f"t{at}", *header): 8 * at + 2, (f"t{at}", *header, "value"): 8 * at + 4}
    tomllib.loads(text)
    lines = toml_lines(text)
    assert {path: lines.get(path) for path in want} == want


def _toml(value: Any) -> str:
    """The value in one line of TOML."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_toml(k)} = {_toml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if value is None:
        return "'none'"
    if isinstance(value, float):
        return repr(value) if "." in repr(value) else f"'{value}'"
    text = json.dumps(value, ensure_ascii=False)
    return text.replace("\x7f", "\\u007f")
