"""What it costs to merge what the workers of a cluster tell: python -m benchmarks.merging

100 workers send what they have counted in a second. The bar: 5 histograms of each cost at most 5 %
of a core, decoding and all. "one URL" is what a worker has of one URL; "5 steps" is a plan's: the
same for each step, and for all. Times are log-normal around a millisecond: many slots have counts.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from statistics import median

from ftcore.tally import Tally
from ftnet.load.books import Books

WORKERS, SECONDS, LIMIT = 100, 5, 0.05
SPANS = ("total", "service", "ttfb", "send", "download")


def tally(requests: int, seed: int) -> Tally:
    """Of one second."""
    draw, made = random.Random(seed), Tally()
    made.add("completed", requests)
    for _ in range(requests):
        made.record("2xx", **{span: round(1e6 * draw.lognormvariate(0, 0.8)) for span in SPANS})
    return made


def books(steps: int, requests: int, seed: int) -> Books:
    """Of one second of one worker."""
    made = Books(tally(requests, seed))
    for step in range(steps):
        made.steps[f"step {step}"] = tally(requests // steps, seed * 10 + step)
    return made


def cpu_of(act: Callable[[], object]) -> float:
    """CPU seconds, median of some."""
    took = []
    for _ in range(SECONDS):
        before = time.process_time()
        act()
        took.append(time.process_time() - before)
    return median(took)


def main() -> None:
    print(f"{'of each worker':<34}{'blob':>10}{'histograms':>12}{'a core':>9}{'a histogram':>14}")
    for requests in (100, 1_000, 5_000):
        for name, steps in (("one URL", 0), ("5 steps", 5)):
            blobs = [books(steps, requests, seed).to_bytes() for seed in range(WORKERS)]
            total = Books()

            def merge(blobs: list[bytes] = blobs, total: Books = total) -> None:
                for blob in blobs:
                    total.merge_bytes(blob)

            merge()  # memory is there from the first second on
            used, count = cpu_of(merge), WORKERS * len(SPANS) * (1 + steps)
            told = f"{name}, {requests:,} requests/s"
            size = sum(map(len, blobs)) / WORKERS
            print(
                f"{told:<34}{size:>8,.0f} B{count:>12,}{used:>9.2%}{used / count * 1e6:>11.1f} us"
            )
            if steps == 0 and used > LIMIT:
                raise SystemExit(f"above the bar of {LIMIT:.0%}")


if __name__ == "__main__":
    main()
