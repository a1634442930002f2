"""UDP sockets and their process: exits, signals, forks, idling, and leaks.

The leak loops run in an interpreter of their own; FTNET_LONG=1 makes them ten times as long.
"""

from __future__ import annotations

import os
from typing import Any

import pytest

from tests.datagrams import LOCAL, echo, peer, place
from tests.processes import PROMPTLY, Script, run_script
from tests.servers.awkward import eventually
from tests.test_leaks import MEASURE, measured
from tests.test_lifecycle_fork import FORK

LOOPS = 100_000 if os.environ.get("FTNET_LONG") else 10_000

ONE_SOCKET = """
    import sys
    import ftnet as ft

    sock = ft.createUDPSocket()
    sock.onMessage(lambda event: (print(event.message.decode()), event.message == b"end"
                                  and sock.close()))
    sock.onClose(lambda event: print("close"))
    print(sock.bind())
"""


def test_interpreter_exit_waits_for_open_sockets() -> None:
    with Script(ONE_SOCKET) as script, peer() as there:
        port = int(script.line())
        there.sendto(b"one more", (LOCAL, port))
        assert script.line() == "one more"
        there.sendto(b"end", (LOCAL, port))
        assert script.finish(limit=PROMPTLY) == ["end", "close"]


def test_ctrl_c_ends_the_wait_at_interpreter_exit() -> None:
    with Script(ONE_SOCKET) as script:
        script.line()
        eventually(script.sleeps, "the interpreter waits for its threads")
        script.interrupt()
        script.finish(code=None, limit=PROMPTLY)


def test_a_script_that_only_sends_and_closes_ends_by_itself() -> None:
    source = """
        import sys
        import ftnet as ft

        sock = ft.createUDPSocket()
        for number in range(100):
            sock.send(address=sys.argv[1], port=int(sys.argv[2]), message=str(number))
        sock.close()
    """
    with peer() as there:
        where = place(there)
        assert run_script(source, where["address"], str(where["port"]), limit=PROMPTLY) == []
        assert [int(there.recv(100)) for _ in range(100)] == list(range(100))


@pytest.mark.parametrize("runner", ["asyncio", "uvloop"])
def test_a_loop_that_closes_with_open_sockets_lets_the_process_go(runner: str) -> None:
    source = f"""
        import {runner} as runner
        import ftnet as ft

        async def main():
            for _ in range(9):
                ft.createUDPSocket().bind()

        runner.run(main())
        print("closed")
    """
    assert run_script(source, limit=PROMPTLY) == ["closed"]


INTERRUPTED = {
    "ft.run": """
        sock = ft.createUDPSocket()
        ft.run(lambda: print(sock.bind(), flush=True))
    """,
    "wait_closed": """
        sock = ft.createUDPSocket()
        print(sock.bind())
        sock.wait_closed()
    """,
    "asyncio": """
        import asyncio
        async def main():
            sock = ft.createUDPSocket()
            print(sock.bind())
            async for event in sock:
                print(event)
        asyncio.run(main())
    """,
}


@pytest.mark.parametrize("where", INTERRUPTED)
def test_ctrl_c_interrupts_waiting_and_ends_the_process(where: str) -> None:
    with Script("\n        import ftnet as ft\n" + INTERRUPTED[where]) as script:
        assert int(script.line()) > 0
        eventually(script.sleeps, "it waits")
        script.interrupt()
        assert script.finish(code=None, limit=PROMPTLY) == []
        assert script.process.returncode != 0


# --- fork -----------------------------------------------------------------------------------------


def test_a_fork_starts_afresh_and_the_parents_socket_goes_on() -> None:
    source = (
        FORK
        + """
    from queue import Queue
    where = {"address": sys.argv[1], "port": int(sys.argv[2])}
    client = ft.Client()
    got = Queue()

    def made():
        sock = client.createUDPSocket()
        sock.onMessage(lambda event: got.put(event.message.decode()))
        return sock

    def echo(sock, text):
        sock.send(message=text, **where)
        return got.get(timeout=10)

    sock = made()
    port = sock.bind()
    print(echo(sock, "before"))

    def work():
        mine = made()
        assert echo(mine, "of the child") == "of the child"
        mine.close()
        mine.wait_closed(10)
        again = made()  # the parent holds its port
        again.onError(lambda error: got.put(error.errNum))
        assert again.bind(port) == 0
        assert got.get(timeout=10) == 98
        again.close()

    print("child", in_child(work))
    print(echo(sock, "after"))
    sock.close()
    sock.wait_closed(10)

    def takes():  # nothing of the parent's is open in the child
        mine = made()
        assert mine.bind(port) == port
        mine.close()

    print("child", in_child(takes))
    client.close()
    """
    )
    with echo() as there:
        lines = run_script(source, there["address"], str(there["port"]))
    assert lines == ["before", "child 0", "after", "child 0"]


def test_a_child_holds_no_port_of_its_parent() -> None:
    """Not even of a socket that was opened just before, which no loop watches yet."""
    source = (
        FORK
        + """
    def fork_between():
        sock = ft.createUDPSocket()
        port = sock.bind()
        ready, is_ready = os.pipe()
        if os.fork() == 0:
            os.write(is_ready, b"x")
            sys.stdin.readline()
            os._exit(0)
        os.read(ready, 1)
        sock.close()
        return port

    port = []
    ft.run(lambda: port.append(fork_between()))
    sock = ft.createUDPSocket()
    print(sock.bind(port[0]) == port[0])
    sock.close()
    """
    )
    with Script(source) as script:
        assert script.line() == "True"
        script.tell()
        assert script.finish() == []


def test_sockets_are_not_inherited_by_programs_the_process_starts() -> None:
    source = """
        import subprocess
        import ftnet as ft

        sock = ft.createUDPSocket()
        sock.bind()
        sock.send(address="::1", port=9, message=b"x")
        command = ["ls", "-l", "/proc/self/fd"]
        options = {"close_fds": False, "stdout": subprocess.PIPE, "text": True}
        print(subprocess.run(command, **options).stdout.count("socket:"))
        sock.close()
    """
    assert run_script(source) == ["0"]


# --- idling, leaks --------------------------------------------------------------------------------


def test_idle_sockets_cost_no_cpu() -> None:
    source = """
        import threading
        import time
        import ftnet as ft

        refused = threading.Semaphore(0)
        sockets = [ft.createUDPSocket() for _ in range(100)]
        for sock in sockets:
            sock.bind()
            sock.connect(address="127.0.0.1", port=9)
            sock.onError(lambda error: refused.release())
            sock.write(address="127.0.0.1", port=9, message=b"refused")
        for sock in sockets:
            assert refused.acquire(timeout=10)
        begin = time.process_time()
        time.sleep(1)
        print(time.process_time() - begin)
        for sock in sockets:
            sock.close()
    """
    (seconds,) = run_script(source)
    assert float(seconds) < 0.020


LOOP = (
    MEASURE
    + """
    address, port = url.split(":")
    where = {"address": address, "port": int(port)}
    client = ft.Client()
    kind = sys.argv[4]

    def loop(count):
        left, told = count, {"message": 0, "close": 0, "error": 0}

        def start():
            nonlocal left
            left -= 1
            sock = client.createUDPSocket()

            def message(event):
                told["message"] += 1
                sock.close()

            def error(event):
                told["error"] += 1
                if kind == "refused":
                    sock.close()

            def closed(_):
                told["close"] += 1
                if left:
                    start()

            sock.onMessage(message)
            sock.onError(error)
            sock.onClose(closed)
            if kind in ("connected", "refused"):
                sock.connect(**where)
                sock.write(message=b"x" * 100, **where)
            elif kind == "named":
                sock.send(message=b"x" * 100, address="localhost", port=int(port))
            elif kind == "wrong":
                sock.setTTL(300)
                sock.send(message=bytes(70_000), **where)
                sock.send(message=b"x", address="", port=1)
                sock.send(message=b"x", **where)
            elif kind == "closed":
                sock.bind()
                sock.send(message=b"x", address="::1", port=int(port))
                sock.close()
            else:
                sock.send(message=b"x" * 100, **where)

        ft.run(lambda: [start() for _ in range(min(32, count))])
        return told

    measure(loop, client)
"""
)
KINDS = {"echo": 1, "connected": 4, "refused": 4, "named": 10, "wrong": 4, "closed": 4}


@pytest.mark.parametrize("kind", KINDS)
def test_sockets_one_after_the_other_leave_nothing_behind(kind: str) -> None:
    count = LOOPS // KINDS[kind]
    with echo() as there:
        port = 9 if kind == "refused" else there["port"]
        report: dict[str, Any] = measured(LOOP, f"{LOCAL}:{port}", count, kind)
    told = report["result"]
    assert told["close"] == count
    assert told["error"] == {"refused": count, "wrong": 3 * count}.get(kind, 0)
    assert told["message"] == (0 if kind in ("refused", "closed") else count)
    assert report["after"]["fds"] <= report["before"]["fds"]


def test_a_hundred_thousand_datagrams_leave_nothing_behind() -> None:
    source = (
        MEASURE
        + """
    client = ft.Client()

    def loop(count):
        got = 0

        def start():
            one, other = client.createUDPSocket(), client.createUDPSocket()
            port = other.bind()

            def message(event):
                nonlocal got
                got += 1
                if got == count:
                    one.close()
                    other.close()
                elif got + 100 <= count:
                    one.send(address="127.0.0.1", port=port, message=bytes(got % 1400))

            other.onMessage(message)
            for number in range(100):
                one.send(address="127.0.0.1", port=port, message=bytes(number))

        ft.run(start)
        return got

    measure(loop, client)
"""
    )
    report = measured(source, "", LOOPS * 10)
    assert report["result"] == LOOPS * 10
