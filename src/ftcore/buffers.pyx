"""Chunk: a read-only view on received bytes that keeps their slab alive."""
cimport cython
from cpython.buffer cimport PyBuffer_FillInfo
from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.unicode cimport PyUnicode_Decode, PyUnicode_DecodeUTF8
from libc.string cimport memcpy

cdef extern from "c/slab.h" nogil:
    slab *slab_take(size_t)
    slab *slab_grow(slab *, size_t, size_t)
    void slab_drop(slab *)
    long slabs_held()
    void slabs_trim()
    void slabs_after_fork()

cdef long chunks_alive = 0
cdef char json_starts[256]
for byte in range(256):
    json_starts[byte] = byte in b'{["-0123456789tfn'


cdef slab *memory_take(size_t room) noexcept nogil:
    return slab_take(room)


cdef slab *memory_grow(slab *s, size_t used, size_t room) noexcept nogil:
    return slab_grow(s, used, room)


cdef void memory_drop(slab *s) noexcept nogil:
    slab_drop(s)


cdef void memory_after_fork() noexcept nogil:
    slabs_after_fork()


@cython.final
cdef class Chunk:
    """Bytes as they were received, read-only, without a copy (PEP 3118, PEP 688).

    The receive path wrote them once; views made from a chunk (``memoryview(chunk)``, slices)
    keep the memory, and it goes back to the pool when the last of them dies. Holding on to
    chunks costs memory, never correctness. ``bytes(chunk)`` copies.

    From the socket to here a byte of a plain HTTP/1.1 body is copied once, from libcurl's receive
    buffer into the slab; TLS and HTTP/2 copy two or three times more inside OpenSSL and nghttp2.
    """

    def __cinit__(self):
        global chunks_alive
        chunks_alive += 1

    def __init__(self):
        if self.memory == NULL:
            raise TypeError("chunks are made by the engine")

    def __dealloc__(self):
        global chunks_alive
        chunks_alive -= 1
        if self.memory != NULL:
            slab_drop(self.memory)

    def __getbuffer__(self, Py_buffer *view, int flags):
        PyBuffer_FillInfo(view, self, self.start, self.length, 1, flags)

    def __len__(self):
        return self.length

    def __bytes__(self):
        return PyBytes_FromStringAndSize(self.start, self.length)

    def __getitem__(self, item):
        """A memoryview for a slice, an int for an index."""
        return memoryview(self)[item]

    def __eq__(self, other):
        if not isinstance(other, (Chunk, bytes, bytearray, memoryview)):
            return NotImplemented
        return memoryview(self) == memoryview(other)

    __hash__ = None

    def __repr__(self):
        return f"<ftcore.Chunk of {self.length} bytes>"

    def decode(self, str encoding="utf-8", str errors="replace"):
        """The bytes as text, straight from the receive memory."""
        if encoding == "utf-8" and errors == "replace":
            return PyUnicode_DecodeUTF8(self.start, self.length, "replace")
        return PyUnicode_Decode(
            self.start, self.length, encoding.encode("ascii"), errors.encode("ascii"))

    def may_be_json(self):
        """Whether the first byte that is no white space can begin a JSON text (RFC 8259)."""
        cdef Py_ssize_t i
        cdef char c
        for i in range(self.length):
            c = self.start[i]
            if c != 0x20 and c != 0x0A and c != 0x0D and c != 0x09:
                return json_starts[<unsigned char>c] != 0
        return False


cdef Chunk chunk_new(slab *memory, char *start, size_t length):
    cdef Chunk chunk
    try:
        chunk = Chunk.__new__(Chunk)
    except BaseException:
        slab_drop(memory)
        raise
    chunk.memory = memory
    chunk.start = start
    chunk.length = length
    return chunk


def joined(list chunks not None):
    """A copy of chunks in a row, as one."""
    cdef Chunk chunk
    cdef size_t length = 0
    cdef slab *memory
    for chunk in chunks:
        length += chunk.length
    memory = slab_take(length)
    if memory == NULL:
        raise MemoryError
    length = 0
    for chunk in chunks:
        memcpy(memory.data + length, chunk.start, chunk.length)
        length += chunk.length
    return chunk_new(memory, memory.data, length)


def alive():
    """(chunks alive, slabs held by anybody)."""
    return chunks_alive, slabs_held()


def trim():
    """Gives pooled receive memory back to the allocator."""
    slabs_trim()
