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
    "MINI_PROGRAM_POLICY",
    "Cause",
    "Chunk",
    "ChunkReceived",
    "Client",
    "DatagramReceived",
    "DownloadProgress",
    "DownloadResult",
    "DownloadTask",
    "Endpoint",
    "Errno",
    "FtError",
    "Headers",
    "HeadersReceived",
    "NetType",
    "NetworkQuality",
    "Policy",
    "Profile",
    "RequestTask",
    "Response",
    "SocketProfile",
    "SocketTask",
    "TCPSocket",
    "UDPSocket",
    "UploadProgress",
    "UploadResult",
    "UploadTask",
    "__version__",
    "closeSocket",
    "connectSocket",
    "createTCPSocket",
    "createUDPSocket",
    "downloadFile",
    "engine_info",
    "onSocketClose",
    "onSocketError",
    "onSocketMessage",
    "onSocketOpen",
    "request",
    "run",
    "sendSocketMessage",
    "to_dict",
    "uploadFile",
]

try:
    from ftcore import Chunk
    from ftnet.client import VERSION as __version__
    from ftnet.client import (
        Client,
        closeSocket,
        connectSocket,
        createTCPSocket,
        createUDPSocket,
        downloadFile,
        onSocketClose,
        onSocketError,
        onSocketMessage,
        onSocketOpen,
        request,
        sendSocketMessage,
        uploadFile,
    )
    from ftnet.dispatch import run
    from ftnet.download import DownloadProgress, DownloadResult, DownloadTask
    from ftnet.errors import Cause, Errno, FtError
    from ftnet.events import Endpoint
    from ftnet.http import HeadersReceived
    from ftnet.info import engine_info
    from ftnet.policy import MINI_PROGRAM_POLICY, Policy
    from ftnet.profile import NetType, Profile, SocketProfile
    from ftnet.quality import NetworkQuality
    from ftnet.request import ChunkReceived, RequestTask, Response
    from ftnet.results import Headers, to_dict
    from ftnet.tcp import TCPSocket
    from ftnet.udp import DatagramReceived, UDPSocket
    from ftnet.upload import UploadProgress, UploadResult, UploadTask
    from ftnet.websocket import SocketTask
except ImportError as _error:
    _why = str(_error)

    def __getattr__(name: str) -> Any:
        if name in __all__:
            raise ImportError(_why)
        raise AttributeError(f"module 'ftnet' has no attribute {name!r}")
