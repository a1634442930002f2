"""Turn the ``data`` option into bytes: a query, a form or JSON, as the mini-program APIs do."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, Any, Final

import msgspec

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["encode_body", "encode_component", "form_encode", "merge_query", "scalar"]

_UNRESERVED: Final = frozenset(
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.!~*'()"
)
_ESCAPES: Final = tuple(chr(byte) if byte in _UNRESERVED else f"%{byte:02X}" for byte in range(256))
_FORM: Final = "application/x-www-form-urlencoded"
# RFC 9110 9.3.2, 9.3.6, 9.3.8: content has no meaning there, or must not be sent.
_BODILESS: Final = frozenset({"HEAD", "CONNECT", "TRACE"})
_NOT_FINITE: Final = "NaN or Infinity, which has no JSON form"


def encode_component(text: str) -> str:
    """Return ``text`` as JavaScript's encodeURIComponent (ECMA-262 19.2.6.4) writes it.

    Raises ValueError for a lone surrogate.
    """
    if text.isascii() and text.isalnum():
        return text
    try:
        raw = text.encode("utf-8")
    except UnicodeEncodeError as exc:
        raise ValueError(f"a lone surrogate at position {exc.start}") from None
    return "".join([_ESCAPES[byte] for byte in raw])


def _number(value: float) -> str:
    """Return a finite float as JavaScript's Number::toString (ECMA-262 6.1.6.1.20) writes it."""
    if value.is_integer() and -1e15 < value < 1e15:
        return int.__repr__(int(value))
    sign = "-" if value < 0 else ""
    mantissa, _, exponent = float.__repr__(abs(value)).partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = (whole + fraction).lstrip("0").rstrip("0")
    if exponent:
        point = len(whole) + int(exponent)
    elif whole == "0":
        point = len(fraction.lstrip("0")) - len(fraction)
    else:
        point = len(whole)
    if len(digits) <= point <= 21:
        return sign + digits.ljust(point, "0")
    if 0 < point <= 21:
        return f"{sign}{digits[:point]}.{digits[point:]}"
    if -6 < point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    tail = f".{digits[1:]}" if len(digits) > 1 else ""
    return f"{sign}{digits[0]}{tail}e{point - 1:+d}"


def _plain(value: Any) -> Any:
    """Return what msgspec has no encoder for as its nearest plain type (an ``enc_hook``)."""
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    if isinstance(value, (Sequence, AbstractSet)):
        return list(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


def _plain_or_raw(value: Any) -> Any:
    return None if type(value) is msgspec.Raw else _plain(value)


_ENCODER: Final = msgspec.json.Encoder(enc_hook=_plain)


def _refuse_not_finite(data: Any) -> None:
    """Raise ValueError when a NaN or Infinity is anywhere in ``data``, keys included."""
    left = [msgspec.to_builtins(data, enc_hook=_plain_or_raw)]
    while left:
        value = left.pop()
        if isinstance(value, float):
            if not math.isfinite(value):
                raise ValueError(_NOT_FINITE)
        elif isinstance(value, dict):
            left.extend(value.keys())
            left.extend(value.values())
        elif isinstance(value, (list, tuple)):
            left.extend(value)


def _json(data: Any) -> bytes:
    """Return ``data`` as compact JSON; ValueError saying what cannot be written."""
    try:
        encoded = _ENCODER.encode(data)
        # msgspec writes a NaN or Infinity as null, and as "nan" or "inf" when it is a key.
        if b"null" in encoded or b'nan"' in encoded or b'inf"' in encoded:
            _refuse_not_finite(data)
    except UnicodeEncodeError:
        raise ValueError("a lone surrogate") from None
    except RecursionError:
        raise ValueError("nesting too deep, or itself") from None
    except (TypeError, OverflowError, msgspec.MsgspecError) as exc:
        raise ValueError(f"what JSON cannot carry: {exc}") from None
    return encoded


def scalar(value: Any) -> str:
    """Return one value of a query or form as text, before it is percent-encoded.

    str as it is, numbers as JavaScript prints them, True, False and None as ``true``, ``false``
    and ``null``, anything nested as compact JSON. Raises ValueError for NaN, Infinity, bytes and
    what JSON cannot carry.
    """
    kind = type(value)
    if kind is str:
        return value  # type: ignore[no-any-return]
    if value is None:
        return "null"
    if kind is bool:
        return "true" if value else "false"
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int.__repr__(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError("NaN or Infinity")
        return _number(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        # a value that cannot be written is a ValueError, whatever its type
        raise ValueError("bytes; decode them or send all data as bytes")
    encoded = _json(value)
    if encoded.startswith(b'"'):  # a date, an Enum, a UUID …: its text, without the quotes
        return msgspec.json.decode(encoded, type=str)
    return encoded.decode()


def _pairs(data: Mapping[Any, Any], api: str) -> str:
    pairs = []
    for name, value in data.items():
        if not isinstance(name, (str, int, float)):
            got = f"{name!r:.80}"
            raise ValueError(f"{api}: data has a name that is no str, got {got}")
        try:
            pairs.append(f"{encode_component(scalar(name))}={encode_component(scalar(value))}")
        except ValueError as exc:
            raise ValueError(f"{api}: data field {name!r:.80} holds {exc}") from None
    return "&".join(pairs)


def merge_query(url: str, data: Mapping[Any, Any], api: str = "request") -> str:
    """Return ``url`` with ``data`` added to its query, before any fragment.

    What the URL has already stays byte for byte; an empty mapping adds nothing. Raises ValueError
    naming the field whose value cannot be written.
    """
    query = _pairs(data, api)
    if not query:
        return url
    base, hash_sign, fragment = url.partition("#")
    if "?" not in base:
        joint = "?"
    elif base.endswith(("?", "&")):
        joint = ""
    else:
        joint = "&"
    return f"{base}{joint}{query}{hash_sign}{fragment}"


def form_encode(data: Mapping[Any, Any], api: str = "request") -> bytes:
    """Return ``data`` as an application/x-www-form-urlencoded body; a space becomes ``%20``.

    Raises ValueError naming the field whose value cannot be written.
    """
    return _pairs(data, api).encode("ascii")


def _form(data: Any, api: str) -> bytes:
    if not isinstance(data, Mapping):
        try:
            data = msgspec.to_builtins(data, enc_hook=_plain)
        except (TypeError, ValueError, RecursionError) as exc:
            raise ValueError(f"{api}: data cannot be a form: {exc}") from None
        if not isinstance(data, dict):
            takes = "a mapping, a str or bytes"
            raise ValueError(f"{api}: data must be {takes} to go as {_FORM}")
    return form_encode(data, api)


def _is_buffer(data: Any, api: str) -> bool:
    """Tell whether ``data`` is bytes-like; ValueError when its bytes are not in one piece."""
    try:
        view = memoryview(data)
    except TypeError:
        return False
    except ValueError as exc:
        raise ValueError(f"{api}: data is a buffer that cannot be read: {exc}") from None
    with view:
        if not view.c_contiguous:
            raise ValueError(f"{api}: data must be a contiguous buffer; pass bytes(data)")
    return True


def encode_body(
    data: Any, content_type: str, method: str, api: str = "request"
) -> bytes | Buffer | None:
    """Return the request body for ``data``, or None when there is none.

    A str goes as UTF-8, anything bytes-like as it is and uncopied, all else by ``content_type``:
    form pairs for application/x-www-form-urlencoded, JSON otherwise. ``method`` is in upper case.
    Raises ValueError for data that cannot be written and for HEAD, TRACE and CONNECT, which carry
    none. A mapping of GET or HEAD belongs into the query: see `merge_query`.
    """
    if data is None:
        return None
    if method in _BODILESS:
        raise ValueError(f"{api}: data cannot go with the method {method}, which carries no body")
    kind = type(data)
    if kind is bytes:
        return data  # type: ignore[no-any-return]
    if isinstance(data, str):
        try:
            return data.encode("utf-8")
        except UnicodeEncodeError as exc:
            where = exc.start
        raise ValueError(f"{api}: data holds a lone surrogate at position {where}")
    if kind is not dict and kind is not list and _is_buffer(data, api):
        return data  # type: ignore[no-any-return]
    if content_type != "application/json":
        media_type = content_type.partition(";")[0].strip(" \t").lower()
        if media_type == _FORM:
            return _form(data, api)
    try:
        return _json(data)
    except ValueError as exc:
        raise ValueError(f"{api}: data holds {exc}") from None
