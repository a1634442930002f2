"""Long loops end where they began: memory, descriptors, C objects, and every callback accounted.

Each loop runs in an interpreter of its own, warms up, and is then measured. FTNET_LONG=1 makes
the abort storm a million requests long.
"""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

from tests.processes import run_script
from tests.servers.awkward import AwkwardServer, closed_port
from tests.servers.behaviours import BEHAVIOURS
from tests.servers.nginx import Nginx

DRIFT = 1 << 19  # bytes of resident memory a loop may end above its beginning
STORM = 1_000_000 if os.environ.get("FTNET_LONG") else 50_000

MEASURE = """
    import asyncio
    import ctypes
    import gc
    import json
    import os
    import random
    import sys
    import threading
    import ftcore
    import ftnet as ft
    from ftnet.client import default_client

    DRIFT, url, count = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    libc = ctypes.CDLL(None)

    def state():
        '''Resident bytes and open descriptors, after everything that can go has gone.'''
        gc.collect()
        libc.malloc_trim(0)
        with open("/proc/self/statm") as statm:
            resident = int(statm.read().split()[1]) * os.sysconf("SC_PAGESIZE")
        return {"rss": resident, "fds": len(os.listdir("/proc/self/fd"))}

    outside = len(os.listdir("/proc/self/fd"))

    def measure(work, client=None):
        '''Print what `work()` gave, and the states around it, of the first round of four that
        ended where it began: a leak grows every time, a pool until it is full.'''
        work(max(count // 5, 500))
        for _ in range(4):
            before, result, after = state(), work(count), state()
            if after["rss"] - before["rss"] < DRIFT:
                break
        (client or default_client()).close()
        closed = state()["fds"]
        told = {"before": before, "after": after, "outside": outside, "closed": closed}
        print(json.dumps({**told, "counters": ftcore.counters(), "result": result}))

    def loop(begin, count, at_once):
        '''So many tasks, as `begin(success, fail)` starts them; how many ended well, and not.'''
        left, told = count, {"success": 0, "fail": 0}

        def start():
            nonlocal left
            left -= 1
            begin(success=lambda res: ended("success"), fail=lambda err: ended("fail"))

        def ended(how):
            told[how] += 1
            if left:
                start()

        ft.run(lambda: [start() for _ in range(min(at_once, count))])
        return told
"""
LOOP = (
    MEASURE
    + """
    options = json.loads(sys.argv[4])

    def begin(**ends):
        client.request({"url": url, **ends, **options})

    client = ft.Client()
    measure(lambda count: loop(begin, count, 64), client)
"""
)


def measured(source: str, url: str, count: int, *more: str) -> dict[str, Any]:
    """Run a loop; asserts that it ended where it began, and returns what it reported."""
    (line,) = run_script(source, str(DRIFT), url, str(count), *more, limit=1200)
    report: dict[str, Any] = json.loads(line)
    grown = report["after"]["rss"] - report["before"]["rss"]
    assert grown < DRIFT, f"{grown} bytes more resident after {count} rounds: {report}"
    assert report["closed"] <= report["outside"] + OWN_FDS, report
    busy = {name: n for name, n in report["counters"].items() if n and name not in KEPT}
    assert not busy, report
    return report


KEPT = {"engines", "handles", "multis"}  # pools that live as long as their client or the process
OWN_FDS = 4  # of an engine: its poller, and the socket that keeps the kernel stamping


def test_a_hundred_thousand_requests_leave_nothing_behind(nginx: Nginx) -> None:
    report = measured(LOOP, f"{nginx.http}/json", 100_000, "{}")
    assert report["result"] == {"success": 100_000, "fail": 0}
    assert report["after"]["fds"] == report["before"]["fds"]  # the same connections all the time


KINDS: dict[str, tuple[str, int, dict[str, Any]]] = {
    "post": ("/json", 20_000, {"method": "POST", "data": {"a": ["b"] * 100}}),
    "big body": ("/text.txt", 10_000, {"dataType": "text"}),
    "big buffer": ("/text.txt", 10_000, {"responseType": "arraybuffer"}),
    "chunked": ("/text.txt", 10_000, {"enableChunked": True}),
    "redirected": ("/moved", 10_000, {}),
    "fields": ("/json", 20_000, {"header": {f"x-{n}": "v" * n for n in range(30)}}),
    "not json": ("/hello", 20_000, {"dataType": "text", "enableProfile": False}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_requests_of_every_kind_leave_nothing_behind(kind: str, nginx: Nginx) -> None:
    path, count, options = KINDS[kind]
    report = measured(LOOP, nginx.http + path, count, json.dumps(options))
    assert report["result"] == {"success": count, "fail": 0}


def test_tls_connections_made_anew_leave_nothing_behind(nginx: Nginx) -> None:
    source = (
        MEASURE
        + """
    def loop(count):
        for _ in range(count):
            with ft.Client(ca=sys.argv[4]) as client:
                done = []
                ft.run(lambda: client.request(url=url, success=done.append))
                assert done

    measure(loop)
    """
    )
    measured(source, f"{nginx.https}/json", 500, nginx.ca)


def test_refused_connections_leave_nothing_behind() -> None:
    with closed_port() as port:
        report = measured(LOOP, f"http://127.0.0.1:{port}", 10_000, "{}")
    assert report["result"] == {"success": 0, "fail": 10_000}


@pytest.mark.parametrize("name", ["resets_in_body", "closed_in_field_name", "speaks_ssh"])
def test_broken_exchanges_leave_nothing_behind(name: str) -> None:
    with AwkwardServer(BEHAVIOURS[name]) as server:
        report = measured(LOOP, server.url, 2_000, "{}")
    assert report["result"] == {"success": 0, "fail": 2_000}


def test_awaited_requests_and_their_loops_leave_nothing_behind(nginx: Nginx) -> None:
    source = (
        MEASURE
        + """
    async def main(count):
        async def work():
            for _ in range(count // 10):
                await ft.request(url=url)

        await asyncio.gather(*[work() for _ in range(10)])

    def loops(count):
        for _ in range(count // 200):
            asyncio.run(main(200))

    measure(loops)
    """
    )
    measured(source, f"{nginx.http}/json", 20_000)


def test_results_waited_for_in_threads_leave_nothing_behind(nginx: Nginx) -> None:
    source = (
        MEASURE
        + """
    def loop(count):
        def work():
            for _ in range(count // 8):
                ft.request(url=url).result(20)

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    measure(loop)
    """
    )
    measured(source, f"{nginx.http}/json", 16_000)


STORMS = (
    MEASURE
    + """
    by_thread = sys.argv[4] == "thread"
    chance = random.Random(int(sys.argv[5]))

    def storm(client, count):
        '''`count` requests of which many are aborted, at any moment; (ends, aborted, twice).'''
        ends = bytearray(count)
        completes = bytearray(count)
        told = {"success": 0, "abort": 0, "other": 0}
        open_tasks = {}
        begun = 0
        over = threading.Event()
        lock = threading.Lock()

        def start():
            nonlocal begun
            with lock:
                if begun == count:
                    return
                number = begun
                begun += 1

            def success(res):
                ends[number] += 1
                told["success"] += 1

            def fail(err):
                ends[number] += 1
                told["abort" if err.errMsg == "request:fail abort" else "other"] += 1

            def complete(_):
                completes[number] += 1
                open_tasks.pop(number, None)
                draw = chance.random()
                if draw < 0.3:
                    abort_one()
                if begun < count:
                    start()
                elif not open_tasks:
                    over.set()

            task = client.request(url=url, success=success, fail=fail, complete=complete)
            if not task.done():
                open_tasks[number] = task
            if completes[number]:
                open_tasks.pop(number, None)
            if chance.random() < 0.05:
                task.abort()

        def abort_one():
            with lock:
                numbers = list(open_tasks)
            if numbers:
                task = open_tasks.get(chance.choice(numbers))
                if task is not None:
                    task.abort()

        def abort_from_elsewhere():
            while not over.wait(0.0005):
                abort_one()

        if by_thread:
            aborter = threading.Thread(target=abort_from_elsewhere)
            aborter.start()
            for _ in range(64):
                start()
            while bytes(completes).count(0):
                over.wait(0.01)
            over.set()
            aborter.join()
        else:
            ft.run(lambda: [start() for _ in range(64)])
        wrong = [n for n in range(count) if (ends[n], completes[n]) != (1, 1)]
        return told, wrong[:10]

    client = ft.Client(max_connections=48)  # fewer than are open at once: some wait in the queue
    measure(lambda count: storm(client, count), client)
"""
)


@pytest.mark.parametrize("mode", ["run", "thread"])
def test_a_storm_of_aborts_loses_and_doubles_no_callback(mode: str, nginx: Nginx) -> None:
    report = measured(STORMS, f"{nginx.http}/json", STORM, mode, "1")
    told, wrong = report["result"]
    assert wrong == []
    assert told["other"] == 0
    assert sum(told.values()) == STORM
    assert told["abort"] > STORM // 50
    assert told["success"] > STORM // 50


def test_coroutines_cancelled_at_random_moments_leave_nothing_behind(nginx: Nginx) -> None:
    source = (
        MEASURE
        + """
    chance = random.Random(2)

    async def main(count):
        told = {"done": 0, "cancelled": 0}
        running = set()

        async def one():
            try:
                await ft.request(url=url)
                told["done"] += 1
            except asyncio.CancelledError:
                told["cancelled"] += 1
                raise

        async def work():
            for _ in range(count // 50):
                task = asyncio.create_task(one())
                running.add(task)
                if chance.random() < 0.3:
                    chance.choice(list(running)).cancel()
                await asyncio.wait([task])
                running.discard(task)

        await asyncio.gather(*[work() for _ in range(50)])
        return told

    measure(lambda count: asyncio.run(main(count)))
    """
    )
    report = measured(source, f"{nginx.http}/json", 20_000)
    told = report["result"]
    assert told["done"] > 10_000
    assert told["cancelled"] > 1_000
