"""Plan files: a TOML or JSON text becomes a `Plan`, checked before anything is sent.

All that is wrong in a file is told at once, in a `PlanError`.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, TypeAlias, TypeVar

import msgspec

from ftnet.plan import model, scope
from ftnet.plan.answers import WrongEntry
from ftnet.plan.data import FeedError, open_rows
from ftnet.plan.model import Action, Feed, Load, Plan, Scenario, Step
from ftnet.plan.places import Path, json_lines, toml_lines
from ftnet.plan.problems import PlanError, Problem, Problems, did_you_mean, shown
from ftnet.plan.rules import NAME, RULES, Place
from ftnet.settings import check_client_settings

__all__ = ["KINDS", "convert", "convert_step", "read"]

#: Kinds of steps, by the key that says what is done.
KINDS: Final[dict[str, type[Any]]] = {
    "request": model.Http,
    "upload": model.Upload,
    "download": model.Download,
    "websocket": model.WebSocket,
    "tcp": model.Tcp,
    "udp": model.Udp,
    "python": model.Python,
}
_DOES: Final = ("send", "send_hex", "receive", "close")
#: Steps that get no answer of their own, and where it is said what must hold instead.
_ELSEWHERE: Final[dict[type[Any], str]] = {
    **dict.fromkeys((model.WebSocket, model.Tcp, model.Udp), "to an action that receives"),
    model.Python: "to the steps that the function gives",
}
_BODIES: Final = ("body", "body_file", "json", "form")
#: Settings of a Client that are keys of the plan itself, or make no sense in one.
_OWN_SETTINGS: Final = {
    "cookies": "the plan has cookies = true or false itself",
    "timeout": "the plan has timeout itself",
    "policy": "it is no setting of a plan",
}
_PATHS: Final = ("ca", "cert", "key", "keylog_file", "temp_dir")


def read(path: str | os.PathLike[str]) -> Plan:
    """The plan in a file that ends in .toml or .json; `PlanError` tells all that is wrong in it."""
    name = os.fspath(path)
    try:
        with open(name, "rb") as file:
            content = file.read()
    except OSError as error:
        raise _error(name, 0, f"can't be read: {error.strerror}") from None
    ending = os.path.splitext(name)[1].lower()
    if ending not in (".toml", ".json"):
        raise _error(name, 0, f"a plan ends in .toml or .json, got {ending or 'no ending'!r}")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise _error(name, line, f"is no UTF-8: byte 0x{content[error.start]:02x}") from None
    given, lines, twice = (_toml if ending == ".toml" else _json)(name, text)
    folder = os.path.dirname(os.path.abspath(name))
    if isinstance(given, dict):
        given.setdefault("name", os.path.splitext(os.path.basename(name))[0])
    return _plan(given, folder, Problems(name, lines), twice)


def convert(given: Any, folder: str = "", source: str = "plan") -> Plan:
    """The plan in a mapping as a file has it; its files are beside `folder`.

    `PlanError` tells all that is wrong in it, and names it `source`.
    """
    return _plan(given, os.path.abspath(folder), Problems(source, {}))


def convert_step(given: Any, folder: str = "", base_url: str = "", source: str = "step") -> Step:
    """One step in a mapping as a plan file has it."""
    problems = Problems(source, {})
    step = _Reader(problems, Place(os.path.abspath(folder), base_url)).step(given, ())
    if step is None:
        raise problems.error()
    return step


def _error(file: str, line: int, reason: str) -> PlanError:
    return PlanError([Problem(file, line, "", reason)])


S = TypeVar("S", bound=msgspec.Struct)
T = TypeVar("T")
_Parsed: TypeAlias = tuple[Any, dict[Path, int], list[tuple[Path, int]]]


def _toml(name: str, text: str) -> _Parsed:
    try:
        return tomllib.loads(text), toml_lines(text.replace("\r\n", "\n")), []
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        found = re.fullmatch(r"(.*) \(at line (\d+), (column \d+)\)", str(error), re.DOTALL)
        if found is None:
            raise _error(name, text.count("\n") + 1, f"is no TOML: {error}") from None
        reason = f"is no TOML: {found[1]}, at {found[3]}"
        raise _error(name, int(found[2]), reason) from None


def _json(name: str, text: str) -> _Parsed:
    content = text.encode()
    try:
        return msgspec.json.decode(content), *json_lines(text)
    except (msgspec.DecodeError, RecursionError) as error:
        found = re.search(r" \(byte (\d+)\)", str(error))
        line = content.count(b"\n", 0, int(found[1])) + 1 if found else text.count("\n") + 1
        reason = str(error).replace(found[0], "") if found else str(error)
        raise _error(name, line, f"is no JSON: {reason}") from None


def _plan(
    given: Any, folder: str, problems: Problems, twice: Iterable[tuple[Path, int]] = ()
) -> Plan:
    for path, line in twice:
        problems.add(path, "is there twice", line)
    plan = _Reader(problems, Place(folder)).plan(given)
    if plan is None:
        raise problems.error()
    return plan


class _Reader:
    """Makes structs of mappings; what is wrong goes to `problems`, and None comes back."""

    def __init__(self, problems: Problems, place: Place) -> None:
        self._problems = problems
        self._place = place

    # --- the plan ---

    def plan(self, given: Any) -> Plan | None:
        if not isinstance(given, dict):
            self._problems.add((), f"must be a table, got {shown(given)}")
            return None
        self._place = Place(self._place.folder, self._base_url(given))
        made = self._struct(
            Plan,
            given,
            (),
            load=self._load,
            data=self._data,
            settings=self._settings,
            scenario=self._scenarios,
        )
        if "scenario" not in given:
            self._problems.add((), "there must be a [[scenario]] with steps")
        if made is None:
            return None
        plan: Plan = msgspec.structs.replace(made, folder=self._place.folder)
        scope.check(plan, self._problems)
        return None if self._problems else plan

    def _base_url(self, given: dict[str, Any]) -> str:
        """What URLs are relative to while they are checked: a wrong one is told once."""
        try:
            return str(RULES["base_url"].check(given.get("base_url", ""), self._place))
        except (TypeError, ValueError):
            return "http://localhost"

    def _load(self, given: Any, path: Path) -> Load | None:
        if not self._is_table(given, path):
            return None
        load: Load | None = self._struct(Load, given, path)
        if load is None:
            return None
        paced = load.rate is not None or bool(load.stages)
        if load.rate == 0 and not load.stages:
            self._problems.add((*path, "rate"), "must be more than 0 without stages, got 0")
        if load.arrivals == "poisson" and not paced:
            reason = 'must be "constant" without a rate or stages, got "poisson"'
            self._problems.add((*path, "arrivals"), reason)
        return load

    def _data(self, given: Any, path: Path) -> dict[str, Feed] | None:
        if not self._is_table(given, path):
            return None
        out = {}
        for name, one in given.items():
            at = (*path, name)
            if not NAME.fullmatch(name):
                self._problems.add(at, "a name has letters, digits, _ and - only, no digit first")
            if self._is_table(one, at):
                feed = self._struct(Feed, one, at)
                if feed is not None:
                    self._open(name, feed, at)
                    out[name] = feed
        return out

    def _open(self, name: str, feed: Feed, path: Path) -> None:
        try:
            open_rows(os.path.join(self._place.folder, feed.file), f"{name}.").check()
        except FeedError as error:
            line = f"line {error.line}: " if error.line else ""
            self._problems.add((*path, "file"), f"{feed.file}: {line}{error.reason}")

    def _settings(self, given: Any, path: Path) -> dict[str, Any] | None:
        if not self._is_table(given, path):
            return None
        out = {}
        for name, value in given.items():
            if name in _PATHS and isinstance(value, str):
                value = os.path.join(self._place.folder, value)
            out[name] = value
        before = len(self._problems)
        for name in out:
            if name in _OWN_SETTINGS:
                self._problems.add((*path, name), _OWN_SETTINGS[name])
                continue
            alone = (
                {"cert": out.get("cert"), name: out[name]} if name == "key" else {name: out[name]}
            )
            try:
                check_client_settings(alone)
            except (TypeError, ValueError) as error:
                reason = str(error).removeprefix("Client: ").removeprefix(f"{name} ")
                self._problems.add((*path, name), reason)
        return out if len(self._problems) == before else None

    # --- scenarios and steps ---

    def _scenarios(self, given: Any, path: Path) -> tuple[Scenario, ...] | None:
        made = self._list(given, path, self._scenario, "a list: [[scenario]]")
        self._check_names(given)
        return made

    def _scenario(self, given: Any, path: Path) -> Scenario | None:
        if not self._is_table(given, path):
            return None
        name = given.get("name")
        if isinstance(name, str) and isinstance(path[-1], int):
            self._problems.name_scenario(path[-1], name)
        if "warmup" in _entries(given, "load"):
            reason = "is the same for all scenarios: say it in the plan's load"
            self._problems.add((*path, "load", "warmup"), reason)
        if "load" in given and "weight" in given:
            reason = "is for scenarios without a load of their own; leave out one of the two"
            self._problems.add((*path, "weight"), reason)
        return self._struct(Scenario, given, path, load=self._load, step=self._steps)

    def _steps(self, given: Any, path: Path) -> tuple[Step, ...] | None:
        return self._list(given, path, self.step, "a list: [[scenario.step]]")

    def _check_names(self, scenarios: Any) -> None:
        """No two scenarios have the same name, and no two steps: they are counted by it."""
        self._once("scenarios", _names(scenarios, ("scenario",)))
        steps: list[tuple[Path, str]] = []
        for at, scenario in _tables(scenarios):
            path: Path = ("scenario", at, "step")
            steps += _names(scenario.get("step"), path)
            for number, step in _tables(scenario.get("step")):
                actions = _names(step.get("actions"), (*path, number, "actions"))
                self._once("actions of the step", actions)
        self._once("steps of the plan", steps)

    def _once(self, what: str, named: Iterable[tuple[Path, str]]) -> None:
        seen: set[str] = set()
        for path, name in named:
            if name in seen:
                self._problems.add((*path, "name"), f"two {what} are called {name!r}")
            seen.add(name)

    def step(self, given: Any, path: Path) -> Step | None:
        """One step."""
        if not self._is_table(given, path):
            return None
        kinds = [key for key in KINDS if key in given]
        if len(kinds) != 1:
            self._problems.add(path, _no_kind(given, kinds))
            return None
        kind = KINDS[kinds[0]]
        bodies = [key for key in _BODIES if given.get(key) is not None]
        if kind is model.Http and len(bodies) > 1:
            reason = f"the step has {bodies[0]} already: one body is all that a request has"
            self._problems.add((*path, bodies[1]), reason)
        for key in ("expect", "extract"):
            if key in given and kind in _ELSEWHERE:
                self._problems.add((*path, key), f"goes elsewhere: {_ELSEWHERE[kind]}")
        made: Step | None = self._struct(kind, given, path, actions=self._actions)
        return made

    def _actions(self, given: Any, path: Path) -> tuple[Action, ...] | None:
        return self._list(given, path, self._action, "a list of tables")

    def _action(self, given: Any, path: Path) -> Action | None:
        if not self._is_table(given, path):
            return None
        does = [key for key in _DOES if key in given]
        if len(does) != 1:
            got = f"got {' and '.join(does)}" if does else "got none of them"
            self._problems.add(path, f"an action has one of {', '.join(_DOES)}, {got}")
        for key in ("expect", "extract"):
            if key in given and does and "receive" not in does:
                reason = f"there is nothing to look at: the action is {does[0]}, not receive"
                self._problems.add((*path, key), reason)
        looked_at = [("expect", key, key) for key in _entries(given, "expect")]
        looked_at += [("extract", key, what) for key, what in _entries(given, "extract").items()]
        for table, key, what in looked_at:
            if str(what).partition(":")[0] in ("status", "header"):
                reason = "what is received on a socket has no status and no header"
                self._problems.add((*path, table, key), reason)
        made: Action | None = self._struct(Action, given, path)
        return made

    # --- what all of them are made by ---

    def _struct(self, kind: type[S], given: dict[str, Any], path: Path, **readers: Any) -> S | None:
        """A struct of a table; `readers` make the keys that are structs themselves."""
        fields = {one.name: one for one in msgspec.structs.fields(kind) if one.name != "folder"}
        before = len(self._problems)
        out = {}
        for key, value in given.items():
            if key not in fields:
                reason = f"unknown key{did_you_mean(key, fields)}"
                self._problems.add((*path, key), reason)
            elif key in readers:
                out[key] = readers[key](value, (*path, key))
            elif value is not None or key == "json":
                self._field(kind, key, value, path, out)
        for name, field in fields.items():
            if field.required and given.get(name) is None:
                takes = RULES[name].takes if name in RULES else "at least one"
                self._problems.add(path, f"{name} is missing: {takes}")
        if len(self._problems) > before:
            return None
        return kind(**out)

    def _field(
        self, kind: type[Any], key: str, value: Any, path: Path, out: dict[str, Any]
    ) -> None:
        rule = RULES["data_file" if kind is Feed and key == "file" else key]
        at = (*path, key)
        try:
            out[key] = rule.check(value, self._place)
        except WrongEntry as error:
            self._problems.add((*at, error.where), error.reason)
        except (TypeError, ValueError) as error:
            reason = f"must be {rule.takes}, got {shown(value)}"
            self._problems.add(at, f"{reason}: {error}" if str(error) else reason)

    def _list(
        self, given: Any, path: Path, read: Callable[[Any, Path], T | None], takes: str
    ) -> tuple[T, ...] | None:
        if not isinstance(given, list) or not given:
            self._problems.add(path, f"must be {takes}, got {shown(given)}")
            return None
        made = [read(one, (*path, at)) for at, one in enumerate(given)]
        whole = tuple(one for one in made if one is not None)
        return whole if len(whole) == len(made) else None

    def _is_table(self, given: Any, path: Path) -> bool:
        if not isinstance(given, Mapping):
            self._problems.add(path, f"must be a table, got {shown(given)}")
            return False
        return True


def _no_kind(given: dict[str, Any], kinds: list[str]) -> str:
    takes = f"a step has one of {', '.join(KINDS)}"
    if kinds:
        return f"{takes}, got {' and '.join(kinds)}"
    near = [near for key in given if "did you" in (near := did_you_mean(key, KINDS))]
    return f"{takes}, got {', '.join(given) or 'nothing'}{''.join(near[:1])}"


def _names(given: Any, path: Path) -> Iterator[tuple[Path, str]]:
    """Names in a list of tables, and of which of them."""
    for at, one in _tables(given):
        if isinstance(one.get("name"), str):
            yield (*path, at), one["name"]


def _entries(given: dict[str, Any], key: str) -> dict[str, Any]:
    """What is in a table of a table."""
    table = given.get(key)
    return table if isinstance(table, dict) else {}


def _tables(given: Any) -> list[tuple[int, dict[str, Any]]]:
    if not isinstance(given, list):
        return []
    return [(at, one) for at, one in enumerate(given) if isinstance(one, dict)]
