"""What a transfer that is over tells the estimator of network quality."""
from ftcore.slot cimport slot, xfer

# Before the handle is removed, its phases known; `s` is NULL where it had none. Fills
# x.ph.estimate.
cdef void samples_end(slot *s, xfer *x) noexcept nogil
