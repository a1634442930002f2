"""The phases of an operation: stamped by the engine, read by Python when somebody asks."""
cimport cython

#: The moments that `Phases.at` takes, in the order of their numbers.
MOMENT_NAMES = (
    "queue_start", "queue_end", "redirect_start", "redirect_end", "fetch_start",
    "dns_start", "dns_end", "connect_start", "connect_end", "ssl_start", "ssl_end",
    "request_start", "request_end", "response_start", "response_end", "ended",
)


@cython.final
cdef class Phases:
    """When each phase of one operation began and ended, and what is known of its connection."""

    def at(self, int which):
        """Moment `which` in ms since the Unix epoch, µs digits; 0.0 when it was not reached."""
        if not 0 <= which < MOMENTS:
            raise IndexError(f"moment {which} is not in 0..{MOMENTS - 1}")
        if self.p.at[which] == 0:
            return 0.0
        return ((self.p.at[which] + self.epoch_offset) // 1000) / 1000.0

    def span(self, int first, int last):
        """Milliseconds between two moments; 0.0 when either was not reached."""
        if not (0 <= first < MOMENTS and 0 <= last < MOMENTS):
            raise IndexError(f"moments {first}, {last} are not in 0..{MOMENTS - 1}")
        if self.p.at[first] == 0 or self.p.at[last] == 0:
            return 0.0
        return (self.p.at[last] - self.p.at[first]) / 1e6

    def __reduce__(self):
        cdef const char *raw = <const char *>&self.p
        return restored, (raw[:sizeof(phases)], self.epoch_offset)

    @property
    def rtt(self):
        """The kernel's smoothed round-trip time of the connection in ms; 0.0 when unknown."""
        return self.p.rtt_us / 1000.0

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
