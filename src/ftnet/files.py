"""Where downloads are while they are not complete: names of parts, and what is left of old ones.

A part is `.NAME.<16 hex digits>.ftpart` beside its target, locked by the process that writes it.
One that nobody has locked belongs to a process that was killed: the first download of a process to
a directory removes those. A download that can be taken up again has `.NAME.ftpart`, and
`.NAME.ftpart.note` that says what it is a part of; these stay.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import os
import re
from typing import TYPE_CHECKING, NamedTuple

import msgspec

if TYPE_CHECKING:
    from ftnet.results import Headers

_PART = re.compile(rb"\..*\.[0-9a-f]{16}\.ftpart", re.DOTALL)
_NAME_AT_MOST = 200  # bytes; a file system takes 255
_DIRECTORIES_AT_MOST = 4096
_STRONG_AFTER = 60  # seconds, RFC 7232 2.2.2: a younger Last-Modified may stand for two contents

_cleaned: set[bytes] = set()
_own_directory: tuple[int, str] | None = None  # process, path


def part_beside(target: bytes) -> bytes:
    """The path of a new part for the file at `target`."""
    folder, name = os.path.split(target)
    return os.path.join(folder, b".%b.%b.ftpart" % (name[:_NAME_AT_MOST], token()))


def kept_beside(target: bytes) -> tuple[bytes, bytes]:
    """The paths of what an interrupted download to `target` left, and of its note."""
    folder, name = os.path.split(target)
    kept = os.path.join(folder, b".%b.ftpart" % name[:_NAME_AT_MOST])
    return kept, kept + b".note"


def token() -> bytes:
    """16 hex digits that nobody can guess."""
    return os.urandom(8).hex().encode()


def clean(folder: bytes) -> None:
    """Removes the parts that killed processes left in a directory; once in a process."""
    if folder in _cleaned:
        return
    if len(_cleaned) >= _DIRECTORIES_AT_MOST:
        _cleaned.clear()
    _cleaned.add(folder)
    try:
        names = os.listdir(folder)
    except OSError:  # the download itself will tell what is wrong with it
        return
    for name in names:
        if _PART.fullmatch(name):
            _remove_stale(os.path.join(folder, name))


def _remove_stale(path: bytes) -> None:
    if os.path.lexists(path + b".note"):
        return  # not a part but what is kept, of a file of such a name
    with contextlib.suppress(OSError):  # gone already, not ours, or in use: it stays
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.unlink(path)
        finally:
            os.close(descriptor)


def temporary_directory() -> str:
    """A directory of this process for downloads that nobody gave a place; it goes at exit."""
    global _own_directory
    import tempfile  # slow to import

    if _own_directory is None or _own_directory[0] != os.getpid():
        _own_directory = os.getpid(), tempfile.mkdtemp(prefix="ftnet-")
        atexit.register(_remove_directory, *_own_directory)
    return _own_directory[1]


def _remove_directory(process: int, path: str) -> None:
    import shutil

    if process == os.getpid():
        shutil.rmtree(path, ignore_errors=True)


class _Note(msgspec.Struct):
    """What the bytes that were kept are the beginning of."""

    url: str  # its SHA-256: a URL may hold secrets
    validator: str  # a strong ETag, or Last-Modified
    total: int = 0  # bytes; 0: unknown


class TakenUp(NamedTuple):
    """Where an earlier download can be gone on with, 0: nowhere."""

    start: int = 0
    total: int = 0  # bytes of the whole file; 0: unknown
    validator: str = ""  # for If-Range


def take_up(kept: bytes, note: bytes, url: str) -> TakenUp:
    """What an earlier download of `url` left that is of use.

    At least one byte is left to ask for, so that the server has a say in whether the rest still
    fits.
    """
    try:
        with open(note, "rb") as file:
            told = msgspec.json.decode(file.read(), type=_Note)
        length = os.stat(kept).st_size
    except (OSError, msgspec.MsgspecError):
        return TakenUp()
    if told.url != _fingerprint(url) or not _is_line(told.validator):
        return TakenUp()
    if told.total:
        length = 0 if length > told.total else min(length, told.total - 1)
    return TakenUp(length, told.total, told.validator) if length else TakenUp()


def write_note(note: bytes, url: str, header: Headers) -> None:
    """Says what the file beside it begins to be; nothing when that could not be told later."""
    validator = _validator(header)
    if not validator or header.get("content-encoding"):
        return
    length = header.get("content-length", "")
    total = int(length) if length.isdecimal() and "transfer-encoding" not in header else 0
    text = msgspec.json.encode(_Note(_fingerprint(url), validator, total))
    fresh = part_beside(note)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(fresh, flags, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(text)
    os.replace(fresh, note)


def _is_line(text: str) -> bool:
    """Whether a text can be a header field's value."""
    return bool(text) and text.isascii() and text.isprintable()


def _fingerprint(url: str) -> str:
    import hashlib

    return hashlib.sha256(url.encode()).hexdigest()


def _validator(header: Headers) -> str:
    """What If-Range may carry (RFC 9110 13.1.5): a strong ETag, else a date that is strong."""
    etag = header.get("etag", "")
    if etag:
        return etag if etag.startswith('"') and _is_line(etag) else ""
    modified, now = header.get("last-modified", ""), header.get("date", "")
    if not modified or not now:
        return ""
    from email.utils import parsedate_to_datetime  # rarely needed, slow to import

    try:
        age = parsedate_to_datetime(now) - parsedate_to_datetime(modified)
    except (TypeError, ValueError):
        return ""
    return modified if age.total_seconds() >= _STRONG_AFTER else ""
