"""Where zlib and brotli come from, and what is offered without them."""

from __future__ import annotations

import ctypes.util
import subprocess
import sys
from typing import Any

import pytest

from ftcore import _libcurl
from ftcore._libcurl_cffi import ffi
from ftcore.libcurl import library


@pytest.fixture
def other_library() -> Any:
    """A library that has neither zlib's nor brotli's functions."""
    return ffi.dlopen(ctypes.util.find_library("m"))


def codec_names() -> dict[str, int]:
    starts = ("zlib", "inflate", "deflate", "BrotliDecoder")
    return {name: at for name, at in library.addresses.items() if name.startswith(starts)}


def test_codecs_come_from_what_libcurl_depends_on(monkeypatch: pytest.MonkeyPatch) -> None:
    systemless = [(starts, "no-such-library") for starts, _ in _libcurl._CODECS]
    monkeypatch.setattr(_libcurl, "_CODECS", systemless)
    assert _libcurl._codec_addresses(ffi, ffi.dlopen(library.path)) == codec_names()


def test_codecs_that_libcurl_lacks_come_from_the_system(
    monkeypatch: pytest.MonkeyPatch, other_library: Any
) -> None:
    systems = [(starts, library.path) for starts, _ in _libcurl._CODECS]
    monkeypatch.setattr(_libcurl, "_CODECS", systems)
    assert _libcurl._codec_addresses(ffi, other_library) == codec_names()


def test_codecs_that_are_nowhere_are_left_out(
    monkeypatch: pytest.MonkeyPatch, other_library: Any
) -> None:
    systems = [(starts, "no-such-library") for starts, _ in _libcurl._CODECS]
    monkeypatch.setattr(_libcurl, "_CODECS", systems)
    assert _libcurl._codec_addresses(ffi, other_library) == {}


@pytest.mark.parametrize(
    ("missing", "offered"),
    [
        (["Brotli"], b"gzip, deflate"),
        (["zlib", "inflate"], b"br"),
        (["Brotli", "zlib", "inflate"], b""),
    ],
)
def test_a_coding_without_its_library_is_neither_offered_nor_known(
    missing: list[str], offered: bytes
) -> None:
    program = f"""
import importlib.util, sys, types
found = importlib.util.find_spec("ftcore")
package = types.ModuleType("ftcore")  # without what the real one imports: it would come too early
package.__path__ = list(found.submodule_search_locations)
sys.modules["ftcore"] = package
from ftcore import libcurl
for name in list(libcurl.library.addresses):
    if name.startswith({tuple(missing)!r}):
        del libcurl.library.addresses[name]
from ftcore import decode
assert decode.offered() == {offered!r}, decode.offered()
for name in (b"gzip", b"deflate", b"br"):
    try:
        decode.decode(name, [])
    except ValueError as error:
        assert str(error) == "unknown coding" and name not in {offered!r}.split(b", "), name
    else:
        assert name in {offered!r}.split(b", "), name
"""
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60
    )
    assert ran.returncode == 0, ran.stderr
