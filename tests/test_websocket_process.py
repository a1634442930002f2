"""Sockets and their process: exits, signals, forks, files, idling, and leaks.

The leak loops run in an interpreter of their own; FTNET_LONG=1 makes them ten times as long.
"""

from __future__ import annotations

import errno
import json
import os
from typing import Any

import pytest

from tests.processes import PROMPTLY, Script, run_script
from tests.servers.awkward import eventually
from tests.servers.websocket import serving, tls_context
from tests.test_leaks import MEASURE, measured
from tests.test_lifecycle_fork import FORK
from tests.test_websocket_deflate import deflate

LOOPS = 20_000 if os.environ.get("FTNET_LONG") else 2_000

# --- run and exit ---------------------------------------------------------------------------------


@pytest.mark.parametrize("runner", ["asyncio", "uvloop"])
def test_a_loop_that_closes_with_open_sockets_lets_the_process_go(
    sockets: Any, runner: str
) -> None:
    source = f"""
        import sys
        import {runner} as runner
        import ftnet as ft

        async def main():
            tasks = [ft.connectSocket(url=sys.argv[1]) for _ in range(9)]
            for task in tasks:
                task.onClose(lambda event: print("close"))
            await tasks[0].opened()

        runner.run(main())
        print("closed")
    """
    lines = run_script(source, sockets.url + "/echo", limit=PROMPTLY)
    assert lines.count("closed") == 1
    assert lines.count("close") <= 9


ONE_SOCKET = """
    import sys
    import ftnet as ft

    task = ft.connectSocket(url=sys.argv[1])
    task.onMessage(lambda event: print(event.data))
    task.onClose(lambda event: print("close", event.code))
    task.wait_opened(10)
    print("end of script")
"""


def test_interpreter_exit_waits_for_open_sockets(sockets: Any) -> None:
    with Script(ONE_SOCKET, sockets.url + "/echo") as script:
        assert script.line() == "end of script"
        peer = sockets.peer()
        peer.send("one more")
        assert script.line() == "one more"
        peer.close(3000)
        assert script.finish(limit=PROMPTLY) == ["close 3000"]


def test_ctrl_c_ends_the_wait_at_interpreter_exit(sockets: Any) -> None:
    with Script(ONE_SOCKET, sockets.url + "/echo") as script:
        assert script.line() == "end of script"
        # CPython may miss a signal that comes just before
        eventually(script.sleeps, "the interpreter waits for its threads")
        script.interrupt()
        script.finish(code=None, limit=PROMPTLY)


def test_an_exception_with_open_sockets_in_ft_run_ends_the_process(sockets: Any) -> None:
    source = """
        import sys
        import ftnet as ft

        def start():
            task = ft.connectSocket(url=sys.argv[1])
            task.onOpen(lambda _: sys.exit(3))
            task.onError(lambda error: print(error.errMsg))
            task.onClose(lambda event: print("close", event.code))

        ft.run(start)
    """
    lines = run_script(source, sockets.url + "/echo", code=3, limit=PROMPTLY)
    assert len(lines) == 2
    assert lines[0].startswith("connectSocket:fail ")
    assert lines[1] == "close 1006"


def test_a_closed_client_does_not_hold_up_exit(sockets: Any) -> None:
    source = """
        import sys
        import ftnet as ft

        with ft.Client() as client:
            tasks = [client.connectSocket(url=sys.argv[1]) for _ in range(5)]
            for task in tasks:
                task.wait_opened(10)
        print([task.readyState for task in tasks])
    """
    lines = run_script(source, sockets.url + "/echo", limit=PROMPTLY)
    assert lines == ["[3, 3, 3, 3, 3]"]


INTERRUPTED = {
    "ft.run": """
        ft.run(lambda: ft.connectSocket(url=sys.argv[1]).onOpen(lambda _: print("open")))
    """,
    "wait_closed": """
        task = ft.connectSocket(url=sys.argv[1])
        task.wait_opened(10)
        print("open")
        task.wait_closed()
    """,
    "asyncio": """
        import asyncio
        async def main():
            task = ft.connectSocket(url=sys.argv[1])
            await task.opened()
            print("open")
            async for message in task:
                print(message)
        asyncio.run(main())
    """,
    "uvloop": """
        import uvloop
        async def main():
            task = ft.connectSocket(url=sys.argv[1])
            await task.opened()
            print("open")
            await task.closed()
        uvloop.run(main())
    """,
}


@pytest.mark.parametrize("where", INTERRUPTED)
def test_ctrl_c_interrupts_waiting_and_ends_the_process(sockets: Any, where: str) -> None:
    source = "\n        import sys\n        import ftnet as ft\n" + INTERRUPTED[where]
    with Script(source, sockets.url + "/echo") as script:
        assert script.line() == "open"
        script.interrupt()
        assert script.finish(code=None, limit=PROMPTLY) == []
        assert script.process.returncode != 0
    assert sockets.peer().wait_over()[0] == 1006


# --- fork -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["ws", "wss"])
def test_a_fork_starts_afresh_and_the_parents_socket_goes_on(
    socket_loop: Any, certificates: Any, way: str
) -> None:
    source = (
        FORK
        + """
    client = ft.Client(ca=sys.argv[2])

    def echo(task, text):
        from queue import Queue
        got = Queue()
        task.onMessage(lambda event: got.put(event.data))
        task.send(data=text)
        return got.get(timeout=10)

    task = client.connectSocket(url=sys.argv[1])
    task.wait_opened(10)
    print(echo(task, "before"))

    def work():
        mine = client.connectSocket(url=sys.argv[1])
        mine.wait_opened(10)
        assert echo(mine, "of the child") == "of the child"
        mine.close()
        assert mine.wait_closed(10).code == 1000

    print("child", in_child(work))
    print(task.readyState, echo(task, "after"))
    task.close()
    print(task.wait_closed(10).code)
    client.close()
    """
    )
    tls = tls_context(certificates.good) if way == "wss" else None
    with serving(socket_loop, tls=tls) as server:
        lines = run_script(source, server.url + "/echo", str(certificates.ca))
        assert lines == ["before", "child 0", "1 after", "1000"]
        assert server.peer(0).wait_over()[0] == 1000
        assert server.peer(1).wait_over()[0] == 1000


def test_a_child_that_exits_hangs_up_on_no_socket_of_the_parent(sockets: Any) -> None:
    source = """
        import os
        import sys
        import ftnet as ft

        task = ft.connectSocket(url=sys.argv[1])
        task.wait_opened(10)
        pid = os.fork()
        if pid == 0:
            sys.exit(7)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        task.send(data="still here")
        sys.stdin.readline()
        task.close()
        print(task.wait_closed(10).code)
    """
    with Script(source, sockets.url + "/echo") as script:
        assert script.line() == "7"
        assert sockets.peer().next() == "still here"
        script.tell()
        assert script.finish() == ["1000"]


# --- files and idling -----------------------------------------------------------------------------


def test_running_out_of_files_fails_the_new_sockets_and_no_others(sockets: Any) -> None:
    source = """
        import collections
        import resource
        import sys
        import ftnet as ft

        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
        told = collections.Counter()
        causes = set()
        open_ones = []

        def error(err):
            told[err.errno.name] += 1
            causes.add(err.cause.os_errno)

        def made():
            task = ft.connectSocket(url=sys.argv[1])
            task.onOpen(lambda _: (told.update(["open"]), open_ones.append(task)))
            task.onError(error)
            return task

        tasks = [made() for _ in range(100)]
        for task in tasks:
            try:
                task.wait_opened(20)
            except ft.FtError:
                continue
        print(sorted(told), sorted(causes), told.total(), told["open"] > 5)
        for task in open_ones:
            task.close()
        print({task.wait_closed(20).code for task in open_ones})
        again = ft.connectSocket(url=sys.argv[1])
        again.wait_opened(20)
        again.close()
        print(again.wait_closed(20).code)
    """
    lines = run_script(source, sockets.url + "/echo")
    assert lines == [f"['SYSTEM', 'open'] [{errno.EMFILE}] 100 True", "{1000}", "1000"]


@pytest.mark.parametrize("way", ["ws", "wss"])
def test_sockets_are_not_inherited_by_programs_the_process_starts(
    socket_loop: Any, certificates: Any, way: str
) -> None:
    source = """
        import subprocess
        import sys
        import ftnet as ft

        with ft.Client(ca=sys.argv[2]) as client:
            client.connectSocket(url=sys.argv[1]).wait_opened(10)
            command = ["ls", "-l", "/proc/self/fd"]
            options = {"close_fds": False, "stdout": subprocess.PIPE, "text": True}
            out = subprocess.run(command, **options).stdout
            print(out.count("socket:"), out.count("eventpoll"), out.count("eventfd"))
    """
    tls = tls_context(certificates.good) if way == "wss" else None
    with serving(socket_loop, tls=tls) as server:
        assert run_script(source, server.url, str(certificates.ca)) == ["0 0 0"]


IDLE = {
    "thread": """
        tasks = [ft.connectSocket(url=sys.argv[1]) for _ in range(50)]
        for task in tasks:
            task.wait_opened(10)
        begin = time.process_time()
        time.sleep(1)
        print(time.process_time() - begin)
        for task in tasks:
            task.close()
    """,
    "asyncio": """
        import asyncio

        async def main():
            tasks = [ft.connectSocket(url=sys.argv[1]) for _ in range(50)]
            for task in tasks:
                await task.opened()
            begin = time.process_time()
            await asyncio.sleep(1)
            print(time.process_time() - begin)

        asyncio.run(main())
    """,
}


@pytest.mark.parametrize("mode", IDLE)
def test_idle_sockets_cost_no_cpu(sockets: Any, mode: str) -> None:
    source = "\n        import sys\n        import time\n        import ftnet as ft\n" + IDLE[mode]
    (seconds,) = run_script(source, sockets.url + "/echo")
    assert float(seconds) < 0.020


# --- leaks ----------------------------------------------------------------------------------------


LOOP = (
    MEASURE
    + """
    at_once = 32
    options = json.loads(sys.argv[4])
    ending = options.pop("ending")
    client = ft.Client(**options.pop("client", {}))

    def loop(count):
        left, told = count, {"message": 0, "close": 0, "error": 0}

        def start():
            nonlocal left
            left -= 1
            task = client.connectSocket({"url": url, **options})

            def message(event):
                told["message"] += 1
                if ending == "close":
                    task.close()
                elif ending == "abort":
                    task.abort()

            def opened(_):
                task.send(data="x" * 5000, success=lambda _: None)
                task.send(data=b"y", final=False)

            def error(_):
                told["error"] += 1

            def closed(_):
                told["close"] += 1
                if left:
                    start()

            task.onOpen(opened)
            task.onMessage(message)
            task.onError(error)
            task.onClose(closed)

        ft.run(lambda: [start() for _ in range(min(at_once, count))])
        return told

    measure(loop, client)
"""
)

KINDS: dict[str, tuple[str, int, dict[str, Any]]] = {
    "echo": ("/echo", LOOPS, {"ending": "close"}),
    "deflate": ("/echo", LOOPS // 4, {"ending": "close", "perMessageDeflate": True}),
    "chunked": ("/echo", LOOPS // 4, {"ending": "close", "enableChunked": True}),
    "abort": ("/echo", LOOPS // 4, {"ending": "abort"}),
    "pings": ("/echo", LOOPS // 4, {"ending": "close", "pingInterval": 10_000}),
    "refused": ("/status/403", LOOPS // 4, {"ending": "close"}),
    "dropped": ("/say?text=a&drop=1", LOOPS // 4, {"ending": ""}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_sockets_one_after_the_other_leave_nothing_behind(kind: str, socket_loop: Any) -> None:
    path, count, options = KINDS[kind]
    with serving(socket_loop, deflate=deflate()) as server:
        report = measured(LOOP, server.url + path, count, json.dumps(options))
    told = report["result"]
    assert told["close"] == count
    assert told["error"] == (count if kind in ("abort", "refused", "dropped") else 0)
    assert report["after"]["fds"] <= report["before"]["fds"]


def test_tls_sockets_leave_nothing_behind(socket_loop: Any, certificates: Any) -> None:
    options = {"ending": "close", "client": {"ca": str(certificates.ca)}}
    with serving(socket_loop, tls=tls_context(certificates.good)) as server:
        report = measured(LOOP, server.url + "/echo", LOOPS // 4, json.dumps(options))
    assert report["result"]["close"] == LOOPS // 4
    assert report["result"]["error"] == 0
