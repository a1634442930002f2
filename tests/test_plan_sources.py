"""Plans from HAR files, lists, curl commands and OpenAPI documents."""

from __future__ import annotations

import copy
import json
import shlex
from pathlib import Path
from typing import Any

import haralyzer
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ftnet import cli, plan
from ftnet.handshake import basic
from ftnet.plan import PlanError, curl, model, template
from tests.servers.counting import CountingServer

SHOP = "https://shop.example"


def steps(made: plan.Plan) -> list[Any]:
    (scenario,) = made.scenario
    return list(scenario.step)


def saved(folder: Path, name: str, content: Any) -> Path:
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def wrong(make: Any, *arguments: Any, **options: Any) -> str:
    with pytest.raises(PlanError) as caught:
        make(*arguments, **options)
    return str(caught.value)


def is_accepted(made: plan.Plan, folder: Path) -> None:
    """What is made of a source is a plan that reads back the same."""
    path = folder / "made.toml"
    path.write_text(plan.to_toml(made))
    assert plan.read(path) == made


# --- HAR --------------------------------------------------------------------------------------


def entry(
    url: str,
    method: str = "GET",
    status: int = 200,
    at: float = 0.0,
    took: float = 100.0,
    mime: str = "text/html",
    fields: dict[str, str] | None = None,
    post: dict[str, Any] | None = None,
    **more: Any,
) -> dict[str, Any]:
    """As Chrome writes it; `at` is in seconds, `took` in milliseconds."""
    header = {":authority": "shop.example", "User-Agent": "Mozilla/5.0", "Accept": "*/*"}
    header |= {
        "sec-fetch-mode": "cors",
        "Accept-Encoding": "gzip, br",
        "Referer": SHOP,
        "Host": url.split("/")[2].rpartition("@")[2],
    }
    header |= {"Cookie": "sid=s3cret", "If-None-Match": '"1"', **(fields or {})}
    request = {
        "method": method,
        "url": url,
        "httpVersion": "h2",
        "headers": [{"name": name, "value": value} for name, value in header.items()],
        "queryString": [],
        "cookies": [],
        "headersSize": -1,
        "bodySize": len((post or {}).get("text", "")),
    }
    response = {
        "status": status,
        "statusText": "",
        "httpVersion": "h2",
        "headers": [],
        "cookies": [],
        "content": {"size": 0, "mimeType": mime},
        "redirectURL": "/next" if 300 <= status < 304 else "",
        "headersSize": -1,
        "bodySize": 0,
    }
    started = f"2026-01-05T10:00:{at:06.3f}Z"
    timings = {"send": 0, "wait": took, "receive": 0}
    made = {"startedDateTime": started, "time": took, "request": request, "response": response}
    made |= {"cache": {}, "timings": timings, **more}
    if post:
        request["postData"] = post
    return made


JSON = {"mimeType": "application/json", "text": '{"mail": "a@b.c", "cost": "${5}"}'}
FORM = {"mimeType": "application/x-www-form-urlencoded", "text": "a=1&b=x+y%26"}
PHOTO = {"mimeType": "image/png", "text": "aGk=", "_encoding": "base64"}

BROWSED = [
    entry(f"{SHOP}/", at=0, took=200),
    entry(f"{SHOP}/app.js", at=0.05, mime="text/javascript", _resourceType="script"),
    entry(f"{SHOP}/logo.png", at=0.1, took=400, mime="image/png"),
    entry(f"{SHOP}/api/login?a=${{x}}", "POST", at=2, post=JSON, fields={"X-Csrf": "1"}),
    entry(f"{SHOP}/api/old", "PUT", 302, at=2.105, post=FORM),
    entry(f"{SHOP}/api/new", "GET", 404, at=2.3),
    entry("https://cdn.example/x?y=1", at=2.4, fields={"Authorization": "Bearer s3cret"}),
    entry("wss://shop.example/live", at=2.5, status=101),
    entry(f"{SHOP}/cached", at=2.6, _fromCache="disk"),
    entry(f"{SHOP}/cut", at=2.7, status=0),
    entry(f"{SHOP}/api", "OPTIONS", 204, at=2.8, _resourceType="preflight"),
    entry(f"{SHOP}/photo", "POST", at=5, post=PHOTO),
    entry("https://user:pw@shop.example/last", at=9),
]  # fmt: skip


def har(entries: list[dict[str, Any]]) -> dict[str, Any]:
    creator = {"name": "WebInspector", "version": "537.36"}
    return {"log": {"version": "1.2", "creator": creator, "pages": [], "entries": entries}}


def test_a_browsers_har_becomes_a_plan(tmp_path: Path) -> None:
    document = har(BROWSED)
    assert len(haralyzer.HarParser(copy.deepcopy(document)).har_data["entries"]) == len(BROWSED)
    left_out: list[str] = []
    made = plan.from_har(saved(tmp_path, "shop.har", document), left_out=left_out)
    is_accepted(made, tmp_path)
    assert (made.name, made.base_url) == ("shop", SHOP)
    assert made.header == {"User-Agent": "Mozilla/5.0", "Accept": "*/*", "Referer": SHOP}
    assert steps(made) == [
        model.Http(request="/"),
        model.Http(request="/app.js"),
        model.Http(request="/logo.png"),
        model.Http(
            request="POST /api/login?a=$${x}",
            header={"X-Csrf": "1"},
            json={"mail": "a@b.c", "cost": "$${5}"},
        ),
        model.Http(request="PUT /api/old", form={"a": "1", "b": "x y&"}, follow=False),
        model.Http(request="/api/new", expect={"status": 404}),
        model.Http(request="https://cdn.example/x?y=1"),
        model.Http(request="POST /photo"),
        model.Http(request="/last"),
    ]
    assert left_out == [
        "GET wss://shop.example/live: wss is not sent as a request",
        "GET https://shop.example/cached: it came from the browser's cache",
        "GET https://shop.example/cut: it was not answered",
        "OPTIONS https://shop.example/api: the browser's question before another request",
        "the body of POST https://shop.example/photo: it is not text, or was not kept",
        "Authorization of 1 request",
        "Cookie of 9 requests",
    ]
    assert "s3cret" not in plan.to_toml(made)


def test_a_har_can_be_narrowed(tmp_path: Path) -> None:
    path = saved(tmp_path, "shop.har", har(BROWSED))
    made = plan.from_har(path, hosts=["Shop.example"], static=False, credentials=True)
    requests = [step.request for step in steps(made)]
    assert requests[:2] == ["/", "POST /api/login?a=$${x}"]
    assert len(requests) == 6
    assert steps(made)[0].header == {"Cookie": "sid=s3cret"}
    assert "has no requests" in wrong(plan.from_har, path, hosts=["other.example"])


def test_a_har_has_times_to_think(tmp_path: Path) -> None:
    path = saved(tmp_path, "shop.har", har(list(reversed(BROWSED))))
    thinks = [step.think for step in steps(plan.from_har(path, think=True))]
    # the picture came at 0.5 s, the next request at 2 s; gaps under 10 ms are the browser's own
    assert thinks == [0, 0, 1.5, 0, 0.095, 0, 2.5, 3.9, 0]


def test_its_own_har_becomes_a_plan(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with CountingServer() as server:
        path = tmp_path / "a.har"
        url = f"http://127.0.0.1:{server.port}/x?a=1"
        assert cli.main(["request", "--har", str(path), "--data-json", '{"a": 1}', url]) == 0
        made = plan.from_har(path)
        assert made.base_url == f"http://127.0.0.1:{server.port}"
    is_accepted(made, tmp_path)
    assert [(step.request, step.json) for step in steps(made)] == [("POST /x?a=1", {"a": 1})]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", "a.har: is no JSON: "),
        ("[]", "a.har: is no HAR file: Expected `object`, got `array`"),
        ('{"log": {}}', "a.har: is no HAR file: Object missing required field `entries`"),
        ('{"log": {"entries": [3]}}', "got `int` - at `$.log.entries[0]`"),
        ('{"log": {"entries": [{}]}}', "missing required field `request` - at `$.log.entries[0]`"),
        ('{"log": {"entries": []}}', "a.har: has no requests"),
    ],
)
def test_refuses_what_is_no_har(tmp_path: Path, content: str, reason: str) -> None:
    assert reason in wrong(plan.from_har, saved(tmp_path, "a.har", content))


_FIELD = st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), max_size=8)


@settings(max_examples=50, deadline=None)
@given(
    st.text(st.characters(codec="utf-8"), min_size=1),
    _FIELD,
    st.sampled_from([JSON, FORM, {"mimeType": "text/x"}]),
)
def test_a_recorded_body_is_sent_as_it_was(text: str, field: str, post: dict[str, str]) -> None:
    import tempfile

    asked = entry(f"{SHOP}/", "POST", post={**post, "text": text}, fields={"X-A": field.strip()})
    with tempfile.TemporaryDirectory() as folder:
        made = plan.from_har(saved(Path(folder), "a.har", har([asked])))
    (step,) = steps(made)
    if step.json is not None:
        assert template.compile_value(step.json).render({}) == json.loads(text)
    elif step.form is None:
        assert template.compile(step.body).render({}) == text
    assert template.compile(step.header.get("X-A", "")).render({}) == field.strip()


# --- lists and curl ---------------------------------------------------------------------------

LIST = """\
# what is asked for
http://h:8080/a?x=${y}

POST http://h:8080/b
curl 'http://h:8080/login?next=%2F' \\
  -H 'accept: application/json' \\
  -H 'content-type: application/json' -H 'sec-fetch-mode: cors' -H 'referer: http://h/' \\
  --data-raw $'{"a":"it\\'s \\u00e9"}' \\
  --compressed -sSk
curl -XPUT -d a=1 -d b='2 3' -u ada:pw -m 2.5 h:8080/c ;
curl -LI -A me --http2 --url "http://h:8080/d" -b 'sid=1'
curl --json '{
  "a": [1, null]}' http://h:8080/e
curl -G -d q=1 --data-urlencode 'w=a b&' 'http://h:8080/f?z=0'
curl -F photo=@p.png -F name=x -H 'X-A: 1' -m1 http://h:8080/up
curl -d @p.png http://h:8080/g -X PATCH
"""


def test_a_list_becomes_a_plan(tmp_path: Path) -> None:
    (tmp_path / "p.png").write_bytes(b"x")
    made = plan.from_urls(saved(tmp_path, "urls.txt", LIST))
    is_accepted(made, tmp_path)
    assert (made.base_url, made.settings) == ("http://h:8080", {"verify": False})
    urlencoded = "application/x-www-form-urlencoded"
    both = {"Accept": "application/json", "Content-Type": "application/json"}
    given = [
        model.Http(request="/a?x=$${y}"),
        model.Http(request="POST /b"),
        model.Http(
            request="POST /login?next=%2F",
            header={"accept": "application/json", "referer": "http://h/"},
            json={"a": "it's é"}, follow=False,
        ),
        model.Http(
            request="PUT /c", header={"Authorization": "Basic YWRhOnB3"},
            form={"a": "1", "b": "2 3"}, timeout=2.5, follow=False,
        ),
        model.Http(
            request="HEAD /d", header={"User-Agent": "me", "Cookie": "sid=1"}, http_version="2"
        ),
        model.Http(
            request="POST /e", header=both, body='{\n  "a": [1, null]}', follow=False,
        ),
        model.Http(request="/f?z=0&q=1&w=a%20b%26", follow=False),
        model.Upload(
            upload="/up", file="p.png", field="photo", form={"name": "x"}, header={"X-A": "1"},
            timeout=1,
        ),
        model.Http(
            request="PATCH /g", header={"Content-Type": urlencoded}, body_file="p.png", follow=False
        ),
    ]  # fmt: skip
    assert steps(made) == given


def test_tells_all_that_is_wrong_in_a_list(tmp_path: Path) -> None:
    text = """\
http://h/ x y
GET /relative
curl --upload-file a http://h/
curl -zX http://h/
curl -H
curl -s
curl -F a=b http://h/
curl -x p:1 http://h/
curl -x q:1 http://h/
ftp://h/
curl "http://h/?$KEY"
curl http://h/ -H "X: `id`" -d '{
}'
curl 'http://h/{a,b}'
curl http://h/ -H @file
curl http://h/ -F a=<file
curl 'http://h/
"""
    found = wrong(plan.from_urls, saved(tmp_path, "u.txt", text)).replace(f"{tmp_path}/", "")
    assert found.split("\n") == [
        "u.txt:1: must be URL, METHOD URL or a curl command, got 'http://h/ x y'",
        "u.txt:2: must be an absolute http or https URL, got '/relative'",
        "u.txt:3: curl's --upload-file is not supported",
        "u.txt:4: curl's -z is not supported",
        "u.txt:5: curl's -H has no value",
        "u.txt:6: the URL is missing",
        "u.txt:7: -F must have one NAME=@FILE among its fields, with POST",
        "u.txt:9: proxy is 'http://p:1' in a line before, and can't differ",
        "u.txt:10: has a wrong scheme, got 'ftp'; takes http or https",
        "u.txt:11: $KEY is the shell's: write what it stands for",
        "u.txt:12: ` is the shell's: write what it stands for",
        "u.txt:14: curl makes several URLs of [] and {}: write each, or --globoff",
        "u.txt:15: -H of a file is not supported",
        "u.txt:16: -F NAME=<FILE is not supported",
        "u.txt:17: a quote is not closed: 'http://h/",
    ]
    assert "has no requests" in wrong(plan.from_urls, saved(tmp_path, "u.txt", "# none\n"))
    assert "there is no file" in wrong(
        plan.from_urls, saved(tmp_path, "u.txt", "curl -d @gone http://h/")
    )


CMD = (
    ('curl ^"http://h/a?x=1^&y=^%^41^" ^\n -H ^"accept: */*^" ^\n'
     ' --data-raw ^"^{^\\^"a^\\^":^\\^"^^^\n\n ^\\^"^}^"\n', '{"a":"^\n "}'),
    ('curl.exe "http://h/a?x=1^&y=^%^41" ^\r\n -H "accept: */*" ^\r\n'
     ' --data-raw "^{^\\^"a^\\^":1}"', '{"a":1}'),
)  # fmt: skip


@pytest.mark.parametrize(("command", "body"), CMD)
def test_a_command_for_windows_is_read_as_its_shell_reads_it(
    tmp_path: Path, command: str, body: str
) -> None:
    step, last = steps(plan.from_urls(saved(tmp_path, "u.txt", f"{command}\nhttp://h/b\n")))
    assert step.request == "POST /a?x=1&y=%41"
    assert (step.header["accept"], step.body) == ("*/*", body)
    assert last.request == "/b"


CURL: dict[str, dict[str, Any]] = {
    "-H 'Accept: x/y' --json '{\"a\":1}'": {"header": {"Accept": "x/y"}, "json": {"a": 1}},
    "-A one -H 'user-agent: two'": {"header": {"user-agent": "two"}},
    "-u a:b -H 'Authorization: Bearer x'": {"header": {"Authorization": "Bearer x"}},
    "-b a=1 -b 'b=2; c=3'": {"header": {"Cookie": "a=1; b=2; c=3"}},
    "-H 'Cookie: a=1' -H 'cookie: b=2'": {"header": {"Cookie": "a=1; b=2"}},
    "-H 'X-A: 1' -H 'x-a: 2'": {"header": {"X-A": "1, 2"}},
    "-e http://from/": {"header": {"Referer": "http://from/"}},
    "-H 'Content-Type: application/json; charset=utf-8' -d '[1]'": {
        "header": {"Content-Type": "application/json; charset=utf-8"},
        "json": [1],
    },
    "-H 'Content-Type: application/x-www-form-urlencoded; charset=utf-8' -d a=1": {
        "header": {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"},
        "form": {"a": "1"},
    },
    "-d a=%E9": {
        "header": {"Content-Type": "application/x-www-form-urlencoded"},
        "body": "a=%E9",
    },
}


@pytest.mark.parametrize("options", CURL)
def test_a_curl_command_is_sent_as_curl_sends_it(tmp_path: Path, options: str) -> None:
    (step,) = steps(plan.from_urls(saved(tmp_path, "u.txt", f"curl http://h/ {options}")))
    method = "POST " if {"body", "json", "form"} & CURL[options].keys() else ""
    assert step == model.Http(request=f"{method}/", follow=False, **CURL[options])


def test_a_file_is_sent_as_curl_sends_it(tmp_path: Path) -> None:
    (tmp_path / "j.json").write_bytes(b'{"a":\r\n 1}\n')
    (tmp_path / "b.bin").write_bytes(b"\xff\n")
    options = ["-d @j.json", "--data-binary @j.json", "--json @j.json", "--data-binary @b.bin"]
    lines = "".join(f"curl http://h/ {one}\n" for one in options)
    found = steps(plan.from_urls(saved(tmp_path, "u.txt", lines)))
    assert [(step.body, step.body_file) for step in found] == [
        ('{"a": 1}', None), (None, "j.json"), (None, "j.json"), (None, "b.bin"),
    ]  # fmt: skip
    assert "u.txt:1: -d @FILE leaves line breaks" in wrong(
        plan.from_urls, saved(tmp_path, "u.txt", "curl -d @b.bin http://h/")
    )


def test_a_login_in_a_url_is_kept(tmp_path: Path) -> None:
    text = "curl http://me%40x:p@h/\ncurl -u a:b http://me:p@h/\nhttp://me@h/\n"
    sent = [
        step.header["Authorization"] for step in steps(plan.from_urls(saved(tmp_path, "u", text)))
    ]
    assert sent == [basic(login) for login in ("me@x:p", "a:b", "me:")]


def test_a_url_of_curl_is_one(tmp_path: Path) -> None:
    text = "curl 'http://h/\\[1\\]' 'http://[::1]/a'\ncurl -g 'http://h/[1-3]{a}'\n"
    found = steps(plan.from_urls(saved(tmp_path, "u.txt", text)))
    assert [step.request for step in found] == ["/[1]", "http://[::1]/a", "/[1-3]{a}"]


@pytest.mark.parametrize("text", ['{"a":1,"a":2}', "1.10", "0.12345678901234567890", '"\\u00e9"'])
def test_json_that_would_not_be_sent_as_it_was_is_sent_as_a_text(tmp_path: Path, text: str) -> None:
    post = {"mimeType": "application/json", "text": text}
    (step,) = steps(
        plan.from_har(saved(tmp_path, "a.har", har([entry(SHOP + "/", "POST", post=post)])))
    )
    assert (step.json, step.body) == (None, text)
    assert step.header["Content-Type"] == "application/json"


MULTIPART = {"mimeType": "multipart/form-data; boundary=X"}


@pytest.mark.parametrize(
    "post",
    [
        {"mimeType": "image/png", "text": "\ufffdPNG\r\n"},
        {"mimeType": "image/png", "text": "aGk=", "encoding": "base64"},
        {**MULTIPART, "params": [{"name": "a", "value": "1"}]},
        {**MULTIPART, "text": "", "params": [{"name": "a", "fileName": "a.png"}]},
    ],
)
def test_a_body_that_is_no_text_is_left_out_and_told(tmp_path: Path, post: dict[str, Any]) -> None:
    left_out: list[str] = []
    document = saved(tmp_path, "a.har", har([entry(f"{SHOP}/up", "POST", post=post)]))
    (step,) = steps(plan.from_har(document, left_out=left_out))
    assert step.body is None
    reason = "it is not text, or was not kept"
    assert left_out[0] == f"the body of POST {SHOP}/up: {reason}"


def test_a_body_that_was_decoded_is_not_called_encoded(tmp_path: Path) -> None:
    fields = {"Content-Encoding": "gzip"}
    document = har([entry(f"{SHOP}/", "POST", post=JSON, fields=fields)])
    (step,) = steps(plan.from_har(saved(tmp_path, "a.har", document)))
    assert step.json
    assert "Content-Encoding" not in step.header


def test_a_websocket_of_a_har_is_left_out(tmp_path: Path) -> None:
    document = har([entry(f"{SHOP}/"), entry(f"{SHOP}/live", status=101)])
    left_out: list[str] = []
    assert len(steps(plan.from_har(saved(tmp_path, "a.har", document), left_out=left_out))) == 1
    assert f"GET {SHOP}/live: a WebSocket" in left_out


def test_repeated_fields_of_a_har_are_all_there(tmp_path: Path) -> None:
    asked = [entry(f"{SHOP}/{number}") for number in range(2)]
    for one in asked:
        for name, value in (("Cookie", "more=1"), ("X-A", "1"), ("x-a", "2")):
            one["request"]["headers"].append({"name": name, "value": value})
    made = plan.from_har(saved(tmp_path, "a.har", har(asked)), credentials=True)
    assert made.header["X-A"] == "1, 2"
    assert [step.header for step in steps(made)] == [{"Cookie": "sid=s3cret; more=1"}] * 2


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))))
def test_words_are_those_of_a_shell(given_words: list[str]) -> None:
    assert curl.words(shlex.join(given_words)) == given_words


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("a  b\tc", ["a", "b", "c"]),
        ("a'b c'\"d e\"f", ["ab cd ef"]),
        ("'' \"\"", ["", ""]),
        ("a \\\n b\\ c", ["a", "b c"]),
        ('"a\\"b\\\\c\\d" \\$', ['a"b\\c\\d', "$"]),
        (r"$'a\n\x41\u00e9\'\101'", ["a\nAé'A"]),
    ],
)
def test_words_with_every_quote(command: str, words: list[str]) -> None:
    assert curl.words(command) == words


# --- OpenAPI ----------------------------------------------------------------------------------

LOOP = {"$ref": "#/components/schemas/Loop"}
API: dict[str, Any] = {
    "openapi": "3.1.0",
    "servers": [{"url": "http://h:{port}/v1/", "variables": {"port": {"default": "8080"}}}],
    "paths": {
        "/items/{id}": {
            "parameters": [{"$ref": "#/components/parameters/Id"}],
            "get": {
                "operationId": "getItem",
                "parameters": [
                    {"name": "fields", "in": "query", "example": ["a", "b c"]},
                    {"name": "page", "in": "query", "required": True, "schema": {"default": 1}},
                    {"name": "unused", "in": "query", "schema": {"default": 1}},
                    {"name": "X-Kind", "in": "header", "examples": {"one": {"value": "${k}"}}},
                    {"name": "sid", "in": "cookie", "required": True, "schema": {"enum": ["s"]}},
                    {"name": "Authorization", "in": "header", "required": True},
                ],
                "responses": {"200": {}, "2XX": {}, "404": {}, "default": {}},
            },
            "put": {
                "requestBody": {
                    "content": {
                        "text/plain": {"example": "no"},
                        "application/json": {"schema": {"$ref": "#/components/schemas/Item"}},
                    }
                },
                "responses": {"204": {}},
            },
            "delete": {"parameters": [{"name": "why", "in": "query", "required": True}]},
        },
        "/login": {
            "post": {
                "requestBody": {
                    "required": True,
                    "content": {
                        "application/x-www-form-urlencoded": {"example": {"user": "a", "n": 1}}
                    },
                }
            }
        },
        "/text": {
            "post": {"requestBody": {"content": {"text/csv": {"example": "a,b\n"}}}},
            "patch": {
                "requestBody": {
                    "required": True,
                    "content": {"application/json": {"schema": LOOP}},
                }
            },
        },
    },
    "components": {
        "parameters": {
            "Id": {"name": "id", "in": "path", "required": True, "schema": {"examples": ["a/b"]}}
        },
        "schemas": {
            "Item": {
                "type": "object",
                "required": ["name", "tags"],
                "properties": {
                    "id": {"readOnly": True, "example": 3},
                    "name": {"type": "string", "example": "Ada"},
                    "tags": {"type": "array", "items": {"const": "x"}},
                    "more": {"type": "string"},
                    "size": {"allOf": [{"properties": {"w": {"default": 2}}}]},
                },
            },
            "Loop": {"required": ["a"], "properties": {"a": LOOP}},
        },
    },
}  # fmt: skip


def test_an_openapi_document_becomes_a_plan(tmp_path: Path) -> None:
    path = saved(tmp_path, "api.json", API)
    left_out: list[str] = []
    made = plan.from_openapi(path, left_out=left_out)
    is_accepted(made, tmp_path)
    assert (made.name, made.base_url) == ("api", "http://h:8080/v1")
    assert steps(made) == [
        model.Http(
            name="getItem",
            request="GET items/a%2Fb?fields=a&fields=b%20c&page=1",
            header={"X-Kind": "$${k}", "Cookie": "sid=s"},
            expect={"status": [200, "2xx"]},
        ),
        model.Http(
            request="PUT items/a%2Fb",
            json={"name": "Ada", "tags": ["x"], "size": {"w": 2}},
            expect={"status": 204},
        ),
        model.Http(request="POST login", form={"user": "a", "n": "1"}),
        model.Http(request="POST text", header={"Content-Type": "text/csv"}, body="a,b\n"),
    ]
    lacks = [
        "DELETE /items/{id}: the query parameter why has no example",
        "PATCH /text: the body (application/json) has no example",
    ]
    assert left_out == lacks
    assert wrong(plan.from_openapi, path).replace(f"{path}: ", "").split("\n") == lacks


def operations(**paths: Any) -> dict[str, Any]:
    """A document with GET /NAME of these parameters, or POST /NAME with a JSON body's schema."""
    out = {}
    for name, one in paths.items():
        body = {"requestBody": {"required": True, "content": {"application/json": {"schema": one}}}}
        out[f"/{name}"] = {"get": {"parameters": [one]}} if "in" in one else {"post": body}
    return {"openapi": "3.0.3", "servers": [{"url": "http://h"}], "paths": out}


def of(place: str, **given: Any) -> dict[str, Any]:
    return {"in": place, "name": "p", "required": True, **given}


@pytest.mark.parametrize(
    ("parameter", "request_"),
    [
        (of("query", example=["a", "b,"], explode=False), "/x?p=a,b%2C"),
        (of("query", example={"a": 1, "b": 2}, explode=False), "/x?p=a,1,b,2"),
        (of("query", example={"a": 1, "b": 2}), "/x?a=1&b=2"),
        (
            of("query", example={"a": 1, "b": "é"}, style="deepObject"),
            "/x?p%5Ba%5D=1&p%5Bb%5D=%C3%A9",
        ),
        (of("query", example=["a", "b"], style="pipeDelimited"), "/x?p=a%7Cb"),
        (of("query", example=["a", "b"], style="spaceDelimited", explode=True), "/x?p=a&p=b"),
        (
            of("query", content={"application/json": {"example": {"a": 1}}}),
            "/x?p=%7B%22a%22%3A1%7D",
        ),
    ],
)
def test_parameters_are_written_in_their_style(
    tmp_path: Path, parameter: Any, request_: str
) -> None:
    (step,) = steps(plan.from_openapi(saved(tmp_path, "a.json", operations(x=parameter))))
    assert step.request == f"GET {request_}"


@pytest.mark.parametrize(
    ("style", "value", "path"),
    [(None, [1, "a/b"], "1,a%2Fb"), ("matrix", 5, ";p=5"), ("label", 5, ".5")],
)
def test_a_path_has_its_parameters_in_their_style(
    tmp_path: Path, style: Any, value: Any, path: str
) -> None:
    given = of("path", example=value) | ({"style": style} if style else {})
    document = {**operations(), "paths": {"/x/{p}": {"get": {"parameters": [given]}}}}
    (step,) = steps(plan.from_openapi(saved(tmp_path, "a.json", document)))
    assert step.request == f"GET /x/{path}"
    document = {**operations(), "paths": {"/x/{q}": {"get": {"parameters": [given]}}}}
    found = wrong(plan.from_openapi, saved(tmp_path, "a.json", document))
    assert "GET /x/{q}: nothing says what {q} is" in found


TEXT = {"type": "string", "example": "x"}


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"allOf": [{"properties": {"a": TEXT}}], "description": "which has none"}, {"a": "x"}),
        ({"allOf": [{"properties": {"a": TEXT}}, {"required": ["a"]}]}, {"a": "x"}),
        ({"properties": {"a": TEXT}, "anyOf": [{"required": ["a"]}]}, {"a": "x"}),
        ({"anyOf": [{"type": "null"}, TEXT]}, "x"),
    ],
)
def test_what_a_schema_says_beside_its_parts_is_no_part(
    tmp_path: Path, schema: Any, value: Any
) -> None:
    (step,) = steps(plan.from_openapi(saved(tmp_path, "a.json", operations(x=schema))))
    assert step.json == value


def test_schemas_that_lead_back_to_themselves_end(tmp_path: Path) -> None:
    """Each of them has each other three times over: one way after the other would never end."""
    every = [f"#/components/schemas/S{number}" for number in range(30)]
    parts = {f"p{n}{at}": {"$ref": ref} for n in range(3) for at, ref in enumerate(every)}
    schemas = {f"S{n}": {"properties": {"text": TEXT, **parts}} for n in range(30)}
    document = {**operations(x={"$ref": every[0]}), "components": {"schemas": schemas}}
    (step,) = steps(plan.from_openapi(saved(tmp_path, "a.json", document)))
    assert step.json["text"] == step.json["p01"]["text"] == "x"
    assert len(json.dumps(step.json)) < 1_000_000


def test_an_operation_may_have_a_server_of_its_own(tmp_path: Path) -> None:
    document = operations(x=of("query", example=1))
    document["paths"]["/x"]["servers"] = [{"url": "http://other/v2/"}]
    path = saved(tmp_path, "a.json", document)
    assert [step.request for step in steps(plan.from_openapi(path))] == [
        "GET http://other/v2/x?p=1"
    ]
    (step,) = steps(plan.from_openapi(path, base_url="http://mine"))
    assert step.request == "GET /x?p=1"


def test_a_form_has_a_list_again_and_again(tmp_path: Path) -> None:
    form = {"application/x-www-form-urlencoded": {"example": {"a": ["x", "y"], "b": {"c": 1}}}}
    document = {**operations(), "paths": {"/x": {"post": {"requestBody": {"content": form}}}}}
    (step,) = steps(plan.from_openapi(saved(tmp_path, "a.json", document)))
    assert step.body == "a=x&a=y&b=%7B%22c%22%3A1%7D"
    assert step.header == {"Content-Type": "application/x-www-form-urlencoded"}


def test_yaml_has_the_types_of_json(tmp_path: Path) -> None:
    pytest.importorskip("yaml")
    text = """\
openapi: 3.0.0
servers: [{url: http://h}]
paths:
  /a:
    get:
      parameters: [{in: query, name: at, example: 2017-07-21T17:32:28Z}]
    post:
      requestBody:
        content:
          application/json:
            example: {no: on, at: 12:30, day: 2017-07-21, zip: 010, n: -1, x: 1.5e3, ok: true}
"""
    get, post = steps(plan.from_openapi(saved(tmp_path, "a.yaml", text)))
    assert get.request == "GET /a?at=2017-07-21T17%3A32%3A28Z"
    assert post.json == {
        "no": "on", "at": "12:30", "day": "2017-07-21", "zip": "010", "n": -1, "x": 1500,
        "ok": True,
    }  # fmt: skip


def test_yaml_says_the_same(tmp_path: Path) -> None:
    yaml = pytest.importorskip("yaml")
    first = plan.from_openapi(saved(tmp_path, "api.json", API), left_out=[])
    second = plan.from_openapi(saved(tmp_path, "api.yaml", yaml.safe_dump(API)), left_out=[])
    assert first == second
    assert "a.yaml:2: is no YAML: " in wrong(
        plan.from_openapi, saved(tmp_path, "a.yaml", "a: 1\nb: [")
    )


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ("{", "is no JSON: "),
        ({"swagger": "2.0"}, "must be an OpenAPI 3 document, and is Swagger 2"),
        ({"a": 1}, "must be an OpenAPI 3 document, and is none"),
        ({"openapi": "3.0.1", "paths": {}}, "servers: there is no absolute URL, got ''"),
        ({**API, "paths": {}}, "has no operations"),
        ({**API, "paths": {"/": 3}}, "is not as OpenAPI 3 has it: AttributeError"),
        ({**API, "paths": {"/": {"get": {"parameters": [{"$ref": "#/a"}]}}}}, "GET /: #/a leads"),
    ],
)
def test_refuses_what_is_no_openapi(tmp_path: Path, document: Any, reason: str) -> None:
    assert reason in wrong(plan.from_openapi, saved(tmp_path, "a.json", document), left_out=[])


def test_another_server_can_be_given(tmp_path: Path) -> None:
    document = {**API, "servers": [{"url": "/v1"}]}
    path = saved(tmp_path, "api.json", document)
    assert plan.from_openapi(path, base_url="http://x/v2", left_out=[]).base_url == "http://x/v2"


# --- any of them ------------------------------------------------------------------------------


def test_finds_out_what_a_file_is(tmp_path: Path) -> None:
    browsed = har(BROWSED)
    api = {**API, "paths": {"/login": API["paths"]["/login"]}}
    a_plan = {"base_url": "http://h", "scenario": [{"name": "a", "step": [{"request": "/"}]}]}
    for name, content, first in (
        ("a.har", browsed, "/"),
        ("a.json", browsed, "/"),
        ("b.json", api, "POST login"),
        ("c.json", a_plan, "/"),
        ("d.txt", "http://h/x\n", "/x"),
        ("d.curl", "curl http://h/y\n", "/y"),
        ("e.toml", plan.to_toml(plan.convert(a_plan)), "/"),
    ):
        assert steps(plan.load_any(saved(tmp_path, name, content)))[0].request == first
    for name, content in (("a.json", "{"), ("a.json", "[]"), ("a.har", "{}"), ("a.toml", "a")):
        wrong(plan.load_any, saved(tmp_path, name, content))
    assert "No such file" in wrong(plan.load_any, tmp_path / "gone.json")
