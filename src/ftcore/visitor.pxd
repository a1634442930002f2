"""Virtual users of a plan: steps one after the other, judged and counted as they are answered.

    Counting   what a share of the load counts into; the base of the share
    Flow       what users have in common that one schedule is for; the base of a stream
    Work       one step, made ready; the base of each kind
    Request    a step that is a plain request
    Visit      one request of a user
    User       one virtual user

What is Python's own here (kinds of steps, redirects, time to think, the end of an iteration) is
called by name, once a step or less.
"""
from libc.stdint cimport int64_t

from ftcore.pattern cimport Pattern
from ftcore.profile cimport Phases
from ftcore.settings cimport Template
from ftcore.tally cimport Tally
from ftcore.transfer cimport Pool, Transfer

cdef class Counting:
    cdef public bint measuring       # the warm-up is over
    cdef public long long late_after     # ns
    cdef public long in_flight       # steps, and actions of them, under way
    cdef public Tally total          # requests of the interval

cdef class Flow:
    cdef public bint open            # iterations are due at times of their own
    cdef public long long end_at     # ns: nothing is begun after it

cdef class Work:
    cdef public str name             # that it is counted by
    cdef public object think         # s after it, or (least, most)
    cdef public bint stops           # the iteration, when it fails
    cdef public bint whole           # False: an action of a step, and no request of its own
    cdef public object parts         # actions of it that are counted by their own names
    cdef public bint any_status      # below 400 is right
    cdef public int status           # the one that is right; 0: `expected` says
    cdef public tuple expected       # Expectations
    cdef public object extract       # (answer, variables) -> None, or None; LookupError
    cdef public object when          # variables -> whether it is to be done, or None: it is
    cdef public object judges        # the class of answers
    cdef public Tally tally          # of the interval
    cdef public long judged          # of the interval: answers that were
    cdef public dict broken          # of the interval: checks that did not hold, by their text
    cpdef int broke(self, str text, bint counted) except -1
    cpdef begin(self, User user, int64_t due)

cdef class Request(Work):
    cdef public Template made        # what is asked for, without cookies; None: it depends
    cdef public Pattern pattern      # ... on a few values; None: on more than those
    cdef public Pool pool
    cdef public double timeout       # ms
    cdef public object content       # variables -> the body, or None

cdef class Visit(Transfer):
    cdef public User user
    cdef public Work work
    cdef public long long due

cdef class User:
    cdef readonly Counting share
    cdef readonly Flow stream
    cdef readonly int number         # among those of its share's
    cdef public object jar           # None: no cookies are kept
    cdef public bint has_cookies     # there are some in its jar
    cdef public dict made            # what steps keep for it
    cdef public dict variables
    cdef public long long ready      # ns: since when it could do something else
    cdef public bint busy            # in an iteration
    cdef public bint gone            # the run is over: what comes for it is not counted any more
    cdef public bint measured        # the iteration was due in the measured part
    cdef public int scenario         # which of its stream's it carries out
    cdef public object under_way     # what can be aborted
    cdef public Work working         # the step under way; None: it thinks, or rests
    cdef public object guide         # the Python function that says what is done next
    cdef public Work made_up         # ... the step of its own that is under way
    cdef tuple works
    cdef int at
    cdef int64_t due
    cdef int64_t began
    cdef bint broken
    cdef int failures                # iterations in a row
    cpdef step(self, int64_t due)
    cpdef guided(self, Work work, int64_t due)
    cpdef answered(self, Work work, answer, Phases phases, int64_t due)
    cdef settle(self, Work work, int status, answer, Phases phases, int64_t due)
    cpdef int judged(self, Work work, answer) except -1
    cdef int judge(self, Work work, int status, answer) except -1
    cpdef failed(self, Work work, int outcome, long os_errno, str detail, phases, int64_t due)
    cpdef went(self, Work work, int64_t at, bint stop, answer=*)
    cdef begin(self, Work work, int64_t due)
    cdef fails(self, Work work, str text, int64_t due)
    cdef over(self, int64_t at)
