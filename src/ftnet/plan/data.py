"""Data feeds: rows of CSV and JSONL files, one of each feed for an iteration.

``.csv`` (and ``.tsv``, by tabs) has a header line with the names of the columns, and UTF-8 texts;
``.jsonl`` (or ``.ndjson``) has an object in each line, whose values keep their types. Empty lines
are passed over. A file up to `SMALL` bytes is decoded once; of a larger one the places of its rows
are kept (8 bytes each), and a row is decoded when it is taken. Shares in one process have one copy.
"""

from __future__ import annotations

import csv
import mmap
import os
import random as randoms
from array import array
from collections.abc import Callable, Collection, Iterable, Iterator, Sized
from functools import lru_cache
from typing import Any, Final, TypeAlias

import msgspec

from ftnet.plan.model import Feed, Plan

__all__ = ["KINDS", "Exhausted", "FeedError", "Feeds", "Rows", "open_rows"]

SMALL: Final = 4 << 20  # bytes
KINDS: Final = {".csv": ",", ".tsv": "\t", ".jsonl": "", ".ndjson": ""}  #: and their delimiters

_BOM: Final = b"\xef\xbb\xbf"

#: Columns of a row; every row of a CSV file has the same.
_Row: TypeAlias = dict[str, Any]


class Exhausted(Exception):
    """A feed in the order "once" has no row left."""

    def __init__(self, feed: str, rows: int) -> None:
        super().__init__(f"data {feed}: all of its {rows} rows were taken")
        self.feed = feed


class FeedError(ValueError):
    """A data file that is not as it must be: says which, the line (0: none), and what."""

    def __init__(self, file: str, line: int, reason: str) -> None:
        super().__init__(f"{file}:{line}: {reason}" if line else f"{file}: {reason}")
        self.file = file
        self.line = line
        self.reason = reason


class Feeds:
    """The feeds of a plan for one share: it takes every `every`-th row, beginning at `index`."""

    def __init__(self, plan: Plan, index: int = 0, every: int = 1, random: Any = None) -> None:
        """FeedError when a file can't be read or has no rows; `random` is a `random.Random`."""
        drawn = randoms.Random(plan.load.seed + index) if random is None else random
        self._feeds = {
            name: _Draw(name, feed, plan.folder, index, every, drawn)
            for name, feed in plan.data.items()
        }

    def take(self, variables: dict[str, Any], feeds: Collection[str] | None = None) -> None:
        """Puts the next row of each feed (or of those named) into the variables: `feed.column`.

        `Exhausted` when there is none.
        """
        for name, feed in self._feeds.items():
            if feeds is None or name in feeds:
                feed.take(variables)


class _Draw:
    """Where a share is in a feed."""

    def __init__(
        self, name: str, feed: Feed, folder: str, index: int, every: int, random: Any
    ) -> None:
        self._name = name
        self._rows = open_rows(os.path.join(folder, feed.file), f"{name}.")
        self._row, self._count = self._rows.row, len(self._rows)
        self._order = feed.order
        self._next, self._every = index, every
        self._random = random

    def take(self, variables: dict[str, Any]) -> None:
        if self._order == "random":
            row = self._row(self._random.randrange(self._count))
        else:
            at = self._next
            self._next = at + self._every
            if self._order == "once" and at >= self._count:
                raise Exhausted(self._name, self._count)
            row = self._row(at % self._count)
        variables.update(row)
        if not self._rows.even:  # what this row does not have must not stay from another
            start = f"{self._name}."
            for key in [k for k in variables if k.startswith(start) and k not in row]:
                del variables[key]


# --- files ------------------------------------------------------------------------------------


class Rows(Sized):
    """The rows of a file: `row(n)` is the n-th."""

    row: Callable[[int], _Row]
    columns: frozenset[str] | None  #: of any row; None where only reading all of them would tell
    even: bool  #: whether all rows are known to have the same columns

    def check(self) -> None:
        """FeedError: a row is wrong that was not decoded yet."""


def open_rows(path: str, prefix: str = "") -> Rows:
    """The rows of a file, `prefix` before names of columns; FeedError says what is wrong."""
    ending = os.path.splitext(path)[1].lower()
    if ending not in KINDS:
        raise FeedError(path, 0, f"must end in {', '.join(KINDS)}, got {ending or 'no ending'!r}")
    try:
        known = os.stat(path)
        return _opened(os.path.abspath(path), prefix, known.st_mtime_ns, known.st_size)
    except OSError as error:
        raise FeedError(path, 0, f"can't be read: {error.strerror}") from None


@lru_cache(maxsize=8)
def _opened(path: str, prefix: str, changed: int, size: int) -> Rows:
    """As long as a file does not change, it is read once, by a plan's reader and all shares."""
    ending = os.path.splitext(path)[1].lower()
    return (_Few if size <= SMALL else _Many)(path, prefix, KINDS[ending])


class _Few(Rows):
    """All rows of a small file, decoded."""

    def __init__(self, path: str, prefix: str, delimiter: str) -> None:
        with open(path, "rb") as file:
            content = file.read()
        if delimiter:
            self._rows = list(_csv_rows(path, _lines(path, content), prefix, delimiter))
        else:
            self._rows = list(_json_rows(path, content.split(b"\n"), prefix))
        if not self._rows:
            raise FeedError(path, 0, "has no rows")
        self.row = self._rows.__getitem__
        self.columns = frozenset().union(*self._rows)
        self.even = all(len(row) == len(self.columns) for row in self._rows)

    def __len__(self) -> int:
        return len(self._rows)


class _Many(Rows):
    """The rows of a large file, by their places."""

    def __init__(self, path: str, prefix: str, delimiter: str) -> None:
        self._path = path
        self._prefix = prefix
        self._delimiter = delimiter
        with open(path, "rb") as file:
            self._content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._places = array("Q", _places(path, self._content, delimiter.encode()))
        self._names: list[str] = []
        self.row, self.columns, self.even = self._decode, None, bool(delimiter)
        if delimiter and self._places:
            self._names = self._header(self._places.pop(0))
            self.columns = frozenset(self._names)
        if not self._places:
            raise FeedError(path, 0, "has no rows")

    def __len__(self) -> int:
        return len(self._places)

    def check(self) -> None:
        self._content.seek(len(_BOM) if self._content[: len(_BOM)] == _BOM else 0)
        lines = iter(self._content.readline, b"")
        if self._delimiter:
            texts = _texts(self._path, lines)
            rows = _csv_rows(self._path, texts, self._prefix, self._delimiter)
        else:
            rows = _json_rows(self._path, lines, self._prefix)
        for _ in rows:
            pass

    def _decode(self, at: int) -> _Row:
        start = self._places[at]
        try:
            if not self._delimiter:
                return _object(self._record(start), self._prefix)
            return _named(self._names, self._fields(start))
        except (csv.Error, ValueError) as error:
            raise FeedError(self._path, self._line(start), str(error)) from None

    def _header(self, start: int) -> list[str]:
        try:
            return _names(self._path, self._prefix, self._fields(start))
        except FeedError:
            raise
        except (csv.Error, ValueError) as error:
            raise FeedError(self._path, self._line(start), str(error)) from None

    def _record(self, start: int) -> bytes:
        """From `start` to the end of the record, which may hold line breaks in quotes."""
        content, delimiter = self._content, self._delimiter.encode()
        end, inside = start, False
        while True:
            begun, end = end, content.find(b"\n", end) + 1 or len(content)
            inside = _quotes(content[begun:end], delimiter, inside)
            if not inside or end == len(content):
                record = content[start:end]
                return record if start else record.removeprefix(_BOM)

    def _fields(self, start: int) -> list[str]:
        text = self._record(start).decode()
        if '"' not in text:
            return text.rstrip("\r\n").split(self._delimiter)
        return next(csv.reader([text], delimiter=self._delimiter, strict=True))

    def _line(self, start: int) -> int:
        """The number of the line at a place."""
        step = 1 << 20
        parts = (self._content[at : min(at + step, start)] for at in range(0, start, step))
        return 1 + sum(part.count(b"\n") for part in parts)


def _places(path: str, content: mmap.mmap, delimiter: bytes) -> Iterator[int]:
    """Where records begin that are not empty."""
    start = at = 0
    inside = False  # of quotes
    for line in iter(content.readline, b""):
        at += len(line)
        inside = _quotes(line, delimiter, inside)
        if inside:
            continue
        if line.strip() or at - start > len(line):
            yield start
        start = at
    if inside:
        raise FeedError(path, 0, "a quote is not closed")


def _quotes(line: bytes, delimiter: bytes, inside: bool) -> bool:
    """Whether quotes are open behind a line; `inside`: they are before it."""
    if not delimiter or line.count(b'"') % 2 == 0:
        return inside
    if inside:
        return False
    at = 0
    while line[at : at + 1] != b'"' or (at := _closed(line, at)):
        at = line.find(delimiter, at) + 1
        if not at:
            return False
    return True


def _closed(line: bytes, at: int) -> int:
    """The place behind the quotes that begin at `at`; 0: they are not closed."""
    while at := line.find(b'"', at + 1) + 1:
        if line[at : at + 1] != b'"':
            return at
    return 0


# --- records ----------------------------------------------------------------------------------


def _csv_rows(path: str, lines: Iterable[str], prefix: str, delimiter: str) -> Iterator[_Row]:
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    names: list[str] = []
    while True:
        try:
            fields = next(reader, None)
            if fields is None:
                return
            if not fields or (len(fields) == 1 and fields[0].isspace()):
                continue
            if names:
                row = _named(names, fields)
            else:
                names = _names(path, prefix, fields)
                continue
        except FeedError:
            raise
        except (csv.Error, ValueError) as error:
            raise FeedError(path, reader.line_num, str(error)) from None
        yield row


def _texts(path: str, lines: Iterable[bytes]) -> Iterator[str]:
    for number, line in enumerate(lines, 1):
        try:
            yield line.decode()
        except UnicodeDecodeError as error:
            raise FeedError(path, number, str(error)) from None


def _lines(path: str, content: bytes) -> Iterable[str]:
    """Lines with their ends; unlike `str.splitlines` by line feeds alone."""
    try:
        text = content.decode("utf-8-sig").removesuffix("\n")
        return (f"{line}\n" for line in text.split("\n"))
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise FeedError(path, line, f"is no UTF-8: byte 0x{content[error.start]:02x}") from None


def _names(path: str, prefix: str, fields: list[str]) -> list[str]:
    names = [prefix + field.strip() for field in fields]
    for at, name in enumerate(names):
        if name == prefix:
            raise FeedError(path, 1, f"column {at + 1} has no name in the header line")
        if name in names[:at]:
            raise FeedError(path, 1, f"two columns have the name {name.removeprefix(prefix)!r}")
    return names


def _named(names: list[str], fields: list[str]) -> _Row:
    if len(fields) != len(names):
        raise ValueError(f"the row has {len(fields)} fields, the header line {len(names)}")
    return dict(zip(names, fields, strict=True))


def _json_rows(path: str, lines: Iterable[bytes], prefix: str) -> Iterator[_Row]:
    for number, line in enumerate(lines, 1):
        record = line if number > 1 else line.removeprefix(_BOM)
        if record.strip():
            try:
                yield _object(record, prefix)
            except ValueError as error:
                raise FeedError(path, number, str(error)) from None


def _object(line: bytes, prefix: str) -> _Row:
    try:
        row = msgspec.json.decode(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"is no JSON: {error}") from None
    if not isinstance(row, dict):
        raise ValueError(f"must be an object, got {line.strip().decode()!r:.60}")
    return {prefix + column: value for column, value in row.items()}
