"""What an endpoint takes in its query, and the sentence that says so when it got something else."""

from __future__ import annotations

import argparse
import keyword
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any
from urllib.parse import parse_qsl

from ftnet.cli_load import span
from ftnet.serve.shared import MILLION


class Refusal(Exception):
    """The answer to a request that can't be served: a status and a sentence."""

    def __init__(self, status: int, text: str, header: Mapping[str, str] | None = None) -> None:
        super().__init__(text)
        self.status = status
        self.text = text
        self.header = dict(header or {})


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter: ``read`` makes its value of the text, and raises ValueError when it can't."""

    name: str
    shown: str  # in the list of endpoints: what stands behind the =
    takes: str
    read: Callable[[str], Any]
    default: Any

    @property
    def argument(self) -> str:
        """Its name as a handler's argument."""
        return f"{self.name}_" if keyword.iskeyword(self.name) else self.name


def _number(text: str) -> Decimal:
    try:
        value = Decimal(text)
    except InvalidOperation:
        raise ValueError(text) from None
    if not value.is_finite():
        raise ValueError(text)
    return value


def _within(value: Any, low: float, high: float) -> Any:
    if not low <= value <= high:
        raise ValueError(value)
    return value


def milliseconds(name: str, default: float, *, high: int = 60_000) -> Parameter:
    """A time that is given in milliseconds and read as seconds."""

    def read(text: str) -> float:
        return float(_within(_number(text), 0, high)) / 1000

    return Parameter(
        name, f"{default:g}", f"milliseconds from 0 to {high}, as 5 or 0.5", read, default / 1000
    )


def whole(name: str, default: int | None, low: int, high: int) -> Parameter:
    """A whole number."""

    def read(text: str) -> int:
        if not (text.isascii() and text.isdigit()):
            raise ValueError(text)
        return int(_within(int(text[:20]), low, high))

    shown = "N" if default is None else str(default)
    return Parameter(name, shown, f"a whole number from {low} to {high}", read, default)


def time(name: str, default: str) -> Parameter:
    """A time with its unit, read as seconds."""

    def read(text: str) -> float:
        try:
            return float(_within(span(text), 0.001, 86_400))
        except argparse.ArgumentTypeError as error:
            raise ValueError(text) from error

    takes = "a time from 1ms to 24h, as 500ms, 10s or 1m30s"
    return Parameter(name, default, takes, read, span(default))


def share(name: str, default: str) -> Parameter:
    """A share, read as millionths."""

    def read(text: str) -> int:
        millionths = _within(_number(text), 0, 1) * MILLION
        if millionths % 1:
            raise ValueError(text)
        return int(millionths)

    takes = "a share from 0 to 1 with at most 6 decimals, as 0.01"
    return Parameter(name, default, takes, read, read(default))


def choice(name: str, *words: str) -> Parameter:
    """One of some words; the first is the default."""

    def read(text: str) -> str:
        if text not in words:
            raise ValueError(text)
        return text

    return Parameter(name, words[0], " or ".join(words), read, words[0])


def values(path: str, parameters: Sequence[Parameter], query: str) -> dict[str, Any]:
    """The arguments for the handler of the endpoint ``path``; raises Refusal.

    An endpoint without parameters does not look at its query.
    """
    if not parameters:
        return {}
    given: dict[str, str] = {}
    for name, text in parse_qsl(query, keep_blank_values=True):
        if name in given:
            raise Refusal(400, f"{path}: {name} is given twice")
        given[name] = text
    found = {one.argument: _value(path, one, given.pop(one.name, None)) for one in parameters}
    if given:
        known = ", ".join(one.name for one in parameters)
        raise Refusal(400, f"{path}: {next(iter(given))} is no parameter of it, it takes {known}")
    return found


def _value(path: str, parameter: Parameter, text: str | None) -> Any:
    if text is None:
        return parameter.default
    try:
        return parameter.read(text)
    except ValueError:
        raise Refusal(
            400, f"{path}: {parameter.name} is {text!r}, it takes {parameter.takes}"
        ) from None
