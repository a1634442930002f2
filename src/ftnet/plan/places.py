"""Which line of a TOML or JSON text each key and item is in.

`tomllib` and msgspec don't tell. The text is known to be valid when it gets here: this only goes
through its tokens and keeps count of where it is.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from typing import Final, TypeAlias

__all__ = ["Path", "json_lines", "toml_lines"]

#: Keys and indices from the top: ``("scenario", 0, "step", 1, "expect")``.
Path: TypeAlias = tuple[str | int, ...]

_TOKEN: Final = re.compile(
    r'(?P<text>"""(?:[^\\]|\\.)*?"{3,5}|\'\'\'.*?\'{3,5}|"(?:[^"\\\n]|\\.)*"|\'[^\'\n]*\')'
    r"|(?P<comment>\#[^\n]*)"
    r"|(?P<end>\n)"
    r"|(?P<mark>[\[\]{}=:,.])"
    r"|(?P<word>[^\s\[\]{}=:,.\"'\#]+)",
    re.DOTALL,
)


def toml_lines(text: str) -> dict[Path, int]:
    """The line of every table, key and array item."""
    return _Toml(text).lines


def json_lines(text: str) -> tuple[dict[Path, int], list[tuple[Path, int]]]:
    """The line of every key and array item, and the keys that are there again, with theirs."""
    scan = _Scan(text)
    scan.value(())
    return scan.lines, scan.twice


class _Scan:
    """Goes through tokens. JSON's objects and TOML's inline tables differ in = and : alone."""

    def __init__(self, text: str) -> None:
        self.lines: dict[Path, int] = {}
        self.twice: list[tuple[Path, int]] = []
        self._tokens = _tokens(text)
        self.line = 0
        self.token = ""
        self.step()

    def step(self) -> str:
        """To the next token, "" after the last; returns the one before."""
        before = self.token
        self.line, self.token = next(self._tokens, (self.line, ""))
        return before

    def plain(self, token: str) -> str:
        """A key without its quotes."""
        return str(json.loads(token, strict=False))

    def blank(self) -> None:
        """Over line ends."""
        while self.token == "\n":
            self.step()

    def keys(self, path: Path) -> Path:
        """A key, ``a."b".c`` in TOML; notes the line of each of its parts."""
        while True:
            line = self.line
            path = (*path, self.plain(self.step()))
            if path in self.lines:
                self.twice.append((path, line))
            self.lines.setdefault(path, line)
            if self.token != ".":
                return path
            self.step()

    def value(self, path: Path) -> None:
        """Any value."""
        self.blank()
        if self.token == "[":
            self._array(path)
        elif self.token == "{":
            self._table(path)
        else:
            while self.token not in ("\n", ",", "]", "}", ""):
                self.step()

    def _array(self, path: Path) -> None:
        self.step()
        at = 0
        while True:
            self.blank()
            if self.token in ("]", ""):
                self.step()
                return
            self.lines[(*path, at)] = self.line
            self.value((*path, at))
            at += 1
            self.blank()
            if self.token == ",":
                self.step()

    def _table(self, path: Path) -> None:
        self.step()
        while True:
            self.blank()
            if self.token in ("}", ""):
                self.step()
                return
            key = self.keys(path)
            self.blank()
            self.step()  # = or :
            self.value(key)
            self.blank()
            if self.token == ",":
                self.step()


class _Toml(_Scan):
    """Lines of a TOML document: headers and keys."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._counts: dict[Path, int] = {}  # of arrays of tables
        table: Path = ()
        while self.token:
            if self.token == "\n":
                self.step()
            elif self.token == "[":
                table = self._header()
            else:
                key = self.keys(table)
                self.step()  # =
                self.value(key)

    def plain(self, token: str) -> str:
        quoted = token[0] in "\"'"
        return str(tomllib.loads(f"key = {token}")["key"]) if quoted else token

    def _header(self) -> Path:
        self.step()
        array = self.token == "["
        if array:
            self.step()
        line, path = self.line, self._named()
        if array:
            self._counts[path] = self._counts.get(path, -1) + 1
            path = (*path, self._counts[path])
        self.lines[path] = line
        while self.token not in ("\n", ""):
            self.step()
        return path

    def _named(self) -> Path:
        """The path of a header; an array of tables on the way stands for its last item."""
        path: Path = ()
        while True:
            path = (*path, self.plain(self.step()))
            self.lines.setdefault(path, self.line)
            if self.token != ".":
                return path
            self.step()
            if path in self._counts:
                path = (*path, self._counts[path])


def _tokens(text: str) -> Iterator[tuple[int, str]]:
    line, at = 1, 0
    for found in _TOKEN.finditer(text):
        line += text.count("\n", at, found.start())
        at = found.start()
        if found.lastgroup != "comment":
            yield line, found[0]
