"""Where the body of a command's request goes: stdout, or a file that appears when complete."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
from typing import TYPE_CHECKING, BinaryIO, Protocol

from ftnet import files

if TYPE_CHECKING:
    from typing_extensions import Buffer

_LOOKED_AT = 2000  # bytes of a body that are searched for a NUL before they reach a terminal


class BinaryBodyError(Exception):
    """A body that would upset the terminal it was about to be written to."""


class Sink(Protocol):
    """Takes a body piece by piece; exactly one of `finish` and `discard` ends it."""

    line_open: bool  #: a person sees the body, and its last byte so far is no line end

    def write(self, data: Buffer) -> None:
        """Takes the next bytes; raises OSError when they can't be written."""

    def finish(self) -> None:
        """The body is complete: publish it."""

    def discard(self) -> None:
        """The body is not complete: leave nothing behind that looks as if it were."""


class StreamSink:
    """Writes to an open stream at once, so that a reader sees what has come so far.

    With ``guarded`` a body that begins with binary data raises `BinaryBodyError` instead.
    """

    def __init__(self, stream: BinaryIO, *, guarded: bool) -> None:
        self._stream = stream
        self._guarded = guarded
        self._seen = stream.isatty()
        self.line_open = False

    def write(self, data: Buffer) -> None:
        with memoryview(data) as view:
            if self._guarded and b"\0" in bytes(view[:_LOOKED_AT]):
                raise BinaryBodyError
            self._guarded = False
            if len(view):
                self._stream.write(view)
                self._stream.flush()
                self.line_open = self._seen and view[-1] != 0x0A

    def finish(self) -> None:
        self._stream.flush()

    def discard(self) -> None:
        """What a reader has seen can't be taken back."""


class FileSink:
    """Writes to a new file beside ``path`` and renames it there when the body is complete.

    The permissions are those of the file it replaces, or of any new file of the user. A device or
    pipe is written to as it is. Raises OSError when the file can't be made.
    """

    line_open = False

    def __init__(self, path: str) -> None:
        self._target = os.fsencode(os.path.realpath(path))
        self._part: bytes | None = None
        mode = _writable_mode(self._target)
        if mode is not None and not stat.S_ISREG(mode):
            descriptor = os.open(self._target, os.O_WRONLY | os.O_CLOEXEC)
        else:
            files.clean(os.path.dirname(self._target))
            descriptor, self._part = _new_part(self._target)
            if mode is not None:
                os.fchmod(descriptor, stat.S_IMODE(mode))
        self._file = os.fdopen(descriptor, "wb", buffering=1 << 16)

    def write(self, data: Buffer) -> None:
        self._file.write(data)

    def finish(self) -> None:
        self._file.flush()
        if self._part is not None:  # still locked, so that nobody takes it for a stale one
            os.replace(self._part, self._target)
        self._file.close()

    def discard(self) -> None:
        with contextlib.suppress(OSError):  # a full disk shows again when the rest is written
            self._file.close()
        if self._part is not None:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._part)


def _new_part(target: bytes) -> tuple[int, bytes]:
    """A new part for `target`, open and locked, and its path."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    while True:
        path = files.part_beside(target)
        descriptor = os.open(path, flags, 0o666)
        with contextlib.suppress(OSError):  # where files can't be locked, nobody removes any
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.fstat(descriptor).st_nlink:
            return descriptor, path
        os.close(descriptor)  # another process found it before it was locked, and removed it


def _writable_mode(path: bytes) -> int | None:
    """The mode of what is at ``path``, None for nothing; OSError if it can't be written to."""
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    if not os.access(path, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
    return mode
