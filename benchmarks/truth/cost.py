"""What a profile costs: CPU time per request with `enableProfile` and without, against nginx.

python -m benchmarks.truth.cost URL CA TOTAL   one round, as JSON: both, in turns
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.peers import cpu_seconds
from benchmarks.rounds import pin
from benchmarks.servers import Nginx
from ftnet.testing import certs

CONCURRENCY, TURNS = 64, 6
LIMIT = 120.0  # seconds for a round


class Loop:
    """Requests in a closed loop."""

    def __init__(self, client: Any, url: str) -> None:
        self._request, self._url = client.request, url
        self._again, self._failed = self._next, self._stop  # bound once
        self.errors: list[Exception] = []

    def run(self, total: int, profile: bool) -> float:
        """CPU µs per request."""
        import ftnet as ft

        self._left, self._profile = total, profile
        before = cpu_seconds(resource.RUSAGE_SELF)
        ft.run(lambda: [self._next() for _ in range(CONCURRENCY)])
        if self.errors:
            raise self.errors[0]
        return (cpu_seconds(resource.RUSAGE_SELF) - before) / total * 1e6

    def _next(self, _result: Any = None) -> None:
        if self._left:
            self._left -= 1
            self._request(
                url=self._url, enableProfile=self._profile, success=self._again, fail=self._failed
            )

    def _stop(self, error: Exception) -> None:
        self.errors.append(error)
        self._left = 0


def once(url: str, ca: str, total: int) -> dict[str, float]:
    """CPU µs per request with a profile and without, by turns in this process."""
    import ftnet as ft

    taken: dict[bool, list[float]] = {True: [], False: []}
    options = {"max_connections": CONCURRENCY, "max_connections_per_host": CONCURRENCY}
    with ft.Client(ca=ca, trust_env=False, http_version="1.1", **options) as client:
        loop = Loop(client, url)
        loop.run(20 * CONCURRENCY, True)
        for turn in range(TURNS):
            for profile in (turn % 2 == 0, turn % 2 == 1):
                taken[profile].append(loop.run(total // (2 * TURNS), profile))
    return {"on": median(taken[True]), "off": median(taken[False])}


def rounds(count: int, total: int) -> Iterator[str]:
    """Lines of a table, http and https: medians of `count` rounds of `total` requests."""
    yield "| | with a profile, CPU µs per request | without | ratio |"
    yield "|---|---:|---:|---:|"
    with tempfile.TemporaryDirectory(prefix="ftnet-truth-") as name:
        folder = Path(name)
        pair = certs.make(folder)
        both = folder / "both.pem"
        both.write_bytes(pair.chain.read_bytes() + pair.key.read_bytes())
        (folder / "tiny.txt").write_text("Hello, World!")
        folder.chmod(0o755)  # nginx's worker is another user
        with Nginx(folder, both) as nginx:
            taken: dict[str, list[dict[str, float]]] = {"http": [], "https": []}
            for _ in range(count):
                for kind, samples in taken.items():
                    base = nginx.base if kind == "http" else nginx.secure
                    samples.append(_child(f"{base}/tiny.txt", str(pair.ca), total))
    for kind, samples in taken.items():
        on, off = (median(one[which] for one in samples) for which in ("on", "off"))
        ratio = median(one["on"] / one["off"] for one in samples)
        yield f"| {kind}, c={CONCURRENCY} | {on:.2f} | {off:.2f} | {ratio:.3f} |"


def _child(url: str, ca: str, total: int) -> dict[str, float]:
    command = [sys.executable, "-m", __name__, url, ca, str(total)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=LIMIT)
    sample: dict[str, float] = json.loads(done.stdout)
    return sample


if __name__ == "__main__":
    pin(0)
    print(json.dumps(once(sys.argv[1], sys.argv[2], int(sys.argv[3]))))
