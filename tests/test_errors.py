"""Errors: one table maps every outcome to errno, name and wording, and never shows a secret."""

from __future__ import annotations

import copy
import errno as os_errors
import pickle

import pycurl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftnet.errors import Cause, Errno, FtError, from_engine, redact

CLASSES = {
    Errno.INVALID_URL: {1, 3, -4, -5},
    Errno.PROXY: {5, 97},
    Errno.DNS: {6},
    Errno.CONNECT: {7},
    Errno.TIMEOUT: {28, -2},
    Errno.TLS: {35, 51, 53, 54, 58, 59, 60, 64, 66, 77, 80, 82, 83, 90, 91, 98, 101},
    Errno.INTERRUPTED: {18, 42, 52, 55, 56, 65, -1, -10},
    Errno.PROTOCOL: {8, 16, 25, 33, 36, 61, 92, 94, 95, 96, 100, -7, -8},
    Errno.TOO_MANY_REDIRECTS: {47, -3},
    Errno.TOO_MANY_TASKS: {89, -11},
    Errno.INVALID_DATA: {63, -6, -12},
    Errno.SYSTEM: {23, 26, 27, 37, 45, 99, -9},
}


@pytest.mark.parametrize(
    ("code", "kind"), [(code, kind) for kind, codes in CLASSES.items() for code in sorted(codes)]
)
def test_a_code_has_its_errno(code: int, kind: Errno) -> None:
    assert from_engine("request", code, 0, "").errno is kind


@pytest.mark.parametrize("code", [*range(-12, 0), *range(1, 102)])
def test_every_code_has_a_name_and_words(code: int) -> None:
    error = from_engine("request", code, 0, "")
    assert error.cause is not None
    assert error.cause.name.startswith("CURLE_" if code > 0 else "FT_")
    assert error.errMsg.removeprefix("request:fail ") == error.cause.text != ""
    assert error.cause.code == max(code, 0)


@pytest.mark.parametrize("code", set(range(1, 102)) - set().union(*CLASSES.values()))
def test_a_code_of_no_class_is_internal_or_unknown(code: int) -> None:
    assert from_engine("request", code, 0, "").errno in (Errno.INTERNAL, Errno.UNKNOWN)


def test_names_are_those_of_libcurl() -> None:
    names = {from_engine("x", code, 0, "").cause.name: code for code in range(1, 100)}
    checked = 0
    for name, code in names.items():
        value = getattr(pycurl, name.replace("CURLE_", "E_"), None)
        if value is not None:
            assert value == code, name
            checked += 1
    assert checked > 60


def test_a_code_of_a_future_libcurl_is_unknown() -> None:
    error = from_engine("request", 250, 0, "something new")
    assert (error.errno, error.errMsg) == (
        Errno.UNKNOWN,
        "request:fail network error: something new",
    )
    assert error.cause == Cause(250, "CURLE_250", "something new", 0)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (-1, "request:fail abort"),
        (42, "request:fail abort"),
        (-2, "request:fail timeout"),
        (28, "request:fail timeout"),
    ],
)
def test_abort_and_timeout_have_a_fixed_message(code: int, message: str) -> None:
    error = from_engine("request", code, os_errors.ETIMEDOUT, "after 5001 milliseconds")
    assert error.errMsg == message
    assert error.cause is not None
    assert error.cause.text == "after 5001 milliseconds"


def test_the_api_is_named_first() -> None:
    assert from_engine("downloadFile", -1, 0, "").errMsg == "downloadFile:fail abort"


def test_the_detail_follows_the_words() -> None:
    error = from_engine("request", 6, 0, "Could not resolve host: nowhere.invalid")
    assert error.errMsg == (
        "request:fail host name not resolved: Could not resolve host: nowhere.invalid"
    )


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (os_errors.ECONNREFUSED, "connection refused (ECONNREFUSED)"),
        (os_errors.EHOSTUNREACH, "host unreachable (EHOSTUNREACH)"),
        (os_errors.ENETUNREACH, "network unreachable (ENETUNREACH)"),
        (os_errors.ETIMEDOUT, "connection timed out (ETIMEDOUT)"),
    ],
)
def test_a_failed_connect_says_what_the_system_said(number: int, words: str) -> None:
    error = from_engine("request", 7, number, "Failed to connect to 127.0.0.1 port 9")
    assert error.errMsg == f"request:fail {words}: Failed to connect to 127.0.0.1 port 9"
    assert error.errno is Errno.CONNECT
    assert error.cause == Cause(
        7, "CURLE_COULDNT_CONNECT", "Failed to connect to 127.0.0.1 port 9", number
    )


@pytest.mark.parametrize("number", [os_errors.EMFILE, os_errors.ENFILE, os_errors.ENOBUFS])
def test_a_connect_without_descriptors_or_memory_is_a_system_error(number: int) -> None:
    assert from_engine("request", 7, number, "").errno is Errno.SYSTEM


def test_a_reset_is_named() -> None:
    error = from_engine("request", 56, os_errors.ECONNRESET, "")
    assert error.errMsg == "request:fail connection reset by the peer (ECONNRESET)"
    assert error.errno is Errno.INTERRUPTED


def test_words_of_other_codes_stay_beside_the_system_error() -> None:
    error = from_engine("request", 35, os_errors.ECONNRESET, "")
    assert error.errMsg == "request:fail TLS handshake failed (ECONNRESET)"


def test_a_bare_system_error_has_the_name_of_its_number() -> None:
    error = from_engine("downloadFile", 0, os_errors.ENOSPC, "")
    assert error.errno is Errno.SYSTEM
    assert error.errMsg == "downloadFile:fail No space left on device (ENOSPC)"
    assert error.cause == Cause(0, "ENOSPC", "No space left on device", os_errors.ENOSPC)


def test_a_number_no_system_knows_is_shown_as_it_is() -> None:
    assert "(errno 99999)" in from_engine("request", 7, 99999, "").errMsg


@pytest.mark.parametrize(
    "detail", ["CONNECT tunnel failed, response 407", "Received HTTP code 403 from proxy"]
)
def test_a_refused_tunnel_is_a_proxy_failure(detail: str) -> None:
    error = from_engine("request", 56, 0, detail)
    assert error.errno is Errno.PROXY
    assert error.errMsg == f"request:fail the proxy refused the tunnel: {detail}"


@pytest.mark.parametrize(
    "text",
    [
        "bad http://ann:s3cret@host/x",
        "bad http://s3cret@host/x",
        "bad http://ann:s3c@s3cret@host/",
        "ann:s3cret@host:8080 refused",
        "http://ann:pa/s3cret@host/",
        "'socks5://ann:s3cret@[::1]:9'",
    ],
)
def test_credentials_are_never_shown(text: str) -> None:
    error = from_engine("request", 7, 0, text)
    assert error.cause is not None
    for shown in (str(error), repr(error), repr(error.cause), redact(text)):
        assert "s3c" not in shown
        assert "ann" not in shown
    assert "host" in error.errMsg or "[::1]" in error.errMsg


@pytest.mark.parametrize(
    "text", ["http://host/a@b", "host:80", "12:30:01 http://h/", "mail me@example.com"]
)
def test_text_without_credentials_stays(text: str) -> None:
    assert redact(text) == text


def test_a_detail_stays_on_one_line() -> None:
    message = from_engine("request", 8, 0, "bad\r\nforged: log line\x1b[31m").errMsg
    assert message == "request:fail the reply is not valid HTTP: bad  forged: log line [31m"


@given(st.integers(-20, 200), st.integers(0, 200), st.text(max_size=80))
def test_any_outcome_makes_an_error_that_survives_pickle(
    code: int, number: int, detail: str
) -> None:
    error = from_engine("request", code, number, detail, {"rtt": 1.0})
    twin = pickle.loads(pickle.dumps(error))
    assert type(twin) is FtError
    assert (twin.errMsg, twin.errno, twin.cause, twin.profile) == (
        error.errMsg,
        error.errno,
        error.cause,
        {"rtt": 1.0},
    )
    assert error.errMsg.startswith("request:fail ")
    assert error.errMsg.isprintable()


def test_a_copy_keeps_everything() -> None:
    error = from_engine("request", 6, 0, "x", "profile")
    twin = copy.copy(error)
    assert (twin.errMsg, twin.errno, twin.cause, twin.profile) == (
        error.errMsg,
        error.errno,
        error.cause,
        "profile",
    )


def test_an_error_reads_as_its_message() -> None:
    error = FtError("request:fail abort", Errno.INTERRUPTED)
    assert str(error) == "request:fail abort"
    assert repr(error) == "FtError('request:fail abort', errno=600003)"
    assert error.cause is error.profile is None


@pytest.mark.parametrize("member", list(Errno))
def test_every_errno_says_what_it_stands_for(member: Errno) -> None:
    assert member.__doc__ not in (None, "", Errno.__doc__)
    assert pickle.loads(pickle.dumps(member)) is member


def test_errno_members_are_their_numbers() -> None:
    assert {member.name: int(member) for member in Errno} == {
        "TIMEOUT": 5,
        "UNKNOWN": 600000,
        "INTERNAL": 600001,
        "INTERRUPTED": 600003,
        "PROTOCOL": 600004,
        "ARGUMENT": 600005,
        "SYSTEM": 600006,
        "TOO_MANY_TASKS": 600007,
        "TOO_MANY_REDIRECTS": 600008,
        "INVALID_URL": 600009,
        "INVALID_DATA": 600010,
        "TLS": 600011,
        "DNS": 600012,
        "CONNECT": 600013,
        "PROXY": 600014,
        "SOCKET_SYSTEM": -1,
        "SOCKET_INTERFACE": -2,
        "SOCKET_PERMISSION": -3,
        "SOCKET_CONNECT": -4,
        "SOCKET_ADDRESS": 1,
        "SOCKET_PORT": 2,
    }


def test_a_cause_cannot_be_changed() -> None:
    cause = Cause(7, "CURLE_COULDNT_CONNECT", "no", 111)
    with pytest.raises(AttributeError):
        cause.code = 8  # type: ignore[misc]
