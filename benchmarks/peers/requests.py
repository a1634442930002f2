"""requests with a Session, one request after the other: it has no other way."""

from __future__ import annotations

from benchmarks.peers import Case, Sample, Stopwatch, lacks, version_of


def run(url: str, concurrency: int, total: int) -> Sample:
    import requests

    if concurrency != 1:
        raise ValueError("requests is measured with one request at a time")
    session = requests.Session()
    session.get(url)
    watch = Stopwatch()
    watch.start()
    for _ in range(total):
        _ = session.get(url).content
    return watch.sample(total)


CASES = (Case("requests", "Session", run, 800, lacks("requests"), version_of("requests"), most=1),)
