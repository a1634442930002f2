"""What ``ftnet plan`` says of a plan, and the file it makes of one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import msgspec

from ftnet.errors import redact
from ftnet.plan import Plan, model, to_toml
from ftnet.plan.answers import expectations
from ftnet.plan.data import open_rows
from ftnet.plan.model import Load, Scenario, Step

__all__ = ["document", "lines_of"]

_LOAD = """\

# How much: 50 iterations a second for a minute. Without a rate each of the users begins its
# next iteration when its last is over.
#
# [load]
# rate = 50
# users = 100
# duration = "1m"
"""


def document(plan: Plan, source: str, output: str | None) -> str:
    """The plan as a file that is to be edited; its files are told from where it is written to."""
    folder = os.path.dirname(os.path.abspath(output)) if output not in (None, "-") else os.getcwd()
    head = (
        f"# Made by ftnet plan of {os.path.basename(source)}. docs/plans.md is the reference.\n\n"
    )
    return head + to_toml(_moved(plan, folder)) + _LOAD


def _moved(plan: Plan, folder: str) -> Plan:
    """The plan with the names of its files relative to another folder."""
    if os.path.realpath(folder) == os.path.realpath(plan.folder):
        return plan
    scenarios = tuple(
        msgspec.structs.replace(
            one, step=tuple(_step_moved(step, plan.folder, folder) for step in one.step)
        )
        for one in plan.scenario
    )
    return msgspec.structs.replace(plan, scenario=scenarios)


def _step_moved(step: Step, before: str, folder: str) -> Step:
    key = "file" if isinstance(step, model.Upload) else "body_file"
    name = getattr(step, key, None)
    if name is None:
        return step
    moved = os.path.relpath(os.path.join(before, name), folder)
    made: Step = msgspec.structs.replace(step, **{key: moved})
    return made


# --- what a plan will do ----------------------------------------------------------------------


def lines_of(plan: Plan) -> Iterator[str]:
    """What a plan will do, for a person."""
    yield f"{plan.name}: nothing is wrong in it"
    yield ""
    if plan.base_url:
        yield _row("goes to", redact(plan.base_url))
    if any(one.load is None for one in plan.scenario):
        yield _row("load", _load(plan.load))
    if plan.variables:
        yield _row("variables", ", ".join(plan.variables))
    for name, feed in plan.data.items():
        rows = open_rows(os.path.join(plan.folder, feed.file), f"{name}.")
        columns = ", ".join(sorted(one.removeprefix(f"{name}.") for one in rows.columns or ()))
        told = f"{name} from {feed.file}: {_rows(len(rows))}, {feed.order}"
        yield _row("data", f"{told}: {columns}" if columns else told)
    names = {id(step): name for name, step in plan.named()}
    whole = sum(one.weight for one in plan.scenario if one.load is None)
    for scenario in plan.scenario:
        yield ""
        yield from _scenario(scenario, whole, [(names[id(step)], step) for step in scenario.step])


def _row(name: str, value: str) -> str:
    return f"  {name:<11}{value}"


def _rows(count: int) -> str:
    return "1 row" if count == 1 else f"{count:,} rows"


def _scenario(scenario: Scenario, whole: float, steps: list[tuple[str, Step]]) -> Iterator[str]:
    share = f"{100 * scenario.weight / whole:.3g} % of the iterations" if whole else ""
    about = share if scenario.load is None else _load(scenario.load)
    yield f"  {scenario.name}: {about}{_think(scenario.think, ' after each')}"
    width = min(40, max(len(name) for name, _ in steps))
    for number, (name, step) in enumerate(steps, 1):
        parts = [part for part in (_does(step, name), *_more(step)) if part]
        yield f"  {number:>3}  {name:<{width}}  {'; '.join(parts)}".rstrip()


def _does(step: Step, name: str) -> str:
    kind = model.kind_of(step)
    text = step.request if isinstance(step, model.Http) else f"{kind} {getattr(step, kind)}"
    text = redact(text)
    return "" if text == name or f"GET {text}" == name else text


def _more(step: Step) -> Iterator[str]:
    expected = [one.text for one in expectations(step.expect)]
    taken = [*step.extract]
    actions = getattr(step, "actions", ())
    for action in actions:
        expected += [one.text for one in expectations(action.expect)]
        taken += action.extract
    if actions:
        yield "1 action" if len(actions) == 1 else f"{len(actions)} actions"
    if step.when:
        yield f"when {step.when}"
    if expected:
        yield f"checks {', '.join(expected)}"
    if taken:
        yield f"takes {', '.join(taken)}"
    yield _think(step.think).removeprefix(", ")


def _think(think: Any, after: str = "") -> str:
    if not think:
        return ""
    least, most = think if isinstance(think, tuple) else (think, think)
    span = f"{least:g} s" if least == most else f"{least:g} to {most:g} s"
    return f", thinks {span}{after}"


def _load(load: Load) -> str:
    if load.stages:
        stages = ", ".join(f"{rate:g}/s in {seconds:g} s" for seconds, rate in load.stages)
        rate = f"from {load.rate or 0:g} iterations/s to {stages}"
    elif load.rate is not None:
        rate = f"{load.rate:g} iterations/s {_until(load)}"
    else:
        return f"closed model: {load.users:,} users, {_until(load)}"
    return f"open model: {rate}; {load.users:,} users at most"


def _until(load: Load) -> str:
    parts = []
    if load.duration is not None or load.iterations is None:
        parts.append(f"for {load.duration if load.duration is not None else 10:g} s")
    if load.iterations is not None:
        parts.append(f"until {load.iterations:,} iterations are done")
    warm = f" after {load.warmup:g} s of warm-up" if load.warmup else ""
    return " or ".join(parts) + warm
