"""Runs one case in this process, alone on the client's processor, and prints its sample as JSON."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict

from benchmarks import peers
from benchmarks.servers import cores


def main() -> int:
    file, index, url, concurrency, total = sys.argv[1:]
    core = cores()[0]
    if core is not None:
        os.sched_setaffinity(0, {core})
    case = peers.load(file)[int(index)]
    sample = case.run(url, int(concurrency), int(total))
    print(json.dumps(asdict(sample)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
