"""Requests that are alike but for a few values. See pattern.pxd."""
from cpython.bytes cimport (
    PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE,
)
from cpython.dict cimport PyDict_GetItem
from cpython.object cimport PyObject
from cpython.unicode cimport PyUnicode_AsUTF8AndSize
from libc.string cimport memcpy

cdef char harmless[256]
for byte in range(128):
    harmless[byte] = chr(byte).isalnum() or byte in b"_~%+=,:.-"


cdef bint is_harmless(str text) except -1:
    """Whether it means in a URL and in a header field what it says."""
    cdef Py_ssize_t length, i
    cdef const char *data = PyUnicode_AsUTF8AndSize(text, &length)
    if length == 0 or data[0] == c".":
        return False
    for i in range(length):
        if not harmless[<unsigned char>data[i]]:
            return False
    return True


cdef bytes joined(tuple pieces, list values, bytes end):
    """The pieces with a value after each but the last, and `end`."""
    cdef Py_ssize_t length = PyBytes_GET_SIZE(end), size, i
    cdef Py_ssize_t count = len(pieces)
    cdef const char *data
    cdef char *at
    cdef bytes made
    for i in range(count):
        length += PyBytes_GET_SIZE(pieces[i])
        if i < count - 1:
            PyUnicode_AsUTF8AndSize(values[i], &size)
            length += size
    made = PyBytes_FromStringAndSize(NULL, length)
    at = PyBytes_AS_STRING(made)
    for i in range(count):
        size = PyBytes_GET_SIZE(pieces[i])
        memcpy(at, PyBytes_AS_STRING(pieces[i]), size)
        at += size
        if i < count - 1:
            data = PyUnicode_AsUTF8AndSize(values[i], &size)
            memcpy(at, data, size)
            at += size
    memcpy(at, PyBytes_AS_STRING(end), PyBytes_GET_SIZE(end))
    return made


cdef class Pattern:
    """Makes templates of `made`, one that has marks in place of the values.

    ``url`` and ``head`` are what stands around the values in its URL and its header block, in
    ASCII, ``values`` a (name of a variable or None, variables -> str) for each in the block, of
    which the first ones stand in the URL. The last ``lines`` fields of the block are the caller's
    own, a Cookie field among them or not.
    """

    def __init__(self, Template made not None, *, tuple url not None, tuple head not None,
                 tuple values not None, int lines, bint own_cookie):
        cdef bytes last = head[-1]
        if len(head) != len(values) + 1 or not 1 <= len(url) <= len(head):
            raise ValueError("there must be one piece more than values")
        self.end = b"\r\n" if last.endswith(b"\r\n\r\n") else b""
        self.made, self.url = made, url
        self.head = head[:-1] + (last[:len(last) - len(self.end)],)
        self.names = tuple([name for name, _ in values])
        self.texts = tuple([text for _, text in values])
        self.lines, self.own_cookie = lines, own_cookie

    cpdef Template fill(self, dict variables, jar):
        """The request with what the variables hold now, and with the cookies of `jar` or None.

        Values of a few harmless characters are filled in as they are; None: there are others, that
        need a closer look. What the texts raise where a variable is missing comes through.
        """
        cdef PyObject *found
        cdef Py_ssize_t i
        cdef list values = []
        cdef bytes url, end = self.end
        cdef int lines = self.lines
        for i in range(len(self.names)):
            name = self.names[i]
            found = NULL if name is None else PyDict_GetItem(variables, name)
            if found != NULL and type(<object>found) is str:
                value = <object>found
            elif found != NULL and type(<object>found) is int:
                value = str(<object>found)
            else:
                value = self.texts[i](variables)
            if not is_harmless(value):
                return None
            values.append(value)
        url = joined(self.url, values, b"")
        if jar is not None and (cookie := jar.header(url.decode("ascii"))):
            if self.own_cookie:
                return None
            end = b"cookie: " + (<str>cookie).encode() + b"\r\n" + end
            lines += 1
        return self.made.varied(url, joined(self.head, values, end), lines)
