"""Data feeds: which share gets which rows in which order, and what is wrong with a file."""

from __future__ import annotations

import csv
import io
import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ftnet.plan import Plan, PlanError, convert, data
from ftnet.plan.data import Exhausted, FeedError, Feeds, open_rows
from ftnet.plan.model import Feed

CSV = 'name,mail\nAda,a@b.c\n"Lovelace, ""A""","two\nlines"\n\nÉmile,\n'
JSONL = '{"id": 1, "tags": ["a"]}\n\n{"id": 2.5, "more": null}\n'


@pytest.fixture(params=["decoded", "by places"])
def size(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Whether a file is taken for a small one or for a large one."""
    if request.param == "by places":
        monkeypatch.setattr(data, "SMALL", -1)
    return str(request.param)


def plan_of(
    folder: Path, content: str = "", file: str = "u.csv", order: Any = "sequential"
) -> Plan:
    (folder / file).write_text(content, newline="")
    return Plan(data={"u": Feed(file=file, order=order)}, folder=str(folder))


def numbered(rows: int) -> str:
    return "n\n" + "".join(f"{row}\n" for row in range(rows))


def all_of(rows: data.Rows) -> list[dict[str, Any]]:
    return [rows.row(at) for at in range(len(rows))]


def taken(feeds: Feeds, times: int) -> list[Any]:
    variables: dict[str, Any] = {}
    out = []
    for _ in range(times):
        feeds.take(variables)
        out.append(variables["u.n"])
    return out


def test_reads_csv(tmp_path: Path, size: str) -> None:
    for content in (CSV, "\ufeff" + CSV, CSV.replace("\n", "\r\n"), CSV.removesuffix("\n")):
        (tmp_path / "a.csv").write_text(content, newline="")
        rows = open_rows(str(tmp_path / "a.csv"))
        lines = "two\r\nlines" if "\r" in content else "two\nlines"
        assert all_of(rows) == [
            {"name": "Ada", "mail": "a@b.c"},
            {"name": 'Lovelace, "A"', "mail": lines},
            {"name": "Émile", "mail": ""},
        ]
        assert rows.columns == {"name", "mail"}


def test_reads_other_kinds(tmp_path: Path, size: str) -> None:
    (tmp_path / "a.tsv").write_text("a\tb\n1\t2,3\n")
    assert all_of(open_rows(str(tmp_path / "a.tsv"))) == [{"a": "1", "b": "2,3"}]
    (tmp_path / "a.jsonl").write_text("\ufeff" + JSONL)
    rows = open_rows(str(tmp_path / "a.jsonl"))
    assert all_of(rows) == [{"id": 1, "tags": ["a"]}, {"id": 2.5, "more": None}]
    assert rows.columns == (None if size == "by places" else {"id", "tags", "more"})


@settings(max_examples=50, deadline=None)
@given(table=st.lists(st.lists(st.text(st.characters(codec="utf-8")), min_size=2, max_size=2)))
def test_both_ways_to_read_give_what_was_written(table: list[list[str]]) -> None:
    import tempfile

    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n", quoting=csv.QUOTE_ALL)
    writer.writerows([["a", "b"], *table, ["x", "y"]])
    want = [{"a": a, "b": b} for a, b in [*table, ["x", "y"]]]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.csv")
        path.write_text(out.getvalue(), newline="")
        for kind in (data._Few, data._Many):
            assert all_of(kind(str(path), "", ",")) == want


def test_a_quote_within_a_field_is_a_quote(tmp_path: Path, size: str) -> None:
    fields = ['5" pipe', '"6"" x', "7", "multi\nline", 'a "b', '8"']
    lines = ['5" pipe,1', '"""6"""" x",2', "7,3", '"multi\nline",4', 'a "b,5', '8",6', ""]
    (tmp_path / "a.csv").write_text("\n".join(["a,b", *lines]))
    rows = all_of(open_rows(str(tmp_path / "a.csv")))
    assert [row["a"] for row in rows] == fields


@pytest.mark.parametrize(
    ("file", "content", "line"),
    [
        ("u.csv", b"a,b\n1,2\n3\n", 3),
        ("u.csv", b'"a"x,b\n1,2\n', 1),
        ("u.csv", b"a,b\n1,2\n3,\xff\n", 3),
        ("u.csv", "a,b\n".encode("utf-16"), 1),
        ("u.jsonl", b'{"a": 1}\n\n{"a"}\n', 3),
        ("u.csv", b'\xef\xbb\xbf"a,1",b\n1,2\n', 0),
        ("u.jsonl", b'\xef\xbb\xbf{"a": 1}\n\n', 0),
    ],
)
def test_every_row_is_looked_at_before_a_plan_is_carried_out(
    tmp_path: Path, size: str, file: str, content: bytes, line: int
) -> None:
    (tmp_path / file).write_bytes(content)
    given = {
        "data": {"u": {"file": file}},
        "scenario": [{"name": "all", "step": [{"request": "http://h/"}]}],
    }
    if not line:
        assert convert(given, str(tmp_path)).data
        return
    with pytest.raises(PlanError, match=f"data.u.file: {file}: line {line}: "):
        convert(given, str(tmp_path))


def test_shares_have_every_row_once(tmp_path: Path, size: str) -> None:
    plan = plan_of(tmp_path, numbered(10), order="once")
    got = []
    for index in range(3):
        feeds = Feeds(plan, index, 3)
        rows = taken(feeds, 4 if index == 0 else 3)
        assert rows == [str(row) for row in range(index, 10, 3)]
        got += rows
        with pytest.raises(Exhausted, match="data u: all of its 10 rows were taken"):
            feeds.take({})
    assert sorted(got, key=int) == [str(row) for row in range(10)]


def test_sequential_begins_again(tmp_path: Path, size: str) -> None:
    plan = plan_of(tmp_path, numbered(3))
    assert taken(Feeds(plan), 7) == ["0", "1", "2", "0", "1", "2", "0"]
    assert taken(Feeds(plan, 1, 2), 4) == ["1", "0", "2", "1"]
    assert taken(Feeds(plan, 7, 8), 2) == ["1", "0"]


def test_random_rows_are_repeated_by_a_seed(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, numbered(50), order="random")
    first = taken(Feeds(plan, 0, 1, random.Random(5)), 200)
    assert first == taken(Feeds(plan, 0, 1, random.Random(5)), 200)
    assert len(set(first)) > 40
    assert taken(Feeds(plan), 9) == taken(Feeds(plan), 9) != taken(Feeds(plan, 1, 2), 9)


def test_a_row_leaves_nothing_behind(tmp_path: Path) -> None:
    feeds = Feeds(plan_of(tmp_path, JSONL, "u.jsonl"))
    variables: dict[str, Any] = {"mine": 1}
    feeds.take(variables)
    assert variables == {"mine": 1, "u.id": 1, "u.tags": ["a"]}
    feeds.take(variables)
    assert variables == {"mine": 1, "u.id": 2.5, "u.more": None}
    other = {"u.more": 3}  # of another user
    feeds.take(other)
    assert other == {"u.id": 1, "u.tags": ["a"]}
    feeds.take(variables)
    feeds.take(variables, ())
    feeds.take(variables, {"other"})
    assert variables["u.id"] == 2.5
    feeds.take(variables, {"u"})
    assert variables["u.id"] == 1


def test_shares_have_one_copy(tmp_path: Path) -> None:
    plan_of(tmp_path, CSV)
    path = str(tmp_path / "u.csv")
    first = open_rows(path)
    assert open_rows(path) is first
    (tmp_path / "u.csv").write_text("name\nEve\n")
    assert all_of(open_rows(path)) == [{"name": "Eve"}]


@pytest.mark.parametrize(
    ("file", "content", "reason"),
    [
        ("u.csv", b"a,b\n\n", "u.csv: has no rows"),
        ("u.jsonl", b"\n", "u.jsonl: has no rows"),
        ("u.csv", b"a,b,a\n1,2,3\n", "u.csv:1: two columns have the name 'a'"),
        ("u.csv", b"a,,c\n1,2,3\n", "u.csv:1: column 2 has no name in the header line"),
        ("u.txt", b"a", "u.txt: must end in .csv, .tsv, .jsonl, .ndjson, got '.txt'"),
        ("u", b"a", "got 'no ending'"),
    ],
)
def test_says_what_is_wrong_with_a_file(
    tmp_path: Path, size: str, file: str, content: bytes, reason: str
) -> None:
    (tmp_path / file).write_bytes(content)
    with pytest.raises(FeedError) as caught:
        open_rows(str(tmp_path / file))
    assert str(caught.value).endswith(reason)


@pytest.mark.parametrize(
    ("file", "content", "reason"),
    [
        ("u.csv", b"a,b\n1,2\n\n3\n", "u.csv:4: the row has 1 fields, the header line 2"),
        ("u.csv", b'a,b\n1,"2\n3"\n4,"5"6\n', "u.csv:4: ',' expected after '\"'"),
        ("u.csv", b"a,b\n1,2\n3,\xff\n", "u.csv:3: "),
        ("u.jsonl", b'{"a": 1}\n{"a" 2}\n', "u.jsonl:2: is no JSON: "),
        ("u.jsonl", b'{"a": ' + b"[" * 20000, "u.jsonl:1: is no JSON: maximum recursion"),
        ("u.jsonl", b'{"a": 1}\n[3]\n', "u.jsonl:2: must be an object, got '[3]'"),
    ],
)
def test_says_what_is_wrong_with_a_row(
    tmp_path: Path, size: str, file: str, content: bytes, reason: str
) -> None:
    (tmp_path / file).write_bytes(content)
    with pytest.raises(FeedError) as caught:
        all_of(open_rows(str(tmp_path / file)))
    assert reason in str(caught.value)


def test_says_that_a_quote_is_not_closed(tmp_path: Path, size: str) -> None:
    (tmp_path / "u.csv").write_text('a,b\n1,"2\n3,4\n')
    with pytest.raises(FeedError, match="unexpected end of data|a quote is not closed"):
        open_rows(str(tmp_path / "u.csv"))


def test_says_that_a_file_is_missing_or_empty(tmp_path: Path) -> None:
    with pytest.raises(FeedError, match="u.csv: has no rows"):
        Feeds(plan_of(tmp_path))
    with pytest.raises(FeedError, match="gone.csv: can't be read: No such file"):
        Feeds(Plan(data={"u": Feed(file="gone.csv")}, folder=str(tmp_path)))


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 9), st.integers(1, 5), st.integers(1, 12))
def test_shares_together_go_through_the_rows(rows: int, shares: int, times: int) -> None:
    """What shares take in turn is what one alone would take."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        plan = plan_of(
            Path(folder), "\n".join(json.dumps({"n": n}) for n in range(rows)), "u.jsonl"
        )
        many = [Feeds(plan, index, shares) for index in range(shares)]
        turns = [taken(many[turn % shares], 1)[0] for turn in range(times)]
        assert turns == taken(Feeds(plan), times)
