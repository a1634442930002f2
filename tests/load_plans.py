"""A small plan, and books that no run has kept, for what is made of them while a run goes."""

from __future__ import annotations

from ftcore.tally import Tally
from ftnet.load.books import Books
from ftnet.load.observer import Observer
from ftnet.load.options import Options
from ftnet.load.report import interval_of
from ftnet.plan.model import Action, Http, Load, Plan, Scenario, Tcp
from tests.load_results import MS, URL, result


def shop(base_url: str) -> Plan:
    """20 iterations of two steps."""
    steps = (Http(name="log in, out", request="/", expect={"status": 200}), Http(request="POST /x"))
    load = Load(users=3, iterations=20)
    return Plan(
        name="shop", base_url=base_url, load=load, scenario=(Scenario(name="a", step=steps),)
    )


def chat(port: int) -> Plan:
    """A TCP step with an action that is counted by itself."""
    actions = (Action(name="ask", send="GET / HTTP/1.1\r\n\r\n"), Action(receive="ok"))
    step = Tcp(name="chat", tcp=f"127.0.0.1:{port}", actions=actions)
    load = Load(users=2, iterations=5)
    return Plan(name="chat", load=load, scenario=(Scenario(name="a", step=(step,)),))


STARTED = 1.7e9
SECOND = 1_000_000_000


def kept(second: int, *, measured: bool = True) -> Books:
    """Of the first, second ... second: two steps, of which one is refused once."""
    books = Books(iterations=Tally(), steps={"log in, out": Tally(), "cart": Tally()})
    books.checks["cart"] = {"json:$.id": [3, 1]}
    for number, (step, tally) in enumerate(books.steps.items(), 2):
        for count, added in (("scheduled", 5), ("sent", 4), ("completed", 4), ("answered", 4)):
            tally.add(count, added)
            books.total.add(count, added)
        for _ in range(4):
            spans = {"total": number * second * MS, "service": MS, "ttfb": MS // 2}
            tally.record("2xx", **spans)
            books.total.record("2xx", **spans)
        for one in (tally, books.total):
            one.failed(None, 0, 111, "Failed to connect", 0, 0, number * MS, MS, False)
        assert step
    assert books.iterations is not None
    books.iterations.add("scheduled", 5)
    books.total.stood(
        began=(second - 1) * SECOND, ended=second * SECOND, cpu=SECOND // 10, in_flight=3,
        waiting=2, connections=4, target=10.0, measured=measured,
    )  # fmt: skip
    return books


def follow(observer: Observer, *seconds: Books) -> None:
    """Tells of a run with these."""
    observer.begun(Options.of(URL), STARTED)
    for books in seconds:
        observer.gathered(interval_of(books.total, 0), books)
    observer.ended(result(plan="shop"))
