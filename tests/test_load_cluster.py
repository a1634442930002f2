"""Load from several processes: a real scheduler, and workers that are killed and held up."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ftnet import load
from ftnet.cli_load_report import lines
from ftnet.load import Options, Result, Worker, baggage, cluster, remote
from ftnet.load.checks import Check
from ftnet.load.cluster import Cluster, ClusterError, due_until
from ftnet.plan.model import Feed, Http, Load, Plan, Python, Scenario
from ftnet.terminal import Style
from tests.command import COMMAND, environment
from tests.load_results import URL, result
from tests.loads import LIMIT, checked
from tests.servers.counting import OK, CountingServer
from tests.servers.program import free_ports

SECOND = 1_000_000_000


class Workers:
    """A scheduler and its workers, each a process as dask's commands start them."""

    def __init__(self, folder: Path) -> None:
        port = free_ports(1)[0]
        self.folder, self.address = folder, f"tcp://127.0.0.1:{port}"
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.command("scheduler", "scheduler", "--host", "127.0.0.1", "--port", str(port))
        self.restore()

    def command(self, name: str, what: str, *arguments: str) -> None:
        module = f"distributed.cli.dask_{what}"
        self.processes[name] = subprocess.Popen(
            [sys.executable, "-m", module, *arguments, "--no-dashboard"],
            cwd=self.folder, env=environment(PYTHONPATH=os.pathsep.join(sys.path)),
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def restore(self) -> None:
        """Three workers, whatever became of those before."""
        for name in "abc":
            if name not in self.processes or self.processes[name].poll() is not None:
                arguments = ("--no-nanny", "--nthreads", "1", "--name", name)
                self.command(name, "worker", self.address, *arguments)

    def send(self, number: int, *names: str) -> None:
        for name in names:
            self.processes[name].send_signal(number)

    def close(self) -> None:
        for process in self.processes.values():
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workers]:
    started = Workers(tmp_path_factory.mktemp("cluster"))
    try:
        yield started
    finally:
        started.close()


@pytest.fixture
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs begin 1.1 s after workers are told: one that is held up meanwhile is not too late."""
    monkeypatch.setattr(cluster.ClusterShare, "round_trip", 0.03)


@pytest.fixture
def three(workers: Workers, unhurried: None) -> Iterator[Cluster]:
    """All three of them."""
    workers.restore()
    with Cluster(workers.address, at_least=3) as connected:
        yield connected


class Told:
    """An observer; the event is set once there are so many intervals that are measured."""

    def __init__(self, count: int = 1) -> None:
        self.event = threading.Event()
        self.left = count

    def begun(self, options: Options, started: float) -> None: ...

    def gathered(self, interval: Any, books: Any) -> None:
        self.left -= interval.measured
        if self.left <= 0:
            self.event.set()

    def ended(self, result: Result) -> None: ...

    def wait(self) -> None:
        assert self.event.wait(LIMIT)


def counting(number: int, event: threading.Event) -> Callable[[int], bytes]:
    """Answers; the event is set with the number-th."""

    def answers(at: int) -> bytes:
        if at >= number:
            event.set()
        return OK

    return answers


def whole(found: Result) -> Result:
    """Nothing is lost between the books of the workers and those of all."""
    for name in ("scheduled", "completed", "sent", "answered", "bytes_received", "opened"):
        told = sum(getattr(one.counts, name) for one in found.workers)
        assert told == getattr(found.counts, name), name
    return checked(found)


def test_what_workers_do_together_is_one_even_stream(three: Cluster) -> None:
    with CountingServer() as server:
        found = whole(
            three.run(
                server.url, rate=30, warmup=0.5, duration=1.5, connections=60, trust_env=False
            )
        )
        assert server.requests == 15 + 45
    assert found.counts.scheduled == found.counts.completed == 45
    assert [one.name for one in found.workers] == ["a", "b", "c"]
    assert [one.counts.scheduled for one in found.workers] == [15, 15, 15]
    assert not any(one.lost for one in found.workers)
    # of one machine: what was measured is the error
    assert all(abs(one.clock_offset) <= one.clock_error < 1 for one in found.workers)
    before, *measured = found.intervals
    assert not before.measured
    assert measured
    assert all(one.measured for one in measured)
    # a worker that was held up has fewer intervals
    assert max(one.target for one in found.intervals) == pytest.approx(30.0)
    # three that send at once would have gaps of nothing, nothing and three times as much; most
    # gaps are as they should be, and on a machine that stops again and again some
    gaps = [b - a for a, b in zip(server.arrived, server.arrived[1:], strict=False)]
    assert sum(gap == pytest.approx(1 / 30, rel=0.4) for gap in gaps) >= 10
    assert len(found.cpu_workers) == 3
    assert found.protocol == "http/1.1"
    assert found.peer == f"127.0.0.1:{server.port}"


def test_requests_and_connections_are_split_exactly(three: Cluster) -> None:
    with CountingServer() as server:
        found = whole(three.run(server.url, requests=500, connections=4, trust_env=False))
        assert server.requests == found.counts.completed == 500
        assert server.connections == found.counts.opened <= 4
    assert sorted(one.counts.completed for one in found.workers) == [166, 167, 167]


def test_another_rate_and_the_end_reach_all_workers(three: Cluster) -> None:
    first, fast = Told(), threading.Event()
    with CountingServer(counting(150, fast)) as server:
        run = three.start(
            server.url, observers=[first], rate=30, duration=60, connections=9, trust_env=False
        )
        first.wait()
        run.set_rate(600)
        assert fast.wait(LIMIT)
        run.stop()
        found = whole(run.result(LIMIT))
        assert server.requests == found.counts.sent
    assert found.interrupted
    assert not any(one.lost for one in found.workers)
    # 200/s of each that tells of the last interval: one that was held up has fewer of them
    assert round(found.intervals[-1].target, 6) in (200, 400, 600)


def test_a_worker_that_stood_still_is_not_lost_but_no_percentile_is_told(
    three: Cluster, workers: Workers
) -> None:
    first, others, all_again = Told(), threading.Event(), threading.Event()
    with CountingServer() as server:
        run = three.start(
            server.url, observers=[first], rate=300, duration=60, connections=9, trust_env=False
        )
        first.wait()
        server.answers = counting(server.requests + 100, others)
        workers.send(signal.SIGSTOP, "b")
        try:
            threading.Event().wait(0.5)  # for so long it stands still
            assert others.wait(LIMIT)
        finally:
            workers.send(signal.SIGCONT, "b")
        server.answers = counting(server.requests + 150, all_again)
        assert all_again.wait(LIMIT)
        run.stop()
        found = whole(run.result(LIMIT))
        assert server.requests == found.counts.sent
    assert not any(one.lost for one in found.workers)
    assert found.workers[1].saturated
    assert found.workers[1].name in found.percentiles_refused or found.workers[0].saturated
    assert not found.valid
    assert found.response.count == found.counts.completed
    report = "\n".join(lines(found, [Check.parse("p99<60m").judge(found)], Style(120, True)))
    assert f"no percentiles: {found.percentiles_refused}" in report
    assert "FAIL  p99<60m" in report
    assert Check.parse("p99<60m").judge(found).got is None


def test_a_plan_travels_with_its_files(three: Cluster, tmp_path: Path) -> None:
    (tmp_path / "users.csv").write_text("id\n" + "".join(f"{n}\n" for n in range(12)))
    (tmp_path / "body.txt").write_text("of a file")
    steps = (
        Http(name="look", request="/u/${users.id}"),
        Http(name="write", request="POST /w", body_file="body.txt"),
    )
    with CountingServer() as server:
        plan = Plan(
            name="shop", base_url=server.url, folder=str(tmp_path),
            data={"users": Feed(file="users.csv")}, settings={"trust_env": False},
            load=Load(users=3, iterations=12), scenario=(Scenario(name="all", step=steps),),
        )  # fmt: skip
        found = three.run(plan)
        looked = {head.split()[1] for head in server.heads if head.startswith(b"GET")}
        assert looked == {f"/u/{n}".encode() for n in range(12)}
        assert server.bodies[b"of a file"] == 12
    assert found.iterations is not None
    assert found.iterations.scheduled == found.iterations.completed == 12
    assert found.counts.completed == sum(one.counts.completed for one in found.workers) == 24
    assert {name: step.counts.completed for name, step in found.steps.items()} == {
        "look": 12,
        "write": 12,
    }


def test_what_can_not_be_is_refused_before_anything_is_sent(
    three: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    with CountingServer() as server:
        with pytest.raises(ClusterError, match="3 workers need 3 connections"):
            three.run(server.url, requests=5, connections=2)
        step = (Http(request="/"),)
        one = Scenario(name="one", step=step, load=Load(users=2, iterations=9))
        with pytest.raises(ClusterError, match="3 workers need 3 users of one at least"):
            three.run(Plan(base_url=server.url, load=Load(users=1), scenario=(one,)))
        all_users = Scenario(name="all", step=step)
        plan = Plan(base_url=server.url, load=Load(users=1), scenario=(all_users,))
        with pytest.raises(ClusterError, match="3 workers need 3 users at least"):
            three.run(plan)
        run = three.start(server.url, rate=10, duration=60, connections=3, trust_env=False)
        with pytest.raises(ClusterError, match="worker . at .*: it carries out another run"):
            three.run(server.url, requests=5)
        run.stop()
        assert not run.result(LIMIT).workers[0].lost
        sent = server.requests
        monkeypatch.setattr(cluster, "VERSION", "9.9")
        with pytest.raises(ClusterError, match=r"worker . at .*: ftnet is 0\.\S+ there, and 9\.9"):
            three.run(server.url, requests=5)
        assert server.requests == sent
    with pytest.raises(ClusterError, match="no scheduler at tcp://127.0.0.1:1"):
        Cluster("tcp://127.0.0.1:1", timeout=0.3)
    with pytest.raises(ValueError, match="either"):
        Cluster()


def test_a_worker_that_is_killed_is_stated(three: Cluster, workers: Workers) -> None:
    first = Told()
    with CountingServer() as server:
        run = three.start(
            server.url, observers=[first], rate=300, duration=4, connections=9, trust_env=False
        )
        first.wait()
        workers.send(signal.SIGKILL, "b")
        found = whole(run.result(LIMIT))
    lost = found.workers[1]
    assert [bool(one.lost) for one in found.workers] == [False, True, False]
    assert lost.lost == "its process ended, or its connection broke"
    assert lost.lost_at is not None
    assert lost.missing is not None
    # what was due is counted or missing, to the last request
    assert found.counts.scheduled + lost.missing == 1200
    assert [one.counts.scheduled for one in found.workers if not one.lost] == [400, 400]
    assert not found.valid
    verdict = found.reasons[0]
    assert verdict.kind == "worker"
    assert f"worker b on {lost.host} was lost" in verdict.text
    assert f"{lost.missing:,} requests that it was due are missing" in verdict.text
    assert found.duration == pytest.approx(4)


def test_when_all_workers_are_lost_the_run_ends_with_what_they_told(
    workers: Workers, unhurried: None
) -> None:
    """The last of those that need them; how many are left does not matter."""
    first = Told()
    with (
        CountingServer(lambda number: OK if number % 2 else None) as server,
        Cluster(workers.address) as connected,
    ):
        run = connected.start(
            server.url, observers=[first], rate=150, duration=60, connections=60,
            trust_env=False,
        )  # fmt: skip
        first.wait()
        workers.send(signal.SIGKILL, "a", "b", "c")
        found = whole(run.result(LIMIT))
    assert all(one.lost for one in found.workers)
    assert found.counts.unfinished > 0  # they were under way at the last word
    assert {one.kind for one in found.reasons} >= {"worker"}
    assert 0 < found.duration < 60


def test_local_workers_end_with_ctrl_c_and_tell_everything(tmp_path: Path) -> None:
    some, file = threading.Event(), tmp_path / "result.json"
    with CountingServer(counting(30, some)) as server:
        command = subprocess.Popen(
            [*COMMAND, "load", "--local-workers", "2", "--rate", "100", "--duration", "60", "-c",
             "4", "--json", str(file), server.url],
            env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            start_new_session=True,
        )  # fmt: skip
        try:
            assert some.wait(LIMIT)
            os.killpg(command.pid, signal.SIGINT)  # as a terminal does: to the whole group
            out, _ = command.communicate(timeout=LIMIT)
        finally:
            command.kill()
        assert command.returncode == 130, out.decode()
        told = json.loads(file.read_text())
        assert told["interrupted"]
        assert [one["lost"] for one in told["workers"]] == ["", ""]
        assert told["counts"]["sent"] == told["counts"]["completed"] == server.requests
    assert b"local-1 on " in out
    with pytest.raises(ProcessLookupError):
        os.killpg(command.pid, 0)  # nobody is left


# --- without a cluster ----------------------------------------------------------------------------


def test_a_worker_that_hears_nothing_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "LEASE", 0.5)

    async def heard() -> remote.Told:
        await remote.prepare("one", options, {}, 0, 1)
        assert await remote.begin("one", remote.clock() + SECOND // 2) > 0
        part = remote._parts["one"]
        await asyncio.to_thread(part._thread.join, LIMIT)
        told = await part.tell(0)
        await remote.drop("one")
        return told

    with CountingServer() as server:
        options = Options.of(server.url, rate=50, duration=60, trust_env=False)
        told = asyncio.run(heard())
        assert told.over
        assert told.unheard
        assert told.counts["completed"] == server.requests > 0
        assert told.counts["scheduled"] == server.requests + told.counts["unsent"]


@pytest.mark.parametrize("arrivals", ["constant", "poisson"])
@pytest.mark.parametrize("of", [1, 2, 7])
def test_what_the_shares_are_due_is_what_all_are(arrivals: str, of: int) -> None:
    options = Options.of(URL, stages=[(1, 100), (2, 100)], warmup=0.5, arrivals=arrivals)
    rates = [(2 * SECOND, 400.0)]

    def due(end: float, shares: int) -> int:
        found = [due_until(options, round(end * SECOND), rates, n, shares) for n in range(shares)]
        return sum(filter(None, found))

    for end in (0.5, 1.0, 2.0, 3.25):
        assert due(end, of) == due(end, 1)
    if arrivals == "constant":
        # the ramp is of the measured part, and half a second of 100/s comes before it
        assert due(3.0, 1) == 50 + 50 + 400


def test_what_is_due_in_the_closed_model_is_what_was_asked_for() -> None:
    assert due_until(Options.of(URL, requests=10), SECOND, [], 0, 3) == 4
    assert due_until(Options.of(URL, duration=10), SECOND, [], 0, 3) is None
    assert due_until(Options.of(URL, rate=100, requests=10), SECOND, [], 2, 3) == 3


def test_files_are_packed_under_names_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    for name in ("here/a.csv", "a.csv", "steps.py", "ca.pem"):
        (tmp_path / name).write_text(name)
    scenario = Scenario(name="all", step=(Python(python="../steps.py:f"), Python(python="json:f")))
    plan = Plan(
        folder=str(tmp_path / "here"), scenario=(scenario,),
        data={"one": Feed(file="a.csv"), "two": Feed(file="../a.csv")},
        settings={"ca": str(tmp_path / "ca.pem")},
    )  # fmt: skip
    packed, files = baggage.pack(Options.of_plan(plan))
    assert sorted(files.values()) == [b"a.csv", b"ca.pem", b"here/a.csv", b"steps.py"]
    there = tmp_path / "there"
    baggage.unpack(files, str(there))
    settled = baggage.settled(packed, str(there)).plan
    assert settled is not None
    assert settled.folder == str(there)
    assert [(there / feed.file).read_text() for feed in settled.data.values()] == [
        "here/a.csv",
        "a.csv",
    ]
    mine, other = (step.python for step in settled.scenario[0].step if isinstance(step, Python))
    assert (there / mine.removesuffix(":f")).read_text() == "steps.py"
    assert other == "json:f"
    assert Path(settled.settings["ca"]).read_text() == "ca.pem"
    for name in ("../a", "/a", "b/../../a"):
        with pytest.raises(ValueError, match="no name of a file"):
            baggage.unpack({name: b""}, str(there))


def test_a_busy_worker_refuses_percentiles_and_a_lost_one_does_not() -> None:
    fine = Worker("a", "one", 0.0, 1e-4, busiest=0.5, late=0.005)
    lost = replace(fine, name="b", lost="it is gone")
    for bad in (replace(fine, busiest=0.91), replace(fine, late=0.02)):
        assert bad.saturated
        assert result(workers=(fine, bad)).percentiles_refused
    assert not result(workers=(fine, lost)).percentiles_refused
    both = load.merge([result(workers=(lost,)), result(workers=(bad,), started=5.0)])
    assert both.workers == (lost, bad)
    assert both.percentiles_refused
