"""Templates of plans: what they render to, what they refuse, and what it was drawn from."""

from __future__ import annotations

import json
import random
import time
import uuid
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ftnet.plan import template
from ftnet.plan.template import TemplateError, Undefined

VARIABLES = {
    "name": "Ada L",
    "id": 17,
    "ratio": 0.5,
    "yes": True,
    "nothing": None,
    "list": [1, "a"],
    "users.mail address": "a@b.c",
    "iteration": 3,
}


@pytest.mark.parametrize(
    ("text", "rendered"),
    [
        ("", ""),
        ("plain $ {name} $name", "plain $ {name} $name"),
        ("${name}", "Ada L"),
        ("/a/${id}/b/${iteration}?${ name }", "/a/17/b/3?Ada L"),
        ("${id}${id}", "1717"),
        ("${ratio} ${yes} ${nothing}. ${list}", '0.5 true . [1,"a"]'),
        ("${users.mail address}", "a@b.c"),
        ("${name|urlencode} ${users.mail address | urlencode}", "Ada%20L a%40b.c"),
        ("${name|json} ${nothing|json} ${name|json|urlencode}", '"Ada L" null %22Ada%20L%22'),
        ("$${name} $${", "${name} ${"),
        ("$$${id}", "$${id}"),
        ("${choice(a)} ${choice( a b )} ${random(4,4)}", "a a b 4"),
    ],
)
def test_renders(text: str, rendered: str) -> None:
    assert template.compile(text).render(VARIABLES) == rendered
    assert template.compile_value({"a": [f" {text}"]}).render(VARIABLES) == {"a": [f" {rendered}"]}


def test_says_what_it_uses() -> None:
    made = template.compile("${a}${b.c|json}${uuid()}$${d}")
    assert made.names == {"a", "b.c"}
    assert not made.static
    assert template.compile("$${a}").static
    assert not template.compile("${uuid()}").static


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a ${b", "'${' at position 2 has no '}'"),
        ("${}", "is no variable and no call"),
        ("${a b}", "is no variable and no call"),
        ("${1a}", "is no variable and no call"),
        ("${a|upper}", "unknown filter 'upper'"),
        ("${rand()}", "unknown function rand(); there are uuid, now, random, choice"),
        ("${random(1)}", "a least and a most"),
        ("${random(5,1)}", "a least and a most"),
        ("${random(1,inf)}", "a least and a most"),
        ("${random(a,b)}", "a least and a most"),
        ("${now(us)}", "s or ms"),
        ("${uuid(4)}", "takes nothing"),
        ("${choice()}", "takes texts"),
    ],
)
def test_refuses(text: str, reason: str) -> None:
    with pytest.raises(TemplateError) as caught:
        template.compile(text)
    assert reason in str(caught.value)


def test_names_what_is_undefined() -> None:
    with pytest.raises(Undefined) as caught:
        template.compile("/x/${gone}").render({})
    assert str(caught.value) == "gone is not defined, in '/x/${gone}'"
    with pytest.raises(LookupError, match="users.id is not defined"):
        template.compile_value({"a": ["${users.id}"]}).render({})
    with pytest.raises(Undefined, match="gone"):
        template.compile("${gone|json}").render({})


def test_values_keep_their_types() -> None:
    given_value = {"n": "${id}", "t": "no ${id}", "l": ["${list}", 1, "$${x}"], "f": None}
    made = template.compile_value(given_value)
    assert made.names == {"id", "list"}
    want = {"n": 17, "t": "no 17", "l": [[1, "a"], 1, "${x}"], "f": None}
    assert made.render(VARIABLES) == want
    assert made.render(VARIABLES) is not made.render(VARIABLES)
    assert given_value["n"] == "${id}"


def test_keys_may_hold_variables() -> None:
    made = template.compile_value({"a${id}": 1, "$${b}": {"c": "${name}"}})
    assert made.render(VARIABLES) == {"a17": 1, "${b}": {"c": "Ada L"}}


def test_a_value_without_variables_is_not_copied() -> None:
    value = {"a": [1, {"b": "c"}]}
    made = template.compile_value(value)
    assert made.static
    assert made.render({}) is value
    assert template.compile_value({"$${a}": ["$${b}"]}).render({}) == {"${a}": ["${b}"]}


def test_a_seed_repeats_what_is_random() -> None:
    made = template.compile("${uuid()} ${random(1,1000000)} ${random(0.5,1.5)} ${choice(a,b,c)}")
    one, same, other = (made.render({"$random": random.Random(seed)}) for seed in (1, 1, 2))
    assert one == same != other
    assert made.render({}) != made.render({})


def test_random_values_are_what_they_should_be() -> None:
    drawn = {"$random": random.Random(7)}
    numbers = {template.compile_value("${random(1,3)}").render(drawn) for _ in range(100)}
    assert numbers == {1, 2, 3}
    assert {template.compile("${choice(a,b)}").render(drawn) for _ in range(50)} == {"a", "b"}
    made = uuid.UUID(template.compile("${uuid()}").render(drawn))
    assert made.version == 4
    assert made.variant == uuid.RFC_4122
    assert 0.5 <= template.compile_value("${random(0.5,1)}").render(drawn) <= 1


def test_now_is_the_time() -> None:
    before = time.time_ns()
    seconds, ms = (template.compile_value(f"${{now({of})}}").render({}) for of in ("", "ms"))
    after = time.time_ns()
    assert before // 10**9 <= seconds <= after // 10**9
    assert before // 10**6 <= ms <= after // 10**6


@settings(max_examples=50, deadline=None)
@given(st.text())
def test_a_text_without_a_mark_stays(text: str) -> None:
    if "${" not in text:
        assert template.compile(text).render({}) == text


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text(), min_size=1), st.text())
def test_what_is_put_in_is_not_read_again(pieces: list[str], value: str) -> None:
    escaped = [piece.replace("${", "$${") for piece in pieces]
    if any(piece.endswith("$") for piece in pieces):
        return  # $ before ${x} makes $${x}: the escape
    made = template.compile("${x}".join(escaped))
    assert made.render({"x": value}) == value.join(pieces)
    assert unquote(template.compile("${x|urlencode}").render({"x": value})) == value
    assert json.loads(template.compile("${x|json}").render({"x": value})) == value


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@settings(max_examples=50, deadline=None)
@given(_JSON)
def test_a_variable_holds_any_json(value: Any) -> None:
    made = template.compile_value({"a": ["${x}", "b"]})
    assert made.render({"x": value}) == {"a": [value, "b"]}
