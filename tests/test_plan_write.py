"""Plans as TOML: what is written reads back as the same plan."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ftnet import plan
from ftnet.plan import model
from ftnet.plan.write import to_mapping, to_toml
from tests.test_plan_read import WHOLE, write

MADE = model.Plan(
    name="shop",
    base_url="http://h",
    timeout=2.5,
    variables={"a": 'say "hi"'},
    load=model.Load(rate=50.0, duration=90, stages=((0.25, 10), (120, 1 / 3))),
    scenario=(
        model.Scenario(
            name="buy",
            think=(0, 1.5),
            step=(
                model.Http(
                    request="POST /a",
                    header={"X-Long": "x" * 90, "Accept": "*/*"},
                    body='{\n  "a": null\n}',
                    think=0.0005,
                ),
                model.Http(
                    request="GET /b",
                    json={"a": [1, 2.0, {"b c": True}]},
                    expect={"status": [200, "3xx"]},
                ),
            ),
        ),
    ),
)

TEXT = """\
name = "shop"
base_url = "http://h"
timeout = "2.5s"

[variables]
a = 'say "hi"'

[load]
rate = 50.0
stages = [["250ms", 10], ["2m", 0.3333333333333333]]
duration = "90s"

[[scenario]]
name = "buy"
think = [0, "1.5s"]

[[scenario.step]]
request = "POST /a"
body = '''
{
  "a": null
}'''
think = "0.5ms"

[scenario.step.header]
X-Long = "LONG"
Accept = "*/*"

[[scenario.step]]
request = "GET /b"
json = {a = [1, 2.0, {"b c" = true}]}
expect = {status = [200, "3xx"]}
""".replace("LONG", "x" * 90)


def test_writes_what_a_person_would() -> None:
    assert to_toml(MADE) == TEXT


def test_a_whole_plan_reads_back_the_same(tmp_path: Path) -> None:
    made = plan.read(write(tmp_path, WHOLE.replace("${port}", "9")))
    again = plan.read(write(tmp_path, to_toml(made), "again.toml"))
    assert again == made
    assert plan.convert(to_mapping(made), str(tmp_path)) == made


_JSON = st.recursive(
    st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=15,
)


@settings(max_examples=50, deadline=None)
@given(_JSON, st.text(), st.dictionaries(st.text(), st.text(), max_size=3))
def test_any_values_read_back_the_same(value: Any, text: str, texts: dict[str, str]) -> None:
    step = model.Http(request="/", json=value, body=text, form=texts, name=text)
    made = model.Plan(scenario=(model.Scenario(name="a", step=(step, step)),))
    read = tomllib.loads(to_toml(made))
    assert read == to_mapping(made)
    one, other = (json.dumps(plan, sort_keys=True) for plan in (read, to_mapping(made)))
    assert one == other  # 1 is not 1.0, and true is not 1


@settings(max_examples=50, deadline=None)
@given(st.floats(0, 1e6))
def test_any_time_reads_back_the_same(seconds: float) -> None:
    step = model.Http(request="http://h/", think=seconds)
    made = model.Plan(name="a", scenario=(model.Scenario(name="a", step=(step,)),), folder="/")
    assert plan.convert(tomllib.loads(to_toml(made)), "/") == made


def test_toml_has_no_null() -> None:
    step = model.Http(request="/", json={"a": [None]})
    with pytest.raises(ValueError, match="TOML has no null"):
        to_toml(model.Plan(scenario=(model.Scenario(name="a", step=(step,)),)))
