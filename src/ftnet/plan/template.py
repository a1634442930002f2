"""Templates: texts with ``${name}`` in them, compiled once and rendered for every request.

::

    ${name}              the variable
    ${feed.column}       the column of the row that a data feed gave to this iteration
    ${name|urlencode}    percent-encoded, every byte but letters, digits and -._~ (RFC 3986 2.3)
    ${name|json}         as JSON: a text with its quotes, null for None
    ${uuid()}            a random UUID (RFC 9562, version 4)
    ${now()}             whole seconds since the Unix epoch; ${now(ms)} milliseconds
    ${random(1,100)}     a whole number from 1 to 100; with a decimal point a float
    ${choice(a,b,c)}     one of these texts
    $${                  ${ itself

What is random is drawn from ``variables["$random"]``, a `random.Random`, so that a seed repeats it;
without, from the generator of the `random` module. A number is written as in JSON, True as
``true``, None as nothing, a list or dict as JSON, another object as its `str`.
"""

from __future__ import annotations

import math
import random
import re
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias
from urllib.parse import quote

import msgspec

__all__ = ["Template", "TemplateError", "Undefined", "Value", "compile", "compile_value", "text_of"]

_Variables: TypeAlias = Mapping[str, Any]
_Evaluate: TypeAlias = Callable[[_Variables], Any]

_START: Final = re.compile(r"\$?\$\{")
_NAME: Final = re.compile(r"[A-Za-z_][\w-]*(\.[^(){}|]*[^(){}|\s])?")
_CALL: Final = re.compile(r"([A-Za-z_]\w*)\((.*)\)", re.DOTALL)
_INT: Final = re.compile(r"[+-]?\d{1,18}")


class TemplateError(ValueError):
    """A template that can't be read."""


class Undefined(LookupError):
    """A template was rendered without a variable that it uses."""

    def __init__(self, name: str, template: str) -> None:
        super().__init__(f"{name} is not defined, in {template!r:.120}")
        self.name = name
        self.template = template


def text_of(value: Any) -> str:
    """The value as a template writes it."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, (bool, float, list, tuple, dict)):
        return msgspec.json.encode(value, enc_hook=str).decode()
    return str(value)


class Template:
    """A compiled text."""

    __slots__ = ("_evaluated", "_holes", "_parts", "_pieces", "names", "source", "static")

    def __init__(self, source: str, pieces: list[str], parts: list[tuple[int, _Part]]) -> None:
        self.source = source
        self.static = not parts  #: whether it renders to the same text always
        self.names = frozenset(part.name for _, part in parts if part.name)  #: variables it uses
        self._pieces = pieces
        self._parts = parts
        self._holes = [(at, part.name) for at, part in parts if part.plain]
        self._evaluated = [(at, part.evaluate) for at, part in parts if not part.plain]

    def render(self, variables: _Variables) -> str:
        """The text with what the variables hold now; `Undefined` when one is missing."""
        if self.static:
            return self._pieces[0]
        out = self._pieces.copy()
        try:
            for at, name in self._holes:
                value = variables[name]
                kind = type(value)
                out[at] = value if kind is str else str(value) if kind is int else text_of(value)
            for at, evaluate in self._evaluated:
                out[at] = text_of(evaluate(variables))
        except KeyError as error:
            raise Undefined(str(error.args[0]), self.source) from None
        return "".join(out)

    def marked(self, marks: dict[str, _Part]) -> str:
        """The text with a mark, of letters and digits, for each part, which goes into `marks`."""
        out = self._pieces.copy()
        for at, part in self._parts:
            out[at] = f"ftnetMark{len(marks)}z"
            part.template = self.source
            marks[out[at]] = part
        return "".join(out)

    def fill(self, text: str) -> str:
        """The text with `text` in place of each variable and call: what it will look like."""
        out = self._pieces.copy()
        for at, _ in self._parts:
            out[at] = text
        return "".join(out)

    def __repr__(self) -> str:
        return f"Template({self.source!r})"


class Value:
    """A compiled JSON value: texts in it are templates, dict keys too.

    A text that is exactly one variable or call keeps its type. What has no variables in it is not
    copied: don't change what `render` returns.
    """

    __slots__ = ("_evaluate", "names", "source", "static")

    def __init__(self, source: Any, names: frozenset[str], evaluate: _Evaluate | None) -> None:
        self.source = source
        self.static = evaluate is None  #: whether it renders to the same value always
        self.names = names  #: variables it uses
        self._evaluate = evaluate

    def render(self, variables: _Variables) -> Any:
        """The value with what the variables hold now; `Undefined` when one is missing."""
        if self._evaluate is None:
            return self.source
        try:
            return self._evaluate(variables)
        except KeyError as error:
            raise Undefined(str(error.args[0]), text_of(self.source)) from None

    def __repr__(self) -> str:
        return f"Value({self.source!r})"


def compile(text: str) -> Template:
    """The template of a text; TemplateError, a ValueError, says what is wrong with it."""
    pieces, parts = _split(text)
    return Template(text, pieces, parts)


def compile_value(value: Any) -> Value:
    """The template of a JSON value: a dict, a list, a text or any other."""
    names: set[str] = set()
    evaluate = _compiled(value, names)
    if evaluate is None and "$${" in text_of(value):
        value = _unescaped(value)
    return Value(value, frozenset(names), evaluate)


def _unescaped(value: Any) -> Any:
    if isinstance(value, str):
        return compile(value).render({})
    if isinstance(value, list):
        return [_unescaped(item) for item in value]
    if isinstance(value, dict):
        return {_unescaped(key): _unescaped(item) for key, item in value.items()}
    return value


def _compiled(value: Any, names: set[str]) -> _Evaluate | None:
    """What evaluates a value, None for one without variables; puts those it uses into `names`."""
    if isinstance(value, str):
        return _compiled_text(value, names)
    if isinstance(value, (list, tuple)):
        items = [(item, _compiled(item, names)) for item in value]
        if all(evaluate is None for _, evaluate in items):
            return None
        each = [evaluate or _constant(_unescaped(item)) for item, evaluate in items]
        return lambda variables: [evaluate(variables) for evaluate in each]
    if isinstance(value, dict):
        return _compiled_dict(value, names)
    return None


def _compiled_text(text: str, names: set[str]) -> _Evaluate | None:
    pieces, parts = _split(text)
    if not parts:
        return None
    names.update(part.name for _, part in parts if part.name)
    if len(parts) == 1 and not any(pieces):
        return parts[0][1].evaluate
    return Template(text, pieces, parts).render


def _compiled_dict(value: dict[str, Any], names: set[str]) -> _Evaluate | None:
    items = [(k, _compiled_key(k, names), v, _compiled(v, names)) for k, v in value.items()]
    if all(key is None and item is None for _, key, _, item in items):
        return None
    if all(key is None for _, key, _, _ in items):
        fixed = {_unescaped(k): _unescaped(v) if item is None else None for k, _, v, item in items}
        holes = [(_unescaped(k), item) for k, _, _, item in items if item is not None]

        def fill(variables: _Variables) -> dict[str, Any]:
            out = fixed.copy()
            for key, evaluate in holes:
                out[key] = evaluate(variables)
            return out

        return fill
    pairs = [
        (key or _constant(_unescaped(k)), item or _constant(_unescaped(v)))
        for k, key, v, item in items
    ]
    return lambda variables: {key(variables): item(variables) for key, item in pairs}


def _compiled_key(key: str, names: set[str]) -> _Evaluate | None:
    made = compile(key)
    names.update(made.names)
    return None if made.static else made.render


def _constant(value: Any) -> _Evaluate:
    return lambda variables: value


# --- what stands between ${ and } -------------------------------------------------------------


class _Part:
    """One variable or call, with its filters."""

    __slots__ = ("evaluate", "name", "plain", "template")

    def __init__(self, name: str, evaluate: _Evaluate, plain: bool) -> None:
        self.template = ""  #: that it stands in, for who looks for an error
        self.name = name  #: of the variable; "" for a call
        self.evaluate = evaluate
        self.plain = plain  #: a variable without a filter

    def text(self, variables: _Variables) -> str:
        """What it writes; `Undefined` when its variable is missing."""
        try:
            value = self.evaluate(variables)
        except KeyError as error:
            raise Undefined(str(error.args[0]), self.template) from None
        return value if type(value) is str else text_of(value)


def _split(text: str) -> tuple[list[str], list[tuple[int, _Part]]]:
    """The pieces of a text, "" where a part goes, and the parts with their places."""
    pieces, parts, at = [], [], 0
    literal = ""
    for start in _starts(text):
        if start < at:
            continue  # inside of a part
        if text[start : start + 2] == "$$":
            literal += text[at:start] + "${"
            at = start + 3
            continue
        end = text.find("}", start)
        if end < 0:
            raise TemplateError(f"'${{' at position {start} has no '}}' ('$${{' is '${{' itself)")
        pieces += [literal + text[at:start], ""]
        literal = ""
        parts.append((len(pieces) - 1, _part(text[start + 2 : end].strip())))
        at = end + 1
    pieces.append(literal + text[at:])
    return pieces, parts


def _starts(text: str) -> list[int]:
    return [found.start() for found in _START.finditer(text)] if "${" in text else []


def _part(text: str) -> _Part:
    what, *filters = (piece.strip() for piece in text.split("|"))
    called = _CALL.fullmatch(what)
    if called is not None:
        name, evaluate = "", _call(called[1], called[2])
    elif _NAME.fullmatch(what):
        name, evaluate = what, _variable(what)
    else:
        raise TemplateError(f"'${{{text}}}' is no variable and no call, as ${{name}}, ${{uuid()}}")
    for one in filters:
        if one not in _FILTERS:
            raise TemplateError(f"unknown filter {one!r} in '${{{text}}}'; {_these(_FILTERS)}")
        evaluate = _filtered(evaluate, _FILTERS[one])
    return _Part(name, evaluate, bool(name) and not filters)


def _these(known: Mapping[str, Any]) -> str:
    return f"there are {', '.join(known)}"


def _variable(name: str) -> _Evaluate:
    return lambda variables: variables[name]


def _filtered(evaluate: _Evaluate, change: Callable[[Any], str]) -> _Evaluate:
    return lambda variables: change(evaluate(variables))


def _urlencode(value: Any) -> str:
    return quote(text_of(value), safe="")


def _json(value: Any) -> str:
    return msgspec.json.encode(value, enc_hook=str).decode()


_FILTERS: Final[dict[str, Callable[[Any], str]]] = {"urlencode": _urlencode, "json": _json}


# --- calls ------------------------------------------------------------------------------------


def _call(name: str, given: str) -> _Evaluate:
    if name not in _CALLS:
        raise TemplateError(f"unknown function {name}(); {_these(_CALLS)}")
    arguments = [argument.strip() for argument in given.split(",")] if given.strip() else []
    return _CALLS[name](arguments)


def _random_of(variables: _Variables) -> random.Random:
    return variables.get("$random") or _UNSEEDED


def _uuid(arguments: list[str]) -> _Evaluate:
    if arguments:
        raise TemplateError(f"uuid() takes nothing, got {', '.join(arguments)}")

    def evaluate(variables: _Variables) -> str:
        bits = _random_of(variables).getrandbits(128)
        bits = bits & ~(0xF << 76 | 0x3 << 62) | 4 << 76 | 2 << 62  # version and variant
        digits = f"{bits:032x}"
        return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"

    return evaluate


def _now(arguments: list[str]) -> _Evaluate:
    if arguments == ["ms"]:
        return lambda variables: time.time_ns() // 1_000_000
    if arguments not in ([], ["s"]):
        raise TemplateError(f"now() takes nothing, s or ms, got {', '.join(arguments)}")
    return lambda variables: time.time_ns() // 1_000_000_000


def _random(arguments: list[str]) -> _Evaluate:
    wrong = f"random() takes a least and a most, as random(1,100), got {', '.join(arguments)!r}"
    try:
        least, most = map(_number, arguments)
    except ValueError:
        raise TemplateError(wrong) from None
    if not -math.inf < least <= most < math.inf:
        raise TemplateError(wrong)
    if isinstance(least, int) and isinstance(most, int):
        first, last = least, most
        return lambda variables: _random_of(variables).randint(first, last)
    return lambda variables: _random_of(variables).uniform(least, most)


def _number(text: str) -> int | float:
    return int(text) if _INT.fullmatch(text) else float(text)


def _choice(arguments: list[str]) -> _Evaluate:
    if not arguments:
        raise TemplateError("choice() takes texts to choose from, as choice(a,b,c), got none")
    return lambda variables: _random_of(variables).choice(arguments)


_UNSEEDED: Final = random.Random()
_CALLS: Final[dict[str, Callable[[list[str]], _Evaluate]]] = {
    "uuid": _uuid,
    "now": _now,
    "random": _random,
    "choice": _choice,
}
