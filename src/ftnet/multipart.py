"""multipart/form-data as browsers write it, as pieces: text in memory, files by their paths.

https://html.spec.whatwg.org/multipage/form-control-infrastructure.html#multipart-form-data
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from ftnet.body import scalar
from ftnet.options import shown

if TYPE_CHECKING:
    from typing_extensions import Buffer

_COPIED = 4096  # a smaller buffer goes into the text around it
_ESCAPES = str.maketrans({"\n": "%0A", "\r": "%0D", '"': "%22"})


class FilePart(NamedTuple):
    """One file of a form, or a buffer in its place."""

    name: str
    content: str | Buffer  # a path, or the bytes
    file_name: str
    content_type: str


def form_pieces(
    fields: Mapping[Any, Any] | None, parts: Iterable[FilePart], api: str
) -> tuple[list[str | Buffer], str]:
    """The body's pieces, for `ftcore.body.Body`, and its content-type.

    Fields come first, in their order, then the files. Raises TypeError and ValueError for names
    and values that can't be written.
    """
    boundary = f"----ftnet{secrets.token_hex(16)}"
    start = f"--{boundary}\r\nContent-Disposition: form-data; name=".encode()
    text = bytearray()
    pieces: list[str | Buffer] = []
    for name, value in (fields or {}).items():
        text += b'%b"%b"\r\n\r\n%b\r\n' % (start, _name(name, api), _value(name, value, api))
    for part in parts:
        text += b'%b"%b"; filename="%b"\r\nContent-Type: %b\r\n\r\n' % (
            start,
            _name(part.name, api),
            _file_name(part.file_name, api),
            part.content_type.encode("ascii"),
        )
        if not isinstance(part.content, str) and memoryview(part.content).nbytes <= _COPIED:
            text += part.content
        else:
            pieces += (bytes(text), part.content)
            text.clear()
        text += b"\r\n"
    text += b"--%b--\r\n" % boundary.encode()
    pieces.append(bytes(text))
    return pieces, f"multipart/form-data; boundary={boundary}"


def _name(name: object, api: str) -> bytes:
    if not isinstance(name, (str, int, float)):
        raise TypeError(f"{api}: the name of a form field must be a str, got {shown(name)}")
    try:
        text = scalar(name)
    except ValueError as exc:
        raise ValueError(f"{api}: the name of a form field is {exc}") from None
    lines = text.replace("\r\n", "\n").replace("\r", "\n").replace("\n", "\r\n")
    return _encoded(lines.translate(_ESCAPES), f"{api}: the name of the form field", name)


def _file_name(name: str, api: str) -> bytes:
    """The name as the file system has it."""
    try:
        return os.fsencode(name.translate(_ESCAPES))
    except UnicodeEncodeError as exc:
        where = exc.start
    raise ValueError(f"{api}: files: fileName holds a lone surrogate at position {where}")


def _value(name: object, value: object, api: str) -> bytes:
    """A field's value: bytes as they are, anything else as text, its line ends untouched."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    try:
        text = scalar(value)
    except ValueError as exc:
        raise ValueError(f"{api}: formData field {name!r:.80} holds {exc}") from None
    return _encoded(text, f"{api}: formData field", name)


def _encoded(text: str, what: str, name: object) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as exc:
        where = exc.start
    raise ValueError(f"{what} {name!r:.80} holds a lone surrogate at position {where}")
