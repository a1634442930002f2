"""Virtual users: each carries out one iteration after the other, step by step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from ftcore.load import clock
from ftcore.profile import Phases
from ftcore.tally import RIGHT, WRONG_CONTENT, WRONG_LENGTH, WRONG_STATUS
from ftnet.plan.answers import Answer, NotFound
from ftnet.plan.jar import Jar

if TYPE_CHECKING:
    from ftnet.plan.python_work import Guide
    from ftnet.plan.share import PlanShare, Stream
    from ftnet.plan.work import Work

__all__ = ["User"]


class _Abortable(Protocol):
    def abort(self) -> object: ...


class User:
    """One virtual user of a stream. Only the thread that drives its share touches it."""

    __slots__ = (
        "_at",
        "_begun",
        "_broken",
        "_due",
        "_failures",
        "_works",
        "busy",
        "gone",
        "guide",
        "jar",
        "made",
        "made_up",
        "measured",
        "number",
        "ready",
        "scenario",
        "share",
        "stream",
        "under_way",
        "variables",
        "working",
    )

    plan_fault: ClassVar[int] = -19  #: the outcome of a step that its plan makes impossible

    def __init__(self, share: PlanShare, stream: Stream, number: int) -> None:
        self.share = share
        self.stream = stream
        self.number = number  #: among those of its share's
        self.jar = Jar() if share.plan.cookies else None
        self.made: dict[Work, Any] = {}  #: what a step keeps for this user
        self.variables: dict[str, Any] = {}
        self.ready = 0  #: ns: since when it could do something else
        self.busy = False  #: in an iteration
        self.gone = False  #: the run is over: whatever comes for it is not counted any more
        self.scenario = 0  #: which of its stream's it carries out
        self.measured = False  #: the iteration was due in the measured part
        self.guide: Guide | None = None  #: the Python function that says what is done next
        self.made_up: Work | None = None  #: ... the step of its own that is under way
        self.under_way: _Abortable | None = None
        self.working: Work | None = None  #: the step that is under way; None: it thinks, or rests
        self._works: Sequence[Work] = ()
        self._at = 0
        self._due = 0
        self._begun = 0
        self._broken = False
        self._failures = 0  # iterations in a row

    def iterate(self, works: Sequence[Work], variables: dict[str, Any], due: int, now: int) -> None:
        """Begins an iteration that was due then."""
        self._works = works
        self._at = 0
        self._due, self._begun = due, now
        self._broken = False
        self.variables = variables
        self.busy = True
        self.step(due)

    def step(self, due: int) -> None:
        """Begins the next step that is wanted, due then, or ends the iteration."""
        works = self._works
        while self._at < len(works):
            work = works[self._at]
            try:
                if work.wanted(self.variables):
                    self._begin(work, due)
                    return
            except LookupError as error:
                self.share.begun(self, work)
                self._fails(work, str(error), due)
                return
            self._at += 1
        self._over(due)

    def guided(self, work: Work, due: int) -> None:
        """Begins a step that a function has made up."""
        self.made_up = work
        self._begin(work, due)

    def _begin(self, work: Work, due: int) -> None:
        if self.guide is None:
            self.working = work
        self.share.begun(self, work)
        try:
            work.begin(self, due)
        except (ValueError, LookupError, OSError) as error:
            self._fails(work, str(error), due)

    def _fails(self, work: Work, text: str, due: int) -> None:
        """Not here and now: what fails at once would never let the others go on."""
        self.share.soon(lambda: self.failed(work, self.plan_fault, 0, text, None, due))

    def answered(self, work: Work, answer: Answer, phases: Phases, due: int) -> None:
        """The step was answered: checks it, takes from it, counts it, and goes on."""
        if self.gone:
            return
        share = self.share
        share.in_flight -= 1
        if not share.measuring:
            share.count_at(clock())
        counted = self.measured or not share.measuring
        wrong = self.judged(work, answer)
        at = work.tally.answered(
            phases,
            answer.status,
            due,
            self.ready,
            share.late_after,
            self.stream.end_at,
            wrong,
            self.stream.open,
            counted,
            share.books.total,
        )
        if not phases.reused:
            share.connected(phases)
        self.went(work, at, stop=wrong != RIGHT and work.stops, answer=answer)

    def judged(self, work: Work, answer: Answer) -> int:
        """What did not hold first, of what must; takes from the answer what later steps need."""
        wrong = RIGHT
        counted = self.measured or not self.share.measuring
        if work.status:
            if answer.status != work.status:
                wrong = WRONG_STATUS
                work.broke(f"status = {work.status}", counted)
        elif work.any_status and answer.status >= 400:
            wrong = WRONG_STATUS
        for one in work.expected:
            if not one.holds(answer, self.variables):
                wrong = wrong or _KINDS.get(one.text.partition(" ")[0], WRONG_CONTENT)
                work.broke(one.text, counted)
        if work.extract is not None and not wrong:
            try:
                work.extract(answer, self.variables)
            except NotFound as error:
                wrong = WRONG_CONTENT
                work.broke(f"{error.variable} = {error.source}", counted)
        return wrong

    def failed(
        self,
        work: Work,
        outcome: int,
        os_errno: int,
        detail: str,
        phases: Phases | None,
        due: int,
    ) -> None:
        """The step came to nothing: counts that, and goes on or gives the iteration up."""
        if self.gone:
            return
        at = self.share.failed(self, work, outcome, os_errno, detail, phases, due)
        self.went(work, at, stop=work.stops)

    def went(self, work: Work, at: int, *, stop: bool, answer: Answer | None = None) -> None:
        """A step is over and counted: the next one, or the end of the iteration."""
        guide = self.guide
        if guide is not None and work is not guide.work:
            self.ready, self.made_up = at, None
            guide.went_on(answer, at, stop=stop)
            return
        self.guide = None
        self.under_way = self.working = None
        self.ready = at
        if stop:
            self._broken = True
            self._over(at)
            return
        self._at += 1
        share = self.share
        if work.think and self._at < len(self._works):
            at += share.drawn(work.think)
            share.later(at, self.step)
        elif self._at == len(self._works):
            self._over(at)
        else:
            self.step(at)

    def _over(self, at: int) -> None:
        """The iteration's end."""
        self.busy = False
        self.ready = at
        self._failures = min(self._failures + 1, 5) if self._broken else 0
        self.share.iterated(self, self._due, self._begun, at, self._broken, self._failures)


_KINDS = {"status": WRONG_STATUS, "length": WRONG_LENGTH}
