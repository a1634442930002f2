"""Steps made ready: what virtual users carry out, again and again.

A `Work` is made once for a share. ``begin(user, due)`` sends it off and returns; when it is over,
in the thread that drives, it calls ``user.answered`` or ``user.failed``, once.
"""

from __future__ import annotations

from typing import Final

from ftcore.visitor import Work
from ftnet.plan import template as templates
from ftnet.plan.answers import Answer, expectations, extractions
from ftnet.plan.model import Action, Step

__all__ = ["Work", "checks_of", "prepare"]

_FALSE: Final = ("", "0", "false")


def prepare(work: Work, step: Step | Action, name: str) -> None:
    """Makes ready what every step has, whatever it does."""
    work.name = name
    work.judges = Answer
    wanted = step.expect.get("status")
    work.any_status = wanted is None
    work.status = wanted if isinstance(wanted, int) else 0
    rest = {k: v for k, v in step.expect.items() if k != "status"} if work.status else step.expect
    work.expected = expectations(rest, step.extract)
    if step.extract:
        work.extract = extractions(step.extract, step.expect)
    work.think, work.stops = 0.0, True
    if not isinstance(step, Action):
        work.think = step.think
        work.stops = step.on_fail == "stop"
        if step.when:
            render = templates.compile(step.when).render
            work.when = lambda variables: _wanted(render(variables))


def _wanted(text: str) -> bool:
    return text not in _FALSE


def checks_of(work: Work) -> list[str]:
    """The texts of all that must hold of its answers."""
    status = [f"status = {work.status}"] if work.status else []
    return status + [one.text for one in work.expected]
