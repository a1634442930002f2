"""Which variables a plan uses, and whether they are there when they are used."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Any, Final

from ftnet.plan import answers, model, template
from ftnet.plan.data import FeedError, open_rows
from ftnet.plan.model import Plan, Scenario, Step
from ftnet.plan.places import Path
from ftnet.plan.problems import Problems, did_you_mean
from ftnet.plan.urls import split_request, whole_url

__all__ = ["BUILT_IN", "check", "used_feeds"]

BUILT_IN: Final = frozenset({"iteration", "user"})
#: Keys of steps and actions whose texts may hold variables.
_TEXTS: Final = (
    "request", "download", "upload", "websocket", "tcp", "udp",
    "when", "header", "body", "json", "form", "send", "send_hex", "receive",
)  # fmt: skip
_WITH_HEADER: Final = (model.Http, model.Download, model.Upload)  #: which have the plan's
_URLS: Final = ("request", "download", "upload", "websocket")


def check(plan: Plan, problems: Problems) -> None:
    """Adds a problem for each variable that is used before anything defines it."""
    known = {*BUILT_IN, *plan.variables}
    for name in plan.variables:
        if name in plan.data:
            problems.add(("variables", name), f"there is data called {name}, too")
    open_feeds = set()
    for name, feed in plan.data.items():
        try:
            columns = open_rows(os.path.join(plan.folder, feed.file), f"{name}.").columns
        except FeedError:  # told already
            columns = None
        if columns is None:
            open_feeds.add(name)
        else:
            known |= columns
    for at, scenario in enumerate(plan.scenario):
        _Scope(plan, problems, set(known), open_feeds).scenario(scenario, at)


def used_feeds(plan: Plan, scenario: Scenario) -> frozenset[str]:
    """The data that a scenario uses; all of it when a Python function may."""
    if any(isinstance(step, model.Python) for step in scenario.step):
        return frozenset(plan.data)
    names: set[str] = set()
    for step in scenario.step:
        names |= {name for _, name in _shared(plan, step)}
        names |= {name for _, name in _used(step)}
        for action in getattr(step, "actions", ()):
            names |= {name for _, name in _used(action)}
    return frozenset(name.partition(".")[0] for name in names) & plan.data.keys()


class _Scope:
    """The variables that are there, step after step."""

    def __init__(
        self, plan: Plan, problems: Problems, known: set[str], open_feeds: set[str]
    ) -> None:
        self._plan = plan
        self._problems = problems
        self._known = known
        self._open_feeds = open_feeds
        self._later: dict[str, int] = {}  # the last step that extracts it
        self._anything = False  # a Python function may have defined more

    def scenario(self, scenario: Scenario, at: int) -> None:
        for number, step in enumerate(scenario.step, 1):
            for one in (step, *getattr(step, "actions", ())):
                self._later.update(dict.fromkeys(one.extract, number))
        for number, step in enumerate(scenario.step):
            self._step(step, ("scenario", at, "step", number))

    def _step(self, step: Step, path: Path) -> None:
        for shared, name in _shared(self._plan, step):
            self._use(name, path, f" ({shared} has it)")
        used = list(_used(step))
        for key, name in used:
            if key[0] != "expect":
                self._use(name, (*path, *key))
        for number, action in enumerate(getattr(step, "actions", ())):
            for key, name in _used(action):
                self._use(name, (*path, "actions", number, *key))
            self._known |= action.extract.keys()
        for key, name in used:
            if key[0] == "expect":
                self._use(name, (*path, *key))
        self._known |= step.extract.keys()
        self._anything = self._anything or isinstance(step, model.Python)

    def _use(self, name: str, path: Path, where: str = "") -> None:
        if name in self._known or self._anything or name.partition(".")[0] in self._open_feeds:
            return
        if name in self._later:
            reason = f"step {self._later[name]} extracts it, which is not before"
        else:
            reason = f"nothing defines it before{did_you_mean(name, sorted(self._known))}"
        self._problems.add(path, f"unknown variable {name!r}: {reason}{where}")


def _shared(plan: Plan, step: Step) -> Iterator[tuple[str, str]]:
    """The variables that a step has from the plan, and the keys they are in."""
    for key in _URLS:
        url = split_request(getattr(step, key, ""))[1]
        if url and whole_url(plan.base_url, url) != url:
            yield from (("base_url", name) for name in _names(plan.base_url))
    if isinstance(step, _WITH_HEADER):
        for field, text in plan.header_with(step.header).items():
            if field not in step.header:
                yield from ((f"header.{field}", name) for name in _names(text))


def _used(one: Any) -> Iterator[tuple[tuple[str, ...], str]]:
    """The variables of a step or an action without its actions, and the keys they are in."""
    for key in _TEXTS:
        value = getattr(one, key, None)
        if isinstance(value, dict) and key != "json":
            for entry, text in value.items():
                yield from (((key, entry), name) for name in _names(text))
        else:
            yield from (((key,), name) for name in _names(value))
    for wanted in one.expect:
        made: Iterable[answers.Expectation] = answers.expectations({wanted: one.expect[wanted]})
        yield from ((("expect", wanted), name) for expected in made for name in expected.names)


def _names(value: Any) -> list[str]:
    return sorted(template.compile_value(value).names)
