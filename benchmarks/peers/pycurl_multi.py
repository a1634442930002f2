"""pycurl's CurlMulti in a loop tuned by hand, the yardstick: handles reused, nothing decoded."""

from __future__ import annotations

from typing import Any

from benchmarks.peers import Case, Sample, Stopwatch, lacks, version_of


def _handle(url: str) -> Any:
    import pycurl

    handle = pycurl.Curl()
    handle.setopt(pycurl.URL, url)
    handle.buffer = []
    handle.setopt(pycurl.WRITEFUNCTION, handle.buffer.append)
    return handle


def _drive(multi: Any, handles: list[Any], total: int) -> None:
    import pycurl

    times = (
        pycurl.NAMELOOKUP_TIME,
        pycurl.CONNECT_TIME,
        pycurl.APPCONNECT_TIME,
        pycurl.PRETRANSFER_TIME,
        pycurl.STARTTRANSFER_TIME,
        pycurl.TOTAL_TIME,
    )
    done = started = 0
    for handle in handles[:total]:
        multi.add_handle(handle)
        started += 1
    while done < total:
        multi.perform()
        while True:
            queued, succeeded, failed = multi.info_read()
            for handle in succeeded:
                handle.getinfo(pycurl.RESPONSE_CODE)
                b"".join(handle.buffer)
                handle.buffer.clear()
                for name in times:
                    handle.getinfo(name)
                multi.remove_handle(handle)
                done += 1
                if started < total:
                    multi.add_handle(handle)
                    started += 1
            if failed:
                raise RuntimeError(failed)
            if queued == 0:
                break
        multi.poll(1000) if hasattr(multi, "poll") else multi.select(1.0)


def run(url: str, concurrency: int, total: int) -> Sample:
    import pycurl

    multi = pycurl.CurlMulti()
    multi.setopt(pycurl.M_MAXCONNECTS, concurrency * 2)
    handles = [_handle(url) for _ in range(concurrency)]
    _drive(multi, handles, concurrency)
    watch = Stopwatch()
    watch.start()
    _drive(multi, handles, total)
    return watch.sample(total)


CASES = (Case("pycurl", "CurlMulti, tuned loop", run, 17, lacks("pycurl"), version_of("pycurl")),)
