"""A second reader of WebSocket streams, to compare the kernel with: simple, for whole input."""

from __future__ import annotations

from tests.ws_streams import BINARY, CLOSE, CONTINUE, PING, PONG, RSV1, TEXT, Stream

#: ("data", opcode, first, compressed, frame_end, message_end, payload of the frame's pieces),
#: ("ping" or "pong", payload), ("close", code, reason), ("bad", code)
Event = tuple[object, ...]

LOCAL_ONLY = {1004, 1005, 1006}


class Bad(Exception):
    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


def must(holds: bool, code: int = 1002) -> None:
    if not holds:
        raise Bad(code)


def first_bad_byte(data: bytes) -> int | None:
    """Where it is certain that the data isn't UTF-8, whatever follows; None: it may still be."""
    try:
        data.decode()
    except UnicodeDecodeError as e:
        if e.reason == "unexpected end of data":
            return None
        return e.start if e.reason == "invalid start byte" else e.end
    return None


def is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


class Reference:
    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.rest = stream.data
        self.events: list[Event] = []
        self.opcode = 0  # of the open message
        self.compressed = self.told = False
        self.message = b""
        self.size = 0

    def read(self) -> list[Event]:
        try:
            while self.rest and self._frame():
                pass
        except Bad as bad:
            self.events.append(("bad", bad.code))
        return self.events

    def _take(self, count: int) -> bytes | None:
        if len(self.rest) < count:
            return None
        taken, self.rest = self.rest[:count], self.rest[count:]
        return taken

    def _frame(self) -> bool:
        """One frame; whether another may follow."""
        first = self.rest[0]
        fin, rsv, opcode = first >= 0x80, first & 0x70, first & 0x0F
        control = opcode >= CLOSE
        must(opcode in (CONTINUE, TEXT, BINARY, CLOSE, PING, PONG))
        must(not rsv or (rsv == RSV1 and self.stream.deflate and opcode in (TEXT, BINARY)))
        must(fin or not control)
        must(control or bool(self.opcode) == (opcode == CONTINUE))
        if len(self.rest) < 2:
            return False
        must(self.rest[1] < 0x80)
        must(not control or self.rest[1] <= 125)
        header = self._take(2)
        if header is None or (length := self._length(header[1])) is None:
            return False
        if control:
            payload = self._take(length)
            return payload is not None and self._control(opcode, payload)
        if opcode != CONTINUE:
            self.opcode, self.compressed, self.told = opcode, rsv == RSV1, False
            self.message, self.size = b"", 0
        return self._data(fin, length)

    def _length(self, length: int) -> int | None:
        size, least = {126: (2, 126), 127: (8, 65536)}.get(length, (0, 0))
        if not size:
            return length
        extended = self._take(size)
        if extended is None:
            return None
        length = int.from_bytes(extended, "big")
        must(least <= length < 2**63)
        return length

    def _control(self, opcode: int, payload: bytes) -> bool:
        if opcode != CLOSE:
            self.events.append(("ping" if opcode == PING else "pong", payload))
            return True
        code = int.from_bytes(payload[:2], "big") if payload else 1005
        if payload:
            must(len(payload) >= 2)
            must(1000 <= code < 1015 or 3000 <= code < 5000)
            must(code not in LOCAL_ONLY)
            must(is_utf8(payload[2:]), 1007)
        self.events.append(("close", code, payload[2:]))
        return False

    def _data(self, fin: bool, length: int) -> bool:
        self.size += length
        must(not self.stream.limit or self.size <= self.stream.limit, 1009)
        payload, self.rest = self.rest[:length], self.rest[length:]
        self.message += payload
        frame_end = len(payload) == length
        message_end = frame_end and fin
        if self.opcode == TEXT and not self.compressed:
            must(first_bad_byte(self.message) is None, 1007)
            must(not message_end or is_utf8(self.message), 1007)
        tells = payload or (frame_end and (message_end or not self.told))
        if tells:
            kind = ("data", self.opcode, not self.told, self.compressed)
            self.events.append((*kind, frame_end, message_end, payload))
            self.told = True
        if message_end:
            self.opcode = 0
        return frame_end


def read(stream: Stream) -> list[Event]:
    """What a stream says, as events."""
    return Reference(stream).read()
