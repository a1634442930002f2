"""How often a received byte is copied in user space before Python has it, counted.

A shim in front of memcpy and memmove (`copies.c`) is preloaded into a process that receives a
large body. On plain HTTP/1.1 the kernel fills libcurl's buffer, and the one copy is made by our
write callback, into the slab; a chunk, a view of it and an ArrayBuffer add none. The others are
copies inside of OpenSSL, nghttp2 and libcurl before that.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest

SIZE = 256 * 80_000
SOURCE = Path(__file__).with_name("copies.c")
RECEIVE = """
import ctypes, json, sys
import ftnet as ft

counter = ctypes.CDLL(None).copied_bytes
counter.restype = ctypes.c_ulong
url, ca, version, way = sys.argv[1:]

def receive(client):
    seen = []
    options = {"enableChunked": True} if way == "chunks" else {"responseType": "arraybuffer"}
    task = client.request(url=url, **options)
    if way == "chunks":
        task.onChunkReceived(lambda event: seen.append(len(memoryview(event.data))))
    return task, seen

with ft.Client(ca=ca, http_version=version or None, trust_env=False) as client:
    ft.run(receive, client)  # connects
    before = counter()
    task, seen = ft.run(receive, client)
    after = counter()
received = sum(seen) or len(task.result().data)
task.result()
print(json.dumps({"received": received, "copied": after - before}))
"""
# At least and at most so many copies per byte, and what makes them.
COPIES = {
    "http": (0.99, 1.05),  # libcurl's buffer to our slab
    "https": (0.99, 3.6),  # BIO to record, record to libcurl's buffer, that to our slab
    "h2": (0.99, 4.7),  # and what libcurl moves while it waits for the rest of a frame
    "h3": (0.99, 1.15),  # ngtcp2 decrypts in place and nghttp3 hands on what is there
}


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    library = tmp_path_factory.mktemp("copies") / "copies.so"
    compiler = os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc"
    flags = ["-O2", "-fno-builtin", "-fno-tree-loop-distribute-patterns", "-shared", "-fPIC"]
    subprocess.run([*compiler.split(), *flags, "-o", library, SOURCE, "-ldl"], check=True)
    return library


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="preloads as glibc has it")
@pytest.mark.parametrize("way", ["chunks", "arraybuffer"])
@pytest.mark.parametrize("name", COPIES)
def test_a_received_byte_is_copied_this_often(
    name: str, way: str, shim: Path, nginx: Any, caddy: Any
) -> None:
    path = nginx.serve_file("large.bin", bytes(range(256)) * (SIZE // 256))
    url, version = {
        "http": (nginx.http + path, ""),
        "https": (nginx.https + path, "1.1"),
        "h2": (nginx.h2 + path, ""),
        "h3": (f"{caddy.behind}/bytes/{SIZE}", "3-only"),
    }[name]
    done = subprocess.run(
        [sys.executable, "-c", RECEIVE, url, caddy.ca, version, way],
        env={**os.environ, "LD_PRELOAD": str(shim)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["received"] == SIZE
    least, most = COPIES[name]
    assert least < told["copied"] / SIZE < most
