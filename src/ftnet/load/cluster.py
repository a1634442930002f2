"""Load from the processes of a cluster, on one machine or many, as one run.

::

    with Cluster("tcp://scheduler:8786") as cluster:   # or Cluster(local_workers=4)
        result = cluster.run("http://target/", rate=50_000, duration=60, connections=1000)

dask.distributed carries what the workers are told and tell; the load goes from them to the target.
Of N workers number i takes every N-th request from the i-th on, so that all of them together are as
even as one. They begin at one moment, by clocks that were compared before. Each tells what it
counted once a second, in books that are added up exactly; what they told is kept no longer.

A worker that says nothing for `SILENCE` seconds is lost: what it told stays counted, requests
that were under way at its last word are unfinished, and what it was due after that is stated as
missing (`Result.workers`). The run goes on with the others, and is not valid.
"""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import threading
import uuid
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

import msgspec

from ftcore.arrivals import Arrivals
from ftcore.load import clock
from ftcore.tally import VERSION as TALLY_VERSION
from ftnet.client import VERSION
from ftnet.load import remote
from ftnet.load.baggage import pack
from ftnet.load.books import Books
from ftnet.load.observer import Observer
from ftnet.load.options import Options
from ftnet.load.plan import share, stages_of
from ftnet.load.result import Counts, Result, Worker
from ftnet.load.run import Run

if TYPE_CHECKING:
    from ftnet.plan.model import Plan

__all__ = ["SILENCE", "Cluster", "ClusterError", "ClusterRun"]

SILENCE: Final = 5.0  # s without a word after which a worker is lost
_ANSWER: Final = 10.0  # s for an answer while a run is being prepared
_PROBES: Final = 3, 20  # of each worker's clock, least and most; the quickest counts
_PROBING: Final = 200_000_000  # ns after which the least are enough
_AGAIN: Final = 0.25  # s until a worker that can't be reached is asked again
_LOOKS: Final = 4  # for it meanwhile
_LEAVE: Final = 3.0  # s that a local worker may take to end
_SLEPT: Final = 500_000_000  # ns after its time when a timeout comes because nothing came here
_NEVER: Final = 2**63 - 1

T = TypeVar("T")


class ClusterError(RuntimeError):
    """Why there is no run on the cluster."""


@dataclass(slots=True)
class _Member:
    """A worker, during one run. Times are ns."""

    address: str
    name: str
    index: int
    host: str = ""
    offset: int = 0  #: its clock is ahead by so much
    error: int = _NEVER  #: of that, at most
    start: int = 0  #: of the run, on its clock
    heard: int = 0  #: when something was heard of it last, on this clock
    number: int = 0  #: of the last part that arrived
    second: int = -_NEVER  #: of the run, that it was of
    told: remote.Told | None = None
    lost: str = ""

    @property
    def over(self) -> bool:
        """Whether nothing more will come."""
        return bool(self.lost) or (self.told is not None and self.told.over)


class Cluster:
    """Workers that are connected to a scheduler, for one run after the other. Use it in a `with`.

    ClusterError: there is no such scheduler, or it has no workers.
    """

    def __init__(
        self,
        address: str | None = None,
        *,
        local_workers: int = 0,
        at_least: int = 1,
        timeout: float = 30.0,
    ) -> None:
        """Those of a scheduler at `address` ("tcp://10.0.0.1:8786"), which there must be
        `at_least` so many of after `timeout` seconds; or so many `local_workers`.
        """
        if (address is None) == (local_workers < 1):
            raise ValueError("load: either the address of a scheduler or local_workers")
        self._processes: list[subprocess.Popen[bytes]] = []
        self._client: Any = None
        self._scheduler: Any = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="ftnet-cluster", daemon=True
        )
        self._thread.start()
        try:
            self.call(self._connect(address, local_workers or at_least, timeout))
        except BaseException:
            self.close()
            raise

    def run(
        self, target: str | Plan, /, *, observers: Sequence[Observer] = (), **options: Any
    ) -> Result:
        """As `ftnet.load.run`. ``workers`` are threads of each worker."""
        started = self.start(target, observers=observers, **options)
        try:
            return started.result()
        except KeyboardInterrupt:
            started.stop()
            return started.result()
        finally:
            started.stop()

    def start(
        self, target: str | Plan, /, *, observers: Sequence[Observer] = (), **options: Any
    ) -> ClusterRun:
        """As `ftnet.load.start`; it has begun when this returns. ClusterError: it could not."""
        if isinstance(target, str):
            made = Options.of(target, **options)
        else:
            made = Options.of_plan(target, **options)
        return ClusterRun(made, self, observers)

    def close(self) -> None:
        """Leaves the cluster; local workers end. Runs should be over."""
        if not self._thread.is_alive():
            return
        self.call(self._disconnect())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Carries it out on the loop of the cluster, and waits for it."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    def soon(self, coroutine: Coroutine[Any, Any, object]) -> None:
        """Carries it out on the loop of the cluster."""
        asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    # --- on its loop ----------------------------------------------------------------------------

    async def _connect(self, address: str | None, count: int, timeout: float) -> None:
        try:
            import distributed
        except ImportError as error:
            raise ClusterError(f"{error}: pip install 'ftnet[cluster]'") from error
        for name in ("distributed", "distributed.client"):  # what matters of it is in the result
            logging.getLogger(name).setLevel(logging.CRITICAL)
        if address is None:
            self._scheduler = await distributed.Scheduler(
                host="127.0.0.1", port=0, dashboard=False, dashboard_address=":0"
            )
            address = str(self._scheduler.address)
            self._processes = [_process(address, number) for number in range(count)]
        try:
            client: Any = distributed.Client  # it has no types
            self._client = await client(
                address, asynchronous=True, set_as_default=False, timeout=timeout
            )
        except (OSError, ValueError) as error:
            raise ClusterError(f"no scheduler at {address}: {error}") from error
        try:
            await self._client.wait_for_workers(count, timeout)
        except TimeoutError:
            raise ClusterError(
                f"after {timeout:g} s there are {len(await self.known())} workers at {address},"
                f" not {count}"
            ) from None

    async def _disconnect(self) -> None:
        """Whatever state the cluster is in: the processes that this one started end."""
        try:
            for end in filter(None, (self._client, self._scheduler)):
                # dask raises when it is left in the middle of something; nobody waits for that
                await asyncio.gather(asyncio.wait_for(end.close(), _LEAVE), return_exceptions=True)
        finally:
            await asyncio.gather(*(asyncio.to_thread(_reap, one) for one in self._processes))
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    async def known(self) -> dict[str, str]:
        """Names of the scheduler's workers by their addresses."""
        identity = await self._client.scheduler.identity(n_workers=-1)
        return {address: str(one["name"]) for address, one in identity["workers"].items()}

    async def ask(
        self, member: _Member, function: Callable[..., Awaitable[T]], *given: Any, within: float
    ) -> T:
        """What the function gives in the worker's process. Exceptions are those of there, or
        OSError: it can't be reached; TimeoutError: there is no answer."""
        asked = self._client.run(function, *given, workers=[member.address])
        answers = await asyncio.wait_for(asked, within)
        answer: T = answers[member.address]
        return answer


def _process(address: str, number: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-P", "-m", "ftnet.load.worker_process", address, f"local-{number}"]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


def _reap(process: subprocess.Popen[bytes]) -> None:
    """Its scheduler is gone, so it ends, unless it can't."""
    try:
        process.wait(_LEAVE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class ClusterShare:
    """All workers of a cluster as one `ftnet.load.share.Share` of a run."""

    def __init__(self, cluster: Cluster, options: Options) -> None:
        self.failure: BaseException | None = None
        self.stopped = False
        self._cluster = cluster
        self._options = options
        self._run = uuid.uuid4().hex
        self._lock = threading.Lock()  # of what was told
        self._rows: dict[int, Books] = {}  # by second of the run
        self._spare: list[Books] = []
        self._row_ended = 0  # the last one that was complete
        self._rates: list[tuple[int, float]] = []  # ns after the start
        self._start = 0
        self._all_over = threading.Event()
        self._members: list[_Member] = []
        self._tasks: list[asyncio.Task[None]] = []
        cluster.call(self._prepare())

    # --- what a Share does ----------------------------------------------------------------------

    def begin(self, start_ns: int) -> None:
        """Blocks until all workers have said that they will."""
        self._start = start_ns
        self._cluster.call(self._begin())

    def set_rate(self, rate: float, at_ns: int) -> None:
        self._rates.append((at_ns - self._start, rate))
        self._cluster.soon(
            self._tell_all(remote.set_rate, lambda member: (rate, at_ns + member.offset))
        )

    def stop(self) -> None:
        if self.stopped or self._all_over.is_set():
            return
        self.stopped = True
        self._cluster.soon(self._tell_all(remote.stop, lambda member: ()))

    def collect(self, books: Books) -> bool:
        with self._lock:
            second = min(self._rows, default=None)
            if second is None or not self._complete(second):
                return False
            row = self._rows.pop(second)
            total = row.total
            if total.began_at == _NEVER:  # no worker was left to tell of it
                at = self._row_ended
                total.stood(began=at, ended=max(at, min(clock(), self._end())), cpu=0, in_flight=0,
                            waiting=0, connections=0, target=0.0, measured=True)  # fmt: skip
            self._row_ended = total.ended_at
            books.merge(row)
            row.reset()
            self._spare.append(row)
            return True

    def join(self, timeout: float) -> bool:
        return self._all_over.wait(timeout)

    def close(self) -> None:
        self._cluster.soon(self._leave())

    @property
    def ended_at(self) -> int | None:
        with self._lock:
            return self._ended_at()

    @property
    def http(self) -> int:
        return max((told.http for told in self._told()), default=0)

    @property
    def peer(self) -> tuple[str, int]:
        return next((told.peer for told in self._told() if told.peer[1]), ("", 0))

    @property
    def cpu(self) -> int:
        return sum(self.cpus())

    # --- and a ClusterRun asks ------------------------------------------------------------------

    @property
    def round_trip(self) -> float:
        """Seconds for a word to the slowest worker, and its answer."""
        return max(2 * member.error / 1e9 for member in self._members)

    def cpus(self) -> tuple[int, ...]:
        """ns of each thread of each worker."""
        return tuple(ns for told in self._told() for ns in told.cpu)

    def workers(self) -> tuple[Worker, ...]:
        """As they are found in the result."""
        with self._lock:
            return tuple([self._worker(member) for member in self._members])

    def _worker(self, member: _Member) -> Worker:
        told = member.told
        made = Worker(
            member.name, member.host, member.offset / 1e9, member.error / 1e9, lost=member.lost,
            lost_at=(member.heard - self._start) / 1e9 if member.lost and told else None,
            missing=self._missing(member) if member.lost and self._all_over.is_set() else None,
        )  # fmt: skip
        if told is None:
            return made
        counts = {name: told.counts[name] for name in Counts.__dataclass_fields__}
        return replace(
            made, cpu=sum(told.cpu) / 1e9, busiest=told.busiest, late=told.late,
            counts=Counts(**counts),
        )  # fmt: skip

    def _missing(self, member: _Member) -> int | None:
        """How many a lost worker was due until the end, and did not tell of."""
        options, of = self._options, len(self._members)
        threads, end = options.workers, self._end() - self._start
        numbers = [member.index + thread * of for thread in range(threads)]
        due = [due_until(options, end, self._rates, number, of * threads) for number in numbers]
        begun = member.told.begun if member.told else 0
        return None if None in due else max(0, sum(filter(None, due)) - begun)

    def _told(self) -> list[remote.Told]:
        return [member.told for member in self._members if member.told is not None]

    def _ended_at(self) -> int | None:
        """As a Share; without those that are lost, unless all are."""
        ends = []
        for member in self._members:
            if not member.lost:
                if member.told is None or member.told.ended_at is None:
                    return None
                ends.append(member.told.ended_at)
        if ends:
            return self._start + max(ends)
        return min(self._planned_end(), max(member.heard for member in self._members))

    def _planned_end(self) -> int:
        duration = self._options.duration
        if duration is None:
            return _NEVER
        return self._start + round((self._options.warmup + duration) * 1e9)

    def _end(self) -> int:
        """The end of the measured part, as far as it is known."""
        known, planned = self._ended_at(), self._planned_end()
        if known is not None and (self.stopped or not all(one.lost for one in self._members)):
            return known
        return planned if planned != _NEVER else clock()

    # --- before the start -----------------------------------------------------------------------

    async def _prepare(self) -> None:
        known = await self._cluster.known()
        names = sorted((name, address) for address, name in known.items())
        self._members = [_Member(address, name, i) for i, (name, address) in enumerate(names)]
        self._check_share()
        packed, files = pack(self._options)
        await self._each(self._greet)
        for member in self._members:  # one after the other: none waits for another's answer
            await self._refused(member, self._compare_clocks(member))
        of = len(self._members)
        try:
            await self._each(
                lambda member: self._ask(member, remote.prepare, packed, files, member.index, of)
            )
        except BaseException:
            await self._leave()
            raise

    def _check_share(self) -> None:
        """ClusterError: there are too few connections, or users of a scenario, to share."""
        workers = len(self._members)
        shares, plan = workers * self._options.workers, self._options.plan
        most = [("connections", "", self._options.connections)]
        if plan is not None:
            own = [one for one in plan.scenario if one.load is not None]
            most = [("users", "", self._options.connections)] * (len(own) < len(plan.scenario))
            most += [("users", f" of {one.name}", one.load.users) for one in own if one.load]
        for what, whose, count in most:
            if shares > count:
                raise ClusterError(
                    f"{workers} workers need {shares} {what}{whose} at least, one for each"
                    f" thread, and there are to be {count}"
                )

    async def _each(self, what: Callable[[_Member], Coroutine[Any, Any, object]]) -> None:
        """Of all at once. ClusterError: one can't, or does not want to."""
        asked = [self._refused(member, what(member)) for member in self._members]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer

    async def _refused(self, member: _Member, asked: Coroutine[Any, Any, object]) -> None:
        try:
            await asked
        except TimeoutError:
            raise ClusterError(
                f"worker {member.name} at {member.address} does not answer for {_ANSWER:g} s"
            ) from None
        except ImportError as error:
            raise ClusterError(
                f"worker {member.name} at {member.address} has not got ftnet {VERSION}: {error}"
            ) from error
        except Exception as error:
            raise ClusterError(f"worker {member.name} at {member.address}: {error}") from error

    async def _ask(self, member: _Member, function: Callable[..., Awaitable[T]], *given: Any) -> T:
        return await self._cluster.ask(member, function, self._run, *given, within=_ANSWER)

    async def _greet(self, member: _Member) -> None:
        answer = await self._cluster.ask(member, remote.hello, within=_ANSWER)
        hello = msgspec.msgpack.decode(answer, type=remote.Hello)
        member.host = hello.host
        mine = (VERSION, TALLY_VERSION, remote.platform_name())
        theirs = (hello.ftnet, hello.encoding, hello.platform)
        names = ("ftnet", "the encoding of tallies", "the platform")
        for name, here, there in zip(names, mine, theirs, strict=True):
            if here != there:
                raise ClusterError(
                    f"{name} is {there} there, and {here} here: they must be the same"
                )

    async def _compare_clocks(self, member: _Member) -> None:
        """The offset is right to half of the round trip, wherever its time was spent."""
        least, most = _PROBES
        began = clock()
        for number in range(most):
            if number >= least and clock() - began > _PROBING:
                return
            asked = clock()
            there = await self._cluster.ask(member, remote.probe, within=_ANSWER)
            answered = clock()
            error = (answered - asked + 1) // 2
            if error < member.error:
                member.offset, member.error = there - (asked + answered) // 2, error

    async def _begin(self) -> None:
        async def begin(member: _Member) -> None:
            member.start = self._start + member.offset
            ahead = await self._ask(member, remote.begin, member.start)
            if ahead <= 0:
                raise ClusterError(f"it was told {-ahead / 1e9:.2f} s too late to begin")

        try:
            await self._each(begin)
        except BaseException:
            await self._leave()
            raise
        now = clock()
        for member in self._members:
            member.heard = now
        self._tasks = [asyncio.create_task(self._follow(member)) for member in self._members]

    async def _leave(self) -> None:
        """No worker has to keep anything."""
        there = [one for one in self._members if not one.lost]
        asked = [self._ask(one, remote.drop) for one in there]
        await asyncio.gather(*asked, return_exceptions=True)  # who can't be told stops by itself

    # --- while it goes --------------------------------------------------------------------------

    async def _follow(self, member: _Member) -> None:
        """Takes what a worker tells, until it is over or lost."""
        reason = ""
        try:
            while not (reason or member.over):
                reason = await self._listen(member)
        except asyncio.CancelledError:
            reason = "the cluster was left"
            raise
        except Exception as error:  # of this side, but the run is not lost with it
            reason = f"what it told can't be taken: {type(error).__name__}: {error}"
        finally:
            with self._lock:
                if reason:
                    member.lost = reason
                    self._settle(member)
                if all(one.over for one in self._members):
                    self._all_over.set()

    async def _listen(self, member: _Member) -> str:
        """One answer of it, or another try; why it is lost, or ""."""
        asked_at, number = clock(), member.number
        left = max(0.0, SILENCE - (asked_at - member.heard) / 1e9)
        try:
            answer = await self._cluster.ask(member, remote.tell, self._run, number, within=left)
        except TimeoutError:
            slept = clock() - asked_at - round(left * 1e9)
            if slept < _SLEPT:
                return f"nothing was heard of it for {SILENCE:g} s"
            member.heard += slept  # this process stood still: who knows what there is to hear
            return ""
        except remote.Refused as error:
            return str(error)
        except OSError as error:
            return await self._looked_for(member, error)
        told = msgspec.msgpack.decode(answer, type=remote.Told)
        member.heard = clock()
        with self._lock:
            self._take(member, told)
        if told.failure:
            return told.failure
        if told.unheard:
            return f"it heard nothing for {remote.LEASE:g} s, and stopped"
        return ""

    async def _looked_for(self, member: _Member, error: OSError) -> str:
        """It could not be reached: is it there at all? The scheduler may know a little later."""
        for _ in range(_LOOKS):
            silent = (clock() - member.heard) / 1e9
            if silent > SILENCE:
                return f"it can't be reached: {error}"
            try:
                known = await asyncio.wait_for(self._cluster.known(), SILENCE - silent)
            except OSError:
                return "the scheduler can't be reached"
            if member.address not in known:
                return "its process ended, or its connection broke"
            await asyncio.sleep(_AGAIN)
        return ""

    def _take(self, member: _Member, told: remote.Told) -> None:
        for number, second, books in told.parts:
            if number <= member.number:
                continue
            if number != member.number + 1:
                raise ValueError(f"part {member.number + 1} is missing")
            self._row(second).merge_bytes(books, self._start - member.start)
            member.number, member.second = number, second
        member.told = told

    def _row(self, second: int) -> Books:
        if second not in self._rows:
            self._rows[second] = self._spare.pop() if self._spare else Books()
        return self._rows[second]

    def _complete(self, second: int) -> bool:
        return all(one.over or one.second >= second for one in self._members)

    def _settle(self, member: _Member) -> None:
        """Of a lost worker: what was under way at its last word has no other end."""
        left = member.told.under_way if member.told else {}
        if not any(left.values()):
            return
        row = self._row(member.second + 1)
        for name, number in left.items():
            if number:
                remote.tally_of(row, name).add("unfinished", number)

    async def _tell_all(
        self,
        function: Callable[..., Awaitable[None]],
        given: Callable[[_Member], tuple[Any, ...]],
    ) -> None:
        await asyncio.gather(*(self._tell(one, function, given(one)) for one in self._members))

    async def _tell(
        self, member: _Member, function: Callable[..., Awaitable[None]], given: tuple[Any, ...]
    ) -> None:
        """Again and again until it has arrived, or nobody is there."""
        while not member.over:
            try:
                await self._ask(member, function, *given)
                return
            except (OSError, remote.Refused):  # `_follow` finds out what that means
                await asyncio.sleep(_AGAIN)


def due_until(
    options: Options, end: int, rates: Iterable[tuple[int, float]], number: int, of: int
) -> int | None:
    """How many of the measured part are due until `end` ns after the start, in share `number` of
    so many; `rates` were set later. None: there is no schedule that says it."""
    if options.plan is not None:
        loads = [one.load for one in options.plan.scenario]
        parts = [options.with_load(load) for load in loads if load is not None]
        parts += [replace(options, plan=None)] if None in loads else []
        due = [due_until(replace(part, plan=None), end, rates, number, of) for part in parts]
        return None if None in due else sum(filter(None, due))
    most = None if options.requests is None else share(options.requests, number, of)
    if not options.open_model:
        return most
    stages = [(round(seconds * 1e9), at, to) for seconds, at, to in stages_of(options)]
    arrivals = Arrivals(
        stages, stages[-1][2] if options.stages else options.rate or 0.0,
        poisson=options.arrivals == "poisson", seed=options.seed, first=number, every=of,
    )  # fmt: skip
    measured_from, count = round(options.warmup * 1e9), 0
    for until, rate in [*rates, (end, None)]:
        while arrivals.due < min(until, end):
            count += arrivals.due >= measured_from
            arrivals.take()
        if rate is not None:
            arrivals.set_rate(until, rate)
    return count if most is None else min(count, most)


class ClusterRun(Run):
    """A run on a cluster, with all that a `Run` can be asked. ClusterError: it can't begin."""

    rate_ahead = 0.25
    after = 0.15

    def __init__(
        self, options: Options, cluster: Cluster, observers: Sequence[Observer] = ()
    ) -> None:
        self._share = ClusterShare(cluster, options)
        self.ahead = 0.5 + self._share.round_trip * 20
        super().__init__(options, [self._share], observers)

    def _cpu(self) -> tuple[float, ...]:
        return tuple([ns / 1e9 for ns in self._share.cpus()])

    def _workers(self) -> tuple[Worker, ...]:
        return self._share.workers()
