"""The bytes of a form: escapes as in browsers, values as they are, read back by other parsers.

What browsers do: https://html.spec.whatwg.org/#multipart-form-data
"""

from __future__ import annotations

import io
import json
import math
import os
import re
from base64 import b64decode
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.formparser import parse_form_data

import ftnet as ft
from ftnet.multipart import FilePart, form_pieces
from tests.uploads import Part, parts_of, send

BYTES = bytes(range(256))


def written(fields: Mapping[Any, Any] | None, parts: Iterable[FilePart] = ()) -> tuple[bytes, str]:
    """The body of a form without files, and its content-type."""
    pieces, content_type = form_pieces(fields, parts, "uploadFile")
    assert not [piece for piece in pieces if isinstance(piece, str)], "a path, not bytes"
    return b"".join(bytes(piece) for piece in pieces), content_type  # type: ignore[arg-type]


def read_back(fields: Mapping[Any, Any] | None, parts: Iterable[FilePart] = ()) -> list[Part]:
    return parts_of(*written(fields, parts))


def by_werkzeug(body: bytes, content_type: str) -> tuple[list[Any], list[Any]]:
    """The fields as (name, value) and the files as (name, file name, type, content)."""
    environ = {
        "REQUEST_METHOD": "POST",
        "CONTENT_TYPE": content_type,
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.input": io.BytesIO(body),
    }
    _, form, files = parse_form_data(environ)
    told = [(name, one.filename, one.mimetype, one.read()) for name, one in files.items(multi=True)]
    return list(form.items(multi=True)), told


def file(
    file_name: str = "x", content: bytes = b"", kind: str = "a/b", name: str = "f"
) -> FilePart:
    return FilePart(name, content, file_name, kind)


# --- the whole, byte by byte ----------------------------------------------------------------------


def test_a_form_is_these_bytes() -> None:
    body, content_type = written({"a": "1", "b": ""}, [file("x.txt", b"hello", "text/plain")])
    boundary = content_type.removeprefix("multipart/form-data; boundary=")
    text = body.decode().replace(boundary, "BOUNDARY").replace("\r\n", "\n")
    assert text == (
        '--BOUNDARY\nContent-Disposition: form-data; name="a"\n\n1\n'
        '--BOUNDARY\nContent-Disposition: form-data; name="b"\n\n\n'
        '--BOUNDARY\nContent-Disposition: form-data; name="f"; filename="x.txt"\n'
        "Content-Type: text/plain\n\nhello\n--BOUNDARY--\n"
    )


@pytest.mark.parametrize("fields", [None, {}])
def test_a_form_without_anything_is_its_end(fields: Any) -> None:
    body, content_type = written(fields)
    assert body == f"--{content_type.partition('boundary=')[2]}--\r\n".encode()


def test_fields_come_first_and_in_their_order_then_files_in_theirs() -> None:
    fields = {name: name for name in "zebra"[:4]}
    names = [part.name for part in read_back(fields, [file(name="c"), file(name="A")])]
    assert names == [b"z", b"e", b"b", b"r", b"c", b"A"]


def test_files_may_have_the_name_of_a_field_and_of_each_other() -> None:
    parts = read_back({"f": "value"}, [file("1", b"one"), file("2", b"two")])
    assert [(part.name, part.value) for part in parts] == [
        (b"f", b"value"),
        (b"f", b"one"),
        (b"f", b"two"),
    ]


def test_a_small_buffer_is_copied_and_a_large_one_is_a_piece_of_its_own() -> None:
    small, large = bytearray(4096), bytearray(4097)
    pieces, _ = form_pieces({}, [FilePart("s", small, "s", "a/b")], "uploadFile")
    assert len(pieces) == 1
    pieces, _ = form_pieces({}, [FilePart("l", large, "l", "a/b")], "uploadFile")
    assert len(pieces) == 3
    assert pieces[1] is large


def test_a_path_is_a_piece_between_bytes() -> None:
    parts = [FilePart("f", path, "x", "a/b") for path in ("/one", "/two")]
    pieces, _ = form_pieces({"a": 1}, parts, "uploadFile")
    assert [type(piece) for piece in pieces] == [bytes, str, bytes, str, bytes]
    assert pieces[1::2] == ["/one", "/two"]


# --- names ----------------------------------------------------------------------------------------

NAMES: list[tuple[object, bytes]] = [
    ("plain", b"plain"),
    ("", b""),
    (" a ", b" a "),
    ('a"b', b"a%22b"),
    ("a\nb", b"a%0D%0Ab"),
    ("a\rb", b"a%0D%0Ab"),
    ("a\r\nb", b"a%0D%0Ab"),
    ("a\n\rb", b"a%0D%0A%0D%0Ab"),
    ("\r\r\n\n", b"%0D%0A%0D%0A%0D%0A"),
    ("a%22b%", b"a%22b%"),
    ("a;b='c'", b"a;b='c'"),
    ("a\\b", b"a\\b"),
    ("a\tb\0c", b"a\tb\0c"),
    ("ü中😀", "ü中😀".encode()),
    ("\u2028\x85", "\u2028\x85".encode()),
    ("items[0].name", b"items[0].name"),
    (1, b"1"),
    (1.5, b"1.5"),
    (True, b"true"),
]


@pytest.mark.parametrize(("name", "raw"), NAMES)
def test_a_name_is_escaped_as_browsers_do(name: object, raw: bytes) -> None:
    body, _ = written({name: "value"})
    assert body.count(b'form-data; name="%b"\r\n\r\nvalue\r\n' % raw) == 1


@pytest.mark.parametrize(("name", "raw"), NAMES[:-3])
def test_the_name_of_a_file_field_is_escaped_alike(name: str, raw: bytes) -> None:
    body, _ = written({}, [file(name=name)])
    assert b'form-data; name="%b"; filename="x"\r\n' % raw in body


@pytest.mark.parametrize(
    ("file_name", "raw"),
    [
        ("report.pdf", b"report.pdf"),
        ("", b""),
        ('a"b', b"a%22b"),
        ("a\nb", b"a%0Ab"),
        ("a\rb", b"a%0Db"),
        ("a\r\nb", b"a%0D%0Ab"),
        ("100%25.txt", b"100%25.txt"),
        ("a;b=c.txt", b"a;b=c.txt"),
        ("C:\\dir\\x", b"C:\\dir\\x"),
        ("../../etc/passwd", b"../../etc/passwd"),
        ("über 中😀.png", "über 中😀.png".encode()),
        (os.fsdecode(b"latin-\xfc\xff\xfe.bin"), b"latin-\xfc\xff\xfe.bin"),
        ("a\0b", b"a\0b"),
    ],
)
def test_a_file_name_is_escaped_as_browsers_do(file_name: str, raw: bytes) -> None:
    body, _ = written({}, [file(file_name)])
    assert b'name="f"; filename="%b"\r\nContent-Type: a/b\r\n\r\n' % raw in body


EVIL = 'x"\r\nContent-Type: text/html\r\n\r\n<script>\r\n--'


@pytest.mark.parametrize("place", ["name", "file name", "name of a file"])
def test_nothing_in_a_name_ends_its_line(place: str) -> None:
    fields = {EVIL: "v"} if place == "name" else {"n": "v"}
    one = file(EVIL if place == "file name" else "x", name=EVIL if "of" in place else "f")
    body, content_type = written(fields, [one])
    assert b"\r\nContent-Type: text/html" not in body
    assert len(parts_of(body, content_type)) == 2
    assert [len(found) for found in by_werkzeug(body, content_type)] == [1, 1]


@pytest.mark.parametrize(
    "name", ["text.csv", 'quote".csv', "semi;colon=x.csv", "über 中😀.csv", "per%cent.csv", "a b"]
)
def test_werkzeug_reads_a_file_name_back(name: str) -> None:
    form, files = by_werkzeug(*written({"k": "v"}, [file(name, b"content", "text/csv")]))
    assert form == [("k", "v")]
    assert files == [("f", name, "text/csv", b"content")]


def test_a_file_name_that_is_no_text_passes_as_its_bytes() -> None:
    (part,) = read_back({}, [file(os.fsdecode(b"\xff\x80"), b"content")])
    assert part == Part(b"f", b"content", b"\xff\x80", "a/b")


# --- values ---------------------------------------------------------------------------------------

TEXTS = [
    "",
    " x ",
    "a\nb",
    "a\rb",
    "a\r\nb",
    "\r\n",
    "\n\n",
    "--",
    "\r\n--",
    "--\r\n",
    "a\0b",
    "é😀",
]


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_is_what_it_was_byte_for_byte(text: str) -> None:
    assert read_back({"k": text, "next": "1"}) == [Part(b"k", text.encode()), Part(b"next", b"1")]


@pytest.mark.parametrize("value", [BYTES, bytearray(BYTES), memoryview(BYTES)[::1], b"\r\n--"])
def test_bytes_are_what_they_were(value: Any) -> None:
    assert read_back({"k": value}) == [Part(b"k", bytes(value))]
    assert read_back({}, [file(content=value)])[0].value == bytes(value)


@pytest.mark.parametrize(
    ("value", "raw"),
    [
        (7, b"7"),
        (2**70, b"1180591620717411303424"),
        (1.0, b"1"),
        (-0.5, b"-0.5"),
        (1e21, b"1e+21"),
        (True, b"true"),
        (False, b"false"),
        (None, b"null"),
        ({"a": [1, None, "é"]}, '{"a":[1,null,"é"]}'.encode()),
        ([], b"[]"),
        (memoryview(b"abcd")[::2], b"ac"),
    ],
)
def test_other_values_are_written_as_text(value: object, raw: bytes) -> None:
    assert read_back({"k": value}) == [Part(b"k", raw)]


@pytest.mark.parametrize(
    ("fields", "kind", "words"),
    [
        ({"k": math.nan}, ValueError, "formData field 'k' holds NaN or Infinity"),
        ({"k": -math.inf}, ValueError, "formData field 'k' holds NaN or Infinity"),
        ({"k": [math.nan]}, ValueError, "formData field 'k' holds NaN or Infinity"),
        ({"k": "a\ud800"}, ValueError, "formData field 'k' holds a lone surrogate at position 1"),
        ({"k": os.fsdecode(b"\xff")}, ValueError, "formData field 'k' holds a lone surrogate"),
        ({"k": object()}, ValueError, "formData field 'k' holds what JSON cannot carry"),
        ({"\udfff": 1}, ValueError, "the name of the form field '\\udfff' holds a lone surrogate"),
        ({None: 1}, TypeError, "the name of a form field must be a str, got None"),
        ({b"k": 1}, TypeError, "the name of a form field must be a str, got b'k'"),
        ({math.nan: 1}, ValueError, "the name of a form field"),
    ],
)
def test_what_cannot_be_written_is_refused_by_name(
    fields: dict[Any, Any], kind: type[Exception], words: str
) -> None:
    with pytest.raises(kind, match=f"^uploadFile: {re.escape(words)}"):
        written(fields)


# --- boundaries -----------------------------------------------------------------------------------


def boundary_of(content_type: str) -> bytes:
    found = re.fullmatch(
        r"multipart/form-data; boundary=([0-9A-Za-z'()+_,./:=?-]{1,70})", content_type
    )
    assert found, content_type  # RFC 2046 5.1.1
    return found[1].encode()


def test_a_boundary_is_fresh_each_time_and_hard_to_guess() -> None:
    boundaries = [boundary_of(written({})[1]).decode() for _ in range(2000)]
    assert len(set(boundaries)) == 2000
    columns = [set(column) for column in zip(*boundaries, strict=True)]
    bits = sum(math.log2(len(column)) for column in columns)
    assert bits >= 64, "in the characters that vary"


def test_a_boundary_is_found_as_often_as_there_are_parts_and_once_more() -> None:
    body, content_type = written({"a": 1, "b": 2}, [file(content=bytes(100))])
    assert body.count(b"--" + boundary_of(content_type)) == 4
    assert body.endswith(b"\r\n--%b--\r\n" % boundary_of(content_type))


def test_a_form_may_carry_another_form() -> None:
    inner, _ = written({"a": "1"}, [file(content=b"x")])
    parts = read_back({"form": inner}, [file(content=inner)])
    assert [part.value for part in parts] == [inner, inner]


# --- round trips ----------------------------------------------------------------------------------

# Parsers take a backslash in a quoted string for an escape, browsers write it as it is; and "%22"
# can't be told from a quote.
READABLE = st.text(st.characters(codec="utf-8", exclude_characters="\\%"), max_size=20)
VALUES = READABLE | st.integers() | st.binary(max_size=50)


def as_bytes(value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()


def unescaped(name: bytes) -> str:
    return name.replace(b"%22", b'"').replace(b"%0D", b"\r").replace(b"%0A", b"\n").decode()


@given(
    st.dictionaries(READABLE, VALUES, max_size=4),
    st.lists(st.tuples(READABLE, READABLE, st.binary(max_size=6000)), max_size=3),
)
def test_a_form_reads_back_as_it_was(
    fields: dict[str, Any], files: list[tuple[str, str, bytes]]
) -> None:
    parts = [file(file_name, content, name=name) for name, file_name, content in files]
    found = read_back(fields, parts)
    plain, attached = found[: len(fields)], found[len(fields) :]
    assert [part.value for part in plain] == [as_bytes(value) for value in fields.values()]
    assert [unescaped(part.name) for part in plain] == [lines(name) for name in fields]
    told = [
        (unescaped(part.name), unescaped(part.file_name or b""), part.value) for part in attached
    ]
    assert told == [(lines(name), file_name, content) for name, file_name, content in files]


def lines(text: str) -> str:
    """Every line end as CRLF."""
    return re.sub("\r\n|\r|\n", "\r\n", text)


@given(
    st.dictionaries(READABLE, READABLE, max_size=4),
    st.lists(st.tuples(READABLE, st.binary(max_size=100)), max_size=3),
)
def test_werkzeug_finds_the_same_parts(
    fields: dict[str, str], files: list[tuple[str, bytes]]
) -> None:
    parts = [file(file_name, content) for file_name, content in files]
    form, attached = by_werkzeug(*written(fields, parts))
    assert [value for _, value in form] == list(fields.values())
    assert [content for *_, content in attached] == [content for _, content in files]


# --- over the wire, to werkzeug -------------------------------------------------------------------


def posted(client: ft.Client, forms: Any, **options: Any) -> dict[str, Any]:
    """What werkzeug has read."""
    told: dict[str, Any] = json.loads(send(client, f"{forms.http}/post", **options).data)
    return told


def test_werkzeug_reads_fields_and_files(plain: ft.Client, forms: Any, tmp_path: Path) -> None:
    path = tmp_path / "grüße.txt"
    path.write_text("from the disk\r\n")
    told = posted(
        plain,
        forms,
        filePath=path,
        name="on disk",
        formData={"a": 1, "b": True, "nested": {"k": [None]}, 'quote"': "x", "é": "ü\n"},
        files=[{"name": "one", "data": "in memory"}, {"name": "two", "data": b"\n\r"}],
    )
    form = {"a": "1", "b": "true", "nested": '{"k":[null]}', 'quote"': "x", "é": "ü\n"}
    assert told["form"] == form
    assert told["files"] == {"on disk": "from the disk\r\n", "one": "in memory", "two": "\n\r"}
    assert told["headers"]["Content-Type"].startswith("multipart/form-data; boundary=----")


@pytest.mark.parametrize("size", [0, 1, 4096, 4097, 65_536, 3_000_001])
def test_werkzeug_reads_a_file_of_any_size(
    plain: ft.Client, forms: Any, tmp_path: Path, size: int
) -> None:
    text = ("0123456789abcdef" * (size // 16 + 1))[:size]
    path = tmp_path / "file.txt"
    path.write_text(text)
    told = posted(plain, forms, filePath=path, name="disk", files=[{"name": "m", "data": text}])
    assert told["files"] == {"disk": text, "m": text}


@pytest.mark.parametrize("text", TEXTS)
def test_werkzeug_reads_values_as_they_were(plain: ft.Client, forms: Any, text: str) -> None:
    told = posted(plain, forms, formData={"k": text}, files=[{"name": "f", "data": text}])
    assert (told["form"], told["files"]) == ({"k": text}, {"f": text})


# --- the types and names of files -----------------------------------------------------------------


def sent(client: ft.Client, echo: str, *entries: dict[str, Any], **options: Any) -> list[Part]:
    """The parts of an upload, as the echo of the test server has them."""
    told = json.loads(send(client, echo, files=entries, **options).data)
    (content_type,) = [value for name, value in told["headers"] if name == "content-type"]
    return parts_of(b64decode(told["body"]), content_type)


@pytest.mark.parametrize(
    ("file_name", "kind"),
    [
        ("a.txt", "text/plain"),
        ("a.PNG", "image/png"),
        ("a.b.json", "application/json"),
        ("a.mp4", "video/mp4"),
        ("a", "application/octet-stream"),
        ("png", "application/octet-stream"),
        ("a.no-such-suffix", "application/octet-stream"),
        ("", "application/octet-stream"),
        ("data:,photo.png", "image/png"),
    ],
)
def test_the_type_is_guessed_from_the_name(
    plain: ft.Client, server: Any, file_name: str, kind: str
) -> None:
    (part,) = sent(plain, f"{server.http}/echo", {"name": "f", "data": b"x", "fileName": file_name})
    assert (part.file_name, part.content_type) == (file_name.encode(), kind)


@pytest.mark.parametrize("file_name", ["a.tar.gz", "a.json.gz", "a.txt.bz2", "a.tgz"])
def test_what_is_compressed_is_not_said_to_be_what_is_in_it(
    plain: ft.Client, server: Any, file_name: str
) -> None:
    (part,) = sent(plain, f"{server.http}/echo", {"name": "f", "data": b"x", "fileName": file_name})
    inside = ("application/x-tar", "application/json", "text/plain")
    assert part.content_type not in inside


def test_a_path_gives_the_file_its_name_and_type(
    plain: ft.Client, server: Any, tmp_path: Path
) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(b"png")
    options = {"filePath": path, "name": "first"}
    first, second, third = sent(
        plain,
        f"{server.http}/echo",
        {"name": "second", "filePath": str(path), "fileName": "other.csv"},
        {"name": "third", "filePath": os.fsencode(path), "contentType": "text/x-own; charset=x"},
        **options,
    )
    assert first == Part(b"first", b"png", b"picture.png", "image/png")
    assert second == Part(b"second", b"png", b"other.csv", "text/csv")
    assert third == Part(b"third", b"png", b"picture.png", "text/x-own; charset=x")


def test_a_file_whose_name_is_no_text_can_be_sent(
    plain: ft.Client, server: Any, tmp_path: Path
) -> None:
    path = os.fsencode(tmp_path) + b"/\xff\xfe.txt"
    with open(path, "wb") as target:
        target.write(b"content")
    (part,) = sent(plain, f"{server.http}/echo", {"name": "f", "filePath": path})
    assert part == Part(b"f", b"content", b"\xff\xfe.txt", "text/plain")


def test_data_without_a_name_is_a_blob(plain: ft.Client, server: Any) -> None:
    (part,) = sent(plain, f"{server.http}/echo", {"name": "f", "data": "text"})
    assert part == Part(b"f", b"text", b"blob", "application/octet-stream")


@pytest.mark.parametrize(
    "file_name", ["data:x/y\r\nX-Evil: 1,z", "data:x/y\r\n\r\nevil,z", "data:é/y,z"]
)
def test_a_type_guessed_from_a_name_holds_no_line_of_its_own(
    plain: ft.Client, server: Any, file_name: str
) -> None:
    (part,) = sent(plain, f"{server.http}/echo", {"name": "f", "data": b"x", "fileName": file_name})
    assert part.content_type == "application/octet-stream"
    assert part.value == b"x"
