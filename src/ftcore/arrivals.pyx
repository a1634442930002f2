"""When iterations of a plan are due. See arrivals.pxd."""
cimport cython
from libc.stdlib cimport calloc, free


cdef int arrivals_prepare(
        schedule *s, stages, double after, bint poisson, uint64_t seed, uint64_t first,
        uint64_t every) except -1:
    cdef int count = len(stages)
    cdef int i, failed
    cdef schedule_stage *given = <schedule_stage *>calloc(count + 1, sizeof(schedule_stage))
    if given == NULL:
        raise MemoryError
    try:
        for i in range(count):
            given[i].length, given[i].at_start, given[i].at_end = stages[i]
        failed = schedule_init(s, given, count, after, 0, poisson, seed, first, every)
    finally:
        free(given)
    if failed:
        raise MemoryError
    return 0


@cython.final
cdef class Arrivals:
    """A schedule, all of whose times are ns; numbers `first`, `first` + `every`, ... of it."""

    def __cinit__(self, stages, double after, *, bint poisson=False, uint64_t seed=1,
                  uint64_t first=0, uint64_t every=1, int64_t start=0):
        arrivals_prepare(&self.s, stages, after, poisson, seed, first, every)
        schedule_shift(&self.s, start)
        if schedule_copy(&self.lead, &self.s):
            raise MemoryError

    def __dealloc__(self):
        schedule_free(&self.s)
        schedule_free(&self.lead)

    @property
    def due(self):
        """When the next one is; 2**63 - 1: never."""
        return self.s.due

    def take(self):
        """The number of the next one, among all shares'; from it to the one after."""
        cdef uint64_t number = self.s.index
        schedule_take(&self.s)
        return number

    def set_rate(self, int64_t at, double rate):
        """From `at` on the rate, of all shares, is another; stages that were to come are gone."""
        if schedule_set_rate(&self.s, at, rate) or schedule_set_rate(&self.lead, at, rate):
            raise MemoryError

    def rate(self, int64_t at):
        """Per second, of this share."""
        return schedule_rate(&self.s, at) / <double>self.s.every

    def waiting(self, int64_t now):
        """How many are due by `now` and not taken."""
        if self.s.due > now or self.lead.index < self.s.index:
            schedule_free(&self.lead)
            if schedule_copy(&self.lead, &self.s):
                raise MemoryError
        while self.lead.due <= now:
            schedule_take(&self.lead)
        return (self.lead.index - self.s.index) // self.s.every
