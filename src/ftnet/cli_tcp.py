"""Carries out ``ftnet tcp``: stdin goes to the peer, what the peer sends to a person or a pipe."""

from __future__ import annotations

import asyncio
import sys
import time
from typing import TYPE_CHECKING, Any, Protocol

import ftnet as ft
from ftnet import cli
from ftnet.cli_request import checked, print_json
from ftnet.cli_streams import MANY, Talk, text_or_base64
from ftnet.cli_ws_screen import Screen, has_person, hex_dump, text_rows
from ftnet.errors import Errno, FtError, socket_error
from ftnet.results import to_dict
from ftnet.terminal import DIM, GREEN, RED, YELLOW, Style, paint
from ftnet.waterfall import joined

if TYPE_CHECKING:
    import argparse


def run(args: argparse.Namespace) -> int:
    """Holds the conversation that ``args`` describes and returns the exit code.

    Raises `ftnet.cli.CommandError` for what ends the command with a message.
    """
    conversation = Conversation(args, outlet_for(args))
    try:
        settings = cli.client_settings(args)
        with conversation.interrupts(), conversation.keystrokes():
            asyncio.run(conversation.hold(settings))
    except cli.CommandError as error:
        if args.json:
            refused = socket_error("TCPSocket", Errno.SOCKET_SYSTEM, error.message)
            print_json({"event": "error", **to_dict(refused)})
        raise
    return conversation.report()


def told_connection(event: Any, tls: bool) -> list[str]:
    """Where to, and what that took."""
    profile = event.profile
    address = f"[{profile.peerIP}]" if ":" in profile.peerIP else profile.peerIP
    spans = {
        "DNS": profile.domainLookUpEnd - profile.domainLookUpStart,
        "TCP": profile.connectEnd - profile.connectStart,
    }
    if tls:
        spans["TLS"] = profile.SSLconnectionEnd - profile.SSLconnectionStart
    parts = ", ".join(f"{name} {ms:.3g}" for name, ms in spans.items())
    return [f"connected to {address}:{profile.port} in {profile.cost:.3g} ms ({parts})"]


# ---- who is told


class Outlet(Protocol):
    """Shows what happens on a socket."""

    interactive: bool  #: a person reads it and types

    def connecting(self, host: str) -> None: ...

    def opened(self, event: Any, tls: bool) -> None: ...

    def message(self, data: Any) -> None: ...

    def ended(self) -> None: ...

    def failed(self, error: FtError) -> None: ...

    def closed(self, event: Any, by_us: bool, fine: bool) -> None: ...


def outlet_for(args: argparse.Namespace) -> Outlet:
    """A screen where a person sits at both ends, else bytes or lines of JSON."""
    if args.json:
        return Events()
    if has_person():
        return TcpScreen(sys.stdout, sys.stdin.fileno(), in_hex=args.hex)
    return Bytes(in_hex=args.hex, verbose=args.verbose)


class Bytes:
    """What comes to stdout, as it is or in hexadecimal; the rest, when it is asked for, to
    stderr."""

    interactive = False

    def __init__(self, *, in_hex: bool, verbose: bool) -> None:
        self._hex = in_hex
        self._verbose = verbose
        self._seen = 0

    def connecting(self, host: str) -> None:
        """The socket is being connected."""

    def opened(self, event: Any, tls: bool) -> None:
        """The socket is connected."""
        if self._verbose:
            cli.say(f"ftnet: {told_connection(event, tls)[0]}")

    def message(self, data: Any) -> None:
        """Bytes have come."""
        out = sys.stdout.buffer
        if self._hex:
            rows = hex_dump(bytes(data), self._seen)
            out.write("".join(f"{row}\n" for row in rows).encode())
            self._seen += len(data)
        else:
            out.write(data)
        out.flush()

    def ended(self) -> None:
        """The peer sends no more."""
        if self._verbose:
            cli.say("ftnet: the peer has ended the connection")

    def failed(self, error: FtError) -> None:
        """It went wrong; the command says so at its end."""

    def closed(self, event: Any, by_us: bool, fine: bool) -> None:
        """The socket is closed."""


class Events:
    """One JSON object a line for each event."""

    interactive = False

    def connecting(self, host: str) -> None:
        """The socket is being connected."""

    def opened(self, event: Any, tls: bool) -> None:
        """The socket is connected."""
        print_json({"event": "connect", **to_dict(event)})

    def message(self, data: Any) -> None:
        """Bytes have come."""
        document: dict[str, Any] = {"event": "message", "time": time.time() * 1000}
        print_json(document | text_or_base64("data", bytes(data)))

    def ended(self) -> None:
        """The peer sends no more."""
        print_json({"event": "end"})

    def failed(self, error: FtError) -> None:
        """It went wrong."""
        print_json({"event": "error", **to_dict(error)})

    def closed(self, event: Any, by_us: bool, fine: bool) -> None:
        """The socket is closed."""
        print_json({"event": "close"})


class TcpScreen(Screen):
    """What a person sees: bytes as text where they are, else in hexadecimal."""

    def __init__(self, stream: Any, keys: int, *, in_hex: bool) -> None:
        super().__init__(stream, keys)
        self._hex = in_hex

    def opened(self, event: Any, tls: bool) -> None:
        """The socket is connected: where to, and how fast."""
        style = Style.of(self._stream)
        facts = [*told_connection(event, tls), "TLS" if tls else "plain", "Ctrl-D ends"]
        self.begin_typing()
        self._say([paint(line, DIM, style) for line in joined(facts, style)])

    def message(self, data: Any) -> None:
        """Bytes have come."""
        raw = bytes(data)
        try:
            text = None if self._hex else raw.decode()
        except UnicodeDecodeError:
            text = None
        if text is None:
            self._show("←", "<-", GREEN, len(raw), ["", *hex_dump(raw, 0)])
        else:
            self._show("←", "<-", GREEN, len(raw), text_rows(text.removesuffix("\n")))

    def sent(self, text: str, size: int) -> None:
        """A line was sent, with its end."""
        if self.live:
            rows = ["", *hex_dump(text.encode() + b"\n", 0)] if self._hex else text_rows(text)
            self._show("→", "->", YELLOW, size, rows)

    def ended(self) -> None:
        """The peer sends no more."""

    def closed(self, event: Any, by_us: bool, fine: bool) -> None:
        """The socket is closed."""
        self.end_typing()
        style = Style.of(self._stream)
        said = "closed" if by_us else "closed by the peer"
        self._say([f"{self._time(style)} {paint(said, '' if fine else RED, style)}"])


# ---- the conversation


class Conversation(Talk):
    """One connection, from its first attempt to its end."""

    def __init__(self, args: argparse.Namespace, outlet: Outlet) -> None:
        super().__init__(args, outlet)
        self._sent_all = False  # stdin is at its end, and everything is on its way
        self._unsent = False  # something of it came too late
        self._sending: Any = None

    async def hold(self, settings: dict[str, Any]) -> None:
        """Connects and talks until it is over; `report` tells of it."""
        args = self._args
        self._loop = asyncio.get_running_loop()
        if self._screen is not None:
            self._screen.follow_signals()
        with checked(ft.Client, **settings) as client:
            self._socket = client.createTCPSocket(type=args.type)
            self._socket.onEnd(lambda _: self._show(self._outlet.ended))
            checked(self._socket.connect, **self._options())
            self._outlet.connecting(f"{args.host}:{args.port}")
            try:
                await self._talk()
            except FtError as error:
                self._error = error
                self._show(self._outlet.failed, error)
            finally:
                self._socket.abort()

    def _options(self) -> dict[str, Any]:
        args = self._args
        return {
            "address": args.host,
            "port": args.port,
            "timeout": args.timeout,
            "tls": args.tls,
            "serverName": args.server_name,
            "keepAlive": args.keepalive,
            "localAddress": args.source,
            "localPort": args.source_port,
        }

    async def _talk(self) -> None:
        event = await self._socket.connected()
        self._opened = True
        self._show(self._outlet.opened, event, self._args.tls)
        self._sending = asyncio.ensure_future(self._send())
        if self._screen is None:
            self._watch_output()
        try:
            async for data in self._socket:
                self._heard_at = asyncio.get_running_loop().time()
                self._show(self._outlet.message, data)
            end = await self._socket.closed()
        finally:
            self._sending.cancel()
        if end.error is not None and self._met is None:
            raise end.error
        self._show(self._outlet.closed, end, self._leaving, True)

    async def _send(self) -> None:
        """Sends what comes from stdin; what that meets ends the connection."""
        try:
            if self._screen is not None and self._screen.live:
                await self._typed(self._screen)
            else:
                await self._piped()
            if self._unsent:
                return
            self._sent_all = True
            self._socket.end()
            if self._args.wait is not None:
                await self._wait_for_quiet(self._args.wait)
                self._leaving = True
                self._socket.close()
        except Exception as error:
            self._give_up(error)

    async def _piped(self) -> None:
        while self._source is not None and (piece := await self._source.read()):
            if self._socket.ending:
                self._unsent = True
                return
            self._socket.write(piece)
            if self._socket.bufferedAmount >= MANY:
                await self._socket.drained()

    async def _typed(self, screen: Screen) -> None:
        assert self._source is not None
        while piece := await self._source.read():
            for line in screen.typed(piece):
                if line is None:
                    screen.leaving()
                    self._leaving = True
                    return
                data = line.encode() + b"\n"
                self._socket.write(data)
                screen.sent(line, len(data))

    def _leave(self) -> None:
        """Closes the socket behind what was typed; nothing is sent any more."""
        self._leaving = True
        self._sending.cancel()
        self._outlet.leaving()
        self._socket.close()

    def _stop(self) -> None:
        self._socket.abort()

    def report(self) -> int:
        """Raises what ended it; else 0."""
        self._raise_met()
        if (error := self._error) is not None:
            raise cli.CommandError(cli.exit_code(error), error.errMsg)
        more = self._source is not None and self._source.has_more()
        if (self._unsent or (more and not self._sent_all)) and not self._outlet.interactive:
            raise cli.CommandError(cli.NOT_SENT, "the peer closed before all was sent")
        return 0
