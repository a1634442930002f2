"""`ftnet.load.read`: results come back from their JSON as they were, or not at all."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ftnet import load
from ftnet.errors import Cause, Errno
from ftnet.histogram import Histogram
from ftnet.load import Failure, Result
from tests.load_results import MS, evenly, result
from tests.loads import run
from tests.servers.counting import OK, CountingServer, answer
from tests.test_load_schema import MADE, planned


def text_of(found: Result) -> str:
    """As it is written."""
    return json.dumps(found.to_dict(), allow_nan=False)


def back(found: Result) -> Result:
    """Written and read."""
    return load.read(io.StringIO(text_of(found)))


@pytest.mark.parametrize("make", MADE.values(), ids=MADE)
def test_what_was_read_is_written_as_it_was(make: Callable[[], Result]) -> None:
    made = make()
    assert text_of(back(made)) == text_of(made)
    assert text_of(Result.from_dict(made.to_dict())) == text_of(made)  # without JSON between


def test_a_run_comes_back() -> None:
    with CountingServer(lambda number: (OK, answer(503), b"")[number % 3]) as server:
        found = run(server.url, rate=400, duration=0.1, warmup=0.05, method="POST", data=b"xyz")
    assert text_of(back(found)) == text_of(found)


def test_everything_but_options_and_causes_is_equal() -> None:
    made = planned()
    read = back(made)
    assert replace(read, options=made.options, steps={}) == replace(made, steps={})
    assert list(read.steps) == ["login", "talk"]
    assert read.steps["login"] == made.steps["login"]


def test_histograms_keep_what_is_beside_the_blob() -> None:
    times = evenly(1000)
    for value in (-1, 1 << 62, 1 << 62):
        times.record(value)
    read = back(result(response=times)).response
    assert read == times
    assert read.exact
    assert (read.min, read.max, read.mean) == (times.min, times.max, times.mean)
    assert (read.below, read.above, read.sum) == (1, 2, times.sum)


def test_a_mean_of_more_than_53_bits_comes_back() -> None:
    times = Histogram()
    times.record(3_599_999_999_999, 10_000_000)
    times.record(7)
    assert back(result(response=times)).response.mean == times.mean


def test_options_tell_what_was_not_kept() -> None:
    made = result({"method": "POST", "data": b"12345", "verify": False, "stages": [(1, 5.0)]})
    options = back(made).options
    assert options.data == b""
    assert options.data_length == 5  # type: ignore[attr-defined]
    assert options.settings == {"verify": False}
    assert options.stages == ((1.0, 5.0),)


@pytest.mark.parametrize(
    ("cause", "kept"),
    [
        (Cause(7, "ECONNREFUSED", "refused", 111), Cause(0, "ECONNREFUSED", "refused", 111)),
        (Cause(52, "CURLE_GOT_NOTHING", "empty", 0), Cause(52, "CURLE_GOT_NOTHING", "empty", 0)),
        (Cause(150, "CURLE_150", "new", 0), Cause(150, "CURLE_150", "new", 0)),
        (Cause(0, "FT_TIMEOUT", "timeout", 0), Cause(0, "FT_TIMEOUT", "timeout", 0)),
    ],
)
def test_causes_come_back_as_far_as_their_names_tell(cause: Cause, kept: Cause) -> None:
    read = back(result(errors=(Failure(Errno.CONNECT, cause, 3),)))
    assert read.errors == (Failure(Errno.CONNECT, kept, 3),)


def test_files_are_read_by_path_or_when_open(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    path.write_text(text_of(planned()))
    assert load.read(path).plan == load.read(str(path)).plan == "shop"
    with path.open("rb") as file:
        assert load.read(file).plan == "shop"
    with pytest.raises(FileNotFoundError):
        load.read(tmp_path / "none.json")


def test_keys_that_were_added_later_are_no_error() -> None:
    document = planned().to_dict()
    document["more"] = document["counts"]["more"] = document["steps"]["login"]["more"] = 1
    assert Result.from_dict(document).counts == planned().counts


def test_the_file_and_what_is_wrong_are_named(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    whole = text_of(planned())
    for content, told in [
        (whole[: len(whole) // 2], "only a part of it"),
        ("", "only a part of it"),
        ("[" * 100_000, "no JSON"),
        ("not JSON", "no JSON"),
        ("[]", "no result of ftnet load: there is no format"),
        ("{}", "no result of ftnet load: there is no format"),
        ('{"format": "ftnet.load.interval/1"}', "format is 'ftnet.load.interval/1'"),
        ('{"format": "ftnet.load/2"}', "this ftnet reads 'ftnet.load/1'; a newer may"),
        ('{"format": "ftnet.load/1"}', "missing required field `options`"),
    ]:
        path.write_text(content)
        with pytest.raises(ValueError) as caught:
            load.read(path)
        assert str(caught.value).startswith(f"{path}: ")
        assert told in str(caught.value)
    path.write_bytes(b'{"format": "\xff"}')
    with pytest.raises(ValueError, match=r"run\.json: "):
        load.read(path)


def other_blob(document: Any) -> None:
    document["response"]["hdr"] = evenly(7).encode()


def cut_blob(document: Any) -> None:
    document["steps"]["login"]["service"]["hdr"] = evenly(1000).encode()[:-8]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda it: it.pop("counts"), "missing required field `counts`"),
        (lambda it: it["counts"].update(sent=-1), "counts.sent: Expected `int` >= 0"),
        (lambda it: it["counts"].pop("late"), "counts: .*missing required field `late`"),
        (lambda it: it.update(started="now"), "started: Expected `float`, got `str`"),
        (lambda it: it["options"].update(http_version="2.0"), "options.http_version: "),
        (lambda it: it["statuses"].update(OK=1), "statuses"),
        (lambda it: it["intervals"][1].pop("cpu"), r"intervals\[1\]: "),
        (lambda it: it["steps"]["login"].update(kind=7), r"^steps\.login\.kind: "),
        (lambda it: it["steps"]["login"]["checks"].update(x=[1]), r"^steps\.login\.checks"),
        (
            lambda it: it["steps"]["talk"]["errors"][0].update(errno=1234),
            r"^steps\.talk\.errors\[0\]\.errno: ",
        ),
        (lambda it: it["phases"]["ttfb"]["all"].pop("hdr"), r"^phases\.ttfb\.all: .*`hdr`"),
        (lambda it: it["response"].update(hdr="HISTF"), "response: "),
        (lambda it: it["response"].update(count=7), "response: count is 7, and hdr has 1000"),
        (lambda it: it["response"].update(max=7), "response: mean is not between min and max"),
        (lambda it: it["response"].update(max=90 * MS), "response: .* not in their slots"),
        (lambda it: it["response"].update(min=None), "response: min, max and mean"),
        (lambda it: it["response"].update(below=1 << 70), "response: .*64 bits"),
        (
            lambda it: it["steps"]["login"]["phases"]["ttfb"]["2xx"].update(count=-1),
            r"^steps\.login\.phases\.ttfb\.2xx: count: Expected",
        ),
        (other_blob, "response: count is 1000, and hdr has 7"),
        (cut_blob, r"^steps\.login\.service: "),
    ],
)
def test_the_wrong_key_is_named(change: Callable[[Any], object], told: str) -> None:
    document = json.loads(text_of(planned()))
    change(document)
    with pytest.raises(ValueError, match=told):
        Result.from_dict(document)
