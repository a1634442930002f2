"""The engine and its process: exit, closed loops, idling, and running out of files."""

from __future__ import annotations

import errno

import pytest

from tests.processes import PROMPTLY, Script, run_script
from tests.servers.awkward import AwkwardServer
from tests.servers.behaviours import answers, answers_behind_the_gate, silent

ONE_REQUEST = """
    import sys
    import ftnet as ft

    ft.request(
        url=sys.argv[1],
        success=lambda res: print("success", res.data),
        fail=lambda err: print(err.errMsg),
        complete=lambda _: print("complete"),
        timeout=int(sys.argv[2]) if len(sys.argv) > 2 else None,
    )
    print("end of script")
"""


def test_interpreter_exit_waits_for_an_open_task() -> None:
    with (
        AwkwardServer(answers_behind_the_gate) as server,
        Script(ONE_REQUEST, f"{server.url}/x") as script,
    ):
        assert script.line() == "end of script"
        server.wait_for_requests(1)
        server.gate.set()
        assert script.finish() == ["success /x", "complete"]


@pytest.mark.parametrize(("last_words", "code"), [("sys.exit(3)", 3), ("raise KeyError('x')", 1)])
def test_exit_codes_survive_the_wait_for_open_tasks(last_words: str, code: int) -> None:
    with (
        AwkwardServer(answers_behind_the_gate) as server,
        Script(ONE_REQUEST + "    " + last_words, f"{server.url}/x") as script,
    ):
        assert script.line() == "end of script"
        server.wait_for_requests(1)
        server.gate.set()
        assert script.finish(code) == ["success /x", "complete"]


def test_interpreter_exit_waits_no_longer_than_the_timeout_of_a_task() -> None:
    with AwkwardServer(silent) as server:
        lines = run_script(ONE_REQUEST, server.url, "300", limit=PROMPTLY)
        assert lines == ["end of script", "request:fail timeout", "complete"]


def test_interpreter_exit_waits_for_tasks_that_callbacks_start() -> None:
    source = """
        import sys
        import ftnet as ft

        def again(left):
            def success(res):
                print(left)
                if left:
                    again(left - 1)
            ft.request(url=sys.argv[1], success=success)

        again(20)
    """
    with AwkwardServer(answers) as server:
        assert run_script(source, server.url) == [str(left) for left in range(20, -1, -1)]


def test_a_process_that_only_imports_or_finished_its_tasks_exits_at_once() -> None:
    source = """
        import sys
        import ftnet as ft
        print(ft.request(url=sys.argv[1]).result(10).statusCode)
    """
    with AwkwardServer(answers) as server:
        assert run_script("import ftnet", limit=PROMPTLY) == []
        assert run_script(source, server.url, limit=PROMPTLY) == ["200"]


def test_a_client_that_is_never_closed_does_not_hold_up_exit() -> None:
    source = """
        import sys
        import ftnet as ft
        clients = [ft.Client() for _ in range(5)]
        print(sum(client.request(url=sys.argv[1]).result(10).statusCode for client in clients))
    """
    with AwkwardServer(answers) as server:
        assert run_script(source, server.url, limit=PROMPTLY) == ["1000"]


# asyncio loops that end before their tasks


@pytest.mark.parametrize("runner", ["asyncio", "uvloop"])
def test_a_loop_that_closes_with_tasks_in_flight_lets_the_process_go(runner: str) -> None:
    source = f"""
        import sys
        import {runner} as runner
        import ftnet as ft

        async def main():
            tasks = [ft.request(url=sys.argv[1], fail=lambda err: print("fail")) for _ in range(9)]
            await ft.request(url=sys.argv[2])

        runner.run(main())
        print("closed")
    """
    with AwkwardServer(silent) as never, AwkwardServer(answers) as server:
        lines = run_script(source, never.url, server.url, limit=PROMPTLY)
        assert lines.count("closed") == 1
        assert lines.count("fail") <= 9


def test_loop_after_loop_gets_a_working_engine() -> None:
    source = """
        import asyncio
        import sys
        import ftcore
        import ftnet as ft

        async def main():
            results = await asyncio.gather(*[ft.request(url=sys.argv[1]) for _ in range(10)])
            return len(results)

        print(sum(asyncio.run(main()) for _ in range(30)))
        print(ftcore.counters()["transfers"])
        print(ftcore.counters()["engines"] <= 2)
    """
    with AwkwardServer(answers) as server:
        assert run_script(source, server.url) == ["300", "0", "True"]


# idling

IDLE = {
    "thread": """
        import sys
        import time
        import ftnet as ft

        tasks = [ft.request(url=sys.argv[1]) for _ in range(20)]
        for task in tasks:
            task.result(10)
        for _ in range(2):
            begin = time.process_time()
            time.sleep(1)
            print(time.process_time() - begin)
    """,
    "asyncio": """
        import asyncio
        import sys
        import time
        import ftnet as ft

        async def main():
            await asyncio.gather(*[ft.request(url=sys.argv[1]) for _ in range(20)])
            for _ in range(2):
                begin = time.process_time()
                await asyncio.sleep(1)
                print(time.process_time() - begin)

        asyncio.run(main())
    """,
    "waiting for one answer": """
        import sys
        import time
        import ftnet as ft

        tasks = [ft.request(url=sys.argv[1]) for _ in range(20)]
        for task in tasks:
            task.result(10)

        def fail(err):
            print(time.process_time() - begin)

        for _ in range(2):
            begin = time.process_time()
            ft.run(lambda: ft.request(url=sys.argv[2], timeout=1000, fail=fail))
    """,
}


@pytest.mark.parametrize("mode", IDLE)
def test_idling_with_live_connections_costs_no_cpu(mode: str) -> None:
    with AwkwardServer(answers) as server, AwkwardServer(silent) as never:
        lines = run_script(IDLE[mode], server.url, never.url)
    # of a second each; what is charged for a stall may come on top of one
    assert min(map(float, lines)) < 0.010, lines


# files


def test_running_out_of_files_fails_the_new_requests_and_no_others() -> None:
    source = """
        import collections
        import os
        import resource
        import sys
        import ftnet as ft

        url, limit = sys.argv[1], 64
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
        told = collections.Counter()

        def tell(err):
            told[err.errno.name] += 1
            if told.total() == 1:
                print(err.errno.name, err.cause.os_errno)

        def success(res):
            told["success"] += 1

        client = ft.Client(max_connections=1000)
        tasks = [client.request(url=url, success=success, fail=tell) for _ in range(100)]
        sys.stdin.readline()
        for task in tasks:
            try:
                task.result(20)
            except ft.FtError:
                continue
        assert set(told) == {"SYSTEM", "success"}, told
        assert told["SYSTEM"] + told["success"] == 100, told
        assert told["success"] > 20, told
        print(client.request(url=url).result(20).statusCode)
    """
    with AwkwardServer(answers_behind_the_gate) as server, Script(source, server.url) as script:
        assert script.line() == f"SYSTEM {errno.EMFILE}"
        server.wait_for_requests(20)
        server.gate.set()
        script.tell()
        assert script.finish() == ["200"]


def test_the_default_limits_stay_within_the_files_there_are() -> None:
    source = """
        import resource
        import sys
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
        import ftnet as ft

        tasks = [ft.request(url=sys.argv[1]) for _ in range(500)]
        print(sum(task.result(20).statusCode for task in tasks))
    """
    with AwkwardServer(answers) as server:
        assert run_script(source, server.url) == ["100000"]


def test_sockets_are_not_inherited_by_programs_the_process_starts() -> None:
    source = """
        import subprocess
        import sys
        import ftnet as ft

        ft.request(url=sys.argv[1]).result(10)
        command = ["ls", "-l", "/proc/self/fd"]
        out = subprocess.run(command, close_fds=False, stdout=subprocess.PIPE, text=True).stdout
        print(out.count("socket:"), out.count("eventpoll"), out.count("eventfd"))
    """
    with AwkwardServer(answers) as server:
        assert run_script(source, server.url) == ["0 0 0"]


def test_the_first_request_from_many_threads_at_once_starts_one_engine() -> None:
    source = """
        import sys
        import threading
        import ftcore
        import ftnet as ft

        barrier = threading.Barrier(16)
        codes = []

        def work():
            barrier.wait()
            codes.append(ft.request(url=sys.argv[1]).result(10).statusCode)

        threads = [threading.Thread(target=work) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        print(codes.count(200), ftcore.counters()["engines"])
    """
    with AwkwardServer(answers) as server:
        assert run_script(source, server.url) == ["16 1"]
