"""Tally: Python's face of the kernel in c/tally.h."""
cimport cython
from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint8_t, uint64_t

import zlib

from ftcore.histogram cimport Histogram, histogram_owned
from ftcore.profile cimport (
    CONNECT_END, CONNECT_START, DNS_END, DNS_START, FETCH_START, QUEUE_START, REDIRECT_START,
    REQUEST_END, REQUEST_START, RESPONSE_END, RESPONSE_START, SSL_END, SSL_START, Phases, phases,
)

cdef extern from "c/tally.h" nogil:
    tally *tally_new()
    void tally_free(tally *)

cdef extern from "c/histogram.h" nogil:
    histogram *histogram_copy(const histogram *)

cdef extern from "c/tally_bytes.h" nogil:
    size_t tally_room(const tally *)
    size_t tally_pack(const tally *, uint8_t *)
    const char *tally_add_packed(tally *, const uint8_t *, size_t, int64_t)

cdef bytes MARK = b"ftnet\0"
cdef int HEADER = len(MARK) + 2 + 4 + 4  # version, length and CRC-32 of what follows

#: Of what `Tally.to_bytes` gives; of a process with another one nothing is taken.
VERSION = 1

COUNT_NAMES = (
    "scheduled", "sent", "completed", "failed", "unfinished", "unsent", "late", "wrong_status",
    "wrong_length", "wrong_content", "retried", "bytes_sent", "bytes_received", "opened",
    "connect_failed", "closed", "answered", "unrecorded",
)
SPAN_NAMES = ("queue", "dns", "connect", "ssl", "send", "ttfb", "download", "total", "service")
CLASS_NAMES = ("failed", "1xx", "2xx", "3xx", "4xx", "5xx")
#: What `Tally.answered` takes for `wrong`.
RIGHT, WRONG_STATUS, WRONG_LENGTH, WRONG_CONTENT = range(4)
cdef dict PLACES = {name: i for i, name in enumerate(COUNT_NAMES)}


cdef void tally_clear_spans(int64_t *spans) noexcept nogil:
    cdef int i
    for i in range(TALLY_SPANS):
        spans[i] = -1


cdef void tally_read_connect(const phases *p, int64_t *spans) noexcept nogil:
    if p.at[DNS_END]:
        spans[TALLY_DNS] = p.at[DNS_END] - p.at[DNS_START]
    if p.at[SSL_START]:
        spans[TALLY_CONNECT] = p.at[SSL_START] - p.at[CONNECT_START]
        if p.at[SSL_END]:
            spans[TALLY_SSL] = p.at[SSL_END] - p.at[SSL_START]
    elif p.at[CONNECT_END]:
        spans[TALLY_CONNECT] = p.at[CONNECT_END] - p.at[CONNECT_START]


cdef int64_t began_at(const phases *p) noexcept nogil:
    """When the first byte of the first of its requests was sent; 0: never."""
    return p.at[REDIRECT_START] if p.at[REDIRECT_START] else p.at[REQUEST_START]


cdef void note_send(
        tally *t, const phases *p, int64_t due, int64_t ready, int64_t late_after
) noexcept nogil:
    """Of a request that is over: whether and when it was sent, and on what."""
    cdef int64_t began = began_at(p)
    if not p.reused and p.at[CONNECT_END]:
        t.counts[TALLY_OPENED] += 1
    if began == 0:
        return
    t.counts[TALLY_SENT] += 1
    t.counts[TALLY_BYTES_SENT] += <uint64_t>p.sent
    t.counts[TALLY_BYTES_RECEIVED] += <uint64_t>p.received
    if began - due > late_after:
        t.counts[TALLY_LATE] += 1
    # what came after the call, the queue and the connection, is not the sender's fault
    tally_late_by(t, max(p.at[QUEUE_START] - max(due, ready), 0))


cdef void note_answer(
        tally *t, const phases *p, int status, int wrong, const int64_t *spans, int64_t due,
        int64_t ready, int64_t late_after) noexcept nogil:
    note_send(t, p, due, ready, late_after)
    t.counts[TALLY_COMPLETED] += 1
    t.statuses[status if 0 <= status < TALLY_STATUSES else 0] += 1
    if wrong:
        t.counts[TALLY_WRONG_STATUS + wrong - 1] += 1
    tally_record(t, tally_class(status), spans)


@cython.final
cdef class Tally:
    """Counters, statuses, failures and histograms of a load run, or of a part of it."""

    def __cinit__(self):
        self.t = tally_new()
        if self.t == NULL:
            raise MemoryError

    def __dealloc__(self):
        tally_free(self.t)

    def reset(self):
        """Forgets everything; memory is kept."""
        tally_reset(self.t)

    def merge(self, Tally other not None):
        """Adds what another has: exactly what one would have that had counted both."""
        tally_add(self.t, other.t)

    def to_bytes(self):
        """All that it has, for `add_bytes` in another process, maybe on another machine."""
        cdef bytearray room = bytearray(tally_room(self.t))
        cdef char *data = room
        cdef bytes content = data[:tally_pack(self.t, <uint8_t *>data)]
        length, check = len(content), zlib.crc32(content)
        return b"".join((
            MARK, VERSION.to_bytes(2, "big"), length.to_bytes(4, "big"), check.to_bytes(4, "big"),
            content,
        ))

    def add_bytes(self, bytes data not None, int64_t shift=0):
        """`merge` with the one that `data` is of, its times taken to be `shift` ns later.

        ValueError says what is wrong with the data; then nothing was added.
        """
        take(self.t, data, shift)

    @staticmethod
    def check_bytes(bytes data not None):
        """ValueError, as `add_bytes`; nothing is added."""
        take(NULL, data, 0)

    cpdef int64_t answered(
            self, Phases of, int status, int64_t due, int64_t ready, int64_t late_after,
            int64_t end, int wrong, bint is_open, bint counted, Tally also) except -1:
        """Counts a request of a plan that was answered, and returns when the answer was there.

        It goes into `also` as well.

        All times are ns on the engine's clock.

        It was `due` then, `ready` is when who sends it had nothing else to do. One that is not
        `counted`, of the warm-up, is an answer if it came by the `end`, and nothing else.
        """
        cdef const phases *p = &of.p
        cdef int64_t spans[TALLY_SPANS]
        cdef int64_t began, sent, first, last = p.at[RESPONSE_END]
        if last <= end:
            self.t.counts[TALLY_ANSWERED] += 1
            also.t.counts[TALLY_ANSWERED] += 1
        if not counted:
            return last
        tally_clear_spans(spans)
        began = p.at[REQUEST_START]
        first = max(p.at[RESPONSE_START], began)
        sent = p.at[REQUEST_END] if p.at[REQUEST_END] else first
        if is_open:
            spans[TALLY_QUEUE] = max(p.at[FETCH_START] - due, 0)
        if not p.reused:
            tally_read_connect(p, spans)
        spans[TALLY_SEND] = sent - began
        spans[TALLY_TTFB] = max(first - sent, 0)
        spans[TALLY_DOWNLOAD] = max(last - max(first, sent), 0)
        spans[TALLY_TOTAL] = last - due
        spans[TALLY_SERVICE] = last - began_at(p)
        note_answer(self.t, p, status, wrong, spans, due, ready, late_after)
        note_answer(also.t, p, status, wrong, spans, due, ready, late_after)
        return last

    cpdef int begun(self, Tally also) except -1:
        """Counts a request that was due, here and in `also`."""
        self.t.counts[TALLY_SCHEDULED] += 1
        also.t.counts[TALLY_SCHEDULED] += 1
        return 0

    cpdef int failed(
            self, Phases of, int outcome, long os_errno, str detail, int64_t due, int64_t ready,
            int64_t now, int64_t late_after, bint is_open) except -1:
        """Counts a request of a plan that was not answered; `of` None: nothing is known of it."""
        cdef int64_t spans[TALLY_SPANS]
        cdef bytes text = detail.encode()
        tally_clear_spans(spans)
        if of is not None:
            note_send(self.t, &of.p, due, ready, late_after)
            if is_open and of.p.at[FETCH_START]:
                spans[TALLY_QUEUE] = max(of.p.at[FETCH_START] - due, 0)
            if not of.p.reused:
                tally_read_connect(&of.p, spans)
            if of.p.at[CONNECT_START] and not of.p.at[CONNECT_END]:
                self.t.counts[TALLY_CONNECT_FAILED] += 1
        self.t.counts[TALLY_FAILURES] += 1
        tally_failure(self.t, outcome, os_errno, text, 1)
        spans[TALLY_TOTAL] = max(now - due, 0)
        tally_record(self.t, TALLY_FAILED, spans)
        return 0

    cpdef int iterated(self, int64_t due, int64_t began, int64_t at, bint broken) except -1:
        """Counts an iteration of a plan that is over; all times in ns."""
        cdef int64_t spans[TALLY_SPANS]
        tally_clear_spans(spans)
        spans[TALLY_TOTAL] = max(at - due, 0)
        spans[TALLY_SERVICE] = max(at - began, 0)
        self.t.counts[TALLY_SENT] += 1
        self.t.counts[TALLY_FAILURES if broken else TALLY_COMPLETED] += 1
        tally_record(self.t, TALLY_FAILED if broken else 2, spans)
        return 0

    def add(self, str name not None, int64_t number=1):
        """Adds to one of the counters (`COUNT_NAMES`)."""
        self.t.counts[PLACES[name]] += <uint64_t>number

    def status(self, int code):
        """Counts a response by its status."""
        self.t.statuses[code if 0 <= code < TALLY_STATUSES else 0] += 1

    def record(self, str of not None, **spans):
        """Records spans (`SPAN_NAMES`), in ns, in the row of a class (`CLASS_NAMES`)."""
        cdef int64_t row[TALLY_SPANS]
        tally_clear_spans(row)
        for name, ns in spans.items():
            row[<int>SPAN_NAMES.index(name)] = ns
        tally_record(self.t, CLASS_NAMES.index(of), row)

    def late_by(self, int64_t ns):
        """Records how late a request was sent by the sender's fault."""
        tally_late_by(self.t, ns)

    def stood(self, *, int64_t began, int64_t ended, int64_t cpu, int64_t in_flight,
              int64_t waiting, int64_t connections, double target, bint measured):
        """Writes down how things stood at its end."""
        self.t.began_at, self.t.ended_at, self.t.cpu = began, ended, cpu
        self.t.in_flight, self.t.waiting = in_flight, waiting
        self.t.connections, self.t.target, self.t.measured = connections, target, measured

    def counts(self):
        """The counters by their names."""
        return {name: self.t.counts[i] for i, name in enumerate(COUNT_NAMES)}

    def statuses(self):
        """How many responses had each status."""
        return {i: self.t.statuses[i] for i in range(TALLY_STATUSES) if self.t.statuses[i]}

    def failures(self):
        """(OUTCOME_* or CURLcode, errno, detail, count) of each kind."""
        cdef int i
        return [
            (
                self.t.kinds[i].outcome, self.t.kinds[i].os_errno,
                self.t.kinds[i].detail.decode("utf-8", "replace"), self.t.kinds[i].count,
            )
            for i in range(self.t.kind_count)
        ]

    def histograms(self, str span not None):
        """A copy of each histogram of one span that has values, by the name of its class."""
        cdef int row
        if span not in SPAN_NAMES:
            raise ValueError(f"{span!r} is no span; there are {', '.join(SPAN_NAMES)}")
        row = SPAN_NAMES.index(span)
        cdef dict out = {}
        for i, name in enumerate(CLASS_NAMES):
            made = copied(self.t.spans[row][i])
            if made is not None:
                out[name] = made
        return out

    @property
    def lateness(self):
        """A copy of the histogram of how late requests were sent; None: there are no values."""
        return copied(self.t.lateness)

    @property
    def began_at(self):
        """ns on the engine's clock."""
        return self.t.began_at

    @property
    def ended_at(self):
        """ns on the engine's clock."""
        return self.t.ended_at

    @property
    def cpu(self):
        """CPU time of the driving threads, ns."""
        return self.t.cpu

    @property
    def in_flight(self):
        """Requests under way at the end."""
        return self.t.in_flight

    @property
    def waiting(self):
        """Requests that were due by the end and had no connection."""
        return self.t.waiting

    @property
    def connections(self):
        """Connections open at the end."""
        return self.t.connections

    @property
    def target(self):
        """Requests due a second, at the end."""
        return self.t.target

    @property
    def measured(self):
        """Whether it is not of the warm-up."""
        return bool(self.t.measured)


cdef int take(tally *t, bytes data, int64_t shift) except -1:
    """Adds it to `t`; NULL: only looks whether it could be."""
    cdef const char *problem
    if data[:len(MARK)] != MARK[:len(data)]:
        raise ValueError("not a tally of ftnet: its mark is missing")
    if len(data) < HEADER:
        raise ValueError("the tally is corrupt: it ends too early")
    version = int.from_bytes(data[len(MARK):len(MARK) + 2], "big")
    if version != VERSION:
        raise ValueError(f"the tally is of version {version} of its encoding, not {VERSION}")
    length = int.from_bytes(data[HEADER - 8:HEADER - 4], "big")
    if length != len(data) - HEADER:
        raise ValueError(
            f"the tally is corrupt: {length} bytes were packed, and here are {len(data) - HEADER}"
        )
    content = data[HEADER:]
    if zlib.crc32(content) != int.from_bytes(data[HEADER - 4:HEADER], "big"):
        raise ValueError("the tally is corrupt: its checksum is another")
    problem = tally_add_packed(t, <const uint8_t *><const char *>content, len(content), shift)
    if problem != NULL:
        raise ValueError(f"the tally is corrupt: {problem.decode('ascii')}")
    return 0


cdef Histogram copied(histogram *h):
    cdef histogram *made
    if h == NULL or h.count + h.below + h.above == 0:
        return None
    made = histogram_copy(h)
    if made == NULL:
        raise MemoryError
    return histogram_owned(made)
