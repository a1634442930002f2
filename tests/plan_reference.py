"""The tables in docs/plans.md and docs/plan.schema.json, made from `ftnet.plan.model`.

``python -m tests.plan_reference`` writes both anew; tests/test_plan_docs.py holds them to it.
"""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path
from typing import Any

import msgspec

from ftnet.plan import model
from ftnet.plan.rules import NAME, RULES

DOCS = Path(__file__).parent.parent / "docs"
STEPS = (
    model.Http, model.Download, model.Upload, model.WebSocket, model.Tcp, model.Udp, model.Python,
)  # fmt: skip
STRUCTS = (model.Plan, model.Load, model.Feed, model.Scenario, model._Step, *STEPS, model.Action)
NOT_GIVEN = {"folder"}
TABLES = {
    "load": "a table, see [load]",
    "data": "tables by name, see [data.NAME]",
    "settings": "a table of settings of a Client",
    "scenario": "a list of tables, see [[scenario]]",
    "step": "a list of tables, see [[scenario.step]]",
    "actions": "a list of tables, see actions",
}


def fields(struct: type[Any]) -> list[Any]:
    """Those that a file may have; of a step without what all steps have."""
    common = {one.name for one in msgspec.structs.fields(model._Step)}
    left = NOT_GIVEN if struct is model._Step or struct not in STEPS else NOT_GIVEN | common
    return [one for one in msgspec.structs.fields(struct) if one.name not in left]


def comments(struct: type[Any]) -> dict[str, str]:
    """What the `#:` comment of each key says."""
    out, above = {}, ""
    for line in inspect.getsource(struct).split("\n"):
        if line.strip().startswith("#:"):
            above = line.strip()[2:].strip()
            continue
        found = re.match(r"    (\w+): .*?(?:  #: (.*))?$", line)
        if found:
            out[found[1]] = found[2] or above
        above = ""
    return out


def takes(struct: type[Any], key: str) -> str:
    """In words."""
    if key in TABLES:
        return TABLES[key]
    return RULES["data_file" if struct is model.Feed and key == "file" else key].takes


def default(field: Any) -> str:
    """As TOML."""
    if field.required:
        return "required"
    value = field.default
    if field.default_factory is not msgspec.NODEFAULT:
        value = field.default_factory()
    if value is None or value == "" or isinstance(value, (dict, tuple, msgspec.Struct)):
        return ""
    return f"`{json.dumps(value)}`"


def table(struct: type[Any]) -> str:
    """The rows of a struct's keys, in Markdown."""
    told = comments(struct)
    rows = [
        f"| `{one.name}` | {takes(struct, one.name)} | {default(one)} | {told[one.name]} |"
        for one in fields(struct)
    ]
    return "\n".join(["| key | takes | default | |", "|---|---|---|---|", *rows])


def marked(struct: type[Any]) -> str:
    """A table between the marks that stand for it in the document."""
    name = struct.__name__.lstrip("_")
    return f"<!-- {name} -->\n{table(struct)}\n<!-- /{name} -->"


def document() -> str:
    """docs/plans.md with its tables as they should be."""
    text = (DOCS / "plans.md").read_text()
    for struct in STRUCTS:
        name = struct.__name__.lstrip("_")
        pattern = rf"<!-- {name} -->.*?<!-- /{name} -->"
        text = re.sub(pattern, lambda _, struct=struct: marked(struct), text, flags=re.DOTALL)
    return text


# --- the schema -------------------------------------------------------------------------------

TIME = {
    "anyOf": [
        {"type": "number", "minimum": 0},
        {"type": "string", "pattern": r"^([\d.]+(ms|s|m|h)?)+$"},
    ]
}
AMOUNT = {"anyOf": [{"type": "number"}, {"type": "string", "pattern": r"^[\d.]+[kM]?(/s)?$"}]}
TEXTS = {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}}
STATUS = {
    "anyOf": [
        {"type": "integer", "minimum": 100, "maximum": 999},
        {"type": "string", "pattern": "^[1-9]xx$"},
    ]
}
EXPECT = {
    "type": "object",
    "properties": {
        "status": {"anyOf": [*STATUS["anyOf"], {"type": "array", "minItems": 1, "items": STATUS}]},
        "body": {},
        "length": {},
    },
    "patternProperties": {"^(header|json|regex):.": {}},
    "additionalProperties": False,
}
EXTRACT = {
    "type": "object",
    "propertyNames": {"pattern": f"^{NAME.pattern}$"},
    "additionalProperties": {
        "type": "string",
        "pattern": "^(status|body|length|(header|json|regex):.+)$",
    },
}
SPECIAL: dict[str, Any] = {
    **dict.fromkeys(("timeout", "warmup", "duration", "grace", "within"), TIME),
    **dict.fromkeys(("users", "rate", "iterations"), AMOUNT),
    **dict.fromkeys(("header", "form"), TEXTS),
    "think": {"anyOf": [TIME, {"type": "array", "items": TIME, "minItems": 2, "maxItems": 2}]},
    "stages": {
        "type": "array",
        "items": {"type": "array", "prefixItems": [TIME, AMOUNT], "minItems": 2, "maxItems": 2},
    },
    "weight": {"type": "number", "exclusiveMinimum": 0},
    "expect": EXPECT,
    "extract": EXTRACT,
    "load": {"$ref": "#/$defs/Load"},
    "data": {"type": "object", "additionalProperties": {"$ref": "#/$defs/Feed"}},
    "scenario": {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/Scenario"}},
    "step": {
        "type": "array",
        "minItems": 1,
        "items": {"oneOf": [{"$ref": f"#/$defs/{one.__name__}"} for one in STEPS]},
    },
    "actions": {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/Action"}},
}


def schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of a plan's file."""
    kinds = (model.Load, model.Feed, model.Scenario, model.Action, *STEPS)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A plan of ftnet load",
        **_object(model.Plan),
        "$defs": {kind.__name__: _object(kind) for kind in kinds},
    }


def _object(struct: type[Any]) -> dict[str, Any]:
    told = comments(struct) | comments(model._Step)
    every = [one for one in msgspec.structs.fields(struct) if one.name not in NOT_GIVEN]
    needed = [one.name for one in every if one.required]
    return {
        "type": "object",
        "properties": {one.name: _property(struct, one, told[one.name]) for one in every},
        **({"required": needed} if needed else {}),
        **({"required": ["scenario"]} if struct is model.Plan else {}),
        "additionalProperties": False,
    }


def _property(struct: type[Any], field: Any, told: str) -> dict[str, Any]:
    made = SPECIAL.get(field.name)
    if made is None:
        made = msgspec.json.schema(field.type)
        some = [one for one in made.get("anyOf", ()) if one != {"type": "null"}]
        made = made if not some else some[0] if len(some) == 1 else {"anyOf": some}
    if None in made.get("enum", ()):
        made = {"enum": [one for one in made["enum"] if one is not None]}
    return {**made, "description": f"{takes(struct, field.name)}. {told}"}


def main() -> None:
    """Writes both."""
    (DOCS / "plans.md").write_text(document())
    (DOCS / "plan.schema.json").write_text(
        json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"
    )


if __name__ == "__main__":
    main()
