"""The soak of plans, shortened: everything happens once, and adds up."""

from __future__ import annotations

from benchmarks.soak_load import soak


def test_a_short_soak_adds_up() -> None:
    told = soak(seconds=10.0, rate=400.0)
    assert told["wrong"] == []
    assert told["iterations"]["scheduled"] > 1800
