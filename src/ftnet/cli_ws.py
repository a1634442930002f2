"""Carries out ``ftnet ws``: lines go out as messages, messages come in for a person or a pipe."""

from __future__ import annotations

import asyncio
import base64
import re
import sys
import time
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

import ftnet as ft
from ftnet import cli
from ftnet.cli_request import checked, checked_url, grouped_headers, print_json, refusal
from ftnet.cli_streams import MANY, Talk
from ftnet.cli_ws_screen import Screen, has_person, told_close
from ftnet.errors import Errno, FtError
from ftnet.results import to_dict

if TYPE_CHECKING:
    import argparse

_CLEAN = (1000, 1001, 1005)
_CUT_OFF = 1006
_FAREWELL = 1.0  # seconds that the server has to answer a close that nobody waits for
_QUIET = 1.0  # seconds: the default of --wait
_PING = 10.0  # seconds: the default of --ping on a terminal

# What a failure that libcurl has no part in stands for, where its class does not tell.
_EXIT_BY_TEXT = (
    (re.compile(r"the server answered \d{3}\b"), cli.HTTP_ERROR),
    (re.compile(r"the server closed the connection without an answer"), cli.EMPTY_ANSWER),
)


def run(args: argparse.Namespace) -> int:
    """Holds the conversation that ``args`` describes and returns the exit code.

    Raises `ftnet.cli.CommandError` for what ends the command with a message.
    """
    session = Session(args, outlet_for(args))
    try:
        url = checked_url(args.url, ("ws", "wss"), "connectSocket")
        settings = cli.client_settings(args)
        if args.max_message is not None:
            settings["max_message_bytes"] = args.max_message
        session.hold(url, settings)
    except cli.CommandError as error:
        if args.json:
            print_json({"event": "error", **refusal("connectSocket", error.message)})
        raise
    return session.report()


def exit_code(error: FtError) -> int:
    """As `ftnet.cli.exit_code`, with the codes for what a server says instead of 101."""
    if error.cause is not None and not error.cause.code:
        for pattern, code in _EXIT_BY_TEXT:
            if pattern.match(error.cause.text):
                return code
    return cli.exit_code(error)


# ---- who is told


class Outlet(Protocol):
    """Shows what happens on a socket."""

    interactive: bool  #: a person reads it and types

    def connecting(self, host: str) -> None: ...

    def opened(self, event: Any, tls: bool) -> None: ...

    def message(self, data: Any) -> None: ...

    def sent(self, text: str, size: int) -> None: ...

    def leaving(self) -> None: ...

    def failed(self, error: FtError) -> None: ...

    def closed(self, event: Any, by_us: bool, fine: bool) -> None: ...


def outlet_for(args: argparse.Namespace) -> Outlet:
    """A screen where a person sits at both ends, else lines of messages or of JSON."""
    if args.json:
        return Events()
    if has_person():
        return Screen(sys.stdout, sys.stdin.fileno())
    return Lines(raw=args.binary)


class Silence:
    """An outlet that tells nothing."""

    interactive = False

    def connecting(self, host: str) -> None:
        """The socket is being opened."""

    def opened(self, event: Any, tls: bool) -> None:
        """The socket is open."""

    def sent(self, text: str, size: int) -> None:
        """A line was sent."""

    def leaving(self) -> None:
        """The socket is being closed; the answer is awaited."""

    def failed(self, error: FtError) -> None:
        """It went wrong."""

    def closed(self, event: Any, by_us: bool, fine: bool) -> None:
        """The socket is closed."""


class Lines(Silence):
    """Messages to stdout, one a line; with ``raw`` binary ones as they are."""

    def __init__(self, *, raw: bool) -> None:
        self._raw = raw
        self._noted = False

    def message(self, data: Any) -> None:
        """A message has come."""
        out = sys.stdout.buffer
        if isinstance(data, str):
            out.write(data.encode() + b"\n")
        elif self._raw:
            out.write(data)
        else:
            self._note()
            out.write(base64.b64encode(data) + b"\n")
        out.flush()

    def _note(self) -> None:
        if not self._noted:
            self._noted = True
            cli.say("ftnet: binary messages are shown as base64; --binary writes them as they are")


class Events(Silence):
    """One JSON object a line for each event."""

    def opened(self, event: Any, tls: bool) -> None:
        """The socket is open."""
        print_json({"event": "open", **to_dict(event)})

    def message(self, data: Any) -> None:
        """A message has come."""
        document = {"event": "message", "time": time.time() * 1000}
        if isinstance(data, str):
            document["data"] = data
        else:
            document |= {"data": base64.b64encode(data).decode(), "dataEncoding": "base64"}
        print_json(document)

    def failed(self, error: FtError) -> None:
        """It went wrong."""
        print_json({"event": "error", **to_dict(error)})

    def closed(self, event: Any, by_us: bool, fine: bool) -> None:
        """The socket is closed."""
        print_json({"event": "close", **to_dict(event)})


# ---- the conversation


class Session(Talk):
    """One socket, from its opening to its end."""

    def __init__(self, args: argparse.Namespace, outlet: Outlet) -> None:
        super().__init__(args, outlet)
        self._unsent = False
        self._left = args.count  # messages still to come; None: any number
        self._closed: Any = None

    def hold(self, url: str, settings: dict[str, Any]) -> None:
        """Opens the socket and talks until it is closed; `report` tells of it."""
        with self.interrupts(), self.keystrokes():
            asyncio.run(self._hold(url, settings))

    async def _hold(self, url: str, settings: dict[str, Any]) -> None:
        self._loop = asyncio.get_running_loop()
        if self._screen is not None:
            self._screen.follow_signals()
        with checked(ft.Client, **settings) as client:
            self._socket = checked(client.connectSocket, url=url, **self._options())
            self._outlet.connecting(urlsplit(url).netloc.rpartition("@")[2])
            try:
                await self._talk(tls=url.lower().startswith("wss:"))
            except FtError as error:
                self._error = error
            await self._tell_end()

    def _options(self) -> dict[str, Any]:
        args = self._args
        ping = args.ping if args.ping is not None else _PING * self._outlet.interactive
        options = {
            "header": grouped_headers(args.headers),
            "protocols": args.subprotocols,
            "perMessageDeflate": args.compress,
            "timeout": max(1, round(args.max_time * 1000)),
            "tcpNoDelay": True,
        }
        return options | ({"pingInterval": ping * 1000} if ping else {})

    async def _talk(self, tls: bool) -> None:
        event = await self._socket.opened()
        self._opened = True
        self._outlet.opened(event, tls)
        tasks = [asyncio.ensure_future(self._send())]
        if self._screen is not None:
            tasks.append(asyncio.ensure_future(self._watch_pings(self._screen)))
        else:
            self._watch_output()
        try:
            async for data in self._socket:
                self._receive(data)
        finally:
            for task in tasks:
                task.cancel()

    async def _tell_end(self) -> None:
        self._closed = await self._socket.closed()
        self._unsent = not self._leaving and (
            self._unsent
            or self._socket.bufferedAmount > 0
            or (self._source is not None and self._source.has_more())
        )
        cut_short = not self._opened or self._outlet.interactive
        if isinstance(self._met, OSError) or (self._interrupted and cut_short):
            return
        if isinstance(self._met, cli.CommandError):
            reason = f"connectSocket:fail {self._met.message}"
            self._outlet.failed(FtError(reason, Errno.ARGUMENT))
        elif self._error is not None:
            self._outlet.failed(self._error)
        if self._opened or not self._outlet.interactive:
            self._outlet.closed(self._closed, self._leaving, self._closed.code in _CLEAN)

    # ---- messages that come

    def _receive(self, data: Any) -> None:
        self._heard_at = self._loop.time()
        if self._left == 0 or self._met is not None:
            return
        self._show(self._outlet.message, data)
        if self._left is not None:
            self._left -= 1
            if self._left == 0:
                self._leave()

    # ---- messages that go

    async def _send(self) -> None:
        """Sends all lines; what that meets ends the socket."""
        try:
            if self._screen is not None and self._screen.live:
                await self._typed(self._screen)
            else:
                await self._piped()
        except Exception as error:
            self._give_up(error)

    async def _piped(self) -> None:
        """Lines of stdin, each a message; then the socket is closed when the server is quiet."""
        number = 0
        if self._source is not None:
            async for line in self._source.lines():
                number += 1
                if not await self._send_line(line, number):
                    return
        await self._leave_when_quiet()

    async def _send_line(self, line: bytes, number: int) -> bool:
        if self._args.binary:
            return await self._send_one(line)
        try:
            text = line.decode()
        except UnicodeDecodeError:
            reason = f"line {number} of stdin is not UTF-8: --binary sends it as it is"
            raise cli.CommandError(cli.READ_ERROR, reason) from None
        return await self._send_one(text)

    async def _typed(self, screen: Screen) -> None:
        """Lines that a person types; an empty one is none."""
        assert self._source is not None
        while piece := await self._source.read():
            for line in screen.typed(piece):
                if line is None:
                    self._leave()
                    return
                if not line:
                    continue
                data = line.encode()
                if await self._send_one(data if self._args.binary else line):
                    screen.sent(line, len(data))
        self._leave()

    async def _send_one(self, data: str | bytes) -> bool:
        """Sends a message when there is room for it; False when the socket is not open any more."""
        self._unsent = True
        if self._socket.bufferedAmount >= MANY:
            await self._socket.drained()
        if self._socket.readyState != self._socket.OPEN:
            return False
        self._socket.send(data=data)
        self._unsent = False
        return True

    async def _leave_when_quiet(self) -> None:
        wait = self._args.wait
        if wait is None and self._left is not None:
            return
        if wait is None:
            wait = 0.0 if sys.stdin is not None and sys.stdin.isatty() else _QUIET
        await self._wait_for_quiet(wait)
        self._leave()

    # ---- its end

    def _leave(self) -> None:
        """Closes the socket behind what waits to be sent."""
        if not self._leaving and self._socket.readyState <= self._socket.OPEN:
            self._leaving = True
            self._outlet.leaving()
            self._socket.close()

    def _stop(self) -> None:
        """Closes the socket; hardly waits."""
        self._leave()
        self._loop.call_later(_FAREWELL, self._socket.abort)

    def _interrupt(self) -> None:
        at_once = self._leaving or not self._opened
        super()._interrupt()
        if at_once and self._socket is not None:
            self._socket.abort()

    @property
    def _interrupted(self) -> bool:
        return isinstance(self._met, KeyboardInterrupt)

    def report(self) -> int:
        """Raises what ended it; the exit code of an end that is told already."""
        self._raise_met()
        closed = self._closed
        if (error := self._error) is not None:
            raise cli.CommandError(exit_code(error), error.errMsg)
        if closed.code == _CUT_OFF:
            raise cli.CommandError(cli.TIMED_OUT, "the server did not answer the close")
        if closed.code not in _CLEAN:
            return self._ended(cli.CLOSED_WITH_CODE, "the server closed with")
        if self._unsent:
            return self._ended(cli.NOT_SENT, "not all was sent before the server closed with")
        return 0

    def _ended(self, code: int, what: str) -> int:
        if self._outlet.interactive:
            return code
        raise cli.CommandError(code, f"{what} {told_close(self._closed.code, self._closed.reason)}")

    # ---- the terminal

    async def _watch_pings(self, screen: Screen) -> None:
        ping = self._args.ping if self._args.ping is not None else _PING
        while ping:
            screen.latency(self._socket.latency)
            await asyncio.sleep(min(ping, 1.0))
