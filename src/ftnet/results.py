"""Views of what came back: response headers, their charset, and plain dicts of any result."""

from __future__ import annotations

import codecs
from collections.abc import Iterator, Mapping
from enum import IntEnum
from functools import lru_cache
from typing import Any, Final

from ftnet.errors import FtError

__all__ = ["Headers", "charset_of", "content_charset", "to_dict"]

_BLANK: Final = " \t\r"


def _text(value: str) -> str:
    """Return a latin-1 decoded field value as UTF-8 text where its bytes are valid UTF-8."""
    if value.isascii():
        return value
    try:
        return value.encode("latin-1").decode("utf-8")
    except UnicodeDecodeError:
        return value


def _parse(raw: bytes) -> list[tuple[str, str]]:
    """Return the field lines of a header block; continuation lines joined with one space."""
    lines = raw.decode("latin-1").split("\n")
    fields: list[tuple[str, str]] = []
    for line in lines[1:] if lines[0].startswith("HTTP/") else lines:
        if line[:1] in (" ", "\t"):  # RFC 9112 5.2, obs-fold
            more = line.strip(_BLANK)
            if fields and more:
                name, value = fields[-1]
                fields[-1] = name, f"{value} {more}" if value else more
            continue
        name, colon, value = line.partition(":")
        if colon:
            fields.append((name.rstrip(_BLANK), value.strip(_BLANK)))
        elif fields and not line.strip(_BLANK):
            break
    return fields if raw.isascii() else [(name, _text(value)) for name, value in fields]


class Headers(Mapping[str, str]):
    """Response header: a case-insensitive, order-keeping mapping of names to values.

    A field that came several times has its values joined by ``", "`` (RFC 9110 5.3) and one by
    one in `get_all`. Names keep the case they came in, which is lower case from HTTP/2 on. Values
    are UTF-8 text when they are valid UTF-8, latin-1 otherwise. The block is parsed at the first
    access only.
    """

    __slots__ = ("_index", "_items", "_raw")

    def __init__(self, raw: bytes) -> None:
        self._raw = raw
        self._items: list[tuple[str, str]] = []
        self._index: dict[str, tuple[str, str]] | None = None

    def _parsed(self) -> dict[str, tuple[str, str]]:
        index = self._index
        if index is None:
            items = _parse(self._raw)
            index = {}
            for name, value in items:
                key = name.lower()
                seen = index.get(key)
                index[key] = (name, value) if seen is None else (seen[0], f"{seen[1]}, {value}")
            self._items = items
            self._index = index
        return index

    def __getitem__(self, name: str) -> str:
        try:
            return self._parsed()[name.lower()][1]
        except (KeyError, AttributeError):
            raise KeyError(name) from None

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.lower() in self._parsed()

    def __iter__(self) -> Iterator[str]:
        return iter([name for name, _ in self._parsed().values()])

    def __len__(self) -> int:
        return len(self._parsed())

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Mapping):
            return NotImplemented
        mine = {key: value for key, (_, value) in self._parsed().items()}
        try:
            return mine == {key.lower(): value for key, value in other.items()}
        except AttributeError:
            return False

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return repr(dict(self._parsed().values()))

    def __reduce__(self) -> tuple[type[Headers], tuple[bytes]]:
        return Headers, (self._raw,)

    def get_all(self, name: str) -> list[str]:
        """Return each value of ``name`` in the order it came; ``[]`` when there is none."""
        wanted = name.lower()
        if wanted not in self._parsed():
            return []
        return [value for field, value in self._items if field.lower() == wanted]

    def raw_items(self) -> list[tuple[str, str]]:
        """Return every field line as ``(name, value)``, repeated ones one by one, in order."""
        self._parsed()
        return self._items.copy()

    @property
    def raw(self) -> bytes:
        """The header block as it came, status line and final empty line included."""
        return self._raw

    @property
    def set_cookies(self) -> list[str]:
        """Each Set-Cookie value, in order; never joined, as a cookie may hold a comma."""
        return self.get_all("set-cookie")

    @property
    def status_line(self) -> str:
        """The status line as it came, "HTTP/1.1 200 OK"; "" when the block has none."""
        first = self._raw.partition(b"\n")[0]
        return first.decode("latin-1").strip(_BLANK) if first.startswith(b"HTTP/") else ""

    @property
    def reason(self) -> str:
        """The reason phrase of the status line; ``""`` when it has none, as in HTTP/2."""
        first = self._raw.partition(b"\n")[0]
        if not first.startswith(b"HTTP/"):
            return ""
        parts = first.decode("latin-1").strip(_BLANK).split(" ", 2)
        return _text(parts[2].strip(_BLANK)) if len(parts) == 3 else ""


def to_dict(obj: Any) -> Any:
    """Return a result, event or error as plain dicts; anything else as it is.

    Fields keep their names and order; ``data`` is handed through untouched, enum members become
    their number and a header a dict with repeated fields joined.
    """
    if obj is None or isinstance(obj, (str, bytes)):
        return obj
    if isinstance(obj, FtError):
        told = {
            "errMsg": obj.errMsg,
            "errno": int(obj.errno),
            "cause": to_dict(obj.cause),
            "profile": to_dict(obj.profile),
        }
        if obj.errCode is not None:
            told |= {"errCode": int(obj.errCode), "errNum": obj.errNum}
        return told
    if isinstance(obj, Headers):
        return dict(obj)
    if isinstance(obj, IntEnum):
        return int(obj)
    fields = getattr(type(obj), "_fields_", None)
    if isinstance(fields, tuple):
        return {name: to_dict(getattr(obj, name)) for name in fields}
    return obj


# Codecs of Python that are no charset of a text on the web, or cannot replace bad bytes.
_NO_CHARSET: Final = frozenset(
    {"idna", "punycode", "undefined", "unicode-escape", "raw-unicode-escape", "mbcs", "oem"}
)


def _codec(label: str) -> str:
    if not label.isascii() or not label.isprintable() or len(label) > 40:
        return "utf-8"
    try:
        b"a".decode(label, "replace")  # refuses hex, rot13 and others that give no text
        name = codecs.lookup(label).name.lower()
    except (LookupError, ValueError):
        return "utf-8"
    if name in _NO_CHARSET:
        return "utf-8"
    return "gbk" if name == "gb2312" else name  # https://encoding.spec.whatwg.org/#names-and-labels


@lru_cache(maxsize=128)
def _charset(content_type: str) -> str:
    for parameter in content_type.split(";")[1:]:
        name, equals, value = parameter.partition("=")
        if equals and name.strip(_BLANK).lower() == "charset":
            return _codec(value.strip(_BLANK).strip("\"'").lower())
    return "utf-8"


def content_charset(content_type: str | None) -> str:
    """Return the codec for a body of this content-type: Python's lower-case name of the charset.

    ``"utf-8"`` when none is named or Python does not know it. ``gb2312`` is read as its superset
    ``gbk``, as the WHATWG Encoding Standard has it.
    """
    return _charset(content_type) if content_type else "utf-8"


def charset_of(raw: bytes) -> str:
    """Return `content_charset` of the Content-Type in a raw header block, without parsing it."""
    start = raw.find(b"\nContent-Type:")
    if start < 0:
        start = raw.find(b"\ncontent-type:")
        if start < 0:
            start = raw.lower().find(b"\ncontent-type:")
            if start < 0:
                return "utf-8"
    end = raw.find(b"\n", start + 14)
    if end < 0:
        end = len(raw)
    while raw[end + 1 : end + 2] in (b" ", b"\t"):  # obs-fold goes on in the next line
        following = raw.find(b"\n", end + 1)
        end = following if following > 0 else len(raw)
    value = raw[start + 14 : end]
    if b"=" not in value:
        return "utf-8"
    return content_charset(value.decode("latin-1").replace("\n", " "))
