"""The ft mini-program network API for Python, on a compiled engine that times every phase.

    import ftnet as ft

    res = ft.request(url="https://example.com/").result()
    print(res.statusCode, res.profile.durations)

API reference: https://super-apps.ai/mop/document/en/develop/api/network.html

Without a usable libcurl this still imports, so that ``ftnet doctor`` can say what is wrong; every
name then raises the ImportError.
"""

from __future__ import annotations

from typing import Any

__all__ = [
    "Cause",
    "Chunk",
    "ChunkReceived",
    "Client",
    "Errno",
    "FtError",
    "Headers",
    "HeadersReceived",
    "NetType",
    "Profile",
    "RequestTask",
    "Response",
    "__version__",
    "engine_info",
    "request",
    "run",
    "to_dict",
]

try:
    from ftcore import Chunk
    from ftnet.client import VERSION as __version__
    from ftnet.client import Client, request
    from ftnet.dispatch import run
    from ftnet.errors import Cause, Errno, FtError
    from ftnet.info import engine_info
    from ftnet.profile import NetType, Profile
    from ftnet.request import ChunkReceived, HeadersReceived, RequestTask, Response
    from ftnet.results import Headers, to_dict
except ImportError as _error:
    _why = str(_error)

    def __getattr__(name: str) -> Any:
        if name in __all__:
            raise ImportError(_why)
        raise AttributeError(f"module 'ftnet' has no attribute {name!r}")
