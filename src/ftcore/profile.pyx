"""The phases of an operation: stamped by the engine, read by Python when somebody asks."""
cimport cython

#: The moments that `Phases.at` takes, in the order of their numbers.
MOMENT_NAMES = (
    "queue_start", "queue_end", "redirect_start", "redirect_end", "fetch_start",
    "dns_start", "dns_end", "connect_start", "connect_end", "ssl_start", "ssl_end",
    "request_start", "request_end", "response_start", "response_end", "ended",
)

#: What `Phases.durations` tells of, in the order of time but for the gaps between ("blocked").
cdef tuple PHASE_NAMES = (
    "queue", "redirect", "blocked", "dns", "connect", "ssl", "send", "ttfb", "download", "total",
)
cdef enum:
    BLOCKED = 2
    TOTAL = 9

#: For each of them where it begins, and the moments that end it, the first that was reached.
cdef int[9][3] SPANS = [
    [QUEUE_START, QUEUE_END, QUEUE_END],
    [REDIRECT_START, REDIRECT_END, REDIRECT_END],
    [MOMENTS, MOMENTS, MOMENTS],
    [DNS_START, DNS_END, DNS_END],
    [CONNECT_START, SSL_START, CONNECT_END],
    [SSL_START, SSL_END, SSL_END],
    [REQUEST_START, REQUEST_END, RESPONSE_START],
    [REQUEST_END, RESPONSE_START, RESPONSE_START],
    [RESPONSE_START, RESPONSE_END, RESPONSE_END],
]


@cython.final
cdef class Phases:
    """When each phase of one operation began and ended, and what is known of its connection."""

    cpdef int64_t micros(self, int which) except -1:
        """Moment `which` in whole µs since the Unix epoch; 0 when it was not reached."""
        if not 0 <= which < MOMENTS:
            raise IndexError(f"moment {which} is not in 0..{MOMENTS - 1}")
        if self.p.at[which] == 0:
            return 0
        return (self.p.at[which] + self.epoch_offset) // 1000

    def at(self, int which):
        """Moment `which` in ms since the Unix epoch, µs digits; 0.0 when it was not reached."""
        return self.micros(which) / 1000.0

    def span(self, int first, int last):
        """Milliseconds between two moments as `at` tells them; 0.0: either was not reached."""
        cdef int64_t began = self.micros(first), over = self.micros(last)
        return (over - began) / 1000.0 if began and over else 0.0

    def durations(self):
        """Milliseconds of each phase by its name; to the µs they add up to the last, the total.

        No two overlap. One without an end lasts until the operation ended.
        """
        cdef int64_t start = self.micros(QUEUE_START), end = self.micros(ENDED_AT)
        cdef int64_t began, over, cursor = start, blocked = 0
        cdef dict spent = dict.fromkeys(PHASE_NAMES, 0.0)
        cdef int i
        for i in range(TOTAL):
            if i == BLOCKED or self.p.at[SPANS[i][0]] == 0:
                continue
            began = min(max(self.micros(SPANS[i][0]), cursor), end)
            over = self.micros(SPANS[i][1]) or self.micros(SPANS[i][2]) or end
            blocked += began - cursor
            cursor = min(max(over, began), end)
            spent[PHASE_NAMES[i]] = (cursor - began) / 1000.0
        spent[PHASE_NAMES[BLOCKED]] = (blocked + end - cursor) / 1000.0
        spent[PHASE_NAMES[TOTAL]] = (end - start) / 1000.0
        return spent

    def follow(self, Phases before not None):
        """Makes them those of a request that a redirect led to: from the first one's beginning."""
        self.p.at[QUEUE_START] = before.p.at[QUEUE_START]
        self.p.at[QUEUE_END] = before.p.at[QUEUE_END]
        self.p.at[REDIRECT_START] = before.p.at[REDIRECT_START] or before.p.at[REQUEST_START]
        self.p.at[REDIRECT_END] = self.p.at[FETCH_START]
        self.p.sent += before.p.sent
        self.p.received += before.p.received

    def __reduce__(self):
        cdef const char *raw = <const char *>&self.p
        return restored, (raw[:sizeof(phases)], self.epoch_offset)

    @property
    def rtt(self):
        """The kernel's smoothed round-trip time of the connection in ms; 0.0 when unknown."""
        return self.p.rtt_us / 1000.0

    @property
    def http_rtt(self):
        """Estimated HTTP round-trip time in ms, when the operation ended; 0.0 when unknown."""
        return self.p.estimate.http_rtt_us / 1000.0

    @property
    def transport_rtt(self):
        """Estimated round-trip time of the transport in ms, likewise."""
        return self.p.estimate.transport_rtt_us / 1000.0

    @property
    def downstream_kbps(self):
        """Estimated download rate in kbit/s, likewise; 0 when unknown."""
        return self.p.estimate.downstream_kbps

    @property
    def nettype(self):
        """The effective connection type by Chromium's numbers, likewise; 0 when unknown."""
        return self.p.estimate.type

    @property
    def ip(self):
        """Address of the peer, "" when there was none."""
        return self.p.ip.decode("ascii")

    @property
    def port(self):
        """Port of the peer, 0 when there was none."""
        return self.p.port

    @property
    def reused(self):
        """Whether the connection had served before."""
        return bool(self.p.reused)

    @property
    def sent(self):
        """Bytes of header and body sent, as carried in HTTP."""
        return self.p.sent

    @property
    def received(self):
        """Bytes of header and body received, as carried in HTTP."""
        return self.p.received

    @property
    def http(self):
        """0 unknown, 1 HTTP/1.1, 2 HTTP/2, 3 HTTP/3."""
        return self.p.http


cdef Phases phases_object(const phases *p, int64_t epoch_offset):
    cdef Phases made = Phases.__new__(Phases)
    made.p = p[0]
    made.epoch_offset = epoch_offset
    return made


def restored(bytes raw not None, int64_t epoch_offset):
    """The phases of a pickle."""
    if len(raw) != sizeof(phases):
        raise ValueError("phases pickled by another version")
    return phases_object(<const phases *><const char *>raw, epoch_offset)
