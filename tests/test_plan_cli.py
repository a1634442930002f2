"""`ftnet plan`: what it says of plans, the files it makes, and its exit codes."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from ftnet import cli, plan
from tests.test_plan_read import BASE, STEP, WHOLE, write
from tests.test_plan_sources import API, BROWSED, har, saved

Capture = pytest.CaptureFixture[str]

SAID = """\
shop: nothing is wrong in it

  goes to    https://shop.example/api
  load       open model: from 0 iterations/s to 2000/s in 30 s, 0/s in 60 s; 1,000 users at most
  variables  region, sizes
  data       users from users.csv: 1 row, once: id, mail

  buy: 100 % of the iterations, thinks 0 to 1 s after each
    1  login  post /login; checks status = 200, json:$.ok = true; takes token
    2  GET items?region=${region|urlencode}&i=${iteration}  when ${token}; WHAT; thinks 0.5 s
    3  upload /photos
    4  download https://files.example/${users.mail}.zip

  talk: open model: 0.5 iterations/s for 60 s or until 5 iterations are done; 10 users at most
    1  websocket wss://talk.example/${region}  5 actions; checks body = ${got}; takes got
    2  tcp echo.example:7                      2 actions
    3  udp [::1]:9                             1 action
""".replace("WHAT", "checks header:etag = ${token}")


def test_check_says_what_a_plan_will_do(tmp_path: Path, capfd: Capture) -> None:
    path = write(tmp_path, WHOLE.replace("${port}", "9"))
    assert cli.main(["plan", "check", str(path)]) == 0
    out, err = capfd.readouterr()
    squeezed = [" ".join(line.split()) for line in out.split("\n")]
    assert squeezed == [" ".join(line.split()) for line in SAID.split("\n")]
    assert err == ""


def test_what_is_left_out_is_told_whoever_reads_the_file(tmp_path: Path, capfd: Capture) -> None:
    path = saved(tmp_path, "shop.har", har(BROWSED))
    assert cli.main(["plan", "check", str(path)]) == 0
    assert "left out: the body of POST https://shop.example/photo: " in capfd.readouterr().err
    api = {**API, "servers": [{"url": "http://127.0.0.1:1"}]}
    path = saved(tmp_path, "api.json", api)
    cli.main(["load", "--plan", str(path), "--requests", "1", "-c", "1"])
    assert "left out: DELETE /items/{id}: the query parameter why" in capfd.readouterr().err


def test_no_password_is_told(tmp_path: Path, capfd: Capture) -> None:
    text = """\
base_url = "http://me:s3cret@127.0.0.1:1"
load = {users = 1, iterations = 1}
[[scenario]]
name = "all"
step = [
  {request = "/a", on_fail = "continue"},
  {request = "http://you:s3cret@127.0.0.1:1/b", on_fail = "continue"},
  {download = "http://you:s3cret@127.0.0.1:1/c", on_fail = "continue"},
]
"""
    path = write(tmp_path, text)
    assert cli.main(["plan", "check", str(path)]) == 0
    made = [tmp_path / name for name in ("r.json", "r.html", "r.ndjson")]
    options = ["--json", str(made[0]), "--html", str(made[1]), "--ndjson", str(made[2])]
    cli.main(["load", "--plan", str(path), *options])
    out, err = capfd.readouterr()
    assert "GET http://127.0.0.1:1/b" in out
    for said in (out, err, *(one.read_text() for one in made)):
        assert "s3cret" not in said
    for one in made:
        assert "http://127.0.0.1:1/b" in one.read_text()


def test_check_tells_all_that_is_wrong(tmp_path: Path, capfd: Capture) -> None:
    path = write(tmp_path, BASE + STEP + "request = '/x y'\nthinks = 1\n")
    assert cli.main(["plan", "check", str(path)]) == 2
    out, err = capfd.readouterr()
    assert out == ""
    first, second, last = err.removesuffix("\n").split("\n")
    assert first.startswith(f"{path}:5: scenario.s.step.1.request: must be")
    assert second == f"{path}:6: scenario.s.step.1.thinks: unknown key; did you mean 'think'?"
    assert last == f"ftnet: (2) {path}: 2 things are wrong"


def test_a_har_file_is_narrowed_by_options(tmp_path: Path, capfd: Capture) -> None:
    path = saved(tmp_path, "shop.har", har(BROWSED))
    options = ["--host", "shop.example", "--think", "--no-static"]
    assert cli.main(["plan", "from-har", str(path), *options]) == 0
    out, err = capfd.readouterr()
    assert "left out: GET https://shop.example/app.js: static\n" in err
    assert 'request = "POST /api/login?a=$${x}"' in out
    assert 'think = "2.6s"' in out
    assert out.startswith("# Made by ftnet plan of shop.har.")
    made = plan.read(saved(tmp_path, "out.toml", out))
    assert len(made.scenario[0].step) == 6
    assert cli.main(["plan", "check", str(path)]) == 0


def test_a_plan_in_another_folder_finds_its_files(tmp_path: Path, capfd: Capture) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    (tmp_path / "a/body").write_text("x")
    text = "curl -d @body http://h/\ncurl -F f=@body http://h/\n"
    path, made = saved(tmp_path, "a/urls.txt", text), tmp_path / "b/plan.toml"
    assert cli.main(["plan", "from-urls", str(path), "-o", str(made)]) == 0
    assert capfd.readouterr() == ("", "")
    assert os.listdir(tmp_path / "b") == ["plan.toml"]
    steps = plan.read(made).scenario[0].step
    assert [getattr(steps[0], "body_file", 0), getattr(steps[1], "file", 0)] == ["../a/body"] * 2


def test_an_openapi_document_names_what_lacks(tmp_path: Path, capfd: Capture) -> None:
    path = saved(tmp_path, "api.json", API)
    assert cli.main(["plan", "from-openapi", str(path), "--base-url", "http://x"]) == 0
    out, err = capfd.readouterr()
    assert 'base_url = "http://x"' in out
    assert "left out: DELETE /items/{id}: the query parameter why has no example\n" in err


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        (["check", "gone.toml"], 2, "gone.toml: can't be read: No such file or directory"),
        (["from-har", "gone.har"], 2, "no plan can be made of gone.har"),
        (["from-urls", "list", "-o", "gone/plan.toml"], 23, "can't write to gone/plan.toml"),
        (["from-urls"], 2, "the following arguments are required: FILE"),
        ([], 2, "the following arguments are required: COMMAND"),
    ],
)
def test_exit_codes(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: Capture,
    arguments: list[str],
    code: int,
    reason: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    saved(tmp_path, "list", "http://h/\n")
    assert cli.main(["plan", *arguments]) == code
    assert reason in capfd.readouterr().err


def test_help_shows_how_it_is_used(capfd: Capture) -> None:
    assert cli.main(["plan", "--help"]) == 0
    out = capfd.readouterr().out
    assert "ftnet plan from-har shop.har" in out
    assert cli.main(["plan", "from-har", "--help"]) == 0
    assert "--no-static" in capfd.readouterr().out


def test_what_is_made_is_json_for_python(tmp_path: Path) -> None:
    made = plan.from_urls(saved(tmp_path, "list", "http://h/\n"))
    assert json.loads(json.dumps(plan.to_mapping(made)))["base_url"] == "http://h"
