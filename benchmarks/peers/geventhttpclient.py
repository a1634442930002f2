"""geventhttpclient, the fast client of Locust."""

from __future__ import annotations

from benchmarks.peers import Case, Sample, Stopwatch, lacks, numbered, version_of


def run(url: str, concurrency: int, total: int) -> Sample:
    import gevent.monkey

    gevent.monkey.patch_all()
    import gevent
    from geventhttpclient import URL, HTTPClient

    parsed = URL(url)
    client = HTTPClient.from_url(parsed, concurrency=concurrency)

    watch = Stopwatch()
    left = numbered(concurrency, total, watch)

    def worker() -> None:
        for _ in left:
            client.get(parsed.request_uri).read()

    gevent.joinall([gevent.spawn(worker) for _ in range(concurrency)], raise_error=True)
    return watch.sample(total)


CASES = (
    Case(
        "geventhttpclient",
        "HTTPClient on gevent",
        run,
        56,
        lacks("geventhttpclient", "gevent"),
        version_of("geventhttpclient", "gevent"),
    ),
)
