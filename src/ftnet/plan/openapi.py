"""Plans from OpenAPI 3 documents: a step for each operation, with the examples it gives.

A value is looked for in this order: ``example``, the first of ``examples``, then in the schema
``example``, the first of ``examples``, ``const``, ``default``, the first of ``enum``; an object is
put together from its properties. Nothing is made up: an operation that needs a value and gives none
is left out, and named.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import quote, urlencode, urlsplit

import msgspec

from ftnet.plan.model import Http, Plan, Scenario
from ftnet.plan.problems import PlanError, Problem
from ftnet.plan.read import convert
from ftnet.plan.recorded import LeftOut, escaped, read_text
from ftnet.plan.template import text_of
from ftnet.plan.write import to_mapping

__all__ = ["from_openapi"]

_METHODS: Final = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
_FORM: Final = "application/x-www-form-urlencoded"
_OURS: Final = frozenset({"accept", "content-type", "authorization"})  # as OpenAPI has it
_DEEPEST: Final = 20  # schemas in each other
_NONE: Final = object()


class _Lacks(Exception):
    """An operation can't be sent, and why."""


def from_openapi(
    path: str | os.PathLike[str], *, base_url: str = "", left_out: LeftOut | None = None
) -> Plan:
    """The plan of an OpenAPI 3 document in JSON, or in YAML when PyYAML is installed.

    ``base_url`` stands for the document's first server. An operation that lacks an example of what
    it needs is added to ``left_out``; without such a list, `PlanError` names all of them.
    """
    name = os.fspath(path)
    document = _Document(name, _loaded(name, read_text(path)))
    steps: list[Http] = []
    problems = []
    try:
        base = (base_url or document.server()).rstrip("/")
        for key, operation in document.operations():
            try:
                steps.append(operation.step(base))
            except _Lacks as reason:
                problems.append(Problem(name, 0, key, str(reason)))
    except (TypeError, ValueError, AttributeError, LookupError) as error:
        if isinstance(error, PlanError):
            raise
        wrong = f"is not as OpenAPI 3 has it: {type(error).__name__}: {error}"
        raise PlanError([Problem(name, 0, "", wrong)]) from None
    if problems and (left_out is None or not steps):
        raise PlanError(problems)
    if left_out is not None:
        left_out += [f"{problem.key}: {problem.reason}" for problem in problems]
    if not steps:
        raise PlanError([Problem(name, 0, "", "has no operations")])
    title = os.path.splitext(os.path.basename(name))[0] or "plan"
    scenario = Scenario(name=title, step=tuple(_named_once(steps)))
    folder = os.path.dirname(os.path.abspath(name))
    made = Plan(name=title, base_url=base, scenario=(scenario,))
    return convert(to_mapping(made), folder, name)


def _named_once(steps: list[Http]) -> Iterator[Http]:
    seen: set[str] = set()
    for step in steps:
        yield msgspec.structs.replace(step, name="") if step.name in seen else step
        seen.add(step.name)


def _loaded(name: str, text: str) -> dict[str, Any]:
    try:
        document = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        if text.lstrip().startswith("{"):
            raise PlanError([Problem(name, 0, "", f"is no JSON: {error}")]) from None
        document = _yaml(name, text)
    if isinstance(document, dict) and str(document.get("openapi", "")).startswith("3."):
        return document
    found = "Swagger 2" if isinstance(document, dict) and "swagger" in document else "none"
    raise PlanError([Problem(name, 0, "", f"must be an OpenAPI 3 document, and is {found}")])


def _yaml(name: str, text: str) -> Any:
    try:
        yaml = importlib.import_module("yaml")
    except ImportError:
        reason = "is no JSON; YAML is read when PyYAML is installed: pip install pyyaml"
        raise PlanError([Problem(name, 0, "", reason)]) from None
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else 0
        reason = f"is no YAML: {getattr(error, 'problem', error)}"
        raise PlanError([Problem(name, line, "", reason)]) from None


class _Document:
    """A document, and what its references lead to."""

    def __init__(self, name: str, root: dict[str, Any]) -> None:
        self._name = name
        self._root = root

    def server(self) -> str:
        """The URL of the first server, its variables at their defaults."""
        servers = self._root.get("servers") or [{}]
        url = str(servers[0].get("url", ""))
        for key, variable in (servers[0].get("variables") or {}).items():
            url = url.replace(f"{{{key}}}", str(variable.get("default", "")))
        if not url.startswith(("http://", "https://")):
            reason = f"there is no absolute URL, got {url!r}: give a base URL"
            raise PlanError([Problem(self._name, 0, "servers", reason)])
        return url

    def operations(self) -> Iterator[tuple[str, _Operation]]:
        """Each with how it is called in messages."""
        for path, item in (self._root.get("paths") or {}).items():
            item = self.followed(item)
            for method in _METHODS:
                if isinstance(item.get(method), dict):
                    shared = item.get("parameters") or []
                    key = f"{method.upper()} {path}"
                    yield key, _Operation(self, method.upper(), path, item[method], shared)

    def followed(self, value: Any) -> Any:
        """What a ``$ref`` in this document stands for; the value itself without one."""
        for _ in range(_DEEPEST):
            if not isinstance(value, Mapping) or "$ref" not in value:
                return value
            value = self._at(str(value["$ref"]))
        raise _Lacks("its references lead to each other")

    def _at(self, reference: str) -> Any:
        if not reference.startswith("#/"):
            raise _Lacks(f"{reference} is in another document")
        value: Any = self._root
        for part in reference[2:].split("/"):
            try:
                value = value[part.replace("~1", "/").replace("~0", "~")]
            except (KeyError, TypeError):
                raise _Lacks(f"{reference} leads nowhere") from None
        return value

    # --- examples ---

    def example(self, holder: Any) -> Any:
        """Of a parameter or a media type; `_NONE` without."""
        found = _given(holder)
        if found is not _NONE:
            return found
        named = holder.get("examples")
        if isinstance(named, dict) and named:
            first = self.followed(next(iter(named.values())))
            if isinstance(first, dict) and "value" in first:
                return first["value"]
        return self.of_schema(holder.get("schema") or {})

    def of_schema(self, schema: Any, depth: int = 0) -> Any:
        """What a schema gives; `_NONE` where it gives nothing, or a part of it is missing."""
        schema = self.followed(schema)
        if not isinstance(schema, dict) or depth > _DEEPEST:
            return _NONE
        found = _given(schema)
        if found is not _NONE:
            return found
        for one in ("oneOf", "anyOf"):
            if schema.get(one):
                return self.of_schema(schema[one][0], depth + 1)
        if schema.get("allOf"):
            return self._together(schema, depth)
        if "properties" in schema or schema.get("type") == "object":
            return self._object(schema, depth)
        if schema.get("type") == "array":
            item = self.of_schema(schema.get("items") or {}, depth + 1)
            return _NONE if item is _NONE else [item]
        return _NONE

    def _together(self, schema: dict[str, Any], depth: int) -> Any:
        parts = [*schema["allOf"], {key: schema[key] for key in schema if key != "allOf"}]
        out: dict[str, Any] = {}
        for part in parts:
            one = self.of_schema(part, depth + 1) if part else {}
            if not isinstance(one, dict):
                return one if len(schema["allOf"]) == 1 else _NONE
            out |= one
        return out

    def _object(self, schema: dict[str, Any], depth: int) -> Any:
        """Required properties and those with an example; `_NONE` when a required one has none."""
        required = set(schema.get("required") or ())
        out = {}
        for name, one in (schema.get("properties") or {}).items():
            if self.followed(one).get("readOnly"):
                continue
            value = self.of_schema(one, depth + 1)
            if value is not _NONE:
                out[name] = value
            elif name in required:
                return _NONE
        return out


def _given(holder: Any) -> Any:
    if "example" in holder:
        return holder["example"]
    examples = holder.get("examples")
    if isinstance(examples, list) and examples:
        return examples[0]
    for key in ("const", "default"):
        if key in holder:
            return holder[key]
    return holder["enum"][0] if holder.get("enum") else _NONE


class _Operation:
    """One method of a path."""

    def __init__(
        self, document: _Document, method: str, path: str, given: dict[str, Any], shared: list[Any]
    ) -> None:
        self._document = document
        self._method = method
        self._path = path
        self._given = given
        self._shared = shared

    def step(self, base: str) -> Http:
        """The step; `_Lacks` says what is missing for it."""
        values = self._values()
        path = self._path
        if urlsplit(base).path:  # which a URL that begins with / would leave out
            path = path.removeprefix("/") or f"{base}/"
        for name, value in values["path"].items():
            path = path.replace(f"{{{name}}}", quote(_simple(name, value), safe=""))
        query = urlencode(list(_pairs(values["query"])), quote_via=quote)
        header = {name: escaped(_simple(name, one)) for name, one in values["header"].items()}
        if values["cookie"]:
            pairs = (f"{name}={_simple(name, one)}" for name, one in values["cookie"].items())
            header["Cookie"] = escaped("; ".join(pairs))
        body = self._body(header)
        url = escaped(f"{path}?{query}" if query else path)
        request = f"{self._method} {url}"
        given: dict[str, Any] = {}
        if self._statuses():
            given["expect"] = {"status": self._statuses()}
        name = str(self._given.get("operationId", ""))
        return Http(name=name, request=request, header=header, **body, **given)

    def _values(self) -> dict[str, dict[str, Any]]:
        """Of its parameters, by where they go."""
        out: dict[str, dict[str, Any]] = {"path": {}, "query": {}, "header": {}, "cookie": {}}
        lacks = []
        for parameter in self._parameters():
            place, name = str(parameter.get("in")), str(parameter.get("name"))
            if place == "header" and name.lower() in _OURS:
                continue
            needed = parameter.get("required") or place == "path"
            told = "example" in parameter or "examples" in parameter
            if not needed and not told:
                continue
            value = self._document.example(parameter)
            if value is not _NONE and place in out:
                out[place][name] = value
            elif needed:
                lacks.append(f"the {place} parameter {name} has no example")
        if lacks:
            raise _Lacks("; ".join(lacks))
        return out

    def _parameters(self) -> list[dict[str, Any]]:
        """Those of the path and its own, which stand for one of the path's of the same name."""
        given = [*self._shared, *(self._given.get("parameters") or [])]
        followed = [self._document.followed(one) for one in given]
        return list({(one.get("in"), one.get("name")): one for one in followed}.values())

    def _body(self, header: dict[str, str]) -> dict[str, Any]:
        """The key of the step that has the body; a Content-Type goes into the header."""
        body = self._document.followed(self._given.get("requestBody") or {})
        content = body.get("content") or {}
        kinds = sorted(content, key=lambda kind: (not _is_json(kind), kind != _FORM))
        for kind in kinds:
            value = self._document.example(content[kind])
            if value is _NONE or kind.startswith("multipart/"):
                continue
            if _is_json(kind):
                if kind != "application/json":
                    header["Content-Type"] = kind
                return _json_body(value, kind, header)
            if kind == _FORM and isinstance(value, dict):
                return {"form": {name: escaped(text_of(one)) for name, one in value.items()}}
            if isinstance(value, str):
                header["Content-Type"] = kind
                return {"body": escaped(value)}
        if content and body.get("required"):
            raise _Lacks(f"the body ({', '.join(content)}) has no example")
        return {}

    def _statuses(self) -> int | str | list[int | str]:
        """What it says that it answers when all is well."""
        codes = [str(code) for code in self._given.get("responses") or {}]
        good = [code for code in codes if code[:1] == "2"]
        known: list[int | str] = [int(code) if code.isdecimal() else code.lower() for code in good]
        return known[0] if len(known) == 1 else known


def _json_body(value: Any, kind: str, header: dict[str, str]) -> dict[str, Any]:
    text = msgspec.json.encode(value, enc_hook=str).decode()
    if "null" in text:  # which TOML could not hold
        header["Content-Type"] = kind
        return {"body": escaped(text)}
    return {"json": msgspec.json.decode(escaped(text))}


def _is_json(kind: str) -> bool:
    plain = kind.partition(";")[0].strip().lower()
    return plain == "application/json" or plain.endswith("+json")


def _simple(name: str, value: Any) -> str:
    """A value in a path, a header field or a cookie: style "simple"."""
    if isinstance(value, list):
        return ",".join(map(text_of, value))
    if isinstance(value, dict):
        raise _Lacks(f"the parameter {name} is an object")
    return text_of(value)


def _pairs(query: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Of a query: style "form", exploded; a list gives its name again and again."""
    for name, value in query.items():
        if isinstance(value, dict):
            yield from ((key, text_of(one)) for key, one in value.items())
        else:
            each = value if isinstance(value, list) else [value]
            yield from ((name, text_of(one)) for one in each)
