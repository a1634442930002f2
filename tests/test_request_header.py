"""The header fields of a request: what is sent as asked, what is added, and what never is."""

from __future__ import annotations

from typing import Any

import pytest

import ftnet as ft
from tests.origins import LIMIT, Origin, fetch
from tests.profiles import check_profile


def fields_sent(response: ft.Response) -> list[list[str]]:
    """The name and value of each field that the server got."""
    assert response.statusCode == 200
    return response.data["headers"]


def headers_sent(response: ft.Response) -> dict[str, str]:
    return dict(fields_sent(response))


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_the_content_type_is_json_unless_given(plain: ft.Client, server: Any, method: str) -> None:
    response = fetch(plain, f"{server.http}/echo", method=method)
    assert headers_sent(response)["content-type"] == "application/json"


@pytest.mark.parametrize("name", ["content-type", "Content-Type", "CONTENT-TYPE"])
def test_a_given_content_type_is_the_only_one(plain: ft.Client, server: Any, name: str) -> None:
    header = {name: "text/csv"}
    response = fetch(plain, f"{server.http}/echo", method="POST", data="a,b", header=header)
    fields = fields_sent(response)
    assert [value for field, value in fields if field == "content-type"] == ["text/csv"]


@pytest.mark.parametrize(
    ("value", "arrives"),
    [
        ("text", ["text"]),
        ("  padded\t", ["padded"]),
        ("", [""]),
        (7, ["7"]),
        (1.5, ["1.5"]),
        (True, ["true"]),
        (["a", 2], ["a", "2"]),
        ("tab\tinside", ["tab\tinside"]),
        ("caf\xe9", ["caf\xe9"]),
    ],
    ids=repr,
)
def test_header_values_arrive_as_text(
    client: ft.Client, origin: Origin, value: Any, arrives: list[str]
) -> None:
    response = fetch(client, f"{origin.base}/echo", header={"X-Told": value})
    told = [text for name, text in fields_sent(response) if name == "x-told"]
    assert told == arrives or told == [", ".join(arrives)]


def test_header_fields_keep_their_order(plain: ft.Client, server: Any) -> None:
    names = ["x-zulu", "x-alpha", "x-mike"]
    response = fetch(plain, f"{server.http}/echo", header=dict.fromkeys(names, "1"))
    assert [name for name, _ in fields_sent(response) if name in names] == names


def test_many_large_header_fields_arrive(client: ft.Client, origin: Origin) -> None:
    header = {f"x-field-{number}": "v" * 100 for number in range(60)}
    response = fetch(client, f"{origin.base}/echo", header=header)
    assert header.items() <= headers_sent(response).items()
    profile = check_profile(response, tls=origin.tls, protocol=origin.protocol)
    assert profile.sendBytesCount > 60 * 100


@pytest.mark.parametrize("name", ["Referer", "referer", "REFERER"])
def test_referer_is_dropped_with_a_warning(plain: ft.Client, server: Any, name: str) -> None:
    with pytest.warns(UserWarning, match="Referer") as caught:
        task = plain.request(url=f"{server.http}/echo", header={name: "http://a/", "X-Kept": "1"})
    assert caught[0].filename == __file__
    headers = headers_sent(task.result(LIMIT))
    assert "referer" not in headers
    assert headers["x-kept"] == "1"


def test_a_host_header_replaces_the_host_of_the_url(client: ft.Client, origin: Origin) -> None:
    response = fetch(client, f"{origin.base}/echo", header={"Host": "other.test"})
    headers = headers_sent(response)
    assert headers.get("host", headers.get(":authority")) == "other.test"


def test_the_user_agent_is_the_clients(server: Any) -> None:
    with ft.Client(user_agent="probe/1", trust_env=False) as client:
        response = fetch(client, f"{server.http}/echo")
        assert headers_sent(response)["user-agent"] == "probe/1"
        response = fetch(client, f"{server.http}/echo", header={"User-Agent": "mine/2"})
        assert headers_sent(response)["user-agent"] == "mine/2"


def test_the_default_user_agent_names_ftnet(plain: ft.Client, server: Any) -> None:
    agent = headers_sent(fetch(plain, f"{server.http}/echo"))["user-agent"]
    assert agent.startswith("ftnet/")


def test_headers_of_one_request_are_not_sent_with_the_next(
    client: ft.Client, origin: Origin
) -> None:
    header = {"Authorization": "Bearer one", "X-One": "1", "Cookie": "one=1"}
    fetch(client, f"{origin.base}/echo", method="PUT", data="body", header=header)
    response = fetch(client, f"{origin.base}/echo")
    assert not {"authorization", "x-one", "cookie"} & headers_sent(response).keys()
    assert (response.data["method"], response.data["body"]) == ("GET", "")
    check_profile(response, reused=True, tls=origin.tls, protocol=origin.protocol)
