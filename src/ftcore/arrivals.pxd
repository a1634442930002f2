"""When iterations of a plan are due: Python's face of the kernel in c/schedule.h."""
from libc.stdint cimport int64_t, uint64_t

cdef extern from "c/schedule.h" nogil:
    ctypedef struct schedule_stage:
        int64_t length
        double at_start "from"
        double at_end "to"
    ctypedef struct schedule:
        int64_t due
        uint64_t index
        uint64_t every
    int schedule_init(
        schedule *, const schedule_stage *, int, double, int64_t, int, uint64_t, uint64_t, uint64_t)
    int schedule_copy(schedule *, const schedule *)
    void schedule_free(schedule *)
    void schedule_take(schedule *)
    void schedule_shift(schedule *, int64_t)
    int schedule_set_rate(schedule *, int64_t, double)
    double schedule_rate(const schedule *, int64_t)

# 0: `s` is as `stages`, (ns, rate at the start, at the end) each, say; it is the caller's to free.
cdef int arrivals_prepare(
    schedule *s, stages, double after, bint poisson, uint64_t seed, uint64_t first,
    uint64_t every) except -1

cdef class Arrivals:
    cdef schedule s
    cdef schedule lead       # gone ahead to count those that wait
