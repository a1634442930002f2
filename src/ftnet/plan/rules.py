"""What each key of a plan takes, in words, and the check that holds it to that."""

from __future__ import annotations

import argparse
import math
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from ftnet.cli_load import amount, rate, span
from ftnet.header import header_lines
from ftnet.load.options import LOAD_OPTIONS
from ftnet.plan import answers, functions, template, urls
from ftnet.plan.answers import WrongEntry
from ftnet.plan.data import KINDS
from ftnet.plan.problems import shown

__all__ = ["NAME", "RULES", "Place", "Rule"]

#: Names of variables, and of scenarios' and data's.
NAME: Final = re.compile(r"[A-Za-z_][\w-]*")
_RESERVED: Final = ("iteration", "user")


@dataclass(frozen=True, slots=True)
class Place:
    """What a check has to know of the plan around a key."""

    folder: str = ""
    base_url: str = ""


#: Returns the value to use; raises TypeError or ValueError, with a reason or without.
_Check: TypeAlias = Callable[[Any, Place], Any]


@dataclass(frozen=True, slots=True)
class Rule:
    """What a key takes."""

    takes: str
    check: _Check


# --- numbers and times ------------------------------------------------------------------------


def _parsed(parse: Callable[[str], float], value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return parse(value)
    except argparse.ArgumentTypeError:
        raise ValueError from None


def _load(option: str, parse: Callable[[str], float] | None = None) -> _Check:
    """As the option of `ftnet.load.run`; a text is read as the command line does."""
    check = LOAD_OPTIONS.rows[option].check
    return lambda value, _: check(value if parse is None else _parsed(parse, value))


def _stages(value: Any, _: Place) -> tuple[tuple[float, float], ...]:
    if not isinstance(value, list) or not all(isinstance(stage, list) for stage in value):
        raise TypeError
    if any(len(stage) != 2 for stage in value):
        raise ValueError
    pairs = [(_parsed(span, time), _parsed(rate, at)) for time, at in value]
    checked: tuple[tuple[float, float], ...] = LOAD_OPTIONS.rows["stages"].check(pairs)
    return checked


def _think(value: Any, where: Place) -> float | tuple[float, float]:
    seconds = _load("think", span)
    if not isinstance(value, list):
        return float(seconds(value, where))
    if len(value) != 2:
        raise ValueError
    least, most = (float(seconds(one, where)) for one in value)
    if least > most:
        raise ValueError("the first is more than the second")
    return least, most


def _weight(value: Any, _: Place) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError
    if not 0 < value < math.inf:
        raise ValueError
    return float(value)


# --- plain values -----------------------------------------------------------------------------


def _flag(value: Any, _: Place) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


def _string(value: Any, _: Place) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _name(value: Any, where: Place) -> str:
    text = _string(value, where)
    if not text.strip() or not text.isprintable() or len(text) > 200:
        raise ValueError
    return text


def _word(*words: str) -> Rule:
    def check(value: Any, _: Place) -> str:
        if value not in words:
            raise ValueError
        return str(value)

    quoted = [f'"{word}"' for word in words]
    return Rule(f"{', '.join(quoted[:-1])} or {quoted[-1]}", check)


def _list_of_names(value: Any, where: Place) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise TypeError
    return tuple(_name(one, where) for one in value)


# --- texts with variables ---------------------------------------------------------------------


def _text(value: Any, where: Place) -> str:
    template.compile(_string(value, where))
    return str(value)


def _json(value: Any, _: Place) -> Any:
    template.compile_value(value)
    return value


def _texts(value: Any, where: Place) -> dict[str, str]:
    """A table of texts; a number or a truth value is written as in JSON."""
    if not isinstance(value, dict):
        raise TypeError
    out = {}
    for name, one in value.items():
        if isinstance(one, (dict, list)) or one is None:
            raise WrongEntry(name, f"must be a text, got {shown(one)}")
        try:
            out[name] = _text(template.text_of(one), where)
        except ValueError as error:
            raise WrongEntry(name, str(error)) from None
    return out


def _header(value: Any, where: Place) -> dict[str, str]:
    header = _texts(value, where)
    for name, content in header.items():
        one = {name: template.compile(content).fill("0")}
        try:
            header_lines(one, "", default_json=False, referer=True)
        except ValueError as error:
            raise WrongEntry(name, str(error).removeprefix(": ")) from None
    return header


def _variables(value: Any, _: Place) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError
    out = {}
    for name, content in value.items():
        try:
            check_variable(name)
            out[name] = _with_environment(content)
        except ValueError as error:
            raise WrongEntry(name, str(error)) from None
    return out


def check_variable(name: str) -> None:
    """ValueError when a variable can't be named so."""
    if not NAME.fullmatch(name):
        raise ValueError("a variable's name has letters, digits, _ and - only, no digit first")
    if name in _RESERVED:
        raise ValueError(f"a variable can't be called so: ${{{name}}} is the run's")


def _with_environment(value: Any) -> Any:
    """The value with ``${env(NAME)}`` replaced; other variables are none yet."""
    if isinstance(value, list):
        return [_with_environment(one) for one in value]
    if isinstance(value, dict):
        return {name: _with_environment(one) for name, one in value.items()}
    if not isinstance(value, str):
        return value

    def of(found: re.Match[str]) -> str:
        if found[1] not in os.environ:
            raise ValueError(f"the environment has no {found[1]}")
        return os.environ[found[1]]

    text = re.sub(r"\$\{\s*env\(\s*(\w+)\s*\)\s*\}", of, value)
    if "${" in re.sub(r"\$\{\s*env\(\s*(\w+)\s*\)\s*\}", "", value):
        raise ValueError("a variable's value can hold ${env(NAME)} and no other variable")
    return text


# --- places and files -------------------------------------------------------------------------


def _base_url(value: Any, where: Place) -> str:
    text = _text(value, where)
    if text:
        urls.check_url(text, "", ("http", "https"))
    if "?" in text or "#" in text:
        raise ValueError("it has a query")
    return text


def _request(value: Any, where: Place) -> str:
    text = _text(value, where)
    urls.check_request(text, where.base_url)
    return text


def _url(value: Any, where: Place) -> str:
    text = _text(value, where)
    urls.check_url(text, where.base_url, ("http", "https"))
    return text


def _websocket(value: Any, where: Place) -> str:
    text = _text(value, where)
    urls.check_url(text, urls.for_websocket(where.base_url), ("ws", "wss"))
    return text


def _host_port(value: Any, where: Place) -> str:
    text = _text(value, where)
    urls.check_place(text)
    return text


def _file(value: Any, where: Place) -> str:
    name = _string(value, where)
    path = os.path.join(where.folder, name)
    if not os.path.isfile(path):
        raise ValueError(f"there is no file {path}")
    if not os.access(path, os.R_OK):
        raise ValueError(f"{path} can't be read")
    return name


def _data_file(value: Any, where: Place) -> str:
    name = _file(value, where)
    if os.path.splitext(name)[1].lower() not in KINDS:
        raise ValueError(f"it must end in {', '.join(KINDS)}")
    return name


def _python(value: Any, where: Place) -> str:
    target = _string(value, where)
    functions.load(target, where.folder)
    return target


# --- answers ----------------------------------------------------------------------------------


def _expect(value: Any, _: Place) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError
    answers.expectations(value)
    return value


def _extract(value: Any, _: Place) -> dict[str, str]:
    if not isinstance(value, dict):
        raise TypeError
    for name in value:
        try:
            check_variable(name)
        except ValueError as error:
            raise WrongEntry(name, str(error)) from None
    answers.extractions(value)
    return value


# --- what is done on sockets ------------------------------------------------------------------


def _send_hex(value: Any, where: Place) -> str:
    text = _text(value, where)
    if template.compile(text).static:
        bytes.fromhex(text)
    return text


def _receive(value: Any, where: Place) -> bool | int | str:
    if isinstance(value, bool):
        if not value:
            raise ValueError
        return value
    if isinstance(value, int):
        if not 1 <= value <= 1 << 30:
            raise ValueError
        return value
    text = _text(value, where)
    if not text:
        raise ValueError
    return text


def _close(value: Any, _: Place) -> bool | int:
    if value is True or (
        isinstance(value, int) and (value == 1000 or 3000 <= value <= 4999) and value is not False
    ):
        return value
    raise ValueError


# --- the table --------------------------------------------------------------------------------

_ABOVE: Final = 'a time > 0, as "500ms", "1m30s" or a number of seconds'
_TIME: Final = 'a time, as "500ms", "1m30s" or a number of seconds'
_TEXTS: Final = "a table of names and texts"

RULES: Final[Mapping[str, Rule]] = {
    # load
    "users": Rule("a whole number from 1 to 1000000", _load("connections", amount)),
    "rate": Rule('iterations a second, as 200, 0.5 or "10k"', _load("rate", rate)),
    "stages": Rule('a list of [time, rate at its end], as [["30s", 100], ["2m", 500]]', _stages),
    "arrivals": _word("constant", "poisson"),
    "seed": Rule("a whole number from 0 to 2**64 - 1", _load("seed")),
    "warmup": Rule(_TIME, _load("warmup", span)),
    "duration": Rule(_ABOVE, _load("duration", span)),
    "iterations": Rule("a whole number above 0", _load("requests", amount)),
    "grace": Rule(_TIME, _load("grace", span)),
    # data
    "data_file": Rule("the name of a CSV or JSONL file beside the plan", _data_file),
    "order": _word("sequential", "random", "once"),
    "file": Rule("the name of a file beside the plan", _file),
    # every step
    "name": Rule("a text of one line, 200 characters at most", _name),
    "think": Rule(f"{_TIME}, or [least, most]", _think),
    "expect": Rule("a table of what must hold of the answer", _expect),
    "extract": Rule("a table of variables and where they are in the answer", _extract),
    "on_fail": _word("stop", "continue"),
    "timeout": Rule(_ABOVE, _load("timeout", span)),
    "when": Rule("a text with variables", _text),
    # steps
    "request": Rule('"METHOD URL" or "URL"', _request),
    "header": Rule("a table of header names and texts", _header),
    "body": Rule("a text", _text),
    "body_file": Rule("the name of a file beside the plan", _file),
    "json": Rule("any value", _json),
    "form": Rule(_TEXTS, _texts),
    "http_version": _word("1.1", "2", "2-prior-knowledge", "3", "3-only"),
    "follow": Rule("true or false", _flag),
    "download": Rule("an http or https URL", _url),
    "upload": Rule("an http or https URL", _url),
    "field": Rule("the name of a form's field", _name),
    "websocket": Rule("a ws or wss URL", _websocket),
    "protocols": Rule("a list of names", _list_of_names),
    "tcp": Rule('"HOST:PORT"', _host_port),
    "tls": Rule("true or false", _flag),
    "udp": Rule('"HOST:PORT"', _host_port),
    "python": Rule('"module:function" or "file.py:function"', _python),
    # actions
    "send": Rule("a text", _text),
    "send_hex": Rule("bytes as hexadecimal digits", _send_hex),
    "receive": Rule("true, a number of bytes or a text to receive through", _receive),
    "close": Rule("true or a close code: 1000, 3000 to 4999", _close),
    "within": Rule(_ABOVE, _load("timeout", span)),
    # scenarios and the plan
    "weight": Rule("a number > 0", _weight),
    "base_url": Rule("an http or https URL without a query", _base_url),
    "variables": Rule("a table of variables and their values", _variables),
    "cookies": Rule("true or false", _flag),
}
