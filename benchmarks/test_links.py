"""That emulated links delay, limit and lose what they say."""

from __future__ import annotations

import struct

from benchmarks.links import Direction, mirrored, source_port


def test_packets_wait_for_each_other_and_then_take_their_way() -> None:
    way = Direction(kbps=800, delay=0.05)  # 100 kB/s: 1000 bytes are 10 ms
    assert way.arrival(1000, now=1.0) == 1.0 + 0.010 + 0.05
    assert way.arrival(1000, now=1.0) == 1.0 + 0.020 + 0.05
    assert way.arrival(500, now=2.0) == 2.0 + 0.005 + 0.05


def test_a_full_queue_drops_and_goes_on() -> None:
    way = Direction(kbps=800, delay=0.0, queue=0.015)
    arrivals = [way.arrival(1000, now=0.0) for _ in range(4)]
    assert [arrival is not None for arrival in arrivals] == [True, True, False, False]
    assert way.arrival(1000, now=0.020) is not None


def test_so_many_get_lost() -> None:
    way = Direction(kbps=1e6, delay=0.0, loss=0.1)
    lost = sum(way.arrival(100, now=n / 100) is None for n in range(10_000))
    assert 800 < lost < 1200


def _sum(packet: bytes) -> int:
    total = sum(struct.unpack(f">{len(packet) // 2}H", packet))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def test_a_packet_comes_back_with_its_checksums_right() -> None:
    addresses = bytes([10, 99, 0, 1]), bytes([10, 99, 0, 2])
    packet = bytes([0x45, 0, 0, 40, 0, 1, 0, 0, 64, 6, 0, 0]) + b"".join(addresses)
    packet += struct.pack(">HH", 40_000, 80) + bytes(16)
    back = mirrored(packet)
    assert (back[12:16], back[16:20]) == (addresses[1], addresses[0])
    assert back[20:] == packet[20:]
    assert _sum(back[:20]) == _sum(packet[:20])  # and TCP's covers the same addresses
    assert source_port(back) == 40_000
