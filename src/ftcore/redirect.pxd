"""What a transfer's next request is, where a redirect leads or a file is asked for anew.

RFC 9110 15.4 and the Fetch standard: credentials stay with their origin, https does not lead to
http, and a body goes along with 307 and 308 only.
"""
from ftcore.slot cimport xfer

# Turns the transfer to `there`, which a response with this status named; NULL: it named no URL.
# OUTCOME_OK, or why it may not be.
cdef int redirect_to(xfer *, const char *there, int status) noexcept nogil
# The header lines of the next request. False: memory is out.
cdef bint redirect_headers(xfer *) noexcept nogil
