"""A share of a plan's load: virtual users, when their iterations are due, and what is counted.

A thread drives an engine of its own and everything on it. Requests are Python's here, a few
microseconds each; what is recorded of them is the engine's own stamps.
"""

from __future__ import annotations

import heapq
import itertools
import random
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from time import thread_time_ns
from typing import Any, Final

from ftcore.arrivals import Arrivals
from ftcore.load import clock
from ftcore.profile import Phases
from ftcore.reactor import precise_timers
from ftcore.tally import RIGHT, Tally
from ftcore.transfer import Pool
from ftcore.visitor import Counting, Flow, User
from ftnet import dispatch
from ftnet.client import Client
from ftnet.load.books import Books
from ftnet.load.options import Options
from ftnet.load.plan import share as part_of
from ftnet.load.plan import stages_of
from ftnet.plan.data import Exhausted, Feeds
from ftnet.plan.http_work import HttpWork
from ftnet.plan.jar import Jar
from ftnet.plan.model import Download, Http, Plan, Python, Scenario, Step, Upload
from ftnet.plan.scope import used_feeds
from ftnet.plan.work import Work, checks_of

__all__ = ["PlanShare", "Stream", "Workshop"]

_NEVER: Final = 2**63 - 1
_TICK: Final = 1_000_000_000
_GOLDEN: Final = 0.6180339887498949
_WRONG: Final = ("", "wrong_status", "wrong_length", "wrong_content")
_REST: Final = 1_000_000  # ns after a failed iteration in the closed model; doubled for each more


def _made_by(step: Step) -> Callable[[Any, str, Workshop], Work]:
    """What makes a kind of step ready."""
    if isinstance(step, Http):
        return HttpWork
    if isinstance(step, (Upload, Download)):
        from ftnet.plan import file_work

        return file_work.UploadWork if isinstance(step, Upload) else file_work.DownloadWork
    if isinstance(step, Python):
        from ftnet.plan.python_work import PythonWork

        return PythonWork
    from ftnet.plan import socket_work

    return socket_work.made_by(step)


class Workshop:
    """Where a share makes the steps of its plan ready."""

    def __init__(self, plan: Plan, driver: dispatch.Driver, share: PlanShare) -> None:
        self.plan = plan
        self.share = share
        self.names = {id(step): name for name, step in plan.named()}
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self.clients: dict[str | None, Client] = {}
        self._driver = driver
        self._files: dict[str, bytes] = {}

    def ready(self, step: Step, name: str) -> Work:
        """The step, to be carried out."""
        return _made_by(step)(step, name, self)

    def client(self, version: str | None = None) -> Client:
        """The one for an HTTP version; None: the plan's."""
        made = self.clients.get(version)
        if made is None:
            settings = dict(self.plan.settings)
            if version is not None:
                settings["http_version"] = version
            made = self.clients[version] = Client(**settings)
        return made

    def pool(self, client: Client) -> Pool:
        """Its connections on the share's engine."""
        return client.pools.get(self._driver) or client.new_pool(self._driver)

    @property
    def connections(self) -> int:
        """Open ones of HTTP."""
        pools = [client.pools.get(self._driver) for client in self.clients.values()]
        return sum(pool.connections for pool in pools if pool is not None)

    def timeout(self, step: Step) -> float:
        """Seconds."""
        return self.plan.timeout if step.timeout is None else step.timeout

    def path(self, name: str) -> Path:
        """A file beside the plan's."""
        return Path(self.plan.folder, name)

    def folder(self) -> str:
        """A temporary one, that goes with the share."""
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="ftnet-plan-")
        return self._folder.name

    def close(self) -> None:
        """Closes the clients, with whatever is open, and gives the files back."""
        for client in self.clients.values():
            client.close()
        if self._folder is not None:
            self._folder.cleanup()

    def file(self, name: str) -> bytes:
        """What is in it, read once."""
        if name not in self._files:
            self._files[name] = self.path(name).read_bytes()
        return self._files[name]


class Stream(Flow):
    """Users and scenarios under one schedule, or in the closed model."""

    def __init__(self, options: Options, scenarios: Sequence[Scenario], index: int, of: int):
        self.options = options
        self.scenarios = scenarios
        self.works: list[tuple[Work, ...]] = []
        self.users: list[User] = []
        self.idle: list[User] = []  # open model: who can begin; closed: whose last is over
        self.first_user = 0  # its number; those of other streams have others
        self.open = options.open_model
        self.index, self.of = index, of
        self.begun = 0  # iterations of this share
        requests = options.requests
        self.left = -1 if requests is None else part_of(requests, index, of)  # measured ones
        self.end_at = _NEVER
        self.arrivals: Arrivals | None = None
        self.ending = False
        assert options.plan is not None
        self.feeds = [used_feeds(options.plan, one) for one in scenarios]
        whole = sum(one.weight for one in scenarios)
        self._shares = list(itertools.accumulate(one.weight / whole for one in scenarios))

    def scenario(self, number: int) -> int:
        """Which one iteration `number` of all carries out: by weight, evenly mixed."""
        if len(self._shares) == 1:
            return 0
        at = (number * _GOLDEN) % 1.0
        for place, share in enumerate(self._shares):
            if at < share:
                return place
        return len(self._shares) - 1


class PlanShare(Counting):
    """Share `index` of so many. See `ftnet.load.share.Share`."""

    def __init__(self, options: Options, index: int, of: int) -> None:
        assert options.plan is not None
        self.plan = options.plan
        self.options = options
        self.failure: BaseException | None = None
        self.http = 0
        self.peer = ("", 0)
        self.cpu = 0
        self.ended_at: int | None = None
        self.stopped = False
        self._index, self._of = index, of
        self.late_after = round(options.late_after * 1e9)
        self._random = random.Random(f"{options.seed} {index}")
        self._lock = threading.Lock()  # of the three below
        self._rates: list[tuple[int, float]] = []
        self._stop_asked = False
        self._driver: dispatch.Driver | None = None
        self._ready: deque[Books] = deque()
        self._spare: deque[Books] = deque()
        self._timers: list[list[Any]] = []  # [when, order, call]
        self._order = itertools.count()
        self._soon: deque[Callable[[], object]] = deque()
        self.in_flight = 0
        self._busy = self._measured_busy = 0  # users in an iteration; in one that is measured
        self._nested = False  # an iteration begins where one has ended
        self._over = False
        self._grace_at = _NEVER
        self._streams = streams_of(options, index, of)
        self._steps: list[Work] = []
        self._leaving: list[Work] = []  # made-up work that was disowned while under way
        self._feeds = Feeds(self.plan, index, of, self._random)
        self._made, self._told = threading.Event(), threading.Event()
        self._start = self._measure_at = _NEVER  # until `begin`
        self._thread = threading.Thread(target=self._run, name=f"ftnet-plan-{index}", daemon=True)
        self._thread.start()
        self._made.wait()
        if self.failure is not None:
            self._thread.join()
            raise self.failure

    # --- what a Share does --------------------------------------------------------------------

    def begin(self, start_ns: int) -> None:
        self._start = start_ns
        self._measure_at = start_ns + round(self.options.warmup * 1e9)
        self._told.set()

    def set_rate(self, rate: float, at_ns: int) -> None:
        with self._lock:
            self._rates.append((at_ns, rate))
        self._wake()

    def stop(self) -> None:
        with self._lock:
            self._stop_asked = True
        self._wake()

    def _wake(self) -> None:
        with self._lock:
            if self._driver is not None and not self._driver.engine.closed:
                self._driver.engine.wake()

    def collect(self, books: Books) -> bool:
        if not self._ready:
            return False
        one = self._ready.popleft()
        books.merge(one)
        if one.total.measured:
            self.cpu += one.total.cpu
        one.reset()
        self._spare.append(one)
        return True

    def join(self, timeout: float) -> bool:
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def close(self) -> None:
        """What it has the thread gives back, at its end; or now, when it was never begun."""
        self._told.set()
        self._thread.join()

    # --- the thread ---------------------------------------------------------------------------

    def _run(self) -> None:
        precise_timers()
        try:
            with dispatch.driving() as driver:
                shop = Workshop(self.plan, driver, self)
                try:
                    self._make(shop)
                    self._made.set()
                    self._told.wait()
                    if self._start != _NEVER:
                        with self._lock:
                            self._driver = driver
                        self._set_up()
                        self._drive(driver)
                finally:
                    with self._lock:
                        self._driver = None
                    shop.close()
        except BaseException as error:  # told to whoever asks for the result, or made it
            self.failure = error
        finally:
            self._made.set()

    def _make(self, shop: Workshop) -> None:
        """Everything that can be made before the start."""
        for stream in self._streams:
            for scenario in stream.scenarios:
                works = [shop.ready(step, shop.names[id(step)]) for step in scenario.step]
                stream.works.append(tuple(works))
                for work in works:
                    self._steps += [work, *work.parts]
            count = part_of(stream.options.connections, self._index, self._of)
            stream.users = [User(self, stream, number, self._jar()) for number in range(count)]
            stream.idle = list(reversed(stream.users)) if stream.open else []
        self._shop = shop
        self._open(self._blank())

    def _set_up(self) -> None:
        """What depends on when it starts."""
        for stream in self._streams:
            load = stream.options
            if load.open_model:
                stages = [(round(s * 1e9), at, to) for s, at, to in stages_of(load)]
                stream.arrivals = Arrivals(
                    stages,
                    stages[-1][2] if load.stages else load.rate or 0.0,
                    poisson=load.arrivals == "poisson",
                    seed=load.seed,
                    first=self._index,
                    every=self._of,
                    start=self._start,
                )
            if load.duration is not None:
                stream.end_at = self._measure_at + round(load.duration * 1e9)
        if all(stream.end_at != _NEVER for stream in self._streams):
            self.ended_at = max(stream.end_at for stream in self._streams)
        self._began, self._cpu_at = self._start, thread_time_ns()
        self.measuring = self._start >= self._measure_at
        self._tick_at = self._measure_at - (self._measure_at - self._start) // _TICK * _TICK
        if self._tick_at <= self._start:
            self._tick_at += _TICK

    def _jar(self) -> Jar | None:
        return Jar() if self.plan.cookies else None

    def adopt(self, work: Work) -> None:
        """Work that a function has made up: counted with that of the same name."""
        for part in (work, *work.parts):
            self._steps.append(part)
            part.tally = self.books.steps.setdefault(part.name, Tally())

    def disown(self, works: Iterable[Work]) -> None:
        """Made-up work that does not come again; what is under way, or not told yet, stays until
        the next time."""
        self._leaving += works
        busy = {id(user.made_up) for stream in self._streams for user in stream.users}
        idle = [work for work in self._leaving if id(work) not in busy]
        gone = [one for one in idle if not any(part.judged for part in (one, *one.parts))]
        parts = {id(part) for work in gone for part in (work, *work.parts)}
        self._leaving = [work for work in self._leaving if id(work) not in parts]
        self._steps = [work for work in self._steps if id(work) not in parts]

    def _blank(self) -> Books:
        return Books(Tally(), Tally(), {work.name: Tally() for work in self._steps})

    def _open(self, books: Books) -> None:
        """From now on this is counted into."""
        self.books, self.total = books, books.total
        for work in self._steps:
            work.tally = books.steps.setdefault(work.name, Tally())
            work.judged, work.broken = 0, {}

    def _note_checks(self) -> None:
        """Of each answer that was judged all checks held, but for those that did not."""
        for work in self._steps:
            for text in dict.fromkeys([*checks_of(work), *work.broken]):
                broken = work.broken.get(text, 0)
                count = self.books.checks.setdefault(work.name, {}).setdefault(text, [0, 0])
                count[0] += work.judged - broken
                count[1] += broken

    def _drive(self, driver: dispatch.Driver) -> None:
        now = clock()
        while now < self._start:
            driver.poll((self._start - now) / 1e9)
            now = clock()
        for stream in self._streams:
            if not stream.open:
                for user in stream.users:
                    self._next(stream, user, self._start)
        while True:
            now = clock()
            self._turn(now)
            if self._over:
                break
            wait = 0.0 if self._soon else max(0, self._next_at() - clock()) / 1e9
            driver.poll(wait)

    def _next_at(self) -> int:
        at = min(self._tick_at, self._grace_at)
        if self._timers:
            at = min(at, self._timers[0][0])
        for stream in self._streams:
            if not stream.ending:
                at = min(at, stream.end_at)
                if stream.arrivals is not None and stream.idle and stream.left:
                    at = min(at, stream.arrivals.due)
        return at

    def _turn(self, now: int) -> None:
        for _ in range(len(self._soon)):
            self._soon.popleft()()
        while self._timers and self._timers[0][0] <= now and not self._over:
            at, _, call = heapq.heappop(self._timers)
            call(at)
        if self._rates or self._stop_asked:
            self._commands(now)
        for stream in self._streams:
            if stream.open and stream.idle and not stream.ending:
                self._start_due(stream, now)
            if now >= stream.end_at and not stream.ending:
                self._end(stream, stream.end_at)
        if now >= self._tick_at:
            self._tick(now)
        if now >= self._grace_at and not self._over:
            self._finish(now)

    def _commands(self, now: int) -> None:
        with self._lock:
            rates, self._rates = self._rates, []
            stop, self._stop_asked = self._stop_asked, False
        for at, rate in rates:
            for stream in self._streams:
                if stream.arrivals is not None and not stream.ending:
                    stream.arrivals.set_rate(at, rate)
        if stop:
            at = max(now, self._start)
            for stream in self._streams:
                if not stream.ending:
                    self.stopped = True
                    stream.end_at = min(stream.end_at, at)
                    self._end(stream, stream.end_at)

    # --- iterations ---------------------------------------------------------------------------

    def _start_due(self, stream: Stream, now: int) -> None:
        """Open model: what is due and finds a user begins."""
        arrivals = stream.arrivals
        assert arrivals is not None
        while stream.idle and stream.left and arrivals.due <= now and arrivals.due < stream.end_at:
            due = arrivals.due
            number = arrivals.take()
            self._iterate(stream, stream.idle.pop(), number, due, now)
            if stream.ending:
                return

    def _next(self, stream: Stream, user: User, due: int) -> None:
        """Closed model: the user's next iteration."""
        if stream.ending or stream.left == 0 or due >= stream.end_at:
            stream.idle.append(user)
            self._look_for_end()
            return
        number = stream.begun * stream.of + stream.index
        self._iterate(stream, user, number, due, clock())

    def _iterate(self, stream: Stream, user: User, number: int, due: int, now: int) -> None:
        variables = dict(self.plan.variables)
        variables["iteration"] = number
        variables["user"] = stream.first_user + user.number * self._of + self._index
        variables["$random"] = self._random
        scenario = stream.scenario(number)
        try:
            if stream.feeds[scenario]:
                self._feeds.take(variables, stream.feeds[scenario])
        except Exhausted:
            stream.idle.append(user)
            self._end(stream, min(stream.end_at, now))
            return
        stream.begun += 1
        self._busy += 1
        user.measured = due >= self._measure_at
        if user.measured:
            self._measured_busy += 1
            if stream.left > 0:
                stream.left -= 1
        books = self.books if self.measuring else self.count_at(due)
        if user.measured or not self.measuring:
            assert books.iterations is not None
            books.iterations.add("scheduled")
        user.scenario = scenario
        user.iterate(stream.works[user.scenario], variables, due, now)

    def iterated(
        self, user: User, due: int, begun: int, at: int, broken: bool, failures: int
    ) -> None:
        """A user's iteration is over."""
        stream = user.stream
        books = self.books if self.measuring else self.count_at(at)
        assert books.iterations is not None
        self._busy -= 1
        if user.measured:
            self._measured_busy -= 1
        if user.measured or not self.measuring:
            books.iterations.iterated(due, begun, at, broken)
        if stream.open:
            stream.idle.append(user)  # for what is due, in the next turn
            self._look_for_end()
            return
        rest = self.drawn(stream.scenarios[user.scenario].think)
        last = stream.works[user.scenario][-1]
        if last.think and not broken and _was_wanted(last, user):
            rest += self.drawn(last.think)
        if failures:
            rest += _REST << failures - 1
        if rest:
            self.later(at + rest, lambda then: self._next(stream, user, then))
        elif self._nested:  # by steps that are not wanted: there may be no end to them
            self.soon(lambda: self._next(stream, user, at))
        else:
            self._nested = True
            self._next(stream, user, at)
            self._nested = False

    # --- the end ------------------------------------------------------------------------------

    def _end(self, stream: Stream, at: int) -> None:
        """Nothing new begins in it; what is under way gets its grace."""
        stream.ending = True
        stream.end_at = at
        arrivals = stream.arrivals
        unsent = 0
        while arrivals is not None and stream.left and arrivals.due < at:
            if arrivals.due >= self._measure_at:
                unsent += 1
                stream.left -= stream.left > 0
            arrivals.take()
        if unsent:
            books = self.count_at(clock())
            assert books.iterations is not None
            books.iterations.add("scheduled", unsent)
            books.iterations.add("unsent", unsent)
        if all(one.ending for one in self._streams):
            self.ended_at = max(one.end_at for one in self._streams)
            grace = max(one.options.grace for one in self._streams)
            self._grace_at = self.ended_at + round(grace * 1e9)
        self._look_for_end()

    def _look_for_end(self) -> None:
        """All that was to begin has begun: is it over?"""
        if self._over:
            return
        done = all(one.ending or one.left == 0 for one in self._streams)
        ending = all(one.ending for one in self._streams)
        if done and not (self._busy if ending else self._measured_busy):
            self._finish(clock())

    def _finish(self, now: int) -> None:
        self._over = True
        if self.ended_at is None or self.ended_at > now:
            self.ended_at = now
        books = self.books
        assert books.iterations is not None
        for user in [user for stream in self._streams for user in stream.users if user.busy]:
            user.gone = True
            if user.measured:
                books.iterations.add("unfinished")
                for work in filter(None, (user.working, user.made_up)):
                    work.tally.add("unfinished")
                    books.total.add("unfinished")
            for under_way in (user.under_way, user.guide):
                if under_way is not None:
                    under_way.abort()
        self._lay(max(self.ended_at, self._began))

    # --- books --------------------------------------------------------------------------------

    def count_at(self, at: int) -> Books:
        """What happened at `at` is counted into these."""
        if not self.measuring and at >= self._measure_at:
            self._lay(self._measure_at)
            self.measuring = True
            self._tick_at = self._measure_at + _TICK
        return self.books

    def _tick(self, now: int) -> None:
        if not self.measuring and self._tick_at == self._measure_at:
            self.count_at(self._measure_at)
            return
        if all(stream.ending for stream in self._streams):
            self._tick_at = _NEVER  # the last interval ends with the run
            return
        self._lay(now)
        self._tick_at += _TICK

    def _lay(self, now: int) -> None:
        """What was counted goes to whoever gathers."""
        cpu = thread_time_ns()
        arrivals = [s.arrivals for s in self._streams if s.arrivals is not None and not s.ending]
        self.books.total.stood(
            began=self._began,
            ended=now,
            cpu=cpu - self._cpu_at,
            in_flight=self.in_flight,
            waiting=sum(one.waiting(now) for one in arrivals),
            connections=self._shop.connections,
            target=sum(one.rate(now) for one in arrivals),
            measured=self.measuring,
        )
        self._note_checks()
        self._ready.append(self.books)
        self._open(self._spare.popleft() if self._spare else self._blank())
        self._began, self._cpu_at = now, cpu

    def counted(self, user: User) -> bool:
        """Whether what the user does now is: not what is left of the warm-up."""
        return user.measured or not self.measuring

    def begun(self, user: User, work: Work) -> None:
        """A step of a user's, or an action of one, begins."""
        self.in_flight += 1
        if self.counted(user):
            work.tally.add("scheduled")
            if work.whole:
                self.total.add("scheduled")

    def took(
        self,
        user: User,
        work: Work,
        due: int,
        began: int,
        ended: int,
        *,
        status: int = 0,
        wrong: int = RIGHT,
        sent: int = 0,
        received: int = 0,
        spans: Mapping[str, int] | None = None,
    ) -> int:
        """Counts what went well and has no phases of HTTP; returns when it was over, ns."""
        self.in_flight -= 1
        self.count_at(ended)
        for tally in (work.tally, self.books.total) if work.whole else (work.tally,):
            if ended <= user.stream.end_at:
                tally.add("answered")
            if not self.counted(user):
                continue
            tally.add("completed")
            tally.add("sent")
            tally.add("bytes_sent", sent)
            tally.add("bytes_received", received)
            if wrong:
                tally.add(_WRONG[wrong])
            if status:
                tally.status(status)
            if work.whole:
                tally.late_by(max(began - max(due, user.ready), 0))
                if began - due > self.late_after:
                    tally.add("late")
            row = f"{status // 100}xx" if status else "2xx"
            queue = {"queue": max(began - due, 0)} if user.stream.open and work.whole else {}
            tally.record(
                row, total=max(ended - due, 0), service=ended - began, **queue, **(spans or {})
            )
        return ended

    def connected(self, phases: Phases) -> None:
        """A request was answered on a connection of its own."""
        self.http = max(self.http, phases.http)
        self.peer = (phases.ip, phases.port)

    def failed(
        self,
        user: User,
        work: Work,
        outcome: int,
        os_errno: int,
        detail: str,
        phases: Phases | None,
        due: int,
    ) -> int:
        """Counts it; returns when that was, ns."""
        self.in_flight -= 1
        now = clock()
        self.count_at(now)
        if user.measured or not self.measuring:
            late, is_open = self.late_after, user.stream.open
            of = (phases, outcome, os_errno, detail, due, user.ready, now, late, is_open)
            work.tally.failed(*of)
            if work.whole:
                self.books.total.failed(*of)
        return now

    # --- time ---------------------------------------------------------------------------------

    def later(self, at: int, call: Callable[[int], object]) -> list[Any]:
        """Calls it with `at` when that has come; returns what `never` takes."""
        entry = [at, next(self._order), call]
        heapq.heappush(self._timers, entry)
        return entry

    def never(self, entry: list[Any]) -> None:
        """Takes a call back that was to be made later."""
        entry[2] = _nothing

    def soon(self, call: Callable[[], object]) -> None:
        """Calls it when what is being delivered has been."""
        self._soon.append(call)

    def drawn(self, span: float | tuple[float, float]) -> int:
        """Seconds, or from least to most, as ns."""
        if isinstance(span, tuple):
            span = self._random.uniform(*span)
        return round(span * 1e9)


def _was_wanted(work: Work, user: User) -> bool:
    try:
        return work.when is None or work.when(user.variables)
    except LookupError:  # it was, and failed for it
        return True


def _nothing(_: int) -> None:
    """What is called in place of what was taken back."""


def streams_of(options: Options, index: int, of: int) -> list[Stream]:
    """One for all scenarios without a load of their own, and one for each that has it."""
    assert options.plan is not None
    scenarios = options.plan.scenario
    shared = [one for one in scenarios if one.load is None]
    streams = [Stream(options, shared, index, of)] if shared else []
    for one in scenarios:
        if one.load is not None:
            streams.append(Stream(options.with_load(one.load), [one], index, of))
    for before, stream in itertools.pairwise(streams):
        stream.first_user = before.first_user + before.options.connections
    return streams
