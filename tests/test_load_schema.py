"""docs/load-result.schema.json: all results are as it says, and it says no when they are not."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import jsonschema
import pytest

from ftnet import load
from ftnet.load import Counts, Result, Step, Worker
from ftnet.load.checks import Check
from tests.load_plans import chat, shop
from tests.load_results import (
    BUSY,
    REFUSED,
    evenly,
    interval,
    result,
    unanswered,
    validator,
)
from tests.loads import run
from tests.servers.awkward import closed_port
from tests.servers.counting import OK, CountingServer, answer

VALIDATOR = validator("load-result.schema.json")
SCHEMA: dict[str, Any] = VALIDATOR.schema


def written(found: Result, *checks: str) -> Any:
    """What `ftnet load --json` writes, read back."""
    outcomes = [Check.parse(one).judge(found).to_dict() for one in checks]
    return json.loads(json.dumps({**found.to_dict(), "checks": outcomes}, allow_nan=False))


def planned() -> Result:
    """Of a plan with a step that has no statuses."""
    times = evenly(1000)
    login = Step(
        "http", Counts(scheduled=1000, completed=1000), (), {200: 1000}, times, times,
        {"ttfb": {"all": times, "2xx": times}}, {"json:$.id": (990, 10)},
    )  # fmt: skip
    talk = Step("websocket", Counts(failed=12), (REFUSED,), {}, evenly(0), evenly(0), {}, {})
    iterations = Counts(scheduled=1000, completed=990, failed=10)
    return result(plan="shop", iterations=iterations, steps={"login": login, "talk": talk})


MADE: dict[str, Callable[[], Result]] = {
    "right": result,
    "unanswered": unanswered,
    "invalid": lambda: result(reasons=(BUSY,), warnings=(BUSY,), interrupted=True),
    "warmed": lambda: result(intervals=(interval(1.0, measured=False), interval(2.0))),
    "no second": lambda: result(intervals=()),
    "open": lambda: result({"rate": 500.0, "expect_status": 200, "stages": [(1, 5.0)]}),
    "plan": planned,
    "cluster": lambda: result(
        workers=(
            Worker("a", "one", -5.0, 1e-4, 1.5, 0.2, 0.001, Counts(scheduled=5, completed=5)),
            Worker("b", "two", 0.0, 1e-4, lost="it is gone", lost_at=2.5, missing=7),
        )
    ),
}


def test_the_schema_is_one_and_describes_every_key() -> None:
    for part in [SCHEMA, *SCHEMA["$defs"].values()]:
        for name, one in part.get("properties", {}).items():
            assert any(key in one for key in ("description", "$ref")), name


@pytest.mark.parametrize("make", MADE.values(), ids=MADE)
def test_results_are_as_the_schema_says(make: Callable[[], Result]) -> None:
    document = written(make(), "p99<20ms", "errors<0.1%", "ssl.p99<1s")
    VALIDATOR.validate(document)
    del document["checks"]  # Result.to_dict() has none
    VALIDATOR.validate(document)


def test_results_of_runs_are_as_the_schema_says() -> None:
    def answers(number: int) -> bytes | None:
        return (OK, answer(503), b"", OK)[number % 4]

    with CountingServer(answers) as server:
        closed = run(server.url, requests=40, connections=2)
        plan = load.run(shop(server.url))
        opened = run(server.url, rate=400, duration=0.1, warmup=0.05, method="POST", data=b"x")
    with CountingServer() as server:
        talk = load.run(chat(server.port))
    with closed_port() as port:
        refused = run(f"http://127.0.0.1:{port}/", requests=3, connections=1)
    for found in (closed, opened, plan, talk, refused):
        VALIDATOR.validate(written(found, "p50<1s"))
    assert {step.kind for step in talk.steps.values()} == {"tcp", "action"}


def broken(change: Callable[[Any], object]) -> Any:
    document = written(planned(), "p99<20ms")
    change(document)
    return document


@pytest.mark.parametrize(
    "change",
    [
        lambda it: it.pop("format"),
        lambda it: it.update(format="ftnet.load/2"),
        lambda it: it.update(more=1),
        lambda it: it.pop("counts"),
        lambda it: it["counts"].update(sent=-1),
        lambda it: it["counts"].update(sent=1.5),
        lambda it: it["options"].update(http_version="2.0"),
        lambda it: it["statuses"].update(OK=1),
        lambda it: it["response"].update(p99=-1),
        lambda it: it["response"].pop("hdr"),
        lambda it: it["phases"].update(tls={}),
        lambda it: it["phases"]["ttfb"].pop("all"),
        lambda it: it["steps"]["login"].update(kind="ftp"),
        lambda it: it["steps"]["login"]["checks"].update(x=[1]),
        lambda it: it["intervals"][0].pop("cpu"),
        lambda it: it["checks"][0].update(got="fast"),
        lambda it: it.update(error_rate=1.1),
    ],
)
def test_what_is_no_result_is_told(change: Callable[[Any], object]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        VALIDATOR.validate(broken(change))
