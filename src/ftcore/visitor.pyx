"""Virtual users of a plan. See visitor.pxd."""
from libc.stdint cimport int64_t
from libc.string cimport strchr

from ftcore.op cimport now_ns
from ftcore.profile cimport Phases

from ftcore.tally import RIGHT, WRONG_CONTENT, WRONG_LENGTH, WRONG_STATUS

cdef extern from "<strings.h>" nogil:
    int strncasecmp(const char *, const char *, size_t)

cdef enum:
    PLAN_FAULT = -19   # the outcome of a step that its plan makes impossible
    MOST_FAILURES = 5  # that lengthen the rest after one

cdef int STATUS = WRONG_STATUS
cdef dict KINDS = {"status": WRONG_STATUS, "length": WRONG_LENGTH}


cdef bint sets_cookies(bytes raw) noexcept:
    """Whether a header block has a Set-Cookie field."""
    cdef const char *line = raw
    while True:
        line = strchr(line, c"\n")
        if line == NULL:
            return False
        line += 1
        if strncasecmp(line, b"set-cookie:", 11) == 0:
            return True


cdef class Counting:
    """What a share counts into."""


cdef class Flow:
    """What users of one schedule have in common."""


cdef class Work:
    """A step made ready: `begin` sends it off, and sets ``user.under_way`` to what can be aborted.

    When it is over it calls ``user.answered`` or ``user.failed``, once, in the thread that drives.
    What it raises (ValueError, LookupError, OSError) is its failure.
    """

    def __cinit__(self, *_, **__):
        self.whole = True
        self.parts = ()
        self.expected = ()
        self.broken = {}

    cpdef int broke(self, str text, bint counted) except -1:
        """A check did not hold, of an answer that is counted or not."""
        if counted:
            self.broken[text] = self.broken.get(text, 0) + 1
        return 0

    cpdef begin(self, User user, int64_t due):
        raise NotImplementedError


cdef class Request(Work):
    """A request; a subclass has ``vary(user)``, which returns the Template for what depends on the
    user, and ``came(visit, answer, phases)`` for answers that lead on or set cookies."""

    cpdef begin(self, User user, int64_t due):
        cdef Visit visit = Visit.__new__(Visit)  # which notes the time
        cdef Template made = None
        if self.pattern is not None:
            made = self.pattern.fill(user.variables, user.jar if user.has_cookies else None)
        elif not user.has_cookies:
            made = self.made
        if made is None:
            made = self.vary(user)
        visit.user, visit.work, visit.due = user, self, due
        user.under_way = visit
        visit.start(
            self.pool, made, None if self.content is None else self.content(user.variables),
            self.timeout)


cdef class Visit(Transfer):
    """One request of a user."""

    @property
    def url(self):
        return self.template.url

    def _succeeded(self, int status, bytes raw, body, Phases phases, charset):
        cdef Work work = self.work
        cdef User user = self.user
        if 300 <= status < 400 or (user.jar is not None and sets_cookies(raw)):
            work.came(self, work.judges(status, raw, body, charset), phases)
        elif work.expected or work.extract is not None or user.guide is not None:
            user.settle(work, status, work.judges(status, raw, body, charset), phases, self.due)
        else:
            user.settle(work, status, None, phases, self.due)

    def _failed(self, int outcome, phases, long os_errno, str detail):
        self.user.failed(self.work, outcome, os_errno, detail, phases, self.due)


cdef class User:
    """A virtual user. Only the thread that drives its share touches it.

    The share has ``count_at(ns)``, ``connected(phases)``, ``failed(...)``, ``iterated(...)``,
    ``soon(call)``, ``later(ns, call)`` and ``drawn(span)``.
    """

    plan_fault = PLAN_FAULT

    def __init__(self, Counting share not None, Flow stream not None, int number, jar):
        self.share = share
        self.stream = stream
        self.number = number
        self.jar = jar
        self.made = {}
        self.variables = {}
        self.works = ()

    def iterate(self, tuple works not None, dict variables not None, int64_t due, int64_t now):
        """Begins an iteration that was due then."""
        self.works = works
        self.at = 0
        self.due, self.began = due, now
        self.broken = False
        self.variables = variables
        self.busy = True
        self.step(due)

    cpdef step(self, int64_t due):
        """Begins the next step that is wanted, due then, or ends the iteration."""
        cdef Work work
        while self.at < len(self.works):
            work = <Work>self.works[self.at]
            if work.when is None:
                self.begin(work, due)
                return
            try:
                wanted = work.when(self.variables)
            except LookupError as error:
                self.share.begun(self, work)
                self.fails(work, str(error), due)
                return
            if wanted:
                self.begin(work, due)
                return
            self.at += 1
        self.over(due)

    cpdef guided(self, Work work, int64_t due):
        """Begins a step that a function has made up."""
        self.made_up = work
        self.begin(work, due)

    cdef begin(self, Work work, int64_t due):
        cdef Counting share = self.share
        if self.guide is None:
            self.working = work
        share.in_flight += 1
        if self.measured or not share.measuring:
            work.tally.begun(share.total)
        try:
            work.begin(self, due)
        except (ValueError, LookupError, OSError) as error:
            self.fails(work, str(error), due)

    cdef fails(self, Work work, str text, int64_t due):
        """Not here and now: what fails at once would never let the others go on."""
        self.share.soon(lambda: self.failed(work, PLAN_FAULT, 0, text, None, due))

    cpdef answered(self, Work work, answer, Phases phases, int64_t due):
        """The step was answered: checks it, takes from it, counts it, and goes on."""
        self.settle(work, answer.status, answer, phases, due)

    cdef settle(self, Work work, int status, answer, Phases phases, int64_t due):
        """`answer` None: nobody looks at more of it than its status."""
        cdef Counting share = self.share
        cdef int wrong
        cdef int64_t at
        if self.gone:
            return
        share.in_flight -= 1
        if not share.measuring:
            share.count_at(now_ns())
        wrong = self.judge(work, status, answer)
        at = work.tally.answered(
            phases, status, due, self.ready, share.late_after, self.stream.end_at, wrong,
            self.stream.open, self.measured or not share.measuring, share.total)
        if not phases.p.reused:
            share.connected(phases)
        self.went(work, at, wrong != 0 and work.stops, answer)

    cpdef int judged(self, Work work, answer) except -1:
        """What did not hold first, of what must; takes from the answer what later steps need."""
        return self.judge(work, answer.status, answer)

    cdef int judge(self, Work work, int status, answer) except -1:
        cdef int wrong = 0
        cdef bint counted = self.measured or not self.share.measuring
        work.judged += counted
        if work.status:
            if status != work.status:
                wrong = STATUS
                work.broke(f"status = {work.status}", counted)
        elif work.any_status and status >= 400:
            wrong = STATUS
        for one in work.expected:
            if not one.holds(answer, self.variables):
                if not wrong:
                    wrong = KINDS.get(one.text.partition(" ")[0], WRONG_CONTENT)
                work.broke(one.text, counted)
        if work.extract is not None and not wrong:
            try:
                work.extract(answer, self.variables)
            except LookupError as error:
                wrong = WRONG_CONTENT
                work.broke(f"{error.variable} = {error.source}", counted)
        return wrong

    cpdef failed(self, Work work, int outcome, long os_errno, str detail, phases, int64_t due):
        """The step came to nothing: counts that, and goes on or gives the iteration up."""
        if self.gone:
            return
        cdef int64_t at = self.share.failed(
            self, work, outcome, os_errno, detail, phases, due)
        self.went(work, at, work.stops)

    cpdef went(self, Work work, int64_t at, bint stop, answer=None):
        """A step is over and counted: the next one, or the end of the iteration."""
        if self.guide is not None and work is not self.guide.work:
            self.ready = at
            self.made_up = None
            self.guide.went_on(answer, at, stop)
            return
        self.guide = None
        self.under_way = None
        self.working = None
        self.ready = at
        self.at += 1
        if stop:
            self.broken = True
            self.over(at)
        elif self.at == len(self.works):
            self.over(at)
        elif work.think:
            at += self.share.drawn(work.think)
            self.share.later(at, self.step)
        else:
            self.step(at)

    cdef over(self, int64_t at):
        """The iteration's end."""
        self.busy = False
        self.ready = at
        self.failures = min(self.failures + 1, MOST_FAILURES) if self.broken else 0
        self.share.iterated(self, self.due, self.began, at, self.broken, self.failures)


assert RIGHT == 0
