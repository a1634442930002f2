"""What ftnet adds to pytest: two fixtures, which are carried out by `ftnet.gate`.

It stands beside the package: pytest loads it at each of its starts, and the package would bring
libcurl into processes that have no use for it. PYTEST_DONT_REWRITE: it has no asserts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from ftnet.gate import Bench, Gate


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options of `latency_gate`."""
    group = parser.getgroup("ftnet", "latency gates")
    group.addoption(
        "--latency-gate-update",
        action="store_true",
        help="write the baselines of latency_gate, from runs that are valid and keep their checks",
    )
    group.addoption(
        "--latency-gate-skip-invalid",
        action="store_true",
        help="skip a test, in place of failing it, when this machine, not the server, was the"
        " limit of its run",
    )


@pytest.fixture
def latency_gate(pytestconfig: pytest.Config) -> Gate:
    """Puts load on a server, and fails the test unless it is answered as fast as is asked for.

    ``latency_gate(url, ["p99<20ms", "errors<0.1%"], baseline="tests/base.json", rate=500)``: see
    ``help(ftnet.gate.Gate)``.
    """
    from ftnet.gate import Gate

    return Gate(
        pytestconfig.rootpath,
        update=pytestconfig.getoption("latency_gate_update"),
        skip_invalid=pytestconfig.getoption("latency_gate_skip_invalid"),
    )


@pytest.fixture
def load_benchmark(latency_gate: Gate, benchmark: Any) -> Bench:
    """The same, as a benchmark of pytest-benchmark: its rounds are the response times.

    ``load_benchmark(url, rate=500)``: see ``help(ftnet.gate.Bench)``.
    """
    from ftnet.gate import Bench

    return Bench(latency_gate, benchmark)
