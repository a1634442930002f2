"""What the engine found and stands on."""

from __future__ import annotations

from typing import Any

from ftcore import _libcurl
from ftcore.libcurl import library
from ftcore.reactor import kind


def engine_info() -> dict[str, Any]:
    """The libcurl in use and what it can do, the CA location, the poller, the clock.

    Keys: ``path``, ``source`` ("FTCORE_LIBCURL", "pycurl", "system"), ``version``,
    ``version_num``, ``ssl_version``, ``features``, ``protocols``, ``ca_file``, ``ca_path``,
    ``poller`` ("epoll", "kqueue"), ``clock``.
    """
    ca_file, ca_path = _libcurl.ca_location()
    return {
        "path": library.path,
        "source": library.source,
        "version": library.version,
        "version_num": library.version_num,
        "ssl_version": library.ssl_version,
        "features": list(library.features),
        "protocols": list(library.protocols),
        "ca_file": ca_file,
        "ca_path": ca_path,
        "poller": kind(),
        "clock": "CLOCK_MONOTONIC",
    }
