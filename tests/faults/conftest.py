"""What the fault tests share: one throw-away certificate, and a server without faults."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.servers.awkward import AwkwardServer, ThrowawayTls, throwaway_tls
from tests.servers.behaviours import answers


@pytest.fixture(scope="session")
def tls(tmp_path_factory: pytest.TempPathFactory) -> ThrowawayTls:
    return throwaway_tls(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def good() -> Iterator[AwkwardServer]:
    with AwkwardServer(answers) as server:
        yield server
