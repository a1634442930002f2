"""Ctrl-C ends every way of waiting; other signals end none."""

from __future__ import annotations

import os
import signal

import pytest

from tests.processes import LIMIT, PROMPTLY, Script, run_script
from tests.servers.awkward import AwkwardServer
from tests.servers.behaviours import answers, answers_behind_the_gate, silent

INTERRUPTED = {
    "ft.run": """
        import sys
        import ftnet as ft

        try:
            print("waits")
            ft.run(lambda: ft.request(url=sys.argv[1]))
        except KeyboardInterrupt:
            print("interrupted")
    """,
    "result": """
        import sys
        import ftnet as ft

        task = ft.request(url=sys.argv[1])
        try:
            print("waits")
            task.result()
        except KeyboardInterrupt:
            print("interrupted")
            task.abort()
    """,
    "result with a timeout": """
        import sys
        import ftnet as ft

        task = ft.request(url=sys.argv[1])
        try:
            print("waits")
            task.result(60)
        except KeyboardInterrupt:
            print("interrupted")
            task.abort()
    """,
    "asyncio": """
        import asyncio
        import sys
        import ftnet as ft

        async def main():
            await ft.request(url=sys.argv[1])

        try:
            print("waits")
            asyncio.run(main())
        except KeyboardInterrupt:
            print("interrupted")
    """,
    "uvloop": """
        import sys
        import ftnet as ft
        import uvloop

        async def main():
            await ft.request(url=sys.argv[1])

        try:
            print("waits")
            uvloop.run(main())
        except KeyboardInterrupt:
            print("interrupted")
    """,
}


@pytest.mark.parametrize("where", INTERRUPTED)
def test_ctrl_c_interrupts_waiting(where: str) -> None:
    with AwkwardServer(silent) as server, Script(INTERRUPTED[where], server.url) as script:
        assert script.line() == "waits"
        server.wait_for_bytes(1)
        script.interrupt()
        assert script.finish(limit=PROMPTLY) == ["interrupted"]


@pytest.mark.parametrize("where", INTERRUPTED)
def test_ctrl_c_that_nobody_catches_ends_the_process(where: str) -> None:
    source = INTERRUPTED[where].replace("except KeyboardInterrupt", "except ZeroDivisionError")
    with AwkwardServer(silent) as server, Script(source, server.url) as script:
        assert script.line() == "waits"
        server.wait_for_bytes(1)
        script.interrupt()
        script.finish(code=None, limit=PROMPTLY)
        assert script.process.returncode != 0


def test_ctrl_c_ends_the_wait_at_interpreter_exit() -> None:
    source = """
        import sys
        import ftnet as ft

        ft.request(url=sys.argv[1])
        print("end of script")
    """
    with AwkwardServer(silent) as server, Script(source, server.url) as script:
        assert script.line() == "end of script"
        server.wait_for_bytes(1)
        script.interrupt()
        script.finish(code=None, limit=PROMPTLY)


def test_ctrl_c_in_a_callback_of_ft_run_comes_out_of_ft_run() -> None:
    source = """
        import os
        import signal
        import sys
        import ftnet as ft

        def success(res):
            os.kill(os.getpid(), signal.SIGINT)

        try:
            ft.run(lambda: [ft.request(url=url, success=success) for url in sys.argv[1:]])
        except KeyboardInterrupt:
            print("interrupted")
    """
    with AwkwardServer(answers) as server, AwkwardServer(silent) as never:
        assert run_script(source, server.url, never.url, limit=PROMPTLY) == ["interrupted"]


def test_after_ctrl_c_in_ft_run_the_engine_is_good_for_another_run() -> None:
    source = """
        import sys
        import ftnet as ft

        try:
            ft.run(lambda: ft.request(url=sys.argv[1], fail=lambda err: print(err.errMsg)))
        except KeyboardInterrupt:
            print("interrupted")
        ft.run(lambda: ft.request(url=sys.argv[2], success=lambda res: print(res.statusCode)))
    """
    with (
        AwkwardServer(silent) as never,
        AwkwardServer(answers) as server,
        Script(source, never.url, server.url) as script,
    ):
        never.wait_for_bytes(1)
        script.interrupt()
        closed, interrupted, code = script.finish(limit=PROMPTLY)
        assert closed.startswith("request:fail ")
        assert (interrupted, code) == ("interrupted", "200")


STORMY = """
    import signal
    import sys
    import ftnet as ft

    caught = 0

    def handler(number, frame):
        global caught
        caught += 1

    signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
    url, never = sys.argv[1:]
"""
WAYS = {
    "ft.run": """
    codes, failed = [], []

    def start():
        for number in range(2000):
            ft.request(url=url, success=lambda res: codes.append(res.statusCode))
        for number in range(50):
            ft.request(url=never, timeout=200, fail=lambda err: failed.append(err.errMsg))

    ft.run(start)
    """,
    "result": """
    tasks = [ft.request(url=never, timeout=200) for _ in range(50)]
    codes = [task.result().statusCode for task in [ft.request(url=url) for _ in range(2000)]]
    failed = []
    for task in tasks:
        try:
            task.result()
        except ft.FtError as err:
            failed.append(err.errMsg)
    """,
    "asyncio": """
    import asyncio

    async def main():
        tasks = [ft.request(url=never, timeout=200) for _ in range(50)]
        results = await asyncio.gather(*[ft.request(url=url) for _ in range(2000)])
        for task in tasks:
            try:
                await task
            except ft.FtError as err:
                failed.append(err.errMsg)
        codes.extend(res.statusCode for res in results)

    codes, failed = [], []
    asyncio.run(main())
    """,
}


@pytest.mark.parametrize("way", WAYS)
def test_a_storm_of_signals_loses_no_answer_and_no_timeout(way: str) -> None:
    told = """
    signal.setitimer(signal.ITIMER_REAL, 0)
    print(codes.count(200), failed.count("request:fail timeout"), caught > 100)
    """
    with AwkwardServer(answers) as server, AwkwardServer(silent) as never:
        source = STORMY + WAYS[way] + told
        assert run_script(source, server.url, never.url) == ["2000 50 True"]


def test_a_process_that_was_stopped_goes_on_where_it_was() -> None:
    source = """
        import sys
        import ftnet as ft

        def success(res):
            print(res.statusCode, flush=True)

        print("ready", flush=True)
        ft.run(lambda: ft.request(url=sys.argv[1], success=success, timeout=20_000))
    """
    with AwkwardServer(answers_behind_the_gate) as server, Script(source, server.url) as script:
        assert script.line() == "ready"
        server.wait_for_requests(1)
        script.process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, script.process.pid, os.WSTOPPED)
        server.gate.set()
        assert server.passed.wait(LIMIT)
        script.process.send_signal(signal.SIGCONT)
        assert script.finish() == ["200"]
