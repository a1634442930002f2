"""Plan files: what is read from them, and every complaint with its file, line and key."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ftnet import plan
from ftnet.plan import PlanError, model, rules
from ftnet.plan.scope import used_feeds

BASE = 'base_url = "http://h:8080"\n'
STEP = "[[scenario]]\nname = 's'\n[[scenario.step]]\n"

WHOLE = """\
name = "shop"
base_url = "https://shop.example/api"
header = {Accept = "application/json", "X-Run" = 7}
timeout = "10s"
cookies = false
settings = {verify = false, http_version = "2", ca = "ca.pem"}

[variables]
region = "eu"
sizes = [1, 2]

[data.users]
file = "users.csv"
order = "once"

[load]
users = "1k"
stages = [["30s", "2k"], [60, 0]]
arrivals = "poisson"
seed = 7
warmup = 1
grace = "1m30s"

[[scenario]]
name = "buy"
weight = 3
think = [0, "1s"]

[[scenario.step]]
name = "login"
request = "post /login"
json = {mail = "${users.mail}", sizes = "${sizes}", nothing = []}
expect = {status = 200, "json:$.ok" = true}
extract = {token = "json:$.token"}

[[scenario.step]]
request = "GET items?region=${region|urlencode}&i=${iteration}"
header.Authorization = "Bearer ${token}"
think = "500ms"
timeout = 1.5
on_fail = "continue"
when = "${token}"
http_version = "1.1"
follow = false
expect."header:etag" = "${token}"

[[scenario.step]]
upload = "/photos"
file = "users.csv"
field = "photo"
form = {album = "${users.mail}", n = 3, yes = true}

[[scenario.step]]
download = "https://files.example/${users.mail}.zip"

[[scenario]]
name = "talk"
load = {rate = 0.5, duration = "1m", iterations = 5}
step = [
  {websocket = "wss://talk.example/${region}", protocols = ["a"], actions = [
    {send = "hello ${users.mail}"},
    {receive = true, extract = {got = "json:$.id"}, within = "1s", name = "greeting"},
    {send_hex = "00 ff"},
    {receive = true, expect = {body = "${got}"}},
    {close = 1000},
  ]},
  {tcp = "echo.example:7", tls = true, actions = [{receive = 3}, {receive = "\\n"}]},
  {udp = "[::1]:${port}", actions = [{send = "a"}]},
]
"""


def write(folder: Path, text: str, name: str = "shop.toml") -> Path:
    (folder / "users.csv").write_text("mail,id\na@b.c,1\n")
    (folder / "ca.pem").write_text("")
    path = folder / name
    path.write_text(text)
    return path


def complaints(folder: Path, text: str, name: str = "shop.toml") -> list[str]:
    """What is wrong, without the folder."""
    with pytest.raises(PlanError) as caught:
        plan.read(write(folder, text, name))
    assert str(caught.value) == "\n".join(str(one) for one in caught.value.problems)
    return [line.replace(f"{folder}/", "") for line in str(caught.value).split("\n")]


# --- what is read -----------------------------------------------------------------------------


def test_reads_a_whole_plan(tmp_path: Path) -> None:
    text = WHOLE.replace("${port}", "9")
    made = plan.read(write(tmp_path, text))
    assert made.name == "shop"
    assert made.header == {"Accept": "application/json", "X-Run": "7"}
    assert made.timeout == 10
    assert made.folder == str(tmp_path)
    assert made.settings == {"verify": False, "http_version": "2", "ca": str(tmp_path / "ca.pem")}
    assert made.data == {"users": model.Feed(file="users.csv", order="once")}
    assert made.load == model.Load(
        users=1000, stages=((30, 2000), (60, 0)), arrivals="poisson", seed=7, warmup=1, grace=90
    )
    buy, talk = made.scenario
    assert (buy.weight, buy.think, buy.load) == (3, (0, 1), None)
    assert talk.load == model.Load(rate=0.5, duration=60, iterations=5)
    kinds = [model.Http, model.Http, model.Upload, model.Download]
    assert [type(step) for step in buy.step] == kinds
    assert [type(step) for step in talk.step] == [model.WebSocket, model.Tcp, model.Udp]
    login, items, upload, _ = buy.step
    assert isinstance(login, model.Http)
    assert login.json == {"mail": "${users.mail}", "sizes": "${sizes}", "nothing": []}
    assert (items.think, items.timeout, items.on_fail, items.when) == (
        0.5,
        1.5,
        "continue",
        "${token}",
    )
    assert isinstance(upload, model.Upload)
    assert upload.form == {"album": "${users.mail}", "n": "3", "yes": "true"}
    assert isinstance(talk.step[0], model.WebSocket)
    assert talk.step[0].actions[1] == model.Action(
        receive=True, extract={"got": "json:$.id"}, within=1, name="greeting"
    )
    assert used_feeds(made, buy) == {"users"}


def test_json_says_the_same(tmp_path: Path) -> None:
    import tomllib

    text = WHOLE.replace("${port}", "9")
    given_plan = tomllib.loads(text)
    as_json = plan.read(write(tmp_path, json.dumps(given_plan, indent=2), "shop.json"))
    assert as_json == plan.read(write(tmp_path, text)) == plan.convert(given_plan, str(tmp_path))


def test_a_plan_goes_from_one_process_to_another(tmp_path: Path) -> None:
    made = plan.read(write(tmp_path, WHOLE.replace("${port}", "9")))
    assert pickle.loads(pickle.dumps(made)) == made
    encoded = msgspec.json.encode(made)
    assert msgspec.json.decode(encoded)["scenario"][0]["name"] == "buy"


def test_the_file_names_a_plan_without_a_name(tmp_path: Path) -> None:
    text = "\ufeff" + BASE + STEP + "request = '/'\n"
    assert plan.read(write(tmp_path, text.replace("\n", "\r\n"), "a b.toml")).name == "a b"


def test_variables_may_come_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_TOKEN", "abc")
    text = "variables = {a = 'x${env(SHOP_TOKEN)}y', b = [{c = '${ env( SHOP_TOKEN ) }'}]}\n"
    made = plan.read(write(tmp_path, text + BASE + STEP + "request = '/${a}'"))
    assert made.variables == {"a": "xabcy", "b": [{"c": "abc"}]}


def test_converts_a_step() -> None:
    made = plan.convert_step({"request": "/a", "think": "1s"}, base_url="http://h")
    assert made == model.Http(request="/a", think=1)
    with pytest.raises(PlanError, match=r"^step: think: must be a time"):
        plan.convert_step({"request": "http://h", "think": "soon"})


# --- what is refused --------------------------------------------------------------------------


def test_tells_all_that_is_wrong(tmp_path: Path) -> None:
    text = """\
base_url = "htp://h"
nme = "x"
[load]
users = 0
[[scenario]]
name = "buy"
[[scenario.step]]
request = "/a"
timeout = "10 s"
[scenario.step.expect]
status = "ok"
[[scenario.step]]
reqest = "/b"
"""
    assert complaints(tmp_path, text) == [
        'shop.toml:1: base_url: must be an http or https URL without a query, got "htp://h":'
        " has a wrong scheme, got 'htp'; takes http or https",
        "shop.toml:2: nme: unknown key; did you mean 'name'?",
        "shop.toml:4: load.users: must be a whole number from 1 to 1000000, got 0",
        'shop.toml:9: scenario.buy.step.1.timeout: must be a time > 0, as "500ms", "1m30s" or a'
        ' number of seconds, got "10 s"',
        "shop.toml:11: scenario.buy.step.1.expect.status: must be a status (100 to 999), a class"
        ' as "2xx" or a list of them, got "ok"',
        "shop.toml:12: scenario.buy.step.2: a step has one of request, upload, download,"
        " websocket, tcp, udp, python, got reqest; did you mean 'request'?",
    ]


TOP = [
    ("name = 3", "1: name: must be a text of one line"),
    ("timeout = 0", "1: timeout: must be a time > 0"),
    ("timeout = '31d'", "1: timeout: must be a time > 0"),
    ("timeout = true", "1: timeout: must be a time > 0"),
    ("cookies = 1", "1: cookies: must be true or false, got 1"),
    ("folder = '/'", "1: folder: unknown key; it takes name, base_url"),
    ("base_url = '/x'", "1: base_url: must be an http or https URL without a query, got"),
    ("base_url = 'http://h/?a'", "it has a query"),
    ("base_url = 'http://h:99999'", "the port is not a number from 0 to 65535"),
    ("header = {'a b' = 'x'}", "1: header.a b: header name 'a b' is not a token"),
    ('header = {A = "x\\ny"}', "control character"),
    ("header = {Content-Length = 3}", "header Content-Length cannot be given"),
    ("header = {A = ['x']}", '1: header.A: must be a text, got ["x"]'),
    ("header = {A = '${x'}", "1: header.A: '${' at position 0 has no '}'"),
    ("header = []", "1: header: must be a table of header names and texts, got []"),
    ("variables = {1a = 3}", "1: variables.1a: a variable's name has letters"),
    ("variables = {user = 3}", "1: variables.user: a variable can't be called so"),
    ("variables = {a = 'x${b}'}", "1: variables.a: a variable's value can hold ${env(NAME)}"),
    ("variables = {a = '${env(NO_SUCH_NAME)}'}", "the environment has no NO_SUCH_NAME"),
    ("variables = {users = 3}\ndata.users.file = 'users.csv'", "there is data called users, too"),
    ("data.users.file = 'no.csv'", "1: data.users.file: must be the name of a CSV or JSONL file"),
    ("data.users.file = 'shop.toml'", "it must end in .csv, .tsv, .jsonl, .ndjson"),
    ("data.users = 'users.csv'", "1: data.users: must be a table, got"),
    ("data.a b.file = 1", "is no TOML: Expected '=' after a key"),
    ("data.'a b'.file = 'users.csv'", "1: data.a b: a name has letters, digits, _ and - only"),
    ("data.users = {}", "1: data.users: file is missing: the name of a file beside the plan"),
    ("data.users.order = 'random'\ndata.users.file = ''", "there is no file"),
    ("settings.timeout = 1", "1: settings.timeout: the plan has timeout itself"),
    ("settings.verfy = 1", "1: settings.verfy: unknown setting 'verfy'"),
    ("settings.verify = 'no'", "1: settings.verify: must be"),
    ("settings.ca = 'no.pem'", "1: settings.ca: must be the path"),
    ("settings.key = 'ca.pem'", "1: settings.key: must come with cert"),
    ("load = 3", "1: load: must be a table, got 3"),
    ("load.users = 'many'", "1: load.users: must be a whole number from 1"),
    ("load.rate = -1", '1: load.rate: must be iterations a second, as 200, 0.5 or "10k", got -1'),
    ("load.rate = 0", "1: load.rate: must be more than 0 without stages, got 0"),
    ("load.rate = inf", "1: load.rate: must be iterations a second"),
    ("load.stages = [[1]]", "1: load.stages: must be a list of [time, rate at its end]"),
    ("load.stages = [['1s', 0]]", "no rate of them is more than 0"),
    ("load.stages = '1s:3'", "1: load.stages: must be a list"),
    ("load.arrivals = 'even'", '1: load.arrivals: must be "constant" or "poisson", got "even"'),
    ("load.arrivals = 'poisson'", 'must be "constant" without a rate or stages'),
    ("load.seed = -1", "1: load.seed: must be a whole number from 0"),
    ("load.iterations = 1.5", "1: load.iterations: must be a whole number above 0"),
    ("load.connections = 3", "1: load.connections: unknown key; it takes users, rate"),
    ("scenario = []", "1: scenario: must be a list: [[scenario]], got []"),
    ("scenario = {a = 1}", "1: scenario: must be a list: [[scenario]]"),
    ("scenario = [3]", "1: scenario.1: must be a table, got 3"),
    ("scenario = [{step = [{udp = 'h:1'}]}]", "1: scenario.1: name is missing: a text of one"),
    ("scenario = [{name = 'a'}]", "1: scenario.a: step is missing: at least one"),
    ("scenario = [{name = 'a', step = []}]", "scenario.a.step: must be a list: [[scenario.step]]"),
    ("", "there must be a [[scenario]] with steps"),
    ("a = \n", "shop.toml:1: is no TOML: Invalid value, at column 5"),
    ("a = '''", "is no TOML: "),
]


@pytest.mark.parametrize(("text", "reason"), TOP)
def test_refuses_at_the_top(tmp_path: Path, text: str, reason: str) -> None:
    rest = "" if text.startswith("scenario") or not text else f"\n{STEP}request = 'http://h/'\n"
    found = complaints(tmp_path, text + rest)
    assert len(found) == 1
    assert reason in found[0]


GET = "request = '/'\n"
SECOND = "[[scenario]]\nname = 't'\nstep = [{request = '/b'}]\n"
STEPS = [
    ("name = 'x'", "4: scenario.s.step.1: a step has one of request, upload"),
    (GET + "tcp = 'h:1'", "got request and tcp"),
    ("request = 'GET'", "step.1.request: must be"),
    ("request = 'CONNECT /'", "'CONNECT' is no method"),
    ("request = 'G@T /'", "'G@T' is no method"),
    ("request = '/a b'", "must not hold a space"),
    ("request = 'http://h:x/'", "the port is not a number"),
    ("request = 'ftp://h/'", "has a wrong scheme, got 'ftp'"),
    ("request = '/${a'", "'${' at position 1 has no '}'"),
    ("request = '/${gone}'", "5: scenario.s.step.1.request: unknown variable 'gone'"),
    ("request = '/${itertion}'", "did you mean 'iteration'?"),
    (GET + "body = 'a'\njson = {}", "7: scenario.s.step.1.json: the step has body already"),
    (GET + "body_file = 'no'", "6: scenario.s.step.1.body_file: must be the name of a file"),
    (GET + "json.a.b = ['${gone}']", "6: scenario.s.step.1.json: unknown variable 'gone'"),
    (GET + "form = {a = {}}", "6: scenario.s.step.1.form.a: must be a text, got {}"),
    (GET + "header.a = '${gone}'", "6: scenario.s.step.1.header.a: unknown variable"),
    (GET + "http_version = '1.0'", 'must be "1.1", "2", "2-prior-knowledge", "3" or'),
    (GET + "think = [2, 1]", "[2,1]: the first is more than the second"),
    (GET + "think = [1]", "6: scenario.s.step.1.think: must be a time"),
    (GET + "on_fail = 'go'", 'must be "stop" or "continue", got "go"'),
    (GET + "expect = 200", "6: scenario.s.step.1.expect: must be a table"),
    (GET + "expect.'json:a' = 1", "expect.json:a: a JSON path begins with $"),
    (GET + "expect.body = '${gone}'", "step.1.expect.body: unknown variable 'gone'"),
    (GET + "extract.a = 'regex:('", "6: scenario.s.step.1.extract.a: '(' is no regular"),
    (GET + "extract.user = 'body'", "extract.user: a variable can't be called so"),
    (GET + "file = 'a'", "6: scenario.s.step.1.file: unknown key; did you mean 'body_file'"),
    ("upload = '/'", "4: scenario.s.step.1: file is missing"),
    ("download = 'x://y'", "5: scenario.s.step.1.download: must be"),
    ("websocket = 'chat.example'\n[settings]\nx = 1", "settings.x: unknown setting"),
    (
        "tcp = 'h:1'\nactions = [{send = 'a', name = 'x'}, {receive = true, name = 'x'}]",
        "two actions",
    ),
    ("websocket = 'http://h'", "has a wrong scheme, got 'http'"),
    ("websocket = '/a b'", "must not hold a space"),
    ("websocket = 'ws://h'\nactions = [{}]", "6: scenario.s.step.1.actions.1: an action has one"),
    ("tcp = 'h:1'\nactions = [{send = 'a', close = true}]", "got send and close"),
    ("tcp = 'h:1'\nactions = [\n{send = 'a', expect = {body = 'a'}}]", "7: scenario.s.step.1.act"),
    ("tcp = 'h:1'\nactions = [{send_hex = '0'}]", 'must be bytes as hexadecimal digits, got "0"'),
    ("tcp = 'h:1'\nactions = [{receive = false}]", "actions.1.receive: must be true, a number of"),
    ("tcp = 'h:1'\nactions = [{close = 1001}]", "actions.1.close: must be true or a close code"),
    ("tcp = 'h:1'\nactions = [{receive = 1, expect = {'json:' = 1}}]", "actions.1.expect.json:"),
    (
        "tcp = 'h:1'\nactions = [{send = '${got}'}, {receive = 1, extract = {got = 'body'}}]",
        "step 1 extracts it, which is not before",
    ),
    (
        "tcp = 'h:1'\nexpect = {body = 'a'}",
        "6: scenario.s.step.1.expect: goes elsewhere: to an act",
    ),
    ("python = 'json:dumps'\nextract = {a = 'body'}", "extract: goes elsewhere: to the steps"),
    (
        "udp = 'h:1'\nactions = [{receive = true, expect = {status = 200}}]",
        "expect.status: what is",
    ),
    ("udp = 'h:1'\nactions = [{receive = true, extract = {a = 'header:b'}}]", "extract.a: what is"),
    ("tcp = 'h'", '5: scenario.s.step.1.tcp: must be "HOST:PORT", got "h"'),
    ("udp = 'h:1/x'", 'must be "HOST:PORT"'),
    ("udp = 'h:70000'", "the port is not a number from 0 to 65535"),
    ("python = 'no.such:f'", "can't be imported: ModuleNotFoundError"),
    ("python = 'json:no'", "json has no function no"),
    ("python = 'json'", 'must be "module:function" or "file.py:function", got "json"'),
    ("python = 'no.py:f'", "can't be imported: FileNotFoundError"),
    (GET + SECOND.replace("'t'", "'s'"), "7: scenario.s.name: two scenarios are called 's'"),
    (GET + SECOND + "weight = 0", "9: scenario.t.weight: must be a number > 0, got 0"),
    (GET + SECOND + "weight = 1\nload = {}", "9: scenario.t.weight: is for scenarios without a"),
    (GET + SECOND + "load = {warmup = 1}", "9: scenario.t.load.warmup: is the same for all"),
    (GET + "name = 'a'\n[[scenario.step]]\nname = 'a'\n" + GET, "8: scenario.s.step.2.name: two"),
]


@pytest.mark.parametrize(("text", "reason"), STEPS)
def test_refuses_a_step(tmp_path: Path, text: str, reason: str) -> None:
    found = complaints(tmp_path, BASE + STEP + text)
    assert len(found) == 1
    assert reason in found[0]


def test_variables_must_be_there_before_they_are_used(tmp_path: Path) -> None:
    text = (
        BASE
        + """\
header = {Authorization = "${token}"}
data.users.file = "users.csv"
[[scenario]]
name = "a"
step = [
  {request = "/${id}/${users.mail}/${users.mial}"},
  {request = "/", extract = {id = "json:$.id", token = "body"}},
  {request = "/${id}"},
]
[[scenario]]
name = "b"
step = [{request = "/${id}"}]
"""
    )
    found = complaints(tmp_path, text)
    assert [line.removeprefix("shop.toml:") for line in found] == [
        "7: scenario.a.step.1: unknown variable 'token': step 2 extracts it, which is not before"
        " (header.Authorization has it)",
        "7: scenario.a.step.1.request: unknown variable 'id': step 2 extracts it, which is not"
        " before",
        "7: scenario.a.step.1.request: unknown variable 'users.mial': nothing defines it before;"
        " did you mean 'users.mail'?",
        "8: scenario.a.step.2: unknown variable 'token': step 2 extracts it, which is not before"
        " (header.Authorization has it)",
        "13: scenario.b.step.1: unknown variable 'token': nothing defines it before; it takes"
        " iteration, user, users.id, users.mail (header.Authorization has it)",
        "13: scenario.b.step.1.request: unknown variable 'id': nothing defines it before; it takes"
        " iteration, user, users.id, users.mail",
    ]


def test_a_step_that_needs_nothing_of_the_plan_is_not_asked_for_it(tmp_path: Path) -> None:
    text = """\
base_url = "http://${host}/"
header = {Authorization = "${token}"}
[[scenario]]
name = "a"
step = [
  {request = "http://other/", header = {authorization = "mine"}, extract = {host = "body"}},
  {websocket = "live"},
]
"""
    made = plan.read(write(tmp_path, text))
    first = made.scenario[0].step[0]
    assert isinstance(first, model.Http)
    assert made.header_with(first.header) == {"authorization": "mine"}


def test_a_python_function_may_define_anything(tmp_path: Path) -> None:
    (tmp_path / "steps.py").write_text("def sign(user):\n    user.variables['a'] = 1\n")
    text = BASE + STEP + "python = 'steps.py:sign'\n[[scenario.step]]\nrequest = '/${a}'\n"
    made = plan.read(write(tmp_path, text))
    assert made.scenario[0].step[0] == model.Python(python="steps.py:sign")
    (tmp_path / "broken.py").write_text("1 / 0\n")
    found = complaints(tmp_path, text.replace("steps.py", "broken.py"))
    assert "broken.py:sign\": can't be imported: ZeroDivisionError" in found[0]


def test_tells_what_is_wrong_in_a_data_file(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("a,b\n1,2\n3\n")
    text = "data.rows.file = 'rows.csv'\n" + BASE + STEP + "request = '/'"
    want = "shop.toml:1: data.rows.file: rows.csv: line 3: the row has 1 fields, the header line 2"
    assert complaints(tmp_path, text) == [want]


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("a.json", '{"name": "a",\n "name": "b"}', "a.json:2: name: is there twice"),
        ("a.json", '{"name": "a",\n "scenario": 3}', "a.json:2: scenario: must be a list"),
        ("a.json", '{"scenario": [{"name": null, "step": 1}]}', "a.json:1: scenario.1: name is"),
        ("a.json", '{"a": 1,\n\n b}', "a.json:3: is no JSON: "),
        ("a.json", '{"a": 1,\n', "is no JSON: "),
        ("a.json", "[]", "a.json: must be a table, got []"),
        ("a.json", "[" * 100_000, "is no JSON: "),
        ("a.toml", "a = " + "[" * 100_000, "is no TOML: "),
        ("a.yaml", "", "a.yaml: a plan ends in .toml or .json, got '.yaml'"),
        ("a", "", "a: a plan ends in .toml or .json, got 'no ending'"),
    ],
)
def test_refuses_a_file(tmp_path: Path, name: str, text: str, reason: str) -> None:
    assert reason in "\n".join(complaints(tmp_path, text, name))


def test_refuses_what_can_not_be_read(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match=r"gone.toml: can't be read: No such file or directory$"):
        plan.read(tmp_path / "gone.toml")
    (tmp_path / "a.toml").write_bytes(b"a = 1\nb = '\xff'")
    with pytest.raises(PlanError, match=r"a.toml:2: is no UTF-8: byte 0xff$") as caught:
        plan.read(tmp_path / "a.toml")
    assert (caught.value.line, caught.value.key) == (2, "")
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_every_key_has_a_rule() -> None:
    structs = [model.Plan, model.Load, model.Feed, model.Scenario, model.Action]
    structs += [model.Http, model.Download, model.Upload, model.WebSocket, model.Tcp, model.Udp]
    names = {field.name for one in structs for field in msgspec.structs.fields(one)}
    by_themselves = {"load", "data", "settings", "scenario", "step", "actions", "folder"}
    assert names - by_themselves == rules.RULES.keys() - {"data_file", "python"}


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*rules.RULES, "load", "data", "step", "x"]), inner)
    ),
    max_leaves=15,
)


@settings(max_examples=50, deadline=None)
@given(_JSON)
def test_nothing_but_a_plan_error_comes_of_nonsense(value: Any) -> None:
    with pytest.raises(PlanError):
        plan.convert({"scenario": [{"name": "a", "step": value}], "load": value, "x": 1})
    with pytest.raises(PlanError):
        plan.convert(value)
