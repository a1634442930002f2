"""The ways to drive the engine: its own thread, `ft.run`, an asyncio loop, a uvloop loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

import ftnet as ft
from tests.drivers import ask, run_uvloop
from tests.history import History
from tests.origins import LIMIT, Origin, fetch
from tests.profiles import check_profile
from tests.servers.awkward import AwkwardServer, Peer, closed_port
from tests.servers.behaviours import answers_behind_the_gate


def test_callbacks_run_on_the_thread_that_was_promised(
    client: ft.Client, origin: Origin, drive: Callable[..., int | None]
) -> None:
    histories: list[History] = []

    def start() -> list[ft.RequestTask]:
        asked = [ask(client, f"{origin.base}/stream/2/100", enableChunked=True) for _ in range(8)]
        histories.extend(history for _, history in asked)
        return [task for task, _ in asked]

    promised = drive(start)
    threads = set().union(*(history.threads for history in histories))
    assert len(threads) == 1
    if promised is None:
        assert threads.isdisjoint({threading.get_ident()})
    else:
        assert threads == {promised}
    for history in histories:
        history.response()


def test_the_background_thread_is_one_for_all_and_no_daemon(server: Any) -> None:
    seen: list[threading.Thread] = []
    with ft.Client(trust_env=False) as one, ft.Client(trust_env=False) as other:
        for client in (one, other, ft):
            task = client.request(
                url=f"{server.http}/hello",
                complete=lambda _: seen.append(threading.current_thread()),
            )
            task.result(LIMIT)
    assert len(seen) == 3
    assert len(set(seen)) == 1
    assert not seen[0].daemon
    assert seen[0] is not threading.current_thread()


def test_each_of_many_threads_gets_its_own_answers(client: ft.Client, origin: Origin) -> None:
    wrong: list[Any] = []

    def asker(number: int) -> None:
        for turn in range(10):
            told = fetch(client, f"{origin.base}/echo?n={number}-{turn}").data
            if told["query"] != f"n={number}-{turn}":
                wrong.append(told)

    askers = [threading.Thread(target=asker, args=(number,)) for number in range(8)]
    for thread in askers:
        thread.start()
    for thread in askers:
        thread.join(LIMIT)
        assert not thread.is_alive()
    assert wrong == []


def test_run_returns_what_main_returned_once_all_is_over(plain: ft.Client, server: Any) -> None:
    seen: list[int] = []

    def main(count: int, word: str) -> str:
        for _ in range(count):
            plain.request(
                url=f"{server.http}/hello", success=lambda res: seen.append(res.statusCode)
            )
        return word

    assert ft.run(main, 3, "returned") == "returned"
    assert seen == [200, 200, 200]


def test_run_without_anything_to_do_returns_at_once() -> None:
    assert ft.run() is None


def test_run_waits_for_what_callbacks_start(plain: ft.Client, server: Any) -> None:
    seen: list[str] = []

    def again(response: ft.Response) -> None:
        seen.append(response.data)
        if len(seen) < 10:
            plain.request(url=f"{server.http}/hello", success=again)

    ft.run(lambda: plain.request(url=f"{server.http}/hello", success=again))
    assert seen == ["Hello, World!"] * 10


def test_run_finishes_what_the_background_thread_began(plain: ft.Client, server: Any) -> None:
    threads: list[int] = []
    with AwkwardServer(answers_behind_the_gate) as raw:
        plain.request(url=raw.url, success=lambda _: threads.append(threading.get_ident()))
        raw.wait_for_requests(1)
        ft.run(raw.gate.set)
    assert threads == [threading.get_ident()]
    assert fetch(plain, f"{server.http}/hello").data == "Hello, World!"


def test_run_in_two_threads_keeps_their_callbacks_apart(server: Any) -> None:
    both_inside = threading.Barrier(2, timeout=LIMIT)
    apart: list[bool] = []

    def runner() -> None:
        own = threading.get_ident()
        with ft.Client(trust_env=False) as client:

            def main() -> None:
                both_inside.wait()
                for _ in range(20):
                    client.request(
                        url=f"{server.http}/hello",
                        success=lambda _: apart.append(threading.get_ident() == own),
                    )

            ft.run(main)

    runners = [threading.Thread(target=runner) for _ in range(2)]
    for thread in runners:
        thread.start()
    for thread in runners:
        thread.join(LIMIT)
    assert apart == [True] * 40


def test_run_inside_run_or_inside_a_loop_is_refused() -> None:
    def inside_run() -> None:
        with pytest.raises(RuntimeError):
            ft.run()

    async def inside_a_loop() -> None:
        with pytest.raises(RuntimeError):
            ft.run()

    ft.run(inside_run)
    asyncio.run(inside_a_loop())


# --- awaiting -------------------------------------------------------------------------------------


@pytest.mark.parametrize("run_loop", [asyncio.run, run_uvloop], ids=["asyncio", "uvloop"])
class TestAwait:
    def test_it_gives_the_response(
        self, client: ft.Client, origin: Origin, run_loop: Callable[..., Any]
    ) -> None:
        async def main() -> None:
            response = await client.request(url=f"{origin.base}/json")
            assert response.data["id"] == 1
            check_profile(response, tls=origin.tls, protocol=origin.protocol)

        run_loop(main())

    def test_it_raises_what_fail_got(self, plain: ft.Client, run_loop: Callable[..., Any]) -> None:
        seen: list[ft.FtError] = []

        async def main() -> None:
            with closed_port() as port, pytest.raises(ft.FtError) as caught:
                await plain.request(url=f"http://127.0.0.1:{port}/", fail=seen.append)
            assert caught.value is seen[0]

        run_loop(main())

    def test_many_at_once_are_under_way_together(
        self, plain: ft.Client, run_loop: Callable[..., Any]
    ) -> None:
        def when_all_have_asked(peer: Peer) -> None:
            peer.read_request()
            peer.server.wait_for_requests(50)
            peer.answer()

        async def main(url: str) -> None:
            tasks = [plain.request(url=url) for _ in range(50)]
            responses = await asyncio.gather(*(_await(task) for task in tasks))
            assert [response.statusCode for response in responses] == [200] * 50
            starts = [response.profile.requestStart for response in responses]
            ends = [response.profile.responseStart for response in responses]
            assert max(starts) < min(ends)

        with AwkwardServer(when_all_have_asked) as raw:
            run_loop(main(raw.url))

    def test_a_task_may_be_awaited_twice_and_by_two(
        self, plain: ft.Client, server: Any, run_loop: Callable[..., Any]
    ) -> None:
        async def main() -> None:
            task = plain.request(url=f"{server.http}/hello")
            one, other = await asyncio.gather(_await(task), _await(task))
            assert one is other
            assert await task is one

        run_loop(main())

    def test_a_cancelled_wait_aborts_the_task(
        self, plain: ft.Client, server: Any, run_loop: Callable[..., Any]
    ) -> None:
        seen: list[str] = []

        async def main() -> None:
            task = plain.request(
                url=f"{server.http}/delay?before=15000", fail=lambda e: seen.append(e.errMsg)
            )
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(_await(task), 0.05)
            with pytest.raises(ft.FtError, match="abort"):
                await task

        run_loop(main())
        assert seen == ["request:fail abort"]

    def test_the_loop_goes_on_while_a_request_waits(
        self, plain: ft.Client, run_loop: Callable[..., Any]
    ) -> None:
        async def main(raw: AwkwardServer) -> int:
            task = plain.request(url=raw.url)
            while not raw.requests:
                await asyncio.sleep(0)
            for _ in range(10):
                await asyncio.sleep(0)
            assert not task.done()
            raw.gate.set()
            return (await task).statusCode

        with AwkwardServer(answers_behind_the_gate) as raw:
            assert run_loop(main(raw)) == 200

    def test_result_refuses_to_block_the_loop(
        self, plain: ft.Client, server: Any, run_loop: Callable[..., Any]
    ) -> None:
        async def main() -> None:
            task = plain.request(url=f"{server.http}/hello")
            with pytest.raises(RuntimeError, match="await"):
                task.result(LIMIT)
            assert (await task).statusCode == 200
            assert task.result().statusCode == 200

        run_loop(main())

    def test_loops_of_several_threads_stand_side_by_side(
        self, server: Any, run_loop: Callable[..., Any]
    ) -> None:
        wrong: list[Any] = []

        async def main() -> None:
            own = threading.get_ident()
            with ft.Client(trust_env=False) as client:
                for _ in range(10):
                    threads: list[int] = []
                    await client.request(
                        url=f"{server.http}/hello",
                        success=lambda _, seen=threads: seen.append(threading.get_ident()),
                    )
                    if threads != [own]:
                        wrong.append(threads)

        loops = [threading.Thread(target=run_loop, args=(main(),)) for _ in range(3)]
        for thread in loops:
            thread.start()
        for thread in loops:
            thread.join(LIMIT)
            assert not thread.is_alive()
        assert wrong == []


async def _await(task: ft.RequestTask) -> ft.Response:
    return await task
