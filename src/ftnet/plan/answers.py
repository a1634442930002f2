"""What came back for a step: what must hold of it, and what is taken from it for later steps.

`expectations` and `extractions` compile the tables ``expect`` and ``extract`` of a step once; what
they return is called for every answer.
"""

from __future__ import annotations

import contextlib
import itertools
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeAlias

import msgspec

from ftnet.plan import jsonpath, template
from ftnet.plan.problems import shown
from ftnet.plan.template import text_of
from ftnet.results import Headers, charset_of

__all__ = ["Answer", "Expectation", "NotFound", "WrongEntry", "expectations", "extractions"]

#: Reads a value from an answer; `Absent` when it has none.
_Read: TypeAlias = Callable[["Answer"], Any]
#: Whether a value is as it must be, given the variables.
_Judge: TypeAlias = Callable[[Any, Mapping[str, Any]], bool]

_CLASS: Final = re.compile(r"[1-9]xx")
_UNREAD: Final = object()
_decode: Final = msgspec.json.Decoder().decode


class Absent(LookupError):
    """An answer has nothing of a kind; the text says what it has."""


class NotFound(LookupError):
    """An answer lacks what a variable is to be taken from."""

    def __init__(self, variable: str, source: str, reason: str) -> None:
        super().__init__(f"{variable} = {source}: {reason}")
        self.variable = variable
        self.source = source


class Answer:
    """An answer as the engine delivers it; what is read from it is read when it is asked for."""

    __slots__ = (
        "_json",
        "_lower",
        "_part",
        "_part_by",
        "_text",
        "body",
        "charset",
        "raw",
        "status",
    )

    def __init__(self, status: int, raw: bytes, body: Any, charset: bool = False) -> None:
        self.status = status
        self.raw = raw  #: the header block
        self.body = body  #: bytes-like, str (a message of a WebSocket), or None
        self.charset = charset  #: whether the content-type names one
        self._json: Any = _UNREAD
        self._part: Any = None
        self._part_by: Callable[[Any], Any] | None = None
        self._text: str | None = None
        self._lower: bytes | None = None

    @property
    def length(self) -> int:
        """Bytes of the body."""
        body = self.body
        if body is None:
            return 0
        return len(body.encode()) if isinstance(body, str) else len(body)

    @property
    def text(self) -> str:
        """The body by its charset, UTF-8 without one; a BOM goes, bad bytes are replaced."""
        text = self._text
        if text is None:
            body = self.body
            if body is None or isinstance(body, str):
                text = body or ""
            else:
                charset = charset_of(self.raw) if self.charset else "utf-8"
                text = bytes(body).decode(charset, "replace")
            text = self._text = text.removeprefix("\ufeff")
        return text

    @property
    def json(self) -> Any:
        """The body as JSON; `Absent` when it is none."""
        value = self._json
        if value is _UNREAD:
            try:
                value = _decode(self.body)
            except (ValueError, TypeError, RecursionError):
                value = self._json_text()
            self._json = value
        if value is Absent:
            raise Absent(f"the body is no JSON: {self.text!r:.80}" if self.length else "no body")
        return value

    def part(self, decode: Callable[[Any], Any]) -> Any:
        """The body as JSON, as far as `decode` of `jsonpath.decoder` goes, or all of it."""
        if self._part_by is not decode:
            value = self._json
            if value is _UNREAD:
                try:
                    value = decode(self.body)
                except (ValueError, TypeError, RecursionError):
                    value = self.json
            self._part, self._part_by = value, decode
        return self.json if self._part is Absent else self._part

    def _json_text(self) -> Any:
        """JSON in another charset than its own, or behind a BOM."""
        try:
            return _decode(self.text)
        except (ValueError, RecursionError):
            return Absent

    def header(self, name: str) -> str | None:
        """The value of a header field, several joined by ", "; None without."""
        return self.field(b"\n" + name.lower().encode() + b":")

    def field(self, key: bytes) -> str | None:
        """As `header`, by its key: ``b"\\nname:"`` in lower case."""
        lower = self._lower
        if lower is None:
            lower = self._lower = self.raw.lower()
        start = lower.find(key)
        if start < 0:
            return None
        start += len(key)
        end = lower.find(b"\n", start)
        value = self.raw[start : end if end >= 0 else None]
        if not value.isascii() or lower.find(key, start) >= 0 or lower[end + 1 : end + 2] in b" \t":
            return Headers(self.raw).get(key[1:-1].decode())
        return value.decode("ascii").strip(" \t\r")


# --- sources: what is looked at ---------------------------------------------------------------


def _source(name: str, paths: frozenset[str] = frozenset()) -> _Read:
    """What reads "status", "header:NAME", "json:PATH", "regex:...", "body" or "length"."""
    kind, _, argument = name.partition(":")
    if name in _PLAIN:
        return _PLAIN[name]
    if kind == "json" and argument:
        return _json_source(argument, paths)
    if argument and kind in _SOURCES:
        return _SOURCES[kind](argument)
    takes = "status, header:NAME, json:PATH, regex:PATTERN, body or length"
    raise ValueError(f"{name!r:.80} is none of {takes}")


def _header_source(name: str) -> _Read:
    if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name):
        raise ValueError(f"{name!r:.80} is no header name")
    key = b"\n" + name.lower().encode() + b":"

    def read(answer: Answer) -> str:
        value = answer.field(key)
        if value is None:
            names = ", ".join(Headers(answer.raw)) or "none"
            raise Absent(f"no such header; there are {names:.300}")
        return value

    return read


def _json_source(path: str, paths: frozenset[str]) -> _Read:
    """Reads one path; `paths` are all that the step looks at, which are decoded together."""
    at_path = jsonpath.reader(path)
    decode = jsonpath.decoder(paths | {path})
    return lambda answer: at_path(answer.part(decode))


def _paths(*sources: Iterable[Any]) -> frozenset[str]:
    """The JSON paths among sources; those that are none are told when they are compiled."""
    found = set()
    for source in itertools.chain(*sources):
        if isinstance(source, str) and source.startswith("json:"):
            with contextlib.suppress(jsonpath.PathError):
                jsonpath.parse(source[5:])
                found.add(source[5:])
    return frozenset(found)


def _regex_source(pattern: str) -> _Read:
    search = _pattern(pattern).search

    def read(answer: Answer) -> str:
        found = search(answer.text)
        if found is None:
            raise Absent(f"no match in {answer.text!r:.80}")
        return (found[1] or "") if found.re.groups else found[0]

    return read


def _pattern(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise ValueError(f"{pattern!r:.80} is no regular expression: {error}") from None


_PLAIN: Final[dict[str, _Read]] = {
    "status": lambda answer: answer.status,
    "body": lambda answer: answer.text,
    "length": lambda answer: answer.length,
}
_SOURCES: Final[dict[str, Callable[[str], _Read]]] = {
    "header": _header_source,
    "regex": _regex_source,
}


# --- expectations -----------------------------------------------------------------------------


class Expectation:
    """One thing that must hold of an answer."""

    __slots__ = ("holds", "names", "text")

    def __init__(
        self,
        text: str,
        holds: Callable[[Answer, Mapping[str, Any]], bool],
        names: frozenset[str] = frozenset(),
    ) -> None:
        self.text = text  #: as a person reads it: ``status = 200``, ``json:$.ok = true``
        self.holds = holds  #: ``holds(answer, variables)``: never raises
        self.names = names  #: variables it uses

    def __repr__(self) -> str:
        return f"Expectation({self.text})"


def expectations(
    expect: Mapping[str, Any], extract: Mapping[str, str] | None = None
) -> tuple[Expectation, ...]:
    """The compiled ``expect`` of a step: one for each key and, in a table, for each of its words.

    With the step's ``extract``, a body is decoded once for both. ValueError, beginning with the
    key, says what is wrong.
    """
    paths = _paths(expect, (extract or {}).values())
    made: list[Expectation] = []
    for key, wanted in expect.items():
        try:
            made += _status(wanted) if key == "status" else _of_key(key, wanted, paths)
        except WrongEntry:
            raise
        except ValueError as error:
            raise WrongEntry(key, str(error)) from None
    return tuple(made)


class WrongEntry(ValueError):
    """An entry of a table of a step is wrong: ``where`` is its key."""

    def __init__(self, where: str, reason: str) -> None:
        super().__init__(f"{where}: {reason}")
        self.where = where
        self.reason = reason


def _status(wanted: Any) -> list[Expectation]:
    given = wanted if isinstance(wanted, (list, tuple)) else [wanted]
    statuses: set[int] = set()
    for one in given:
        if isinstance(one, int) and not isinstance(one, bool) and 100 <= one <= 999:
            statuses.add(one)
        elif isinstance(one, str) and _CLASS.fullmatch(one):
            statuses.update(range(int(one[0]) * 100, int(one[0]) * 100 + 100))
        else:
            statuses.clear()
            break
    if not statuses:
        takes = 'a status (100 to 999), a class as "2xx" or a list of them'
        raise ValueError(f"must be {takes}, got {shown(wanted)}")
    text = f"status {'=' if len(given) == 1 else 'in'} {', '.join(str(one) for one in given)}"
    if len(statuses) == 1:
        only = statuses.pop()
        return [Expectation(text, lambda answer, _: answer.status == only)]
    return [Expectation(text, lambda answer, _: answer.status in statuses)]


def _of_key(key: str, wanted: Any, paths: frozenset[str]) -> list[Expectation]:
    read = _source(key, paths)
    if not isinstance(wanted, dict):
        if key.startswith("regex:") and isinstance(wanted, bool):
            return [_presence(key, read, wanted)]
        return [_expectation(key, "=", wanted, read, _equal(key, wanted))]
    if not wanted:
        raise ValueError(f"must have one of {', '.join(_WORDS)}, exists, got {{}}")
    return [_of_word(key, read, word, value) for word, value in wanted.items()]


def _of_word(key: str, read: _Read, word: str, value: Any) -> Expectation:
    if word == "exists":
        if not isinstance(value, bool):
            raise ValueError(f"exists must be true or false, got {shown(value)}")
        return _presence(key, read, value)
    if word not in _WORDS:
        raise ValueError(f"{word!r} is none of {', '.join(_WORDS)}, exists")
    sign, judge = _WORDS[word]
    return _expectation(key, sign, value, read, judge(value))


def _presence(key: str, read: _Read, wanted: bool) -> Expectation:
    def holds(answer: Answer, variables: Mapping[str, Any]) -> bool:
        try:
            value = read(answer)
            found = bool(value) if key in ("body", "length") else True
        except LookupError:
            found = False
        return found is wanted

    return Expectation(f"{key} {'exists' if wanted else 'does not exist'}", holds)


def _expectation(key: str, sign: str, value: Any, read: _Read, judge: _Judge) -> Expectation:
    def holds(answer: Answer, variables: Mapping[str, Any]) -> bool:
        try:
            return judge(read(answer), variables)
        except LookupError:  # the answer lacks it, or a variable is not there to compare with
            return False

    names = frozenset() if sign == "matches" else template.compile_value(value).names
    return Expectation(f"{key} {sign} {_written(value)}", holds, names)


def _written(value: Any) -> str:
    return value if isinstance(value, str) and value.startswith("${") else shown(value)


def _equal(key: str, value: Any) -> _Judge:
    wanted = template.compile_value(value)
    if not key.startswith("json:"):  # texts and numbers as they are written
        if isinstance(value, (dict, list)) or value is None:
            raise ValueError(f"must be a text, a number or a table, got {shown(value)}")
        if not wanted.static:
            return lambda got, variables: text_of(got) == text_of(wanted.render(variables))
        plain = text_of(wanted.render({}))
        return lambda got, variables: text_of(got) == plain
    if wanted.static:
        fixed = wanted.render({})
        return lambda got, variables: _same(got, fixed)
    return lambda got, variables: _alike(got, wanted.render(variables))


def _same(got: Any, wanted: Any) -> bool:
    """Whether two JSON values are the same: true is not 1, but 1 is 1.0."""
    if isinstance(got, bool) is not isinstance(wanted, bool) or got != wanted:
        return False
    if isinstance(got, list):
        return all(map(_same, got, wanted))
    if isinstance(got, dict):
        return all(_same(value, wanted[key]) for key, value in got.items())
    return True


def _alike(got: Any, wanted: Any) -> bool:
    """As `_same`; a text of a variable (all of a CSV file are) may stand for a number."""
    if isinstance(wanted, str) and not isinstance(got, (str, list, dict)):
        return text_of(got) == wanted
    return _same(got, wanted)


def _contains(value: Any) -> _Judge:
    wanted = template.compile_value(value)
    same = _same if wanted.static else _alike

    def judge(got: Any, variables: Mapping[str, Any]) -> bool:
        part = wanted.render(variables)
        if isinstance(got, list):
            return any(same(item, part) for item in got)
        if isinstance(got, dict):
            return part in got if isinstance(part, str) else False
        return text_of(part) in text_of(got)

    return judge


def _matches(value: Any) -> _Judge:
    if not isinstance(value, str):
        raise ValueError(f"matches must be a regular expression, got {shown(value)}")
    search = _pattern(value).search
    return lambda got, variables: search(text_of(got)) is not None


def _limit(word: str, sign: Callable[[float, float], bool]) -> Callable[[Any], _Judge]:
    def judge_by(value: Any) -> _Judge:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ValueError(f"{word} must be a number, got {shown(value)}")

        def judge(got: Any, variables: Mapping[str, Any]) -> bool:
            try:
                return not isinstance(got, bool) and sign(float(got), value)
            except (TypeError, ValueError):
                return False

        return judge

    return judge_by


_WORDS: Final[dict[str, tuple[str, Callable[[Any], _Judge]]]] = {
    "contains": ("contains", _contains),
    "matches": ("matches", _matches),
    "min": (">=", _limit("min", lambda got, least: got >= least)),
    "max": ("<=", _limit("max", lambda got, most: got <= most)),
}


# --- extractions ------------------------------------------------------------------------------


def extractions(
    extract: Mapping[str, str], expect: Mapping[str, Any] | None = None
) -> Callable[[Answer, dict[str, Any]], None]:
    """What puts the variables of a step's ``extract`` into a dict; it raises `NotFound`.

    What comes before the one that is not found is put there. With the step's ``expect``, a body is
    decoded once for both. ValueError, beginning with the variable, says what is wrong.
    """
    paths = _paths(expect or {}, extract.values())
    reads: list[tuple[str, str, _Read]] = []
    for name, source in extract.items():
        try:
            if not isinstance(source, str):
                raise ValueError(f"must be a text as json:$.id, got {shown(source)}")
            reads.append((name, source, _source(source, paths)))
        except ValueError as error:
            raise WrongEntry(name, str(error)) from None

    def take(answer: Answer, variables: dict[str, Any]) -> None:
        for name, source, read in reads:
            try:
                variables[name] = read(answer)
            except LookupError as missing:
                raise NotFound(name, source, _instead(answer, source, missing)) from None

    return take


def _instead(answer: Answer, source: str, missing: LookupError) -> str:
    """What there is in place of what is not found; of JSON, in all of it."""
    if isinstance(missing, jsonpath.Missing):
        try:
            jsonpath.reader(source.removeprefix("json:"))(answer.json)
        except LookupError as whole:
            return str(whole)
    return str(missing)
