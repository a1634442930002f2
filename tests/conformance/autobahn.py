"""The Autobahn|Testsuite's fuzzing server, ftnet as its client, and what comes of it.

    python -m tests.conformance.autobahn SUITE [CASE ...]

SUITE is the folder that ``ci/autobahn --prepare`` makes; CASE as in ``1.*`` or ``2.10``, without
any all of them. Exits with 1 when a case failed.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.conformance import echo_client
from tests.servers.program import Program, free_ports, started

#: Seconds for one case, a little more than the suite gives any.
LIMIT = 500.0
#: It may end so; UNIMPLEMENTED, WRONG CODE, UNCLEAN, FAILED BY CLIENT ... are failures.
GOOD = {"OK", "INFORMATIONAL", "NON-STRICT"}
#: It gives a client a second for most things, but so long a machine may stall: ten are better.
BEGIN = """
import site, sys
site.addsitedir(sys.argv.pop(1))
import txaio
txaio.use_twisted()
from autobahntestsuite.fuzzing import FuzzingProtocol
from autobahntestsuite.wstest import run

def longer(limit):
    return lambda protocol, seconds: limit(protocol, 10 * seconds)

for name in ("killAfter", "closeAfter"):
    setattr(FuzzingProtocol, name, longer(getattr(FuzzingProtocol, name).__func__))
run()
"""


class FuzzingServer:
    """The server; its log and its reports are in `directory`."""

    def __init__(self, suite: Path, directory: Path, cases: Sequence[str]) -> None:
        (port,) = free_ports(1)
        self.directory = directory
        self.url = f"ws://127.0.0.1:{port}"
        wanted = {
            "url": self.url,
            "outdir": "reports",
            "options": {"closeHandshakeTimeout": 10},
            "cases": list(cases),
            "exclude-cases": [],
            "exclude-agent-cases": {},
        }
        (directory / "wanted.json").write_text(json.dumps(wanted))
        command = [str(suite / "python"), "-E", "-S", "-W", "ignore", "-c", BEGIN]
        command += [str(suite / "packages"), "-m", "fuzzingserver", "-s", "wanted.json", "-u", "0"]
        self.program = Program(command, directory, [port])

    def outcomes(self) -> list[Outcome]:
        """What its reports say, in the order of the cases."""
        index = json.loads((self.directory / "reports" / "index.json").read_text())
        told = [
            Outcome(name, case["behavior"], case["behaviorClose"], self._reason(case["reportfile"]))
            for name, case in index[echo_client.AGENT].items()
        ]
        return sorted(told, key=lambda one: [int(part) for part in one.name.split(".")])

    def _reason(self, report: str) -> str:
        case = json.loads((self.directory / "reports" / report).read_text())
        return f"{case['result']} {case['resultClose']}"


@dataclass(frozen=True)
class Outcome:
    """Of one case: how it went, how the connection was closed."""

    name: str
    behavior: str
    close: str
    reason: str

    @property
    def good(self) -> bool:
        return self.behavior in GOOD and self.close in GOOD

    @property
    def kind(self) -> str:
        if self.close in ("OK", self.behavior):
            return self.behavior
        return f"{self.behavior}, closed {self.close}"


def run(suite: Path, directory: Path, cases: Sequence[str], limit: float = LIMIT) -> list[Outcome]:
    """Runs these cases; what is written on the way is in `directory`."""
    with started(lambda: FuzzingServer(suite, directory, cases)) as server:
        count = asyncio.run(echo_client.run(server.url, limit))
        server.program.check_alive()
        outcomes = server.outcomes()
    assert len(outcomes) == count, f"{len(outcomes)} of {count} are in the reports"
    return outcomes


def main(suite: str, *cases: str) -> int:
    begin = time.monotonic()
    with tempfile.TemporaryDirectory() as directory:
        outcomes = run(Path(suite), Path(directory), cases or ["*"])
    for outcome in outcomes:
        if outcome.kind != "OK":
            print(f"{outcome.name}: {outcome.kind}: {outcome.reason}")
    counts = Counter(outcome.kind for outcome in outcomes)
    told = ", ".join(f"{count} {kind}" for kind, count in counts.most_common())
    print(f"{len(outcomes)} cases in {time.monotonic() - begin:.0f} s: {told}")
    return 0 if outcomes and all(outcome.good for outcome in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
