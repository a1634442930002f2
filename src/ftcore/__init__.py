"""The compiled engine under ftnet: reactor, transfers, receive buffers, phases."""

from ftcore import buffers, decode, engine, multi, slot
from ftcore.buffers import Chunk

__all__ = ["Chunk", "counters"]


def counters() -> dict[str, int]:
    """How many objects of the engine are alive; all but pooled memory is counted.

    ``transfers`` are operations submitted and not over, ``slabs`` pieces of receive memory that
    somebody holds, ``handles`` and ``multis`` libcurl's.
    """
    chunks, slabs = buffers.alive()
    transfers, engines = engine.alive()
    return {
        "transfers": transfers,
        "slabs": slabs,
        "chunks": chunks,
        "decoders": decode.alive(),
        "engines": engines,
        "handles": slot.alive(),
        "multis": multi.alive(),
    }
