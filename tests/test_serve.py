"""`ftnet serve` does what its URLs ask for, and counts what it did."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from websockets.sync.client import connect

from ftnet.serve.endpoints import ENDPOINTS, PATHS
from ftnet.serve.shared import MOST_SLOTS, Counters, Places, Shares
from tests.command import COMMAND, LIMIT, environment

TUTORIAL = Path(__file__).parent.parent / "docs" / "load-tutorial"


class Served:
    """The command in a process of its own, on a free port."""

    def __init__(self, *arguments: str, under: Sequence[str] = ()) -> None:
        self.process = subprocess.Popen(
            [*under, *COMMAND, "serve", "--port", "0", *arguments],
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().partition(" ")[0]
        self.netloc = urlsplit(self.url).netloc

    @property
    def address(self) -> tuple[str, int]:
        host, _, port = self.netloc.partition(":")
        return host, int(port)

    @property
    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, trust_env=False, timeout=LIMIT, verify=False)

    def end(self, number: int = signal.SIGTERM) -> tuple[int, str, str]:
        """The exit code, and what it wrote after its first line."""
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self.process.send_signal(number)
        code = self.process.wait(LIMIT)
        return code, self.process.stdout.read(), self.process.stderr.read()


@contextlib.contextmanager
def serving(*arguments: str, under: Sequence[str] = ()) -> Iterator[Served]:
    served = Served(*arguments, under=under)
    try:
        yield served
    finally:
        served.process.kill()
        served.process.communicate(timeout=LIMIT)


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving() as running:
        yield running
        code, _, complaints = running.end()
        assert (code, complaints) == (0, "")


@pytest.fixture
def client(served: Served) -> Iterator[httpx.Client]:
    with served.client as opened:
        yield opened


def stats(client: httpx.Client, path: str) -> dict[str, Any]:
    counts: dict[str, Any] = client.get("/stats").json()["endpoints"][path]
    return counts


def until(client: httpx.Client, path: str, reached: Callable[[dict[str, Any]], Any]) -> None:
    """Wait until what /stats says of ``path`` is as it should be."""
    end = time.monotonic() + LIMIT
    while not reached(counts := stats(client, path)):
        assert time.monotonic() < end, counts


# ---- the command


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_at_once_whatever_hangs(number: int) -> None:
    with serving() as served, socket.create_connection(served.address, LIMIT) as hanging:
        hanging.sendall(b"GET /fail?share=1&how=hang HTTP/1.1\r\nHost: x\r\n\r\n")
        with served.client as client:
            until(client, "/fail", lambda counts: counts["received"])
        assert served.end(number)[0::2] == (0, "")


def test_it_prints_its_endpoints_as_the_root_lists_them() -> None:
    with serving() as served:
        with served.client as client:
            listed = client.get("/").text.splitlines()
        printed = served.end()[1].splitlines()
    assert [line.strip() for line in printed if line] == listed
    assert [line.split()[0] for line in listed] == [one.shown for one in ENDPOINTS]


def test_a_port_in_use_is_told(served: Served) -> None:
    port = str(served.address[1])
    done = subprocess.run(
        [*COMMAND, "serve", "--port", port], env=environment(), capture_output=True, text=True,
        timeout=LIMIT, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"ftnet: (1) can't listen on port {port} of 127.0.0.1: another")


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--port", "70000"], "--port: '70000' is not a port"),
        (["--workers", "0"], "--workers: '0' is not a whole number from 1 to 64"),
    ],
)
def test_wrong_usage_names_the_option(
    arguments: list[str], word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from ftnet import cli

    assert cli.main(["serve", *arguments]) == cli.USAGE
    assert word in capsys.readouterr().err


def test_without_aiohttp_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from ftnet import cli

    for name in [name for name in sys.modules if name.startswith("ftnet.serve.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr("ftnet.serve.endpoints")
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    assert cli.main(["serve", "--port", "0"]) == cli.USAGE
    assert "pip install 'ftnet[serve]'" in capsys.readouterr().err


def test_workers_share_counts_and_patterns_and_end_together() -> None:
    with serving("--workers", "3") as served:
        statuses: Counter[int] = Counter()
        for _ in range(60):  # a connection each, so that all workers get some
            with served.client as client:
                statuses[client.get("/fail?share=0.25").status_code] += 1
        assert statuses == {200: 45, 503: 15}
        with served.client as client:
            assert stats(client, "/fail")["statuses"] == {"200": 45, "503": 15}
        assert served.end(signal.SIGINT)[0::2] == (0, "")


def test_a_worker_that_dies_ends_it_all() -> None:
    with serving("--workers", "2") as served:
        pid = served.process.pid
        with open(f"/proc/{pid}/task/{pid}/children") as children:
            os.kill(int(children.read().split()[0]), signal.SIGKILL)
        _, complaints = served.process.communicate(timeout=LIMIT)
    assert served.process.returncode == 1
    assert complaints == "ftnet: (1) a worker ended on its own\n"


def test_it_takes_more_connections_than_a_shell_allows_files() -> None:
    with (
        serving(under=("sh", "-c", 'ulimit -Sn 64; exec "$@"', "sh")) as served,
        contextlib.ExitStack() as opened,
    ):
        for _ in range(100):
            opened.enter_context(socket.create_connection(served.address, LIMIT))
        with served.client as client:
            assert client.get("/hello").status_code == 200


def test_a_slower_release_takes_longer_for_everything() -> None:
    with serving("--slower", "50ms") as served, served.client as client:
        for path in ("/hello", "/work"):
            begin = time.monotonic()
            assert client.get(path).status_code == 200
            assert time.monotonic() - begin >= 0.05


# ---- the endpoints


@pytest.mark.parametrize("size", [0, 1, 65_536, 65_537, 1_000_003])
def test_bytes_have_the_size(client: httpx.Client, size: int) -> None:
    answer = client.get(f"/bytes?size={size}")
    assert answer.content == (bytes(range(256)) * (size // 256 + 1))[:size]
    assert answer.headers["content-length"] == str(size)
    assert client.head(f"/bytes?size={size}").content == b""


def test_hello_is_short_whatever_the_query(client: httpx.Client) -> None:
    assert client.get("/hello?n=1").text == "Hello, World!"


def test_slow_takes_its_time(client: httpx.Client) -> None:
    begin = time.monotonic()
    assert client.get("/slow?ms=50&jitter=0.5").status_code == 200
    assert time.monotonic() - begin >= 0.05


def test_stall_answers_when_it_is_over(client: httpx.Client) -> None:
    """Stalled but for 1 ms of every 300: of two in a row, the second comes in a later period."""
    begin = time.monotonic()
    for _ in range(3):
        assert client.get("/stall?every=300ms&for=299ms").status_code == 200
    assert time.monotonic() - begin >= 0.299


def test_fail_hits_the_share_exactly(client: httpx.Client) -> None:
    got = [client.get("/fail?share=0.04&status=500").status_code for _ in range(100)]
    assert [n for n, status in enumerate(got, 1) if status == 500] == [25, 50, 75, 100]


def test_fail_resets(client: httpx.Client) -> None:
    before = stats(client, "/fail")["reset"]
    with pytest.raises(httpx.ReadError):
        client.get("/fail?share=1&how=reset")
    assert stats(client, "/fail")["reset"] == before + 1


def test_fail_hangs_until_the_client_leaves(served: Served, client: httpx.Client) -> None:
    before = stats(client, "/fail")
    with socket.create_connection(served.address, LIMIT) as hanging:
        hanging.sendall(b"GET /fail?share=1&how=hang HTTP/1.1\r\nHost: x\r\n\r\n")
        until(client, "/fail", lambda now: now["received"] == before["received"] + 1)
        hanging.settimeout(0.1)
        with pytest.raises(TimeoutError):
            hanging.recv(1)
    until(client, "/fail", lambda now: now["unanswered"] == before["unanswered"] + 1)


def test_work_over_its_slots_waits_in_line(served: Served) -> None:
    """12 at once in 2 places for 20 ms each: 6 turns."""
    begin = time.monotonic()
    with served.client as client, ThreadPoolExecutor(12) as threads:
        answers = list(threads.map(client.get, ["/work?ms=20&slots=2"] * 12))
    assert {answer.status_code for answer in answers} == {200}
    assert time.monotonic() - begin >= 0.12


def test_work_over_its_queue_is_refused(served: Served, client: httpx.Client) -> None:
    """Of 10 at once 3 are served and 2 wait; none is done before all have come."""
    before = stats(client, "/work")
    with contextlib.ExitStack() as opened:
        for _ in range(10):
            asking = opened.enter_context(socket.create_connection(served.address, LIMIT))
            asking.sendall(b"GET /work?ms=60000&slots=3&queue=2 HTTP/1.1\r\nHost: x\r\n\r\n")
        until(client, "/work", lambda now: now["statuses"].get("503") == 5)
        until(client, "/work", lambda now: now["received"] == before["received"] + 10)
        assert stats(client, "/work")["under_way"] == 5


def test_login_opens_the_items(served: Served) -> None:
    with served.client as client:
        answer = client.post("/login", json={"user": "Ada", "password": "secret"})
        told = answer.json()
        item = {"id": 7, "name": "item 7", "price": 7, "owner": "Ada"}
        assert client.get("/items/7").json() == item  # by the cookie
        client.cookies.clear()
        assert client.get("/items/7").status_code == 401
        bearer = {"authorization": f"Bearer {told['token']}"}
        assert client.get(f"/items/{told['id']}", headers=bearer).json()["id"] == told["id"]
        forged = {"authorization": f"Bearer {told['token'][:-1]}x"}
        assert client.get("/items/7", headers=forged).status_code == 401


def test_echo_tells_the_request(client: httpx.Client) -> None:
    told = client.put("/echo?a=1", json={"x": [1]}, headers={"X-One": "é".encode()}).json()
    assert (told["method"], told["path"], told["query"]) == ("PUT", "/echo", "a=1")
    assert ["x-one", "é"] in told["headers"]
    assert (json.loads(told["body"]), told["json"], told["length"]) == ({"x": [1]}, {"x": [1]}, 9)


def test_upload_tells_lengths(client: httpx.Client) -> None:
    assert client.put("/upload", content=bytes(3_000_000)).json() == {"length": 3_000_000}
    files = {"file": ("a.bin", bytes(100_000)), "field": (None, b"abc")}
    assert client.post("/upload", files=files).json() == {
        "length": 100_003,
        "parts": [
            {"name": "file", "filename": "a.bin", "length": 100_000},
            {"name": "field", "filename": None, "length": 3},
        ],
    }


def test_a_websocket_gets_its_own_words_back(served: Served, client: httpx.Client) -> None:
    with connect(f"ws://{served.netloc}/ws", proxy=None) as opened:
        for message in ("Grüße", b"\x00\xff", "x" * 100_000):
            opened.send(message)
            assert opened.recv(LIMIT) == message
    until(client, "/ws", lambda counts: counts["statuses"].get("101"))
    assert stats(client, "/ws")["unanswered"] == 0


@pytest.mark.parametrize(
    ("method", "path", "status", "sentence"),
    [
        ("GET", "/slow?ms=5x", 400, "/slow: ms is '5x', it takes milliseconds from 0 to 60000"),
        ("GET", "/slow?ms=nan", 400, "/slow: ms is 'nan', it takes"),
        ("GET", "/slow?ms=60001", 400, "/slow: ms is '60001', it takes"),
        ("GET", "/slow?ms=", 400, "/slow: ms is '', it takes"),
        ("GET", "/bytes?size=1e3", 400, "/bytes: size is '1e3', it takes a whole number from 0"),
        ("GET", "/stall?every=1", 400, "/stall: for is 1 s, it takes less than every, 1 s"),
        ("GET", "/stall?for=3q", 400, "/stall: for is '3q', it takes a time from 1ms to 24h"),
        ("GET", "/fail?share=1%", 400, "/fail: share is '1%', it takes a share from 0 to 1"),
        ("GET", "/fail?share=0.0000001", 400, "/fail: share is '0.0000001', it takes"),
        ("GET", "/fail?how=no", 400, "/fail: how is 'no', it takes status or reset or hang"),
        ("GET", "/fail?status=200", 400, "/fail: status is '200', it takes a whole number from"),
        ("GET", "/work?slots=0", 400, "/work: slots is '0', it takes a whole number from 1 to 256"),
        (
            "GET",
            "/work?slot=8",
            400,
            "/work: slot is no parameter of it, it takes ms, slots, queue",
        ),
        ("GET", "/work?ms=1&ms=2", 400, "/work: ms is given twice"),
        ("GET", "/login", 405, "/login: the method is GET, it takes POST"),
        ("POST", "/login", 400, "/login: the body is no JSON"),
        ("GET", "/items/x", 401, "/items: takes the token of /login"),
        ("GET", "/ws", 426, "/ws: takes a WebSocket"),
        ("GET", "/nowhere", 404, "/nowhere is not here"),
    ],
)
def test_wrong_requests_are_told_why(
    client: httpx.Client, method: str, path: str, status: int, sentence: str
) -> None:
    answer = client.request(method, path)
    assert answer.status_code == status
    assert answer.text.startswith(sentence)


def test_what_is_received_is_accounted_for(client: httpx.Client) -> None:
    for counts in client.get("/stats").json()["endpoints"].values():
        ended = sum(counts["statuses"].values()) + counts["reset"] + counts["unanswered"]
        assert counts["received"] == ended + counts["under_way"]


# ---- the arithmetic


@pytest.mark.parametrize("slots", [1, 8, MOST_SLOTS])
def test_places_serve_what_the_arithmetic_says(slots: int) -> None:
    """At once as many as there are places, then as many again when they are done."""
    places = Places(threading.Lock())
    ends = [places.take(slots, 0.5, None, 10.0) for _ in range(3 * slots)]
    assert ends == [10.5] * slots + [11.0] * slots + [11.5] * slots
    assert places.take(slots, 0.5, None, 100.0) == 100.5  # it has been idle meanwhile


def test_the_slowest_place_holds_up_nobody() -> None:
    places = Places(threading.Lock())
    assert [places.take(2, hold, None, 0.0) for hold in (9.0, 1.0, 1.0, 1.0)] == [9, 1, 2, 3]


@pytest.mark.parametrize("queue", [0, 1, 3])
def test_a_queue_is_as_long_as_asked(queue: int) -> None:
    places = Places(threading.Lock())
    ends = [places.take(2, 1.0, queue, 5.0) for _ in range(8)]
    assert [end is not None for end in ends] == [n < 2 + queue for n in range(8)]
    after = [places.take(2, 1.0, queue, 6.0) for _ in range(8)]
    begun = min(queue, 2)  # of those that waited: they hold places now
    room = 2 - begun + queue - (queue - begun)
    assert [end is not None for end in after] == [n < room for n in range(8)]


@pytest.mark.parametrize("millionths", [0, 1, 10_000, 333_333, 500_000, 1_000_000])
def test_shares_are_hit_exactly(millionths: int) -> None:
    shares = Shares(threading.Lock())
    hits = 0
    for came in range(1, 20_001):
        hits += shares.hit(millionths)
        assert hits == came * millionths // 1_000_000


def test_counters_of_all_workers_are_added() -> None:
    counters = Counters(PATHS, 3)
    for worker in range(3):
        counters.use_block(worker)
        counters.received("/hello")
        counters.answered("/hello", 200 + worker)
    counters.received("/ws")
    counters.received("/ws")
    counters.reset("/ws")
    told = counters.to_dict()
    assert told["/hello"]["statuses"] == {"200": 1, "201": 1, "202": 1}
    assert told["/ws"] == {
        "received": 2, "statuses": {}, "reset": 1, "unanswered": 0, "under_way": 1,
    }  # fmt: skip


# ---- the tutorial


def test_the_tutorials_plan_goes_through_to_the_last_request(tmp_path: Path) -> None:
    shutil.copy(TUTORIAL / "people.csv", tmp_path)
    plan = (TUTORIAL / "shop.toml").read_text()
    with serving() as served:
        written = plan.replace("http://127.0.0.1:8080", served.url)
        (tmp_path / "shop.toml").write_text(written.replace('"30s"', '"500ms"'))
        done = subprocess.run(
            [*COMMAND, "load", "-q", "--json", "--plan", str(tmp_path / "shop.toml")],
            env=environment(), capture_output=True, text=True, timeout=LIMIT, check=False,
        )  # fmt: skip
        result = json.loads(done.stdout)
        with served.client as client:
            counted = {path: stats(client, path) for path in ("/login", "/items/{id}", "/work")}
    assert result["iterations"]["completed"] == result["iterations"]["scheduled"] == 50
    assert [step["counts"]["completed"] for step in result["steps"].values()] == [50] * 3
    assert [one["statuses"] for one in counted.values()] == [{"200": 50}] * 3


def test_the_tutorial_shows_the_plan_as_it_is() -> None:
    text, plan = TUTORIAL.with_suffix(".md").read_text(), (TUTORIAL / "shop.toml").read_text()
    assert plan.partition("\n")[2] in text
