"""Plans as TOML, as a person would have written it: without what is the default anyway."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from ftnet.cli_load import span
from ftnet.plan.model import Plan

__all__ = ["to_mapping", "to_toml"]

_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")
_CONTROLS: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_TIMES: Final = frozenset({"timeout", "think", "warmup", "duration", "grace", "within"})
#: What a step does comes before what every step has.
_LATER: Final = {"name": 0} | dict.fromkeys(
    ("header", "when", "timeout", "expect", "extract", "on_fail", "think"), 2
)
_WIDTH: Final = 100
_TABLES: Final = frozenset({"scenario", "step"})  #: arrays of tables


def to_mapping(plan: Plan) -> dict[str, Any]:
    """The plan as `ftnet.plan.convert` takes it, without keys that have their default."""
    mapping: dict[str, Any] = _plain(plan)
    mapping.pop("folder", None)
    return mapping


def _plain(value: Any, name: str = "") -> Any:
    if isinstance(value, msgspec.Struct):
        fields = sorted(msgspec.structs.fields(value), key=lambda one: _LATER.get(one.name, 1))
        given = ((field.name, getattr(value, field.name), field) for field in fields)
        return {key: _plain(one, key) for key, one, field in given if not _is_default(one, field)}
    if name in _TIMES and isinstance(value, tuple):
        return [_time(one) for one in value]
    if name in _TIMES:
        return _time(value)
    if name == "stages":
        return [[_time(seconds), rate] for seconds, rate in value]
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    if name == "data":
        return {key: _plain(one) for key, one in value.items()}
    return value


def _is_default(value: Any, field: Any) -> bool:
    if field.default_factory is not msgspec.NODEFAULT:
        return bool(value == field.default_factory())
    return bool(value == field.default) and type(value) is type(field.default)


def _time(seconds: float) -> Any:
    """``"500ms"``, ``"1.5s"``, ``"2m"``; the number where no text says exactly that."""
    if seconds == 0:
        return 0
    if 0 < seconds < 1:
        text = f"{seconds * 1000:g}ms"
    elif seconds % 60 == 0:
        text = f"{seconds / 60:g}m"
    else:
        text = f"{seconds:g}s"
    exact = re.fullmatch(r"[\d.]+[a-z]+", text) is not None and span(text) == seconds
    return text if exact else seconds


# --- TOML -------------------------------------------------------------------------------------


def to_toml(plan: Plan) -> str:
    """The plan as a file that `ftnet.plan.read` reads; ValueError for a null, which TOML lacks."""
    lines: list[str] = []
    _write_table(lines, (), to_mapping(plan), ())
    return "\n".join(lines).lstrip("\n") + "\n"


def _write_table(
    lines: list[str], path: tuple[str, ...], table: Mapping[str, Any], header: tuple[str, ...]
) -> None:
    """Keys first, then what has a header of its own."""
    lines += header
    later = []
    for key, value in table.items():
        line = f"{_key(key)} = {_value(value)}" if not _has_header(key, value, path) else ""
        if line and (len(line) <= _WIDTH or not isinstance(value, dict) or not value):
            lines += line.split("\n")
        else:
            later.append((key, value))
    for key, value in later:
        at = (*path, key)
        name = ".".join(_key(one) for one in at)
        if isinstance(value, list):
            for one in value:
                _write_table(lines, at, one, ("", f"[[{name}]]"))
        elif not path and key == "data":
            for feed, one in value.items():
                _write_table(lines, (*at, feed), one, ("", f"[{name}.{_key(feed)}]"))
        else:
            _write_table(lines, at, value, ("", f"[{name}]"))


def _has_header(key: str, value: Any, path: tuple[str, ...]) -> bool:
    if path in ((), ("scenario",)) and key in _TABLES:
        return True
    return not path and isinstance(value, dict) and key in ("load", "data", "variables", "settings")


def _key(key: str) -> str:
    return key if _BARE.fullmatch(key) else _basic(key)


def _value(value: Any) -> str:
    if value is None:
        raise ValueError("TOML has no null")
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, dict):
        pairs = ", ".join(f"{_key(key)} = {_inline(one)}" for key, one in value.items())
        return f"{{{pairs}}}"
    short = f"[{', '.join(_inline(one) for one in value)}]"
    if len(short) < _WIDTH - 20:
        return short
    return "[\n" + "".join(f"  {_inline(one)},\n" for one in value) + "]"


def _inline(value: Any) -> str:
    """In one line."""
    if isinstance(value, str):
        return _literal(value) or _basic(value)
    if isinstance(value, list):
        return f"[{', '.join(_inline(one) for one in value)}]"
    return _value(value)


def _string(text: str) -> str:
    long = "\n" in text and not _CONTROLS.search(text) and "'''" not in text
    if long and not text.endswith("'"):
        return f"'''\n{text}'''"
    return _literal(text) or _basic(text)


def _literal(text: str) -> str:
    """In single quotes, where double ones would need escapes."""
    plain = "'" not in text and "\n" not in text and not _CONTROLS.search(text)
    return f"'{text}'" if plain and ('"' in text or "\\" in text) else ""


def _basic(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
