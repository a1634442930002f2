"""Plans from lists: a URL in each line, with a method or without, or curl command lines."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from ftnet.plan import curl
from ftnet.plan.model import Plan
from ftnet.plan.problems import PlanError, Problem
from ftnet.plan.recorded import Asked, make_plan, read_text
from ftnet.url import prepare_url

__all__ = ["from_urls"]

_LINE: Final = re.compile(r"(?:([A-Za-z]+)\s+)?(\S+)")


def from_urls(path: str | os.PathLike[str]) -> Plan:
    """The plan of a list: ``URL``, ``METHOD URL`` or ``curl ...`` in each line.

    Empty lines and those that begin with # are passed over; a command goes on in the next line
    after a backslash, and in quotes. `PlanError` tells all that is wrong in it, by line.
    """
    asked: list[Asked] = []
    settings: dict[str, Any] = {}
    problems = []
    for number, text in _entries(read_text(path)):
        try:
            some, own = curl.parse(text) if text.startswith("curl") else ([_listed(text)], {})
            for one in some:
                prepare_url(one.url, "")
                if one.joined:
                    _join(one, os.path.dirname(path))
        except ValueError as error:
            reason = str(error).removeprefix(": url ")
            problems.append(Problem(os.fspath(path), number, "", reason))
            continue
        for name, value in own.items():
            if settings.setdefault(name, value) != value:
                reason = f"{name} is {settings[name]!r} in a line before, and can't differ"
                problems.append(Problem(os.fspath(path), number, "", reason))
        asked += some
    if problems:
        raise PlanError(problems)
    for one in asked:
        one.clean(credentials=True)
    return make_plan(path, asked, settings=settings)


def _join(asked: Asked, folder: str) -> None:
    """Puts the body there that is left of a file without its line breaks, where it has some."""
    path = os.path.join(folder, asked.given["body_file"])
    if not os.path.isfile(path):
        return  # which is told of the plan
    content = Path(path).read_bytes()
    left = content.translate(None, b"\r\n\0")
    if left == content:
        return
    try:
        asked.body = left.decode()
    except UnicodeDecodeError:
        reason = "-d @FILE leaves line breaks of binary data out; --data-binary does not"
        raise ValueError(reason) from None
    del asked.given["body_file"]


def _listed(text: str) -> Asked:
    found = _LINE.fullmatch(text)
    if found is None:
        raise ValueError(f"must be URL, METHOD URL or a curl command, got {text!r:.60}")
    return Asked(found[2], (found[1] or "GET").upper())


def _entries(text: str) -> Iterator[tuple[int, str]]:
    """Lines, and commands of several lines as one, with the number of their first line."""
    lines = iter(enumerate(text.split("\n"), 1))
    for number, line in lines:
        entry = line.strip()
        if not entry or entry.startswith("#"):
            continue
        while entry.startswith("curl") and curl.goes_on(entry):
            _, more = next(lines, (0, None))
            if more is None:
                break
            entry = f"{entry}\n{more.rstrip()}"
        yield number, entry.rstrip().removesuffix(";")
