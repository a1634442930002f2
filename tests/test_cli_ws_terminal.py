"""`ftnet ws` on a terminal, where a person types and reads."""

from __future__ import annotations

import codecs
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
from typing import Any, Self

import pytest

from tests.command import COMMAND, LIMIT, environment
from tests.servers.awkward import AwkwardServer, Peer, closed_port
from tests.servers.websocket import WebSocketServer
from tests.test_cli_ws import agreed, never_closes

TIME = r"\d\d:\d\d:\d\d\.\d\d\d"
_DRAWN = re.compile(r"\x1b\[(\d*)([A-Za-z])|([\r\n])|([^\x1b\r\n]+)")


def screen_after(shown: str) -> tuple[list[str], int]:
    """The rows that a terminal shows, and the column of its cursor in the last one."""
    rows, column = [""], 0
    for number, command, control, text in _DRAWN.findall(shown):
        if control == "\n":
            rows.append("")
        elif control == "\r":
            column = 0
        elif command == "J":
            rows[-1] = rows[-1][:column]
        elif command == "D":
            column -= int(number)
        elif text:
            rows[-1] = rows[-1][:column].ljust(column) + text + rows[-1][column + len(text) :]
            column += len(text)
        else:
            assert command == "m", f"unknown: {command}"
    return rows, column


class Terminal:
    """`ftnet ws`, or another command, on a terminal of its own, and what is to be seen there."""

    def __init__(
        self, *arguments: str, columns: int = 80, command: str = "ws", **variables: str
    ) -> None:
        self._master, self.slave = pty.openpty()
        self._resized_to(columns)
        self.mode = self.terminal_mode()
        variables = {"TERM": "xterm", "NO_COLOR": "1", "COLUMNS": "", **variables}
        self.process = subprocess.Popen(
            [*COMMAND, command, *arguments],
            env=environment(**variables),
            stdin=self.slave,
            stdout=self.slave,
            stderr=self.slave,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        self.shown = ""
        self._decode = codecs.getincrementaldecoder("utf-8")().decode

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._master)
        os.close(self.slave)

    def terminal_mode(self) -> list[Any]:
        return termios.tcgetattr(self.slave)

    def _resized_to(self, columns: int) -> None:
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))

    def resize(self, columns: int) -> None:
        self._resized_to(columns)
        self.process.send_signal(signal.SIGWINCH)

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    @property
    def rows(self) -> list[str]:
        return screen_after(self.shown)[0]

    @property
    def cursor(self) -> int:
        return screen_after(self.shown)[1]

    def _read(self, *, ended: bool = False) -> None:
        left = LIMIT
        while not select.select([self._master], [], [], 0.5)[0]:
            left -= 0.5
            running = ended or self.process.poll() is None
            assert running, f"it has ended: {self.shown!r}"
            assert left > 0, f"nothing more: {self.shown!r}"
        self.shown += self._decode(os.read(self._master, 65536))

    def wait_for(self, pattern: str) -> str:
        """The first row that matches, as soon as there is one."""
        while True:
            found = next((row for row in self.rows if re.search(pattern, row)), None)
            if found is not None:
                return found
            self._read()

    def wait_for_last(self, pattern: str) -> str:
        """The last row, as soon as it matches."""
        while not re.search(pattern, self.rows[-1]):
            self._read()
        return self.rows[-1]

    def wait_for_cursor(self, column: int) -> None:
        """Returns as soon as the cursor is there."""
        while self.cursor != column:
            self._read()

    def end(self) -> tuple[int, list[str]]:
        """The exit code, and all rows; the terminal is as it was before."""
        code = self.process.wait(LIMIT)
        os.write(self.slave, b"\0")  # comes behind all that the command wrote
        while not self.shown.endswith("\0"):
            self._read(ended=True)
        self.shown = self.shown.removesuffix("\0")
        assert self.terminal_mode() == self.mode
        assert self.rows[-1] == "", f"the cursor is in the middle of a row: {self.shown!r}"
        return code, self.rows[:-1]


def connected(terminal: Terminal) -> None:
    terminal.wait_for("^connected to 127.0.0.1:")
    terminal.wait_for_last("> $")


# ---- the conversation


def test_lines_go_and_messages_come(sockets: WebSocketServer) -> None:
    with Terminal(f"{sockets.netloc}/echo") as terminal:
        connected(terminal)
        terminal.type("hello é\r")
        terminal.wait_for("←")
        terminal.type("\x04")
        code, rows = terminal.end()
    assert code == 0
    first, sent, came, closed = rows
    assert re.fullmatch(
        rf"connected to 127\.0\.0\.1:{sockets.port} in [\d.]+ ms · plain · Ctrl-D closes", first
    )
    assert re.fullmatch(rf"{TIME} →     8 B  hello é", sent)
    assert re.fullmatch(rf"{TIME} ←     8 B  hello é", came)
    assert re.fullmatch(rf"{TIME} closed: 1000 \(normal\)", closed)
    assert sockets.peer().next() == "hello é"
    assert sockets.peer().wait_over() == (1000, "")


def test_a_message_does_not_tear_the_line(sockets: WebSocketServer) -> None:
    with Terminal(f"{sockets.url}/quiet") as terminal:
        connected(terminal)
        terminal.type("half a line\x1b[D\x1b[D")
        terminal.wait_for_last("^> half a line$")
        sockets.peer().send("one\ntwo")
        terminal.wait_for_last("^> half a line$")
        terminal.wait_for("^  two$")
        terminal.wait_for_last("^> half a line$")
        terminal.wait_for_cursor(len("> half a li"))
        assert re.fullmatch(rf"{TIME} ←     7 B  one", terminal.rows[-3])
        assert terminal.rows[-2:] == ["  two", "> half a line"]
        terminal.type("X\r")
        assert sockets.peer().next() == "half a liXne"


def test_a_line_can_be_edited_and_fetched_back(sockets: WebSocketServer) -> None:
    with Terminal(f"{sockets.url}/quiet") as terminal:
        connected(terminal)
        terminal.type("ac\x1b[Db\r\x1b[A!\r\r\x1b[A\x15last\r")
        peer = sockets.peer()
        assert [peer.next() for _ in range(3)] == ["abc", "abc!", "last"]  # no empty one


def test_a_long_line_stays_in_its_row(sockets: WebSocketServer) -> None:
    with Terminal(f"{sockets.url}/quiet", columns=40) as terminal:
        connected(terminal)
        terminal.type("0123456789" * 10)
        assert len(terminal.wait_for_last("^> …[0-9]+9$")) == 39
        terminal.type("\x01")
        assert len(terminal.wait_for_last("^> 0123[0-9]+…$")) == 39
        terminal.resize(30)
        terminal.wait_for_last("^> 0123[0-9]{22}…$")
        terminal.type("\r")
        assert sockets.peer().next() == "0123456789" * 10


def test_binary_is_shown_in_hexadecimal(sockets: WebSocketServer) -> None:
    with Terminal(f"{sockets.url}/quiet") as terminal:
        connected(terminal)
        sockets.peer().send(b"hello\0" + bytes(1000))
        terminal.wait_for(r"^  \(942 B more\)$")
        terminal.wait_for(rf"^{TIME} ← 1\.01 kB  binary$")
        terminal.wait_for(r"^  0000  68 65 6c 6c 6f 00 00 .* hello\.+$")


def test_lines_can_be_sent_as_binary(sockets: WebSocketServer) -> None:
    with Terminal("--binary", f"{sockets.url}/quiet") as terminal:
        connected(terminal)
        terminal.type("hello\r")
        assert sockets.peer().next() == b"hello"


def test_a_message_can_not_upset_the_terminal(sockets: WebSocketServer) -> None:
    with Terminal(f"{sockets.url}/quiet") as terminal:
        connected(terminal)
        sockets.peer().send("\x1b[2J\x1b]0;title\x07\rred")
        terminal.wait_for(r"\\x1b\[2J\\x1b\]0;title\\x07\\rred$")


def test_the_first_row_tells_what_was_agreed_on(socket_loop: Any) -> None:
    from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory

    from tests.servers.websocket import serving

    deflate = ServerPerMessageDeflateFactory()
    with (
        serving(socket_loop, deflate=deflate, subprotocols=["chat"]) as server,
        Terminal(
            "--compress", "--subprotocol", "chat", f"{server.url}/quiet", columns=120
        ) as terminal,
    ):
        terminal.wait_for(" ms · plain · sub-protocol chat · compressed · Ctrl-D closes$")


def test_ping_times_stand_before_the_prompt(sockets: WebSocketServer) -> None:
    with Terminal("--ping", "1", f"{sockets.url}/quiet") as terminal:
        connected(terminal)
        terminal.type("half")
        terminal.wait_for_last(r"^ *\d+\.\d ms > half$")


def test_without_pings_there_is_no_ping_time(sockets: WebSocketServer) -> None:
    with Terminal("--ping", "0", f"{sockets.url}/quiet") as terminal:
        connected(terminal)
        assert terminal.rows[-1] == "> "


def test_what_is_waited_for_is_told() -> None:
    def slow(peer: Peer) -> None:
        peer.server.gate.wait()
        agreed(peer)
        peer.until_gone()

    with AwkwardServer(slow) as server, Terminal(server.authority) as terminal:
        terminal.wait_for_last(rf"^connecting to {server.authority} \.\.\.$")
        server.gate.set()
        connected(terminal)
        assert "connecting" not in "".join(terminal.rows)


# ---- its end


def test_ctrl_c_closes_it_whatever_is_typed(sockets: WebSocketServer) -> None:
    with Terminal(f"{sockets.url}/quiet") as terminal:
        connected(terminal)
        terminal.type("half a line")
        terminal.wait_for_last("line$")
        terminal.type("\x03")
        code, rows = terminal.end()
    assert code == 0
    assert re.fullmatch(rf"{TIME} closed: 1000 \(normal\)", rows[-1])
    assert sockets.peer().wait_over() == (1000, "")
    assert sockets.peer().got.empty()


@pytest.mark.parametrize("key", ["\x03", "\x04"])
def test_a_second_ctrl_c_does_not_wait(key: str) -> None:
    with AwkwardServer(never_closes) as server, Terminal(server.authority) as terminal:
        connected(terminal)
        terminal.type(key)
        terminal.wait_for_last(r"^closing \.\.\. \(Ctrl-C does not wait\)$")
        terminal.type("\x03")
        code, rows = terminal.end()
    assert (code, len(rows)) == (130, 1), rows


def test_ctrl_c_ends_the_opening(sockets: WebSocketServer) -> None:
    with Terminal(f"{sockets.url}/late") as terminal:
        terminal.wait_for_last("^connecting")
        terminal.type("\x03")
        assert terminal.end() == (130, [])


def test_a_close_of_the_server_is_told(sockets: WebSocketServer) -> None:
    with Terminal(f"{sockets.url}/quiet") as terminal:
        connected(terminal)
        terminal.type("half a line")
        terminal.wait_for_last("line$")
        sockets.peer().close(1011, "because")
        code, rows = terminal.end()
    assert code == 110
    assert rows[-2] == "> half a line"
    told = r"closed by the server: 1011 \(internal error\): because"
    assert re.fullmatch(rf"{TIME} {told}", rows[-1])


def test_a_lost_connection_is_told(sockets: WebSocketServer) -> None:
    with Terminal(f"{sockets.url}/quiet") as terminal:
        connected(terminal)
        sockets.peer().drop()
        code, rows = terminal.end()
    assert code == 56
    assert re.fullmatch(rf"{TIME} closed by the server: 1006 \(cut off\)", rows[-2])
    assert rows[-1].startswith("ftnet: (56) connectSocket:fail ")


def test_what_can_not_be_opened_leaves_the_message_alone() -> None:
    with closed_port() as port, Terminal(f"127.0.0.1:{port}", columns=200) as terminal:
        code, (row,) = terminal.end()
    assert code == 7
    assert row.startswith("ftnet: (7) connectSocket:fail connection refused")


def test_the_terminal_is_given_back_when_the_command_is_killed(sockets: WebSocketServer) -> None:
    with Terminal(f"{sockets.url}/quiet") as terminal:
        connected(terminal)
        terminal.type("half")
        terminal.wait_for_last("half$")
        terminal.process.send_signal(signal.SIGTERM)
        assert terminal.process.wait(LIMIT) == -signal.SIGTERM
        assert terminal.terminal_mode() == terminal.mode


def test_the_terminal_is_given_back_for_a_while(sockets: WebSocketServer) -> None:
    with Terminal(f"{sockets.url}/quiet") as terminal:
        connected(terminal)
        terminal.type("half")
        terminal.wait_for_last("half$")
        terminal.process.send_signal(signal.SIGTSTP)
        _, status = os.waitpid(terminal.process.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        assert terminal.terminal_mode() == terminal.mode
        terminal.wait_for_last("^$")
        terminal.process.send_signal(signal.SIGCONT)
        terminal.wait_for_last("> half$")
        terminal.type(" a line\r")
        assert sockets.peer().next() == "half a line"


# ---- terminals


def test_colours_are_for_those_who_want_them(sockets: WebSocketServer) -> None:
    for variables, wanted in (({}, False), ({"NO_COLOR": ""}, True)):
        with Terminal(f"{sockets.url}/echo", **variables) as terminal:
            connected(terminal)
            terminal.type("x\r")
            terminal.wait_for("←.* x$")
            assert ("\x1b[32m←\x1b[0m" in terminal.shown) == wanted


def test_a_narrow_terminal_has_no_milliseconds(sockets: WebSocketServer) -> None:
    with Terminal(f"{sockets.url}/echo", columns=40) as terminal:
        connected(terminal)
        terminal.type("hello\r")
        terminal.wait_for(r"^\d\d:\d\d:\d\d ←     5 B  hello$")


def test_it_is_ascii_where_it_must_be(sockets: WebSocketServer) -> None:
    with Terminal(f"{sockets.url}/echo", PYTHONIOENCODING="ascii") as terminal:
        connected(terminal)
        terminal.type("é\r")
        terminal.wait_for(r"<-     2 B  \\xe9$")


def test_a_dumb_terminal_edits_the_line_itself(sockets: WebSocketServer) -> None:
    with Terminal(f"{sockets.url}/echo", TERM="dumb") as terminal:
        terminal.wait_for("^connected to 127.0.0.1:")
        terminal.type("hellp\x7fo\n")
        terminal.wait_for(rf"^{TIME} ←     5 B  hello$")
        terminal.type("\x04")
        code, rows = terminal.end()
    assert code == 0
    assert "\x1b" not in terminal.shown
    assert re.fullmatch(rf"{TIME} closed: 1000 \(normal\)", rows[-1])


def test_json_on_a_terminal_is_json(sockets: WebSocketServer) -> None:
    with Terminal("--json", f"{sockets.url}/echo") as terminal:
        terminal.wait_for('"event": "open"')
        terminal.type("hello\n")
        terminal.wait_for('"event": "message"')
        terminal.type("\x04")
        code, rows = terminal.end()
    assert (code, rows[-1]) == (0, '{"event": "close", "code": 1000, "reason": ""}')
