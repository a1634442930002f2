"""Downloads killed at a random byte, again and again: the file at the target is never wrong.

20 rounds of each kind, 200 with FTNET_LONG=1. Each download runs in a fork of a process that has
imported the engine and not used it.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import ftnet as ft
from tests.downloads import LIMIT, OneFile, complete, fetched, kept_of, left_in, noise, note_of
from tests.processes import Script
from tests.servers.awkward import AwkwardServer, Peer, eventually

ROUNDS = 200 if os.environ.get("FTNET_LONG") else 20
LARGEST = 600_000
PIECE = 61_440  # what is written at once

NURSERY = """
    import os, sys
    import ftnet as ft

    for line in sys.stdin:
        url, path, resume = line.split()
        pid = os.fork()
        if pid == 0:
            options = {"url": url, "filePath": path, "resume": resume == "True"}
            task = ft.run(lambda: ft.downloadFile(options))
            os._exit(0 if isinstance(task.outcome.errMsg, str) else 1)
        print(pid)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


@pytest.fixture
def nursery() -> Iterator[Script]:
    with Script(NURSERY) as script:
        yield script


class Pouring:
    """A behaviour: sends a file, and says so when a certain byte of it has been sent.

    There it stops for good, or goes on.
    """

    def __init__(self, content: bytes, told_at: int, stops: bool) -> None:
        self.content, self.told_at, self.stops = content, told_at, stops
        self.told = threading.Event()

    def __call__(self, peer: Peer) -> None:
        peer.read_request()
        head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(self.content)
        peer.send(head + self.content[: self.told_at])
        self.told.set()
        if not self.stops:
            peer.send(self.content[self.told_at :])
        peer.until_gone()


def kill_when(
    told: threading.Event,
    script: Script,
    url: str,
    target: Path,
    resume: bool,
    ripe: Callable[[], bool] = lambda: True,
) -> int:
    """Kills a download when the server has told, and it is `ripe`; its exit code: it may have
    been faster."""
    script.tell(f"{url} {target} {resume}")
    pid = int(script.line())
    assert told.wait(LIMIT)
    eventually(ripe, "it has come so far")
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    code = int(script.line())
    assert code in (0, -signal.SIGKILL)
    return code


def test_a_download_killed_at_a_random_byte_leaves_the_old_file_or_the_new_one(
    nursery: Script, plain: ft.Client, tmp_path: Path
) -> None:
    chance, target = random.Random("killed"), tmp_path / "file"
    current = b"old"
    target.write_bytes(current)
    killed = 0
    for number in range(ROUNDS):
        content = noise(chance.randrange(1, LARGEST), number)
        at = chance.choice([chance.randrange(len(content)), len(content)])
        pouring = Pouring(content, at, stops=chance.random() < 0.5)
        with AwkwardServer(pouring) as server:
            code = kill_when(pouring.told, nursery, server.url, target, resume=False)
        found = target.read_bytes()
        assert found == content if code == 0 else found in (current, content)
        assert len(left_in(tmp_path)) <= 2, "parts of earlier rounds"
        current = found
        killed += code != 0
    assert killed > ROUNDS // 3
    with AwkwardServer(OneFile(b"the end")) as server:
        fetched(plain, server.url, filePath=str(target))
    assert complete(target, b"the end")


def kept_length(target: Path) -> int:
    """How much there is to go on with; nothing without its note."""
    try:
        return kept_of(target).stat().st_size if note_of(target).exists() else 0
    except FileNotFoundError:  # it has just become the file
        return 0


def test_a_download_killed_at_random_bytes_is_taken_up_again_until_it_is_right(
    nursery: Script, plain: ft.Client, tmp_path: Path
) -> None:
    chance, target = random.Random("killed and resumed"), tmp_path / "file"
    target.write_bytes(b"old")
    completed = killed = 0
    shelf = OneFile(noise(LARGEST), ending=Peer.until_gone)
    with AwkwardServer(shelf) as server:
        for number in range(ROUNDS):
            shelf.cuts.append(chance.randrange(LARGEST // 3))
            shelf.reached.clear()
            kept = kept_length(target)
            patient = chance.random() < 0.7
            least = min(kept + shelf.cuts[-1] // PIECE * PIECE, LARGEST - PIECE)

            def ripe(patient: bool = patient, least: int = least) -> bool:
                there = target.read_bytes() != b"old" or kept_length(target) >= least
                return there or not patient

            code = kill_when(shelf.reached, nursery, server.url, target, True, ripe)
            killed += code != 0
            if len(shelf.asked) == number + 1:
                assert shelf.asked[-1] == (f"bytes={min(kept, LARGEST - 1)}-" if kept else None)
            if target.read_bytes() != b"old":
                assert target.read_bytes() == shelf.content
                assert not kept_of(target).exists()  # at the most its note
                target.write_bytes(b"old")
                completed += 1
            elif length := kept_length(target):
                assert kept_of(target).read_bytes() == shelf.content[:length]
        shelf.cuts.clear()
        fetched(plain, server.url, filePath=str(target), resume=True)
    assert complete(target, shelf.content)
    assert killed > ROUNDS // 3
    assert completed > ROUNDS // 50


@pytest.mark.parametrize("resume", [False, True], ids=["plain", "resume"])
def test_a_download_killed_at_its_very_end_leaves_the_old_file_or_the_new_one(
    resume: bool, nursery: Script, tmp_path: Path
) -> None:
    target, content = tmp_path / "file", noise(100_000)
    ends = {b"old": 0, content: 0}
    shelf = OneFile(content, cuts=[len(content)] * ROUNDS, ending=Peer.until_gone)
    with AwkwardServer(shelf) as server:
        for _ in range(ROUNDS):
            target.write_bytes(b"old")
            shelf.reached.clear()
            kill_when(shelf.reached, nursery, server.url, target, resume)
            ends[target.read_bytes()] += 1
    assert sum(ends.values()) == ROUNDS
    assert len(left_in(tmp_path)) <= 3
