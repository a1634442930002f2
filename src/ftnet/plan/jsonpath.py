"""JSON paths: the part of RFC 9535 that goes to one place, compiled to a function.

::

    $                    the whole
    $.a.b                names: letters, digits, _ and -; the first is no digit
    $['a b']  $["a b"]   any names; a backslash escapes the quote and itself
    $.list[0]  [-1]      items, from the end with -
    $.list[*].id         the id of each item that has one, as a list; [*] of an object: its values

A filter, a slice or ``..`` is refused by name: they are for searching, which costs what a load
test would then measure.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final, TypeAlias, TypedDict

import msgspec

__all__ = ["Every", "Missing", "PathError", "decoder", "parse", "reader"]


class PathError(ValueError):
    """A path that can't be read."""


class Missing(LookupError):
    """A value has nothing at a path; the text says how far it went."""


class Every:
    """The key ``[*]``."""


#: A name, the index of an item, or `Every`.
Key: TypeAlias = str | int | type[Every]

_KEY: Final = re.compile(
    r"\.(?P<name>[^\W\d][\w-]*)"
    r"|\[\s*(?P<index>0|-?[1-9]\d{0,17})\s*\]"
    r"|\[\s*'(?P<single>(?:[^'\\]|\\['\\])*)'\s*\]"
    r'|\[\s*"(?P<double>(?:[^"\\]|\\["\\])*)"\s*\]'
    r"|(?P<every>\[\s*\*\s*\]|\.\*)"
)
_REFUSED: Final = (
    (re.compile(r"\.\."), "'..' (descendants)"),
    (re.compile(r"\[\s*\?"), "'[?...]' (a filter)"),
    (re.compile(r"\[[^'\"\]]*:"), "'[a:b]' (a slice)"),
    (re.compile(r"\[[^\]]*,"), "'[a,b]' (a union)"),
)


def parse(path: str) -> tuple[Key, ...]:
    """The keys of a path; PathError, a ValueError, says what is wrong with it and where."""
    if not path.startswith("$"):
        raise PathError(f"a JSON path begins with $, as $.items[0].id, got {path!r}")
    keys: list[Key] = []
    at = 1
    while at < len(path):
        found = _KEY.match(path, at)
        if found is None:
            raise PathError(_reason(path, at))
        keys.append(_key(found))
        at = found.end()
    return tuple(keys)


def _key(found: re.Match[str]) -> Key:
    if found["every"]:
        return Every
    if found["index"]:
        return int(found["index"])
    if found["name"]:
        return found["name"]
    return re.sub(r"\\(.)", r"\1", found["single"] or found["double"] or "")


def _reason(path: str, at: int) -> str:
    for pattern, name in _REFUSED:
        if pattern.match(path, at):
            return f"{name} is not supported in a JSON path, got {path!r}"
    takes = ".name, ['name'], [0], [-1] or [*]"
    return f"{path[at:]!r} in the JSON path {path!r} is none of {takes}"


def reader(path: str) -> Callable[[Any], Any]:
    """A function that returns what a decoded value has at the path; it raises `Missing`."""
    keys = parse(path)
    if Every in keys:
        return _reader_of_all(keys)

    names = [key for key in keys if isinstance(key, str)]
    if len(names) == len(keys):
        return _reader_of_names(names)
    return lambda value: _walk(value, keys)


def _reader_of_names(names: list[str]) -> Callable[[Any], Any]:
    """As `_walk`, faster: what has no names is no dict."""

    def read(value: Any) -> Any:
        at = value
        try:
            for name in names:
                at = at[name]
        except (KeyError, TypeError):
            return _walk(value, tuple(names))  # raises Missing
        return at

    return read


def _reader_of_all(keys: tuple[Key, ...]) -> Callable[[Any], Any]:
    at = keys.index(Every)
    before, after = keys[:at], keys[at + 1 :]
    further = after.count(Every)

    def read(value: Any) -> Any:
        found = _walk(value, before)
        items = found.values() if isinstance(found, dict) else found
        if not isinstance(found, (dict, list)):
            raise Missing(_lacking(found, before, Every))
        out: list[Any] = []
        for item in items:
            try:
                got = rest(item)
            except Missing:
                continue
            out += got if further else [got]
        return out

    rest = _reader_of_all(after) if further else lambda item: _walk(item, after)
    return read


@lru_cache(maxsize=512)
def decoder(paths: frozenset[str]) -> Callable[[Any], Any]:
    """What decodes of a JSON text what the paths lead through, and passes over the rest.

    The readers of the paths find in the value what they would find in the whole. It raises
    ValueError for what is no JSON, and where the text is of another shape than the paths.
    """
    return msgspec.json.Decoder(_shape([parse(path) for path in paths])).decode


def _shape(paths: list[tuple[Key, ...]]) -> Any:
    """The type that paths with these keys lead through."""
    names: dict[str, list[tuple[Key, ...]]] = {}
    items = []
    for keys in paths:
        if not keys:
            return Any
        if isinstance(keys[0], str):
            names.setdefault(keys[0], []).append(keys[1:])
        else:
            items.append(keys[1:])
    if names and items:
        return Any
    if names:
        fields = {name: _shape(rest) for name, rest in names.items()}
        return TypedDict("Part", fields, total=False)  # type: ignore[operator]
    item = _shape(items)
    every = any(keys[0] is Every for keys in paths)
    return list[item] | dict[str, item] if every else list[item]  # type: ignore[valid-type]


def _walk(value: Any, keys: tuple[Any, ...]) -> Any:
    for at, key in enumerate(keys):
        try:
            if type(value) is not (list if type(key) is int else dict):
                raise KeyError
            value = value[key]
        except (KeyError, IndexError):
            raise Missing(_lacking(value, keys[:at], key)) from None
    return value


def _lacking(value: Any, keys: tuple[Key, ...], key: Key) -> str:
    place = "$" + "".join(
        f".{one}" if isinstance(one, str) else f"[{'*' if one is Every else one}]" for one in keys
    )
    if isinstance(key, str) and isinstance(value, dict):
        names = ", ".join(list(value)[:8]) or "nothing"
        return f"{place} has no {key!r:.60}; it has {names:.200}"
    if isinstance(key, int) and isinstance(value, list):
        return f"{place} has {len(value)} items, no [{key}]"
    return f"{place} is {_kind(value)}, no {'object' if isinstance(key, str) else 'list'}"


def _kind(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return _KINDS[type(value)]


_KINDS: Final = {
    str: "a text",
    int: "a number",
    float: "a number",
    list: "a list",
    dict: "an object",
}
