"""What a transfer that is over tells the estimator of network quality."""
from ftcore.op cimport now_ns
from ftcore.profile cimport REQUEST_START, RESPONSE_START, phases
from ftcore.quality cimport estimator_end, findings
from ftcore.reactor cimport source
from ftcore.slot cimport is_get, slot, slot_connection, xfer


cdef void samples_end(slot *s, xfer *x) noexcept nogil:
    cdef phases *p = &x.ph
    cdef findings f
    cdef source *connection
    f.bytes = f.http_rtt_us = f.transport_rtt_us = 0
    f.transport_at = NULL
    if s != NULL:
        f.bytes = s.head_length
    if s != NULL and p.http != 3:
        if p.at[RESPONSE_START] and is_get(x):
            f.http_rtt_us = (p.at[RESPONSE_START] - p.at[REQUEST_START]) // 1000
        connection = slot_connection(s)
        if connection != NULL:
            f.transport_rtt_us = p.rtt_us
            f.transport_at = &connection.sampled_at
    p.estimate = estimator_end(x.home.quality, &x.watched, &f, now_ns())
