"""Pattern: requests that are alike but for a few values in their URL and header block."""
from ftcore.settings cimport Template

cdef class Pattern:
    cdef Template made       # with marks in place of the values
    cdef tuple url           # bytes: what stands around the values, one piece more than those
    cdef tuple head
    cdef tuple names         # of the variables; None: `texts` has to be asked
    cdef tuple texts         # variables -> str
    cdef int lines           # header fields of the caller's own, the last ones of the block
    cdef bint own_cookie     # one of them is a Cookie field
    cdef bytes end           # of the block: CRLF, or nothing when more of it is to come
    cpdef Template fill(self, dict variables, jar)
