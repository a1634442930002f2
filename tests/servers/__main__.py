"""Run one behaviour in a process of its own: `python -m tests.servers NAME`.

Prints the URL on the first line and serves until standard input is closed. For tests that must
not share the interpreter with the server, and for a look at a behaviour with curl.
"""

from __future__ import annotations

import sys

from .awkward import AwkwardServer
from .behaviours import BEHAVIOURS


def main() -> int:
    if len(sys.argv) != 2 or sys.argv[1] not in BEHAVIOURS:
        print("one of:", *sorted(BEHAVIOURS), sep="\n  ", file=sys.stderr)
        return 2
    with AwkwardServer(BEHAVIOURS[sys.argv[1]]) as server:
        print(server.url, flush=True)
        sys.stdin.read()
    return 0


if __name__ == "__main__":
    sys.exit(main())
