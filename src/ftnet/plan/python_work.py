"""Steps in Python: a function that is called, and steps that it makes up as it goes.

::

    def buy(user):
        answer = yield {"request": "GET /items", "expect": {"status": 200}}
        for item in answer.json["items"][:3]:
            yield {"name": "item", "request": f"/items/{item}"}

What it yields is a step as in a plan file, carried out and counted by its name beside the step
itself; the answer comes back. A function that returns a step has that carried out. The function
holds the whole share up for as long as it takes: keep it short.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from ftcore.load import clock
from ftnet.plan import functions
from ftnet.plan.answers import Answer
from ftnet.plan.model import Python
from ftnet.plan.read import convert_step
from ftnet.plan.work import Work, prepare

if TYPE_CHECKING:
    from ftcore.visitor import User
    from ftnet.plan.share import Workshop

__all__ = ["Face", "Guide", "PythonWork"]

_KEPT = 1000  # steps made ready that are kept, for those that come again


class Face:
    """The virtual user, as its functions see it."""

    __slots__ = ("iteration", "number", "variables")

    def __init__(self, variables: dict[str, Any]) -> None:
        self.variables = variables  #: which later steps find as they were left
        self.number: int = variables["user"]  #: among all users of the run
        self.iteration: int = variables["iteration"]  #: among all of its schedule


class PythonWork(Work):
    """A call of a function."""

    __slots__ = ("_function", "_made", "_shop")

    def __init__(self, step: Python, name: str, shop: Workshop) -> None:
        prepare(self, step, name)
        self._function = functions.load(step.python, shop.plan.folder)
        self._shop = shop
        self._made: dict[bytes, Work] = {}

    def begin(self, user: User, due: int) -> None:
        guide = Guide(self, user, due)
        user.under_way = guide
        try:
            made = self._function(Face(user.variables))
        except Exception as error:  # whatever it does
            guide.fail(error)
            return
        if isinstance(made, Generator):
            guide.follow(made)
        elif made is None:
            guide.end(None, None)
        else:
            guide.follow(step for step in (made,))

    def work_of(self, step: Any) -> Work:
        """The step that a function made up, made ready; ValueError: it is none."""
        if not isinstance(step, Mapping):
            raise ValueError(f"it takes a step as in a plan file, got {type(step).__name__}")
        key = msgspec.json.encode(step, enc_hook=repr)
        work = self._made.get(key)
        if work is None:
            plan = self._shop.plan
            made = convert_step(dict(step), plan.folder, plan.base_url, self.name)
            if isinstance(made, Python):
                raise ValueError("a function can't have another one called")
            work = self._shop.ready(made, f"{self.name}: {made.name or step_name(made)}")
            if len(self._made) >= _KEPT:
                self._shop.share.disown(self._made.values())
                self._made = {}
            self._made[key] = work
            self._shop.share.adopt(work)
        return work


def step_name(step: Any) -> str:
    """What it is called without a name."""
    from ftnet.plan.model import does

    return does(step)


class Guide:
    """A function under way: the steps that it yields, one after the other."""

    def __init__(self, work: PythonWork, user: User, due: int) -> None:
        self.work = work
        self._user = user
        self._due = due
        self._began = clock()
        self._think: float | tuple[float, float] = 0.0  # after the step under way
        self._steps: Generator[Any, Answer | None, Any] | None = None

    def follow(self, steps: Generator[Any, Any, Any]) -> None:
        """Carries out what it yields."""
        self._steps = steps
        self._user.guide = self
        self._next(None, clock())

    def went_on(self, answer: Answer | None, at: int, stop: bool) -> None:
        """The last step is over: the next one, or the end."""
        if stop:
            self._give_up(at)
        elif self._think:
            self._user.under_way = None
            share = self._user.share
            time = share.drawn(self._think)
            self._due, self._began = self._due + time, self._began + time  # which is none of its
            share.later(at + time, lambda then: self._next(answer, then))
        else:
            self._next(answer, at)

    def _give_up(self, at: int) -> None:
        assert self._steps is not None
        try:
            self._steps.close()
        except Exception as error:  # whatever it does
            self.fail(error)
        else:
            self.end(at, None, stop=True)

    def _next(self, answer: Answer | None, at: int) -> None:
        user = self._user
        assert self._steps is not None
        try:
            work = self.work.work_of(self._steps.send(answer))
            while work.when is not None and not work.when(user.variables):
                work = self.work.work_of(self._steps.send(None))
        except StopIteration:
            self.end(at, None)
        except Exception as error:  # whatever it does
            self.fail(error)
        else:
            self._think = work.think
            user.guided(work, at)

    def end(self, at: int | None, _: None, *, stop: bool = False) -> None:
        """The function is through."""
        user = self._user
        user.guide = None
        now = clock() if at is None else at
        user.share.took(user, self.work, self._due, self._began, max(now, self._began))
        user.went(self.work, max(now, self._began), stop and self.work.stops)

    def fail(self, error: Exception) -> None:
        """It raised, or yielded what is no step."""
        user = self._user
        user.guide = None
        text = f"{type(error).__name__}: {error}"
        user.share.soon(lambda: user.failed(self.work, user.plan_fault, 0, text, None, self._due))

    def abort(self) -> None:
        """The run is over."""
        self._user.guide = None
        if self._steps is not None:
            self._steps.close()
