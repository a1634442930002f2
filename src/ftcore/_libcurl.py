"""Finds libcurl and checks that it can carry the engine.

Looked for in this order: the file that ``FTCORE_LIBCURL`` names, the library that pycurl brings,
the system's. The first that opens is taken; one that is too old or lacks TLS is an ImportError.
"""

from __future__ import annotations

import os
import sys
from typing import Any, NamedTuple

OLDEST = (7, 88, 0)

#: name -> bit of curl_version_info_data.features
FEATURES = {
    "SSL": 1 << 2,
    "libz": 1 << 3,
    "AsynchDNS": 1 << 7,
    "IDN": 1 << 10,
    "HTTP2": 1 << 16,
    "PSL": 1 << 20,
    "HTTPS-proxy": 1 << 21,
    "brotli": 1 << 23,
    "alt-svc": 1 << 24,
    "HTTP3": 1 << 25,
    "zstd": 1 << 26,
    "threadsafe": 1 << 30,
}

_SYSTEM_CA_FILES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
    "/usr/local/etc/openssl/cert.pem",
    "/opt/homebrew/etc/openssl@3/cert.pem",
)
_SYSTEM_CA_PATHS = ("/etc/ssl/certs", "/etc/pki/tls/certs")

#: libraries that undo content codings: how their functions' names begin, the system's file
_CODECS = (
    (("zlib", "inflate", "deflate"), "libz.1.dylib" if sys.platform == "darwin" else "libz.so.1"),
    (
        ("BrotliDecoder",),
        "libbrotlidec.1.dylib" if sys.platform == "darwin" else "libbrotlidec.so.1",
    ),
)

#: cffi closes a library with its object, and the addresses would point nowhere
_open_libraries: list[Any] = []


class Library(NamedTuple):
    """The libcurl in use."""

    path: str
    source: str  #: "FTCORE_LIBCURL", "pycurl" or "system"
    version: str
    version_num: int  #: 0xXXYYZZ
    ssl_version: str
    features: tuple[str, ...]
    protocols: tuple[str, ...]
    addresses: dict[str, int]  #: function name -> address


def _candidates() -> list[tuple[str, str]]:
    named = os.environ.get("FTCORE_LIBCURL")
    if named:
        return [("FTCORE_LIBCURL", named)]
    found = []
    try:
        import pycurl  # type: ignore[import-untyped, unused-ignore]
    except ImportError:
        pycurl = None
    if pycurl is not None:
        # pycurl's own extension module: a symbol look-up in it reaches the libcurl it depends on.
        inner = getattr(pycurl, "_pycurl", pycurl)
        found.append(("pycurl", str(inner.__file__)))
    found.append(("system", "libcurl.4.dylib" if sys.platform == "darwin" else "libcurl.so.4"))
    return found


def _real_path(opened: str, address: int) -> str:
    """The file that an address is mapped from (Linux), else what was opened."""
    try:
        with open("/proc/self/maps") as maps:
            for line in maps:
                span, *_, last = line.split(maxsplit=5)
                low, high = (int(part, 16) for part in span.split("-"))
                if low <= address < high:
                    return last.strip()
    except OSError:
        return opened
    return opened


def _address(ffi: Any, lib: Any, name: str) -> int:
    """Where a function is. Raises AttributeError when the library has none of that name."""
    try:
        return int(ffi.cast("uintptr_t", ffi.addressof(lib, name)))
    except ffi.error as error:
        raise AttributeError(str(error)) from None


def _codec_addresses(ffi: Any, lib: Any) -> dict[str, int]:
    """zlib's and brotli's functions: those that libcurl depends on, else the system's.

    All of a library's or none: one that is in neither place is left out.
    """
    table: dict[str, int] = {}
    for starts, system in _CODECS:
        names = [name for name in dir(lib) if name.startswith(starts)]
        for place in (lib, system):
            try:
                found = ffi.dlopen(place) if isinstance(place, str) else place
                table.update({name: _address(ffi, found, name) for name in names})
            except (OSError, AttributeError):  # no such file, no such function
                continue
            _open_libraries.append(found)
            break
    return table


def _addresses(ffi: Any, lib: Any) -> dict[str, int]:
    names = [name for name in dir(lib) if name.startswith(("curl_", "SSL_", "CRYPTO_", "X509_"))]
    table = _codec_addresses(ffi, lib)
    for name in names:
        try:
            table[name] = _address(ffi, lib, name)
        except AttributeError:
            if name.startswith("curl_"):
                raise
    _open_libraries.append(lib)
    return table


def _text(ffi: Any, pointer: Any) -> str:
    return str(ffi.string(pointer).decode()) if pointer else ""


def _open(ffi: Any, source: str, path: str) -> Library:
    lib = ffi.dlopen(path)
    addresses = _addresses(ffi, lib)
    info = lib.curl_version_info(0)
    protocols: list[str] = []
    while info.protocols[len(protocols)]:
        protocols.append(_text(ffi, info.protocols[len(protocols)]))
    return Library(
        path=_real_path(path, addresses["curl_easy_init"]),
        source=source,
        version=_text(ffi, info.version),
        version_num=info.version_num,
        ssl_version=_text(ffi, info.ssl_version),
        features=tuple(name for name, bit in FEATURES.items() if info.features & bit),
        protocols=tuple(protocols),
        addresses=addresses,
    )


def find() -> Library:
    """The libcurl to use.

    Raises ImportError, saying what was tried and what to install.
    """
    from ftcore._libcurl_cffi import ffi

    tried = []
    for source, path in _candidates():
        try:
            library = _open(ffi, source, path)
        except (OSError, AttributeError) as error:
            tried.append(f"{source} ({path}): {error}")
            continue
        major, minor, patch = OLDEST
        if library.version_num < (major << 16 | minor << 8 | patch):
            tried.append(f"{source} ({library.path}): libcurl {library.version} is too old")
            continue
        if "SSL" not in library.features:
            tried.append(f"{source} ({library.path}): libcurl {library.version} has no TLS")
            continue
        return library
    raise ImportError(
        f"ftcore needs libcurl {'.'.join(map(str, OLDEST))} or newer with TLS; tried "
        + "; ".join(tried)
        + ". Install it with: pip install 'pycurl>=7.47'"
    )


def ca_location() -> tuple[str | None, str | None]:
    """(CA file, CA directory) to verify peers with.

    ``SSL_CERT_FILE``/``SSL_CERT_DIR``, then the system's, then certifi. The paths compiled into
    a bundled libcurl belong to the machine that built it.
    """
    file = os.environ.get("SSL_CERT_FILE") or None
    path = os.environ.get("SSL_CERT_DIR") or None
    if file or path:
        return file, path
    for name in _SYSTEM_CA_FILES:
        if os.path.exists(name):
            return name, None
    for name in _SYSTEM_CA_PATHS:
        if os.path.isdir(name) and os.listdir(name):
            return None, name
    try:
        import certifi
    except ImportError:
        return None, None
    return str(certifi.where()), None
