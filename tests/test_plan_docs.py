"""docs/plans.md and docs/plan.schema.json: they tell of every key, and what they tell is so."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from ftnet import plan
from tests import plan_reference as reference
from tests.test_plan_read import WHOLE
from tests.test_plan_write import MADE

TEXT = (reference.DOCS / "plans.md").read_text()
SCHEMA = json.loads((reference.DOCS / "plan.schema.json").read_text())
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


def test_the_tables_are_those_of_the_model() -> None:
    for struct in reference.STRUCTS:
        assert reference.marked(struct) in TEXT, "python -m tests.plan_reference writes them anew"


def test_the_schema_is_that_of_the_model() -> None:
    VALIDATOR.check_schema(SCHEMA)
    assert reference.schema() == SCHEMA, "python -m tests.plan_reference writes it anew"


def test_every_key_is_told() -> None:
    for struct in reference.STRUCTS:
        for row in reference.table(struct).split("\n")[2:]:
            cells = [cell.strip() for cell in row.strip("|").split("|")]
            assert all(cells[place] for place in (0, 1, 3)), row


def example() -> str:
    found = re.search(r"```toml\n(.*?)```", TEXT, re.DOTALL)
    assert found is not None
    return found[1]


def test_the_example_is_a_plan(tmp_path: Path) -> None:
    (tmp_path / "users.csv").write_text("mail,password\na@b.c,x\n")
    (tmp_path / "shop.toml").write_text(example())
    made = plan.read(tmp_path / "shop.toml")
    assert [len(one.step) for one in made.scenario] == [3, 1]


@pytest.mark.parametrize("text", [WHOLE, example(), plan.to_toml(MADE)])
def test_the_schema_takes_plans(text: str) -> None:
    VALIDATOR.validate(tomllib.loads(text))


@pytest.mark.parametrize(
    "change",
    [
        {"nme": "a"},
        {"timeout": True},
        {"timeout": "soon"},
        {"load": {"arrivals": "even"}},
        {"load": {"stages": [[1]]}},
        {"scenario": []},
        {"scenario": [{"name": "a", "step": [{"request": "/", "x": 1}]}]},
        {"scenario": [{"name": "a", "step": [{"name": "b"}]}]},
        {"scenario": [{"name": "a", "step": [{"request": "/", "tcp": "h:1"}]}]},
        {"scenario": [{"name": "a", "step": [{"request": "/", "expect": {"status": "ok"}}]}]},
        {"scenario": [{"name": "a", "step": [{"request": "/", "extract": {"a": "id"}}]}]},
    ],
)
def test_the_schema_refuses_what_reading_refuses(change: dict[str, Any]) -> None:
    given = {"base_url": "http://h", "scenario": [{"name": "a", "step": [{"request": "/"}]}]}
    VALIDATOR.validate(given)
    plan.convert(given)
    assert not VALIDATOR.is_valid({**given, **change})
    with pytest.raises(plan.PlanError):
        plan.convert({**given, **change})


def test_the_complaint_in_the_document_is_a_real_one(tmp_path: Path) -> None:
    (tmp_path / "users.csv").write_text("mail,password\na@b.c,x\n")
    (tmp_path / "shop.toml").write_text(example().replace("status = 200", 'status = "ok"'))
    with pytest.raises(plan.PlanError) as caught:
        plan.read(tmp_path / "shop.toml")
    told = " ".join(re.findall(r"    (shop.toml:.*)\n    (.*)", TEXT)[0])
    assert str(caught.value) == f"{tmp_path}/{told}"
