"""Carries out ``ftnet udp``: lines go out as datagrams, what comes goes to a person or a pipe."""

from __future__ import annotations

import asyncio
import base64
import errno
import sys
import time
from typing import TYPE_CHECKING, Any, Protocol

import ftnet as ft
from ftnet import cli
from ftnet.cli_request import checked, print_json
from ftnet.cli_streams import MANY, Talk, text_or_base64
from ftnet.cli_ws_screen import Screen, has_person, hex_dump, hex_rows, milliseconds, text_rows
from ftnet.errors import FtError
from ftnet.results import to_dict
from ftnet.terminal import DIM, GREEN, RED, YELLOW, Style, paint

if TYPE_CHECKING:
    import argparse

_QUIET = 1.0  # seconds: the default of --wait
_NOT_BOUND = 45  # as curl(1) names it


def run(args: argparse.Namespace) -> int:
    """Holds the conversation that ``args`` describes and returns the exit code.

    Raises `ftnet.cli.CommandError` for what ends the command with a message.
    """
    exchange = Exchange(args, outlet_for(args))
    with exchange.keystrokes():
        asyncio.run(exchange.hold())
    return exchange.report()


def told_place(end: Any) -> str:
    """``address:port``, an IPv6 address in brackets."""
    return f"[{end.address}]:{end.port}" if ":" in end.address else f"{end.address}:{end.port}"


# ---- who is told


class Outlet(Protocol):
    """Shows what happens on a socket."""

    interactive: bool  #: a person reads it and types

    def listening(self, host: str, local: Any) -> None: ...

    def datagram(self, event: Any, after: float) -> None: ...

    def failed(self, error: FtError) -> None: ...

    def closed(self) -> None: ...


def outlet_for(args: argparse.Namespace) -> Outlet:
    """A screen where a person sits at both ends, else lines of datagrams or of JSON."""
    if args.json:
        return Events()
    if has_person():
        return UdpScreen(sys.stdout, sys.stdin.fileno(), in_hex=args.hex)
    return Lines(in_hex=args.hex, raw=args.binary)


class Lines:
    """Datagrams to stdout, one a line; with ``raw`` as they are, with ``in_hex`` in hexadecimal."""

    interactive = False

    def __init__(self, *, in_hex: bool, raw: bool) -> None:
        self._hex = in_hex
        self._raw = raw
        self._noted = False

    def listening(self, host: str, local: Any) -> None:
        """The socket is bound."""

    def datagram(self, event: Any, after: float) -> None:
        """A datagram has come."""
        data, out = bytes(event.message), sys.stdout.buffer
        if self._raw:
            out.write(data)
        elif self._hex:
            head = f"{told_place(event.remoteInfo)} {len(data)} bytes"
            out.write("".join(f"{row}\n" for row in (head, *hex_dump(data, 0))).encode())
        else:
            out.write(self._line(data) + b"\n")
        out.flush()

    def _line(self, data: bytes) -> bytes:
        try:
            data.decode()
        except UnicodeDecodeError:
            if not self._noted:
                self._noted = True
                cli.say("ftnet: what is no text is shown as base64; --binary writes it as it is")
            return base64.b64encode(data)
        return data

    def failed(self, error: FtError) -> None:
        """It went wrong; the command says so at its end."""

    def closed(self) -> None:
        """The socket is closed."""


class Events:
    """One JSON object a line for each event."""

    interactive = False

    def listening(self, host: str, local: Any) -> None:
        """The socket is bound."""
        print_json({"event": "listening", "localInfo": to_dict(local)})

    def datagram(self, event: Any, after: float) -> None:
        """A datagram has come."""
        document: dict[str, Any] = {"event": "message", "time": time.time() * 1000}
        document |= text_or_base64("message", bytes(event.message))
        ends = {name: to_dict(getattr(event, name)) for name in ("remoteInfo", "localInfo")}
        print_json(document | ends)

    def failed(self, error: FtError) -> None:
        """It went wrong."""
        print_json({"event": "error", **to_dict(error)})

    def closed(self) -> None:
        """The socket is closed."""
        print_json({"event": "close"})


class UdpScreen(Screen):
    """What a person sees: datagrams with who sent them and how long that took."""

    def __init__(self, stream: Any, keys: int, *, in_hex: bool) -> None:
        super().__init__(stream, keys)
        self._hex = in_hex

    def listening(self, host: str, local: Any) -> None:
        """The socket is bound."""
        style = Style.of(self._stream)
        self.begin_typing()
        said = f"{host} from port {local.port} - each line is a datagram, Ctrl-D ends"
        self._say([paint(said, DIM, style)])

    def datagram(self, event: Any, after: float) -> None:
        """A datagram has come, `after` so many ms from the last one sent; 0: none was."""
        raw, style = bytes(event.message), Style.of(self._stream)
        try:
            text = None if self._hex else raw.decode()
        except UnicodeDecodeError:
            text = None
        head = told_place(event.remoteInfo)
        head += f" after {milliseconds(after).strip()}" if after else ""
        rows = hex_rows(raw, len(raw), style.width) if text is None else text_rows(text)
        self._show("←", "<-", GREEN, len(raw), [paint(head, DIM, style), *rows])

    def sent(self, text: str, size: int) -> None:
        """A line was sent."""
        if self.live:
            self._show("→", "->", YELLOW, size, text_rows(text))

    def failed(self, error: FtError) -> None:
        """It went wrong; the socket goes on."""
        style = Style.of(self._stream)
        self._say([f"{self._time(style)} {paint(error.errMsg, RED, style)}"])

    def closed(self) -> None:  # type: ignore[override]
        """The socket is closed."""
        self.end_typing()


# ---- the exchange


class Exchange(Talk):
    """Datagrams out and in, until it is over."""

    def __init__(self, args: argparse.Namespace, outlet: Outlet) -> None:
        super().__init__(args, outlet)
        self._left = args.count  # datagrams still to come; None: any number
        self._bound = True
        self._sent_at = 0.0

    async def hold(self) -> None:
        """Sends and receives until it is over; `report` tells of it."""
        args = self._args
        if self._screen is not None:
            self._screen.follow_signals()
        with checked(ft.Client, **({"resolve": dict(args.resolve)} if args.resolve else {})) as it:
            self._socket = it.createUDPSocket(type=args.type)
            self._socket.onError(self._failed)
            self._bound = self._socket.bind(args.bind) > 0
            await self._talk()
            self._socket.close()
            await self._socket.closed()
        self._show(self._outlet.closed)

    async def _talk(self) -> None:
        args = self._args
        if not self._bound:
            return
        if args.ttl is not None:
            self._socket.setTTL(args.ttl)
        if not (args.any or args.broadcast):
            self._socket.connect(address=args.host, port=args.port)
        self._show(self._outlet.listening, f"{args.host}:{args.port}", self._socket.localInfo)
        sending = asyncio.ensure_future(self._send())
        if self._screen is None:
            self._watch_output()
        try:
            async for event in self._socket:
                self._receive(event)
        finally:
            sending.cancel()

    def _receive(self, event: Any) -> None:
        now = asyncio.get_running_loop().time()
        self._heard_at = now
        if self._left == 0:
            return
        after = (now - self._sent_at) * 1000 if self._sent_at else 0.0
        self._show(self._outlet.datagram, event, after)
        if self._left is not None:
            self._left -= 1
            if self._left == 0:
                self._socket.close()

    def _failed(self, error: FtError) -> None:
        """A person sees it and goes on; a pipe has nobody who would."""
        self._show(self._outlet.failed, error)
        if not self._outlet.interactive and self._error is None:
            self._error = error
            self._socket.close()

    async def _send(self) -> None:
        """Sends what comes from stdin; what that meets ends it all."""
        try:
            if self._screen is not None and self._screen.live:
                await self._typed(self._screen)
            else:
                await self._piped()
                await self._wait_for_quiet(_QUIET if self._args.wait is None else self._args.wait)
            self._socket.close()
        except Exception as error:
            self._give_up(error)

    async def _piped(self) -> None:
        if self._source is not None:
            async for line in self._source.lines():
                await self._send_one(line)

    async def _typed(self, screen: Screen) -> None:
        assert self._source is not None
        while piece := await self._source.read():
            for line in screen.typed(piece):
                if line is None:
                    return
                data = line.encode()
                await self._send_one(data)
                screen.sent(line, len(data))

    async def _send_one(self, data: bytes) -> None:
        args = self._args
        if self._socket.bufferedAmount >= MANY:
            await self._socket.drained()
        where = {"address": args.host, "port": args.port}
        self._socket.write(message=data, setBroadcast=args.broadcast, **where)
        self._sent_at = asyncio.get_running_loop().time()

    def _stop(self) -> None:
        self._socket.close()

    def report(self) -> int:
        """Raises what ended it; else 0."""
        self._raise_met()
        if (error := self._error) is not None:
            raise cli.CommandError(self._code(error), error.errMsg)
        if self._left and not self._outlet.interactive:
            came = self._args.count - self._left
            said = f"{came} of {self._args.count} datagrams came in time"
            raise cli.CommandError(cli.TIMED_OUT, said)
        return 0

    def _code(self, error: FtError) -> int:
        if not self._bound:
            return _NOT_BOUND
        if error.errNum in (errno.EMSGSIZE, errno.EACCES, errno.EPERM, errno.ECANCELED):
            return cli.NOT_SENT
        if error.errCode in (ft.Errno.SOCKET_ADDRESS, ft.Errno.SOCKET_PORT):
            return cli.exit_code(error) if error.errno == ft.Errno.DNS else cli.USAGE
        return cli.exit_code(error)
