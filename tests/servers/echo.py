"""The project's own test server, whose endpoints tell what a request looked like on arrival."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ftnet.testing.server import Server


@contextmanager
def serving() -> Iterator[Server]:
    """The server with HTTP/1.1 and h2 on `.http` and `.https`; `.ca` is the file to trust."""
    with Server() as server:
        yield server
        log = server.log()
        assert not log, f"the test server complained:\n{log}"
