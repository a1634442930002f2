"""Chunk: a read-only view on received bytes that keeps their slab alive."""
from libc.stddef cimport size_t

from ftcore.op cimport slab

# The pool of slabs; any thread, with or without the GIL. See c/slab.h.
cdef slab *memory_take(size_t room) noexcept nogil
cdef slab *memory_grow(slab *, size_t used, size_t room) noexcept nogil
cdef void memory_drop(slab *) noexcept nogil
cdef void memory_after_fork() noexcept nogil

cdef class Chunk:
    cdef slab *memory   # one hold, given back when the last view dies
    cdef char *start
    cdef Py_ssize_t length

# Takes over one hold on the slab, also when it fails.
cdef Chunk chunk_new(slab *memory, char *start, size_t length)
