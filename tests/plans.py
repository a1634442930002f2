"""Plans in tests: made in a line, carried out, and what must hold of every result."""

from __future__ import annotations

from typing import Any

from ftnet import load
from ftnet.load import Result
from ftnet.plan.model import Load, Plan, Scenario, Step
from tests.loads import LIMIT, checked


def plan(base: str, *steps: Step, **given: Any) -> Plan:
    """One scenario; `given` are the plan's own keys, or those of its load."""
    own = {name: given.pop(name) for name in list(given) if name in Plan.__struct_fields__}
    own.setdefault("settings", {"trust_env": False})
    own.setdefault("scenario", (Scenario(name="all", step=steps),))
    return Plan(name="test", base_url=base, load=Load(**given), **own)


def run(made: Plan, **options: Any) -> Result:
    """A run to its end, and the books of it."""
    return balanced(load.start(made, **options).result(LIMIT))


def balanced(result: Result) -> Result:
    """The books balance for each step and for iterations, too."""
    checked(result)
    for counts in [*[step.counts for step in result.steps.values()], result.iterations]:
        assert counts is not None
        over = counts.completed + counts.failed
        assert counts.scheduled == over + counts.unfinished + counts.unsent
    for name in ("scheduled", "sent", "completed", "failed", "unfinished", "bytes_received"):
        steps = [step for step in result.steps.values() if step.kind != "action"]
        every = sum(getattr(step.counts, name) for step in steps)
        assert every == getattr(result.counts, name)
    for step in result.steps.values():
        for held, broken in step.checks.values():
            assert held + broken == step.counts.completed
    return result
