"""What is wrong in a plan: where, and what there should be."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from ftnet.plan.places import Path

__all__ = ["PlanError", "Problem", "Problems", "did_you_mean", "shown"]


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong in a plan."""

    file: str  #: "" for a plan that is no file
    line: int  #: from 1; 0: not known
    key: str  #: ``scenario.buy.step.2.expect.status``: scenarios by name, steps from 1
    reason: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return ": ".join(part for part in (place, self.key, self.reason) if part)


class PlanError(ValueError):
    """A plan that can't be carried out as it is: all that is wrong in it, in its order."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        first = self.problems[0]
        self.file, self.line, self.key, self.reason = (
            first.file,
            first.line,
            first.key,
            first.reason,
        )
        super().__init__("\n".join(str(problem) for problem in self.problems))

    def __reduce__(self) -> tuple[type[PlanError], tuple[tuple[Problem, ...]]]:
        return type(self), (self.problems,)


class Problems:
    """Gathers what is wrong in one plan."""

    def __init__(self, file: str, lines: Mapping[Path, int]) -> None:
        self._file = file
        self._lines = lines
        self._names: dict[int, str] = {}  # of scenarios
        self._found: list[Problem] = []

    def name_scenario(self, at: int, name: str) -> None:
        """How scenario `at` is called from now on."""
        self._names[at] = name

    def add(self, path: Path, reason: str, line: int = 0) -> None:
        """Something is wrong with the key at a path; `line` when it is another."""
        found = Problem(self._file, line or self._line(path), self._key(path), reason)
        self._found.append(found)

    def __len__(self) -> int:
        return len(self._found)

    def error(self) -> PlanError:
        """All of them, by line."""
        return PlanError(sorted(self._found, key=lambda problem: problem.line))

    def _line(self, path: Path) -> int:
        while path and path not in self._lines:
            path = path[:-1]
        return self._lines.get(path, 0)

    def _key(self, path: Path) -> str:
        parts = []
        for at, key in enumerate(path):
            if isinstance(key, str):
                parts.append(key)
            elif at == 1 and path[0] == "scenario" and self._names.get(key):
                parts.append(self._names[key])
            else:
                parts.append(str(key + 1))
        return ".".join(parts)


def shown(value: Any) -> str:
    """The value as JSON, 80 characters at most."""
    text = msgspec.json.encode(value, enc_hook=str).decode()
    return text if len(text) <= 80 else f"{text[:77]}..."


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """``; did you mean NAME?``, or what there is."""
    names = list(known)
    near = difflib.get_close_matches(name, names, 1, 0.6)
    if near:
        return f"; did you mean {near[0]!r}?"
    return f"; it takes {', '.join(names)}" if names else ""
