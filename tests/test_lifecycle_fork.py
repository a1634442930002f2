"""fork() with a live engine: the child starts afresh, the parent does not notice."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.processes import Script, run_script
from tests.servers.awkward import AwkwardServer, throwaway_tls
from tests.servers.behaviours import answers, answers_behind_the_gate

FORK = """
    import os
    import sys
    import traceback
    import ftnet as ft

    def in_child(work):
        '''Runs work() in a fork of this process; its exit status.'''
        pid = os.fork()
        if pid:
            return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        try:
            work()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
"""


def test_a_fork_gets_a_fresh_engine_and_the_parents_tasks_go_on() -> None:
    source = (
        FORK
        + """
    slow = ft.request(url=sys.argv[1])
    ft.request(url=sys.argv[2]).result(10)
    sys.stdin.readline()

    def work():
        res = ft.request(url=sys.argv[2]).result(10)
        assert res.statusCode == 200
        assert not res.profile.socketReused, "the child used the parent's connection"

    print("child", in_child(work))
    res = ft.request(url=sys.argv[2]).result(10)
    print("reused", res.profile.socketReused)
    sys.stdin.readline()
    print(slow.result(10).data)
    """
    )
    with (
        AwkwardServer(answers_behind_the_gate) as gated,
        AwkwardServer(answers) as server,
        Script(source, f"{gated.url}/slow", server.url) as script,
    ):
        gated.wait_for_requests(1)
        script.tell()
        assert script.line() == "child 0"
        assert script.line() == "reused True"
        gated.gate.set()
        script.tell()
        assert script.finish() == ["/slow"]
        assert len(server.peers) == 2
        assert len(gated.requests) == 1


def test_a_fork_from_within_ft_run_leaves_the_run_of_the_parent_alone() -> None:
    source = (
        FORK
        + """
    def work():
        done = []
        ft.run(lambda: ft.request(url=sys.argv[1], success=done.append))
        assert done and done[0].statusCode == 200

    def success(res):
        print("child", in_child(work))

    ft.run(lambda: [ft.request(url=sys.argv[1], success=success) for _ in range(3)])
    """
    )
    with AwkwardServer(answers) as server:
        assert run_script(source, server.url) == ["child 0"] * 3


def test_a_fork_from_within_a_loop_leaves_the_loop_of_the_parent_alone() -> None:
    source = (
        FORK
        + """
    import asyncio

    def work():
        assert ft.request(url=sys.argv[1]).result(10).statusCode == 200

    async def main():
        tasks = [ft.request(url=sys.argv[1]) for _ in range(5)]
        await tasks[0]
        print("child", in_child(work))
        print(sum([(await task).statusCode for task in tasks]))

    asyncio.run(main())
    """
    )
    with AwkwardServer(answers) as server:
        assert run_script(source, server.url) == ["child 0", "1000"]


def test_a_client_made_before_the_fork_works_on_both_sides() -> None:
    source = (
        FORK
        + """
    client = ft.Client(user_agent="forked/1", max_connections=2)
    client.request(url=sys.argv[1]).result(10)

    def work():
        for _ in range(5):
            client.request(url=sys.argv[1]).result(10)
        client.close()

    print("child", in_child(work))
    print("reused", client.request(url=sys.argv[1]).result(10).profile.socketReused)
    client.close()
    """
    )
    with AwkwardServer(answers) as server:
        assert run_script(source, server.url) == ["child 0", "reused True"]
        assert {request.get("user-agent") for request in server.requests} == {"forked/1"}


def test_forks_of_forks_work() -> None:
    source = (
        FORK
        + """
    def ask():
        assert ft.request(url=sys.argv[1]).result(10).statusCode == 200

    def work(depth):
        ask()
        if depth:
            assert in_child(lambda: work(depth - 1)) == 0
        ask()

    work(3)
    print("done")
    """
    )
    with AwkwardServer(answers) as server:
        assert run_script(source, server.url) == ["done"]
        assert len(server.peers) == 4


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_child_that_exits_normally_hangs_up_on_no_connection_of_the_parent(
    scheme: str, tmp_path: Path
) -> None:
    source = """
        import multiprocessing
        import sys
        import ftnet as ft

        client = ft.Client(ca=sys.argv[2])
        client.request(url=sys.argv[1]).result(10)

        def work(number):
            return client.request(url=sys.argv[1]).result(10).statusCode

        context = multiprocessing.get_context("fork")
        with context.Pool(2) as pool:
            print(pool.map(work, range(8)))
        process = context.Process(target=work, args=(0,))
        process.start()
        process.join()
        print(process.exitcode)
        print(client.request(url=sys.argv[1]).result(10).profile.socketReused)
    """
    tls = throwaway_tls(tmp_path)
    context = tls.context if scheme == "https" else None
    with AwkwardServer(answers, tls=context) as server:
        lines = run_script(source, server.url, tls.ca)
        assert lines == [str([200] * 8), "0", "True"]


def test_tasks_of_the_parent_do_not_hold_up_the_exit_of_the_child() -> None:
    source = """
        import os
        import sys
        import ftnet as ft

        slow = ft.request(url=sys.argv[1])
        sys.stdin.readline()
        pid = os.fork()
        if pid == 0:
            sys.exit(7)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        sys.stdin.readline()
        print(slow.result(10).data)
    """
    with (
        AwkwardServer(answers_behind_the_gate) as server,
        Script(source, f"{server.url}/slow") as script,
    ):
        server.wait_for_requests(1)
        script.tell()
        assert script.line() == "7"
        server.gate.set()
        script.tell()
        assert script.finish() == ["/slow"]
