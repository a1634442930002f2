"""The bench of the truth: its reading of packets and records, its sums, and a short run."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from benchmarks.report import into_readme
from benchmarks.truth import report
from benchmarks.truth.__main__ import missing
from benchmarks.truth.capture import ACK, SYN, TCP, UDP, Packet, Wire, question, read_pcap
from benchmarks.truth.clients import CLIENTS, FIELDS, OF_A_CONNECTION, Call
from benchmarks.truth.scenarios import SCENARIOS, Bench, Row, Scenario
from benchmarks.truth.server import records
from benchmarks.truth.truths import Around, errors, truths

CLIENT, SERVER, PROXY = 40_000, 8_443, 8_888
AROUND = Around("https", (8_080, SERVER))


def frame(protocol: int, ports: tuple[int, int], seq: int, flags: int, payload: bytes) -> bytes:
    """An Ethernet frame with an IPv4 packet."""
    if protocol == TCP:
        above = struct.pack(">HHIIBBHHH", *ports, seq, 0, 8 << 4, flags, 0, 0, 0) + bytes(12)
    else:
        above = struct.pack(">HHHH", *ports, 8 + len(payload), 0)
    length = 20 + len(above) + len(payload)
    ip = struct.pack(">BBHHHBBH", 0x45, 0, length, 0, 0, 64, protocol, 0) + bytes(
        [127, 0, 0, 1] * 2
    )
    return bytes(12) + b"\x08\x00" + ip + above + payload


def pcap(frames: Sequence[tuple[int, bytes]], *, snap: int = 1 << 16) -> bytes:
    data = struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, snap, 1)
    for at, raw in frames:
        kept = raw[:snap]
        data += struct.pack("<IIII", at // 10**9, at % 10**9, len(kept), len(raw)) + kept
    return data


def up(at: int, seq: int, payload: bytes = b"", flags: int = ACK, port: int = SERVER) -> Packet:
    return Packet(at, TCP, CLIENT, port, seq, flags, len(payload), payload)


def down(at: int, seq: int, payload: bytes = b"", flags: int = ACK, port: int = SERVER) -> Packet:
    return Packet(at, TCP, port, CLIENT, seq, flags, len(payload), payload)


# --- packets --------------------------------------------------------------------------------------


def test_a_capture_is_read_with_its_nanoseconds_and_true_lengths() -> None:
    tcp = frame(TCP, (CLIENT, SERVER), 7, ACK, b"x" * 1000)
    udp = frame(UDP, (CLIENT, 53), 0, 0, b"hello")
    arp = bytes(12) + b"\x08\x06" + bytes(46)
    read = list(read_pcap(pcap([(1_700_000_000_123_456_789, tcp), (5, arp), (6, udp)], snap=100)))
    assert [one.at for one in read] == [1_700_000_000_123_456_789, 6]
    assert read[0][1:7] == (TCP, CLIENT, SERVER, 7, ACK, 1000)
    assert read[0].head == b"x" * (100 - 14 - 20 - 32)
    assert (read[1].source, read[1].target, read[1].head) == (CLIENT, 53, b"hello")


def test_a_capture_that_is_still_written_ends_before_its_last_packet() -> None:
    data = pcap([(1, frame(UDP, (1, 2), 0, 0, b"first")), (2, frame(UDP, (1, 2), 0, 0, b"second"))])
    assert [one.head for one in read_pcap(data[:-1])] == [b"first"]


@pytest.mark.parametrize("data", [b"", bytes(24), pcap([])[:20] + struct.pack("<I", 105)])
def test_what_is_no_such_capture_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="pcap|link"):
        list(read_pcap(data))


def test_bytes_of_a_stream_are_found_over_repeats_and_wrapped_numbers() -> None:
    first = 0xFFFFFFFE  # the SYN's number: byte 0 is 0xFFFFFFFF
    packets = [up(10, first, flags=SYN), down(12, 99, flags=SYN | ACK)]
    packets += [up(20, 0xFFFFFFFF, b"abc"), up(25, 0xFFFFFFFF, b"abc"), up(30, 2, b"de")]
    packets += [up(35, 0xFFFFFFFE, b"")]  # keep-alive
    wire = Wire(iter(packets), {SERVER})
    connection = wire.connection(CLIENT, SERVER, 20)
    assert (connection.syn, connection.syn_ack) == (10, 12)
    assert [connection.up.at(offset) for offset in range(5)] == [20, 20, 20, 30, 30]
    with pytest.raises(IndexError):
        connection.up.at(5)


def test_ports_that_are_used_again_are_another_connection() -> None:
    packets = [up(10, 1, flags=SYN), up(11, 2, b"a"), up(50, 1000, flags=SYN), up(51, 1001, b"b")]
    wire = Wire(iter(packets), {SERVER})
    assert wire.connection(CLIENT, SERVER, 40).up.at(0) == 11
    assert wire.connection(CLIENT, SERVER, 60).up.at(0) == 51


def test_datagrams_are_found_by_how_they_begin_even_within_a_large_one() -> None:
    one, two = bytes(range(32)), bytes(range(100, 132))
    both = one + bytes(1200) + two + bytes(1200)
    packets = [Packet(5, UDP, CLIENT, SERVER, 0, 0, len(both), both)]
    wire = Wire(iter(packets), {SERVER})
    assert (wire.datagram(one), wire.datagram(two)) == (5, 5)
    with pytest.raises(KeyError):
        wire.datagram(bytes(32)[:31] + b"\x01")


def test_the_name_of_a_question() -> None:
    assert question(bytes(12) + b"\x08ftnet-17\x05ftnet\x04test\0\0\x01\0\x01") == (
        "ftnet-17.ftnet.test"
    )


@pytest.mark.parametrize("step", [1, 4, 1000])
def test_records_come_out_whole(step: int) -> None:
    wanted = [b"\x16\x03\x01\0\x03abc", b"\x17\x03\x03\0\0", b"\x17\x03\x03\x01\0" + bytes(256)]
    data, buffer, found = b"".join(wanted) + b"\x17\x03", bytearray(), list[bytes]()
    for at in range(0, len(data), step):
        buffer += data[at : at + step]
        found += records(buffer)
    assert found == wanted
    assert buffer == b"\x17\x03"


# --- truths ---------------------------------------------------------------------------------------


def exchange(ident: str, order: int, request: tuple[Any, Any], response: tuple[Any, Any],
             **more: Any) -> dict[str, Any]:  # fmt: skip
    seen = {"id": ident, "hop": 0, "port": CLIENT, "order": order, "request": request}
    seen |= {"response": response, "finished": 30, "stamps": {"request_first": 1000}}
    return seen | more


def https_packets(port: int = SERVER, before: tuple[bytes, bytes] = (b"", b"")) -> list[Packet]:
    """Handshake, a request of 10 bytes, its answer of 20 in two; `before`: a proxy's part."""
    ask, told = map(len, before)
    packets = [up(100, 0, flags=SYN, port=port), down(110, 0, flags=SYN | ACK, port=port)]
    if ask:
        packets += [up(112, 1, before[0], port=port), down(118, 1, before[1], port=port)]
    packets += [up(120, 1 + ask, bytes(20), port=port), down(130, 1 + told, bytes(50), port=port)]
    packets += [up(140, 21 + ask, bytes(10), port=port), up(150, 31 + ask, bytes(10), port=port)]
    packets += [down(160, 51 + told, bytes(5), port=port)]
    packets += [down(170, 56 + told, bytes(15), port=port)]
    return packets


EXCHANGED = {"requestStart": 150, "requestEnd": 150, "responseStart": 160, "responseEnd": 170}
CONNECTED = {"SSLconnectionEnd": 140, "connectEnd": 140, "connectStart": 100, "invokeStart": 90}


def test_each_moment_is_the_packet_that_made_it_true() -> None:
    wire = Wire(iter(https_packets()), {SERVER})
    seen = [exchange("ftnet-0", 0, (30, 40), (50, 70))]
    found = truths([Call("ftnet-0", 90, {})], seen, wire, AROUND)
    assert found == {"ftnet-0": (0, EXCHANGED | CONNECTED | {"SSLconnectionStart": 110})}


def test_a_request_on_an_old_connection_has_no_truth_of_a_connection() -> None:
    wire = Wire(iter(https_packets()), {SERVER})
    seen = [exchange("ftnet-3", 3, (30, 40), (50, 70))]
    order, moments = truths([Call("ftnet-3", 90, {})], seen, wire, AROUND)["ftnet-3"]
    assert (order, moments) == (3, EXCHANGED | {"invokeStart": 90})
    assert not set(OF_A_CONNECTION) & set(moments)


def test_behind_a_proxy_tls_begins_after_its_answer() -> None:
    part = b"CONNECT here:1 HTTP/1.1\r\n\r\n", b"HTTP/1.0 200 Connection established\r\n\r\n"
    wire = Wire(iter(https_packets(PROXY, part)), {PROXY})
    around = Around("https", AROUND.ports, PROXY)
    seen = [exchange("ftnet-0", 0, (30, 40), (50, 70), port=50_000)]
    found = truths([Call("ftnet-0", 90, {})], seen, wire, around)
    assert found == {"ftnet-0": (0, EXCHANGED | CONNECTED | {"SSLconnectionStart": 120})}


def test_the_first_datagrams_say_when_of_quic() -> None:
    heads = [bytes([number] * 32) for number in range(5)]
    packets = [Packet(at, UDP, CLIENT, SERVER, 0, 0, 60, head) for at, head in enumerate(heads, 1)]
    places = [head.hex() for head in heads]
    seen = exchange("ftnet-0", 0, (places[2], places[3]), (places[4], places[4]))
    seen |= {"opened": places[0], "finished": places[1]}
    around = Around("h3", AROUND.ports)
    found = truths([Call("ftnet-0", 0, {})], [seen], Wire(iter(packets), {SERVER}), around)
    assert found["ftnet-0"][1] == {
        **{"invokeStart": 0, "connectStart": 1, "SSLconnectionStart": 1, "SSLconnectionEnd": 2},
        **{"connectEnd": 2, "requestStart": 3, "requestEnd": 4},
        **{"responseStart": 5, "responseEnd": 5},
    }


def test_a_redirect_ends_with_the_last_byte_of_its_response() -> None:
    packets = [*https_packets(), up(200, 41, bytes(10)), down(210, 71, bytes(20))]
    seen = [exchange("ftnet-1", 1, (30, 40), (50, 70)), exchange("ftnet-1", 2, (40, 50), (70, 90))]
    wire = Wire(iter(packets), {SERVER})
    _, moments = truths([Call("ftnet-1", 90, {})], seen, wire, AROUND)["ftnet-1"]
    assert (moments["redirectStart"], moments["redirectEnd"]) == (90, 170)
    assert (moments["requestStart"], moments["responseEnd"]) == (200, 210)


def test_errors_are_microseconds_of_the_calls_that_count() -> None:
    found = {f"ftnet-{n}": (n, {"requestStart": 10_000, "responseEnd": 50_000}) for n in range(4)}
    calls = [Call(f"ftnet-{n}", 0, {"requestStart": 10_000 + n, "dns": 1}) for n in range(4)]
    assert errors(calls, found, new=False, skip=2) == {"requestStart": [0.002, 0.003]}
    assert errors(calls, found, new=True, skip=0) == {"requestStart": [0.0]}
    floating = [Call("ftnet-1", 0, {"requestStart": 3_000, "responseEnd": 44_000}, True)]
    assert errors(floating, found, new=False, skip=0) == {"responseEnd": [1.0]}


# --- the report -----------------------------------------------------------------------------------


def test_the_table_shows_what_is_over_the_bar() -> None:
    scenario = Scenario("http", "http", 100)
    off = {"requestStart": [-1.0] * 99 + [500.0], "responseEnd": [30.0, 31.0, -90.0]}
    rows = [
        Row(scenario, "ftnet", off, others=0.25),
        Row(scenario, "httpx", {}, note="not installed"),
    ]
    lines = list(report.table(rows, named=True))
    assert lines[0] == "| requests | c | others | client | n | requestStart | responseEnd |"
    assert lines[2] == "| http | 1 | 25% | ftnet | 100 | -1 / 1 / 500 | **30 / 90 / 90** |"
    assert lines[3] == "| http | 1 | 0% | httpx | not installed | | |"
    assert list(report.over(rows)) == ["- http, c=1 (at most 20): responseEnd 90"]
    assert "responseEnd 90" in into_readme(report.STUB, report.document(rows, [], ""), report.MARKS)


def test_the_pictures_show_every_moment(tmp_path: Path) -> None:
    plots = pytest.importorskip("benchmarks.truth.plots", reason="matplotlib is not installed")
    off = {name: [1.0, 2.0, 3000.0] for name in FIELDS}
    scenario = Scenario("https", "https", 100, 64)
    plots.errors([Row(scenario, client, off) for client in CLIENTS], tmp_path / "errors.svg")
    plots.phases(tmp_path / "phases.svg")
    drawn = [(tmp_path / name).read_text() for name in ("errors.svg", "phases.svg")]
    assert not [name for name in FIELDS if f">{name}<" not in drawn[1]]
    assert not [name for name in (*FIELDS[1:], *CLIENTS) if f">{name}<" not in drawn[0]]


def test_scenarios_are_told_apart() -> None:
    keys = [(one.name, one.c) for one in SCENARIOS]
    assert len(keys) == len(set(keys))


@pytest.mark.skipif(bool(missing()), reason=missing() or "measured")
@pytest.mark.parametrize("new", [False, True], ids=["reused", "new"])
@pytest.mark.parametrize("kind", ["http", "https"])
def test_a_short_run_finds_every_moment_on_the_wire(kind: str, new: bool) -> None:
    with Bench() as bench:
        (row,) = bench.measure(Scenario(kind, kind, 40, 2, new=new))
    assert row.note == ""
    exchanged = {"invokeStart", "requestStart", "requestEnd", "responseStart", "responseEnd"}
    connected = {"connectStart", "connectEnd"}
    if kind == "https":
        connected |= {"SSLconnectionStart", "SSLconnectionEnd"}
    assert set(row.errors) == exchanged | (connected if new else set())
    assert {len(off) for off in row.errors.values()} == {40 - 4}
    for gaps in row.witness.values():
        assert min(gaps) > -report.SLACK  # no packet before what made it
