"""wrk with one thread: C, and nothing but HTTP/1.1. Its CPU time is taken when it has ended."""

from __future__ import annotations

import re
import resource
import shutil
import subprocess
import time

from benchmarks.peers import Case, Sample, cpu_seconds


def run(url: str, concurrency: int, total: int) -> Sample:
    seconds = max(1, round(total * CASES[0].cost / 1e6))
    cpu, start = cpu_seconds(resource.RUSAGE_CHILDREN), time.perf_counter()
    command = ["wrk", "-t1", f"-c{concurrency}", f"-d{seconds}s", url]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    took = time.perf_counter() - start
    used = cpu_seconds(resource.RUSAGE_CHILDREN) - cpu
    found = re.search(r"(\d+) requests in", text)
    if found is None or "Socket errors" in text or "Non-2xx" in text:
        raise RuntimeError(text)
    return Sample(int(found[1]), took, used)


def _missing() -> str:
    return "" if shutil.which("wrk") else "not installed: wrk"


def _version() -> str:
    text = subprocess.run(["wrk", "-v"], capture_output=True, text=True, check=False).stdout
    return " ".join(text.split()[:2])


CASES = (Case("wrk", "C, one thread", run, 8, _missing, _version),)
