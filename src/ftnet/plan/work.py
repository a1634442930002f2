"""Steps made ready: what virtual users carry out, again and again.

A `Work` is made once for a share. ``begin(user, due)`` sends it off and returns; when it is over,
in the thread that drives, it calls ``user.answered`` or ``user.failed``, once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Final

from ftcore.tally import Tally
from ftnet.plan import template as templates
from ftnet.plan.answers import Answer, Expectation, expectations, extractions
from ftnet.plan.model import Action, Step

if TYPE_CHECKING:
    from ftnet.plan.user import User

__all__ = ["Work"]

_FALSE: Final = ("", "0", "false")


class Work:
    """What every step has, whatever it does."""

    kind: ClassVar[str]
    whole: ClassVar[bool] = True  #: a step; False: an action of one, which is no request
    __slots__ = (
        "any_status",
        "broken",
        "expected",
        "extract",
        "name",
        "parts",
        "status",
        "stops",
        "tally",
        "think",
        "when",
    )

    #: of the interval; the share puts another in for the next one
    tally: Tally
    broken: dict[str, int]  #: checks that did not hold, by their text, likewise

    def __init__(self, step: Step | Action, name: str) -> None:
        self.name = name
        #: actions of it that are counted by their own names
        self.parts: Sequence[Work] = ()
        self.think = 0.0 if isinstance(step, Action) else step.think
        self.stops = isinstance(step, Action) or step.on_fail == "stop"
        wanted = step.expect.get("status")
        self.any_status = wanted is None
        #: the one status that is right, where no more is said of it; 0: `expected` has it
        self.status = wanted if isinstance(wanted, int) else 0
        rest = {k: v for k, v in step.expect.items() if k != "status"} if self.status else None
        self.expected: tuple[Expectation, ...] = expectations(step.expect if rest is None else rest)
        self.extract: Callable[[Answer, dict[str, Any]], None] | None = None
        if step.extract:
            self.extract = extractions(step.extract)
        when = "" if isinstance(step, Action) else step.when
        self.when = templates.compile(when) if when else None

    @property
    def checks(self) -> list[str]:
        """The texts of all that must hold of its answers."""
        status = [f"status = {self.status}"] if self.status else []
        return status + [one.text for one in self.expected]

    def wanted(self, variables: Mapping[str, Any]) -> bool:
        """Whether it is to be done at all; `Undefined` when that can't be said."""
        return self.when is None or self.when.render(variables) not in _FALSE

    def broke(self, text: str, counted: bool) -> None:
        """A check did not hold, of an answer that is counted or not."""
        if counted:
            self.broken[text] = self.broken.get(text, 0) + 1

    def begin(self, user: User, due: int) -> None:
        """Sends it off, and sets ``user.under_way`` to what can be aborted.

        What it raises (ValueError, LookupError, OSError) is its failure.
        """
        raise NotImplementedError
