"""What every HAR must hold to: the schema, the sums of its times, and a reader that is not ours."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import haralyzer
import jsonschema

SCHEMA = json.loads(Path(__file__).with_name("har-1.2.schema.json").read_text())
VALIDATOR = jsonschema.Draft202012Validator(
    SCHEMA, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER
)
SUMMED = ("blocked", "dns", "connect", "send", "wait", "receive")


def in_us(ms: float) -> int:
    return round(ms * 1000)


def check_har(har: dict[str, Any]) -> dict[str, Any]:
    """Assert the rules on a HAR with one entry, as a file has it; returns the entry."""
    har = json.loads(json.dumps(har))
    VALIDATOR.validate(har)
    (entry,) = har["log"]["entries"]
    check_times(entry)
    (read,) = haralyzer.HarParser(har).har_data["entries"]
    told = haralyzer.HarEntry(read)
    assert told.request.method == entry["request"]["method"]
    assert told.request.url == entry["request"]["url"]
    assert told.response.status == entry["response"]["status"]
    assert told.time == entry["time"]
    assert told.startTime.timestamp() * 1000 // 1 == entry["_profile"]["invokeStart"] // 1
    return entry


def check_times(entry: dict[str, Any]) -> None:
    """Assert that the timings add up to the time, and that the time is the profile's."""
    timings, profile = entry["timings"], entry["_profile"]
    summed = sum(in_us(timings[name]) for name in SUMMED if timings[name] != -1)
    assert summed == in_us(entry["time"]), timings
    if profile["responseEnd"] and not entry["response"].get("_error"):
        total = in_us(profile["responseEnd"]) - in_us(profile["invokeStart"])
        assert summed == total, timings
    assert timings["ssl"] <= timings["connect"]
    assert timings["_blocked_queueing"] + timings["_blocked_redirects"] <= timings["blocked"]


def named(pairs: list[dict[str, str]]) -> dict[str, str]:
    """Fields or parameters of a HAR by their names in lower case."""
    return {pair["name"].lower(): pair["value"] for pair in pairs}
