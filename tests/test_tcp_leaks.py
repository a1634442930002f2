"""Ten thousand TCP sockets leave memory and descriptors as they were (FTNET_LONG=1: 100,000)."""

from __future__ import annotations

import json
import os

import pytest

from tests.processes import run_script
from tests.servers.awkward import closed_port
from tests.test_leaks import DRIFT, MEASURE

COUNT = 100_000 if os.environ.get("FTNET_LONG") else 10_000

#: `one(task)` is what is done with each of the sockets, of which 50 are there at a time.
LOOP = """
    import socket as sockets
    import struct

    def serve():
        listener = sockets.create_server(("127.0.0.1", 0), backlog=1000)
        def accept():
            while True:
                peer, _ = listener.accept()
                try:
                    data = peer.recv(4096)
                    if data == b"reset":
                        linger = struct.pack("ii", 1, 0)
                        peer.setsockopt(sockets.SOL_SOCKET, sockets.SO_LINGER, linger)
                    elif data:
                        peer.sendall(data)
                except OSError:
                    continue
                finally:
                    peer.close()
        threading.Thread(target=accept, daemon=True).start()
        return listener.getsockname()[1]

    port = int(url) or serve()
    told = {"connect": 0, "message": 0, "error": 0, "close": 0}

    def work(count):
        told.update(dict.fromkeys(told, 0))
        left = count

        def begin():
            nonlocal left
            if left == 0:
                return
            left -= 1
            task = ft.createTCPSocket()
            over = False

            def tell(kind, last):
                def note(_):
                    nonlocal over
                    told[kind] += 1
                    if last and not over:
                        over = True
                        begin()
                return note

            task.onConnect(tell("connect", False))
            task.onMessage(tell("message", False))
            task.onError(tell("error", ENDS == "error"))
            task.onClose(tell("close", ENDS == "close"))
            task.connect(address="127.0.0.1", port=port, timeout=20)
            one(task)

        def start():
            for _ in range(50):
                begin()

        ft.run(start)
        return {"count": count, **told}
"""
WAYS = {
    "echo": ("task.onConnect(lambda _: task.write(b'x' * 100))", "close", True),
    "reset": ("task.onConnect(lambda _: task.write(b'reset'))", "close", True),
    "close at once": ("task.close()", "close", True),
    "close when connected": ("task.onConnect(lambda _: task.close())", "close", True),
    "abort": ("task.onConnect(lambda _: (task.write(b'x' * 20000), task.abort()))", "close", True),
    "refused": ("None", "error", False),
}


@pytest.mark.timeout(600)
@pytest.mark.parametrize("way", WAYS)
def test_a_loop_ends_where_it_began(way: str) -> None:
    action, ends, serves = WAYS[way]
    one = f"\n    ENDS = {ends!r}\n    def one(task):\n        {action}\n    measure(work)\n"
    with closed_port() as port:
        lines = run_script(
            MEASURE + LOOP + one, str(DRIFT), "0" if serves else str(port), str(COUNT), limit=500
        )
    got = json.loads(lines[-1])
    assert got["after"]["rss"] - got["before"]["rss"] < DRIFT, got
    assert got["after"]["fds"] <= got["before"]["fds"] + 3, got  # the server's thread has some
    assert got["counters"]["transfers"] == got["counters"]["multis"] == 0, got
    result = got["result"]
    if way == "refused":
        assert result == {"count": COUNT, "connect": 0, "message": 0, "error": COUNT, "close": 0}
    else:
        assert result["close"] == COUNT, result
    if way == "echo":
        assert result["message"] == result["connect"] == COUNT, result
        assert result["error"] == 0, result
    if way == "reset":
        assert result["error"] == result["connect"] == COUNT, result
