"""A process of ``ftnet load --local-workers``: python -m ftnet.load.worker_process ADDRESS NAME

It ends when its scheduler does. Ctrl-C is for the coordinator: it reaches the whole group of
processes, and a worker that ended with it could tell nothing more.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
import tempfile


async def _serve(address: str, name: str) -> None:
    from distributed import Worker

    with tempfile.TemporaryDirectory(prefix="ftnet-worker-") as folder:
        worker = await Worker(
            address, name=name, nthreads=1, memory_limit=0, local_directory=folder, dashboard=False
        )
        await worker.finished()


def main() -> None:
    """Until the scheduler is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    import distributed

    assert distributed  # it sets up its loggers when it is imported
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    asyncio.run(_serve(*sys.argv[1:]))


if __name__ == "__main__":
    main()
