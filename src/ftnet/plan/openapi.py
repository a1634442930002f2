"""Plans from OpenAPI 3 documents: a step for each operation, with the examples it gives.

A value is looked for in this order: ``example``, the first of ``examples``, then in the schema
``example``, the first of ``examples``, ``const``, ``default``, the first of ``enum``; an object is
put together from its properties. Nothing is made up: an operation that needs a value and gives none
is left out, and named.
"""

from __future__ import annotations

import importlib
import itertools
import os
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import quote, urljoin, urlsplit

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
_LONGEST: Final = 200  # characters of a name
_LARGEST: Final = 10_000  # values in an example that is put together
#: Keys of schemas that say what a value is made of.
_SAYS: Final = frozenset(("properties", "items", "allOf", "oneOf", "anyOf"))
_JOINTS: Final = {"spaceDelimited": "%20", "pipeDelimited": "%7C"}
_PATH_STYLES: Final = {"matrix": (";{}=", ","), "label": (".", ".")}  #: before, between
#: Types of YAML's core schema, by what their texts look like and begin with.
_CORE: Final = (
    ("bool", re.compile(r"(?:true|True|TRUE|false|False|FALSE)\Z"), "tTfF"),
    ("int", re.compile(r"[-+]?(?:0|[1-9][0-9]*)\Z"), "-+0123456789"),
    (
        "float",
        re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+\.[0-9]*|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?\Z"),
        "-+.0123456789",
    ),
)


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
                steps.append(operation.step(base, anywhere=not base_url))
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
        return yaml.load(text, _loader(yaml))
    except (yaml.YAMLError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else 0
        reason = f"is no YAML: {getattr(error, 'problem', error)}"
        raise PlanError([Problem(name, line, "", reason)]) from None


def _loader(yaml: Any) -> Any:
    """A loader with the types of YAML 1.2's core schema, which are those of JSON: there "no" is a
    text, and so are 12:30, 010 and a date."""
    older = (":bool", ":int", ":float", ":timestamp")
    kept = yaml.SafeLoader.yaml_implicit_resolvers.items()
    loader: Any = type("Loader", (yaml.SafeLoader,), {})
    loader.yaml_implicit_resolvers = {
        first: [one for one in each if not one[0].endswith(older)] for first, each in kept
    }
    for name, pattern, first in _CORE:
        loader.add_implicit_resolver(f"tag:yaml.org,2002:{name}", pattern, [*first])
    return loader


class _Document:
    """A document, and what its references lead to."""

    def __init__(self, name: str, root: dict[str, Any]) -> None:
        self._name = name
        self._root = root
        #: Schemas by their ids, what they give in this example, and how many values that is.
        self._known: dict[int, tuple[Any, Any, int]] = {}
        self._size = 0  # values in this example so far

    def server(self) -> str:
        """The URL of the first server."""
        url = self.place(self._root.get("servers"))
        if not url.startswith(("http://", "https://")):
            reason = f"there is no absolute URL, got {url!r}: give a base URL"
            raise PlanError([Problem(self._name, 0, "servers", reason)])
        return url

    def place(self, servers: Any) -> str:
        """The URL of the first of them, its variables at their defaults; "" without."""
        first = (servers or [{}])[0]
        url = str(first.get("url", ""))
        for key, variable in (first.get("variables") or {}).items():
            url = url.replace(f"{{{key}}}", str(variable.get("default", "")))
        return url

    def operations(self) -> Iterator[tuple[str, _Operation]]:
        """Each with how it is called in messages."""
        for path, item in (self._root.get("paths") or {}).items():
            item = self.followed(item)
            for method in _METHODS:
                if isinstance(item.get(method), dict):
                    shared = item.get("parameters") or []
                    key = f"{method.upper()} {path}"
                    given = {"servers": item.get("servers"), **item[method]}
                    yield key, _Operation(self, method.upper(), path, given, shared)

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
        self._known, self._size = {}, 0
        return self.of_schema(holder.get("schema") or {})

    def of_schema(self, schema: Any, depth: int = 0) -> Any:
        """What a schema gives; `_NONE` where it gives nothing, or a part of it is missing."""
        schema = self.followed(schema)
        if not isinstance(schema, dict) or depth > _DEEPEST or self._size > _LARGEST:
            return _NONE
        known = self._known.get(id(schema))
        if known is not None:
            self._size += known[2]
            return known[1]
        before = self._size
        self._size += 1
        self._known[id(schema)] = schema, _NONE, 0  # as long as it is looked at
        value = self._found(schema, depth)
        self._known[id(schema)] = schema, value, self._size - before
        return value

    def _found(self, schema: dict[str, Any], depth: int) -> Any:
        found = _given(schema)
        if found is not _NONE:
            return found
        either = [*(schema.get("oneOf") or ()), *(schema.get("anyOf") or ())]
        if either and not schema.get("allOf") and "properties" not in schema:
            values = (self.of_schema(one, depth + 1) for one in either)
            return next((value for value in values if value is not _NONE), _NONE)
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
            one = self.of_schema(part, depth + 1)
            if one is _NONE and _SAYS.isdisjoint(self.followed(part)):
                continue  # a description, or a limit
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

    def step(self, base: str, anywhere: bool) -> Http:
        """The step; `_Lacks` says what is missing for it. `anywhere`: its own server counts."""
        values = self._values()
        path = self._path
        own = self._document.place(self._given["servers"]) if anywhere else ""
        if own:
            path = urljoin(f"{base}/", own).rstrip("/") + path
        elif urlsplit(base).path:  # which a URL that begins with / would leave out
            path = path.removeprefix("/") or f"{base}/"
        for parameter, value in values["path"]:
            path = path.replace(f"{{{parameter['name']}}}", _in_path(parameter, value))
        left = re.search(r"\{[^{}]*\}", path)
        if left:
            raise _Lacks(f"nothing says what {left[0]} is")
        query = "&".join(itertools.chain(*(_in_query(*one) for one in values["query"])))
        header = {one["name"]: escaped(_simple(one, value)) for one, value in values["header"]}
        if values["cookie"]:
            pairs = (f"{one['name']}={_simple(one, value)}" for one, value in values["cookie"])
            header["Cookie"] = escaped("; ".join(pairs))
        body = self._body(header)
        url = escaped(f"{path}{'&' if '?' in path else '?'}{query}" if query else path)
        request = f"{self._method} {url}"
        given: dict[str, Any] = {}
        if self._statuses():
            given["expect"] = {"status": self._statuses()}
        name = str(self._given.get("operationId", ""))
        name = name if name.isprintable() and len(name) <= _LONGEST else ""
        return Http(name=name, request=request, header=header, **body, **given)

    def _values(self) -> dict[str, list[tuple[dict[str, Any], Any]]]:
        """Its parameters and their values, by where they go."""
        out: dict[str, list[tuple[dict[str, Any], Any]]]
        out = {"path": [], "query": [], "header": [], "cookie": []}
        lacks = []
        for parameter in self._parameters():
            place, name = str(parameter.get("in")), str(parameter.get("name"))
            if place == "header" and name.lower() in _OURS:
                continue
            needed = parameter.get("required") or place == "path"
            content = parameter.get("content") or {}
            holder = next(iter(content.values()), parameter)
            told = "example" in holder or "examples" in holder
            if not needed and not told:
                continue
            value = self._document.example(holder)
            if content and value is not _NONE and not isinstance(value, str):
                value = msgspec.json.encode(value).decode()
            if value is not _NONE and place in out:
                out[place].append((parameter, value))
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
                if kind != "application/json" and "*" not in kind:
                    header["Content-Type"] = kind
                return _json_body(value, kind, header)
            if kind == _FORM and isinstance(value, dict):
                if any(isinstance(one, list) for one in value.values()):  # a name again and again
                    header["Content-Type"] = kind
                    pairs = (_in_query({"name": name}, one) for name, one in _texts(value))
                    return {"body": escaped("&".join(itertools.chain(*pairs)))}
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


def _texts(fields: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Fields of a form: a list gives its name again and again, an object is JSON."""
    for name, value in fields.items():
        yield name, value if isinstance(value, list) else text_of(value)


def _simple(parameter: dict[str, Any], value: Any) -> str:
    """A value in a header field or a cookie: style "simple"."""
    return ",".join(_parts(parameter, value))


def _parts(parameter: dict[str, Any], value: Any) -> list[str]:
    if isinstance(value, dict):
        raise _Lacks(f"the parameter {parameter['name']} is an object")
    return [text_of(one) for one in (value if isinstance(value, list) else [value])]


def _in_path(parameter: dict[str, Any], value: Any) -> str:
    """A value in a path, by the parameter's style."""
    before, joint = _PATH_STYLES.get(str(parameter.get("style")), ("", ","))
    text = joint.join(map(_quoted, _parts(parameter, value)))
    return f"{before.format(_quoted(parameter['name']))}{text}"


def _in_query(parameter: dict[str, Any], value: Any) -> list[str]:
    """``name=value``, once or more, by the parameter's style: "form", exploded, without."""
    name, style = _quoted(parameter["name"]), str(parameter.get("style", "form"))
    explode = parameter.get("explode", style == "form")
    joint = _JOINTS.get(style, ",")
    if isinstance(value, dict):
        pairs = [(_quoted(key), _quoted(text_of(one))) for key, one in value.items()]
        if style == "deepObject":
            return [f"{name}%5B{key}%5D={text}" for key, text in pairs]
        if explode:
            return [f"{key}={text}" for key, text in pairs]
        return [f"{name}={joint.join(itertools.chain(*pairs))}"]
    texts = [_quoted(text_of(one)) for one in (value if isinstance(value, list) else [value])]
    return [f"{name}={text}" for text in (texts if explode else [joint.join(texts)])]


def _quoted(text: str) -> str:
    return quote(text, safe="")
