"""UDP when something is wrong: refusals, no way there, names that fail or take long, no files.

What needs a network, or a resolver, of its own runs in a namespace, where that can be made.
"""

from __future__ import annotations

import errno
import os
import shutil
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import ftnet as ft
from tests.datagrams import LOCAL, echo, end, nobody, peer, place, udp
from tests.processes import LIMIT, ROOT, run_script
from tests.sockets import until

# --- refusals -------------------------------------------------------------------------------------


def test_a_refusal_is_told_and_the_socket_goes_on(plain: ft.Client) -> None:
    sock, told = udp(plain)
    with nobody() as there:
        sock.connect(**there)
        for number in range(1, 6):
            sock.write(message=b"x", **there)
            error = told.until("error", number)
            assert (error.errCode, error.errNum) == (-2, errno.ECONNREFUSED)
            assert error.errMsg == "UDPSocket:fail connection refused (ECONNREFUSED)"
            assert error.errno == ft.Errno.CONNECT
        with echo() as alive:
            sock.connect(**alive)
            sock.write(message=b"on", **alive)
            told.until("message")
    end(sock, told)
    assert told.messages == [b"on"]


def test_what_is_written_after_a_refusal_is_not_lost(plain: ft.Client) -> None:
    """The system tells what an earlier datagram met in place of sending the next one."""
    sock, told = udp(plain)
    with nobody() as there, socket.socket(type=socket.SOCK_DGRAM) as late:
        sock.connect(**there)
        sock.write(message=b"refused", **there)
        told.until("error")
        late.bind((LOCAL, there["port"]))
        late.settimeout(LIMIT)
        for number in range(100):
            sock.write(message=str(number), **there)
        assert [int(late.recv(100)) for _ in range(100)] == list(range(100))
    end(sock, told)


def test_a_burst_to_nobody_is_told_of_and_ends_nothing(plain: ft.Client) -> None:
    sock, told = udp(plain)
    with nobody() as there, echo() as alive:
        sock.connect(**there)
        for _ in range(200):
            sock.write(message=b"x" * 50, **there)
        told.until("error")
        sock.connect(**alive)
        sock.write(message=b"on", **alive)
        told.until("message")
    end(sock, told)
    assert set(told.codes) == {(-2, errno.ECONNREFUSED)}


def test_a_socket_that_is_not_connected_hears_of_no_refusal(plain: ft.Client) -> None:
    sock, told = udp(plain)
    with nobody() as there, echo() as alive:
        sock.send(message=b"x", **there)
        sock.send(message=b"y", **alive)
        told.until("message")
    end(sock, told)
    assert told.names == ["listening", "message", "close"]


def test_one_that_cannot_go_does_not_hold_up_the_others(plain: ft.Client) -> None:
    sock, told = udp(plain)
    with peer() as there:
        for number in range(50):
            sock.send(message=str(number), **place(there))
            sock.send(message=b"no broadcast", address="255.255.255.255", port=9)
        assert [int(there.recv(100)) for _ in range(50)] == list(range(50))
        told.until("error", 50)
    assert told.codes == [(-3, errno.EACCES)] * 50
    end(sock, told)


@pytest.mark.parametrize("name", ["a..b", "-", "no such host", "x" * 64 + ".test"])
def test_a_name_that_cannot_be_is_an_error_event_of_each_datagram(
    plain: ft.Client, name: str
) -> None:
    sock, told = udp(plain)
    for _ in range(3):
        sock.send(message=b"x", address=name, port=9)
    sock.connect(address=name, port=9)
    error = told.until("error", 4)
    assert [code for code, _ in told.codes] == [1] * 4
    assert error.errMsg.startswith(("UDPSocket:fail ", "UDPSocket.connect:fail "))
    end(sock, told)


# --- files ----------------------------------------------------------------------------------------


def test_running_out_of_files_fails_new_sockets_and_no_others() -> None:
    source = """
        import collections
        import resource
        import ftnet as ft

        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
        codes = collections.Counter()
        sockets, heard = [], []
        for _ in range(100):
            sock = ft.createUDPSocket()
            sock.onError(lambda error: codes.update([(int(error.errCode), error.errNum)]))
            sock.onMessage(lambda event: heard.append(event.remoteInfo.port))
            if sock.bind():
                sockets.append(sock)
        first, second = sockets[:2]
        second.onMessage(lambda event: first.close())
        first.onClose(lambda event: again())

        def again():
            sock = ft.createUDPSocket()
            print(len(sockets) > 20, sum(codes.values()) + len(sockets), list(codes), heard,
                  sock.bind() > 0)
            for one in [sock, *sockets]:
                one.close()

        first.send(address="127.0.0.1", port=second.bind(), message=b"x")
        for one in sockets:
            one.wait_closed(10)
    """
    (line,) = run_script(source)
    assert line.startswith(f"True 100 [(-1, {errno.EMFILE})] [")
    assert line.endswith("] True")


# --- networks of their own ------------------------------------------------------------------------


def in_namespace(source: str, *, resolver: bool = False) -> list[str]:
    """The lines that a script prints that runs in a network namespace of its own, as root there;
    with `resolver` names are asked for at 127.0.0.1, whatever serves DNS there."""
    for program in ("unshare", "ip", "mount"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    setup = "ip link set lo up"
    if resolver:
        setup += """
            dir=$(mktemp -d)
            echo nameserver 127.0.0.1 >"$dir/resolv.conf"
            echo 'hosts: files dns' >"$dir/nsswitch.conf"
            mount --bind "$dir/resolv.conf" /etc/resolv.conf
            mount --bind "$dir/nsswitch.conf" /etc/nsswitch.conf"""
    script = f'set -e\n{textwrap.dedent(setup)}\nexec "$0" -X faulthandler -c "$1"\n'
    enter = ["unshare", "--net", "--mount", "--map-root-user"]
    if os.getuid() == 0:
        enter.pop()
    probe = subprocess.run([*enter, "ip", "link", "set", "lo", "up"], capture_output=True)
    if probe.returncode:
        pytest.skip(f"no namespaces here: {probe.stderr.decode().strip()}")
    command = [*enter, "sh", "-c", script, sys.executable, textwrap.dedent(source)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT)
    if "mount:" in done.stderr:
        pytest.skip(f"no mounts here: {done.stderr.strip()}")
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout.splitlines()


TOLD = """
    import queue
    import socket
    import threading
    import ftnet as ft

    errors, messages = queue.Queue(), queue.Queue()

    def made(**options):
        sock = ft.createUDPSocket(**options)
        sock.onError(errors.put)
        sock.onMessage(lambda event: messages.put(bytes(event.message)))
        return sock

    def error():
        got = errors.get(timeout=10)
        return int(got.errCode), got.errNum or 0, got.errno.name, got.errMsg
"""
WAYS = {
    "no route": ("true", "10.9.0.1", (-2, errno.ENETUNREACH, "CONNECT")),
    "unreachable": ("ip route add unreachable 10.9.0.0/24", "10.9.0.1",
                    (-2, errno.EHOSTUNREACH, "CONNECT")),
    "prohibited": ("ip route add prohibit 10.9.0.0/24", "10.9.0.1", (-3, errno.EACCES, "SYSTEM")),
    "no route for IPv6": ("true", "2001:db8::1", (-2, errno.ENETUNREACH, "CONNECT")),
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_where_there_is_no_way_is_an_error_event(way: str) -> None:
    command, address, wanted = WAYS[way]
    source = f"""
    import subprocess
    subprocess.run({command!r}, shell=True, check=True)
    sock = made()
    for method in (sock.send, sock.connect):
        more = {{"message": b"x"}} if method == sock.send else {{}}
        method(address={address!r}, port=53, **more)
        print(*error(), sep="|")
    sock.send(address="127.0.0.1", port=sock.bind(), message=b"still")
    print(messages.get(timeout=10))
    sock.close()
    """
    *errors, last = in_namespace(TOLD + source)
    assert last == "b'still'"
    for line in errors:
        code, number, kind, said = line.split("|")
        assert (int(code), int(number), kind) == wanted
        assert address in said
        assert errno.errorcode[int(number)] in said


VETH = """
    import os
    import subprocess
    import sys

    def run(command):
        subprocess.run(command, shell=True, check=True)

    other = subprocess.Popen(["unshare", "--net", "sh", "-c", "echo; exec cat"],
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    other.stdout.readline()
    run(f"ip link add near type veth peer name far netns {other.pid}")
    run("ip addr add 10.9.0.1/24 dev near && ip link set near up")
    far = f"nsenter --target {other.pid} --net "
    run(far + "ip addr add 10.9.0.2/24 dev far && " + far + "ip link set far up")
"""


def test_a_host_that_refuses_over_a_wire_is_told_of() -> None:
    source = """
    sock = made()
    sock.connect(address="10.9.0.2", port=5000)
    sock.write(address="10.9.0.2", port=5000, message=b"x")
    print(*error()[:3])
    other.kill()
    other.wait()
    sock.close()
    """
    assert in_namespace(TOLD + VETH + source) == [f"-2 {errno.ECONNREFUSED} CONNECT"]


def test_datagrams_larger_than_the_wire_takes_arrive_whole() -> None:
    """Among equal ones in a row, of which the system could take none as one."""
    source = """
    echo = '''
    import socket
    sock = socket.socket(type=socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    sock.bind(("10.9.0.2", 5000))
    print(flush=True)
    while True:
        data, sender = sock.recvfrom(65536)
        sock.sendto(data, sender)
    '''
    import textwrap
    command = far.split() + [sys.executable, "-c", textwrap.dedent(echo)]
    peer = subprocess.Popen(command, stdout=subprocess.PIPE)
    peer.stdout.readline()
    sock = made()
    for size in (100, 1472, 1473, 3000, 9000, 65507):
        for turn in range(3):
            for number in range(5):
                sock.send(address="10.9.0.2", port=5000, message=bytes([number]) * size)
            got = [messages.get(timeout=10) for _ in range(5)]
            assert sorted(got) == [bytes([number]) * size for number in range(5)], size
    print(errors.qsize())
    sock.close()
    peer.kill()
    peer.wait()
    other.kill()
    other.wait()
    """
    assert in_namespace(TOLD + VETH + source) == ["0"]


# --- names that take long -------------------------------------------------------------------------

DNS = """
    import struct

    server = socket.socket(type=socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 53))
    gate, asked = threading.Event(), queue.Queue()

    def serve():
        while True:
            query, sender = server.recvfrom(4096)
            end = query.index(b"\\\\0", 12)
            name = query[13:end].split(b"\\\\x04test")[0].decode()
            asked.put(name)
            threading.Thread(target=answer, args=(name, query[:end + 5], sender)).start()

    def answer(name, query, sender):
        if name.startswith("slow"):
            gate.wait(10)
        if name.startswith("none"):
            head = query[:2] + b"\\\\x81\\\\x83" + query[4:6] + bytes(6)
            server.sendto(head + query[12:], sender)
            return
        head = query[:2] + b"\\\\x81\\\\x80" + query[4:6] + b"\\\\0\\\\1" + bytes(4)
        record = b"\\\\xc0\\\\x0c" + struct.pack("!HHIH", 1, 1, 60, 4)
        server.sendto(head + query[12:] + record + socket.inet_aton("127.0.0.1"), sender)

    threading.Thread(target=serve, daemon=True).start()
""".replace("\\\\", "\\")


def test_a_slow_name_holds_up_only_what_goes_there() -> None:
    source = """
    sock, other = made(), made()
    port = other.bind()
    sock.send(address="slow.test", port=port, message=b"slow 1")
    sock.send(address="slow.test", port=port, message=b"slow 2")
    sock.send(address="quick.test", port=port, message=b"quick")
    sock.send(address="127.0.0.1", port=port, message=b"at once")
    print(sorted([messages.get(timeout=10), messages.get(timeout=10)]), sock.bufferedAmount)
    gate.set()
    print([messages.get(timeout=10), messages.get(timeout=10)], sock.bufferedAmount)
    sock.send(address="slow.test", port=port, message=b"known")
    print(messages.get(timeout=10), sorted(asked.queue))
    sock.close()
    other.close()
    """
    assert in_namespace(TOLD + DNS + source, resolver=True) == [
        "[b'at once', b'quick'] 12",
        "[b'slow 1', b'slow 2'] 0",
        "b'known' ['quick', 'slow']",
    ]


def test_a_name_that_does_not_exist_is_told_and_asked_for_again() -> None:
    source = """
    sock = made()
    for _ in range(2):
        sock.send(address="none.test", port=9, message=b"x")
        print(*error()[:3])
    print(list(asked.queue))
    sock.close()
    """
    lines = in_namespace(TOLD + DNS + source, resolver=True)
    assert lines == ["1 0 DNS", "1 0 DNS", "['none', 'none']"]


def test_writes_wait_for_the_name_that_the_socket_is_connected_to() -> None:
    source = """
    sock, other = made(), made()
    port = other.bind()
    sock.connect(address="slow.test", port=port)
    for number in range(5):
        sock.write(address="127.0.0.1", port=port, message=str(number))
    sock.send(address="127.0.0.1", port=port, message=b"sent")
    print(messages.get(timeout=10))
    gate.set()
    print(*[messages.get(timeout=10) for _ in range(5)])
    sock.connect(address="none.test", port=port)
    sock.connect(address="127.0.0.1", port=port)
    sock.write(address="127.0.0.1", port=port, message=b"after all")
    print(messages.get(timeout=10), error()[0], sock.localInfo.address)
    sock.close()
    other.close()
    """
    lines = in_namespace(TOLD + DNS + source, resolver=True)
    assert lines == ["b'sent'", "b'0' b'1' b'2' b'3' b'4'", "b'after all' 1 127.0.0.1"]


@pytest.mark.parametrize("way", ["close", "client", "exit"])
def test_an_end_does_not_wait_long_for_a_name(way: str) -> None:
    ends = {
        "close": "sock.close(); sock.wait_closed(10); print(*error()[:2])",
        "client": "client.close(); sock.wait_closed(10); print(*error()[:2])",
        "exit": "print('exit'); import os, sys; sys.stdout.flush(); sock.close()",
    }
    source = f"""
    client = ft.Client()
    sock = client.createUDPSocket()
    sock.onError(errors.put)
    sock.send(address="slow.test", port=9, message=b"x")
    assert asked.get(timeout=10) == "slow"
    {ends[way]}
    gate.set()
    """
    lines = in_namespace(TOLD + DNS + source, resolver=True)
    assert lines == (["exit"] if way == "exit" else [f"-2 {errno.ECANCELED}"])


def test_look_ups_under_way_survive_a_fork() -> None:
    source = """
    import os
    sock = made()
    other = made()
    port = other.bind()
    sock.send(address="slow.test", port=port, message=b"of the parent")
    assert asked.get(timeout=10) == "slow"
    pid = os.fork()
    if pid == 0:
        mine, theirs = made(), made()
        mine.send(address="127.0.0.1", port=theirs.bind(), message=b"of the child")
        os._exit(0 if messages.get(timeout=10) == b"of the child" else 1)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    gate.set()
    print(messages.get(timeout=10))
    sock.close()
    other.close()
    """
    lines = in_namespace(TOLD + DNS + source, resolver=True)
    assert lines == ["0", "b'of the parent'"]


def test_the_sockets_of_the_system_are_all_given_back(plain: ft.Client) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    pairs = [udp(plain) for _ in range(50)]
    for sock, _ in pairs:
        sock.send(message=b"x", address="::1", port=9)
        sock.send(message=b"x", address=LOCAL, port=9)
    for sock, told in pairs:
        end(sock, told)
    until(lambda: len(list(Path("/proc/self/fd").iterdir())) <= before + 3, "they are closed")
