"""What ``--har`` of the `ftnet` command keeps of a request, and writes when it has ended."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from ftnet import cli
from ftnet.export import Exchange, to_har
from ftnet.sink import Sink

if TYPE_CHECKING:
    from typing_extensions import Buffer

_KEPT = 64 << 20  # bytes of a body; of a longer one the file has the length alone


class Archive:
    """The HAR file of one request, which `end` writes, complete or not at all.

    ``options`` are those of the request; ``keeps_body`` says whether its chunks are kept.
    """

    def __init__(self, path: str, sink: Sink, options: dict[str, Any], *, keeps_body: bool) -> None:
        self._path = path
        self._sink = sink
        self._options = options
        self._body = bytearray() if keeps_body else None
        self._length = 0
        self.head: Any = None  #: what `onHeadersReceived` got

    def take(self, chunk: Buffer) -> None:
        """The next bytes of a body that comes in chunks."""
        with memoryview(chunk) as view:
            self._length += view.nbytes
            if self._length > _KEPT:
                self._body = None
            if self._body is not None:
                self._body += view

    def end(self, outcome: Any) -> None:
        """Writes the file; without an outcome (None) there is nothing to write.

        CommandError when it can't be written.
        """
        try:
            if outcome is None:
                self._sink.discard()
                return
            self._sink.write(self._document(outcome))
            self._sink.finish()
        except BrokenPipeError:
            raise
        except OSError as error:
            self._sink.discard()
            reason = f"can't write to {self._path}: {error.strerror}"
            raise cli.CommandError(cli.WRITE_ERROR, reason) from None

    def _document(self, outcome: Any) -> bytes:
        body: Any = None
        if self._options["enableChunked"]:
            body = self._length if self._body is None else self._body
        archive = to_har([Exchange(self._options, outcome, body, self.head)])
        return json.dumps(archive, indent=2).encode() + b"\n"
