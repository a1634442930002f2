"""Requests from curl command lines, as people and browsers ("Copy as cURL") write them.

An option that isn't known is refused by its name: a request that differs from what curl sends
would be no copy of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, Final
from urllib.parse import quote

from ftnet.handshake import basic
from ftnet.plan.recorded import Asked

__all__ = ["goes_on", "parse", "words"]

_FORM: Final = "application/x-www-form-urlencoded"
_ESCAPES: Final = {
    "n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v", "e": "\x1b",
    "\\": "\\", "'": "'", '"': '"', "?": "?",
}  # fmt: skip
_ESCAPE: Final = re.compile(
    r"\\(?:x(?P<x>[0-9A-Fa-f]{1,2})|u(?P<u>[0-9A-Fa-f]{1,4})|U(?P<U>[0-9A-Fa-f]{1,8})"
    r"|(?P<o>[0-7]{1,3})|(?P<c>.))",
    re.DOTALL,
)
_WORD: Final = re.compile(
    r"\$'(?P<ansi>(?:[^'\\]|\\.)*)'"
    r"|'(?P<single>[^']*)'"
    r'|"(?P<double>(?:[^"\\]|\\.)*)"'
    r"|\\(?P<escaped>.)"
    r"|(?P<plain>[^\s'\"\\]+)",
    re.DOTALL,
)


#: The start of a command for cmd.exe, where ^ escapes; in it, what a ^ stands before.
_FOR_CMD: Final = re.compile(r'curl(\.exe)?\s+(\^"|[^\n]*\s\^(\n|\Z))')
_CARET: Final = re.compile(r"\^(\n\n|\n|.|\Z)", re.DOTALL)
#: What a shell puts something else in place of.
_SHELLS: Final = re.compile(r"(?<!\\)(?:\\\\)*(\$[A-Za-z_{(]\w*|`)")


def goes_on(command: str) -> bool:
    """Whether more of it is in the next line."""
    if command.endswith("\\") or (command.endswith("^") and _FOR_CMD.match(command)):
        return True
    try:
        words(command)
    except _Open:
        return True
    except ValueError:
        return False
    return False


class _Open(ValueError):
    """A quote is not closed."""


def words(command: str) -> list[str]:
    """The words of a command as a shell has them: quotes, backslashes and ``$'...'``; of one for
    cmd.exe, as browsers write it, too. ValueError: what a shell would put there is not known."""
    for_cmd = _FOR_CMD.match(command) is not None
    if for_cmd:
        command = _CARET.sub(
            lambda found: {"\n\n": "\n", "\n": " "}.get(found[1], found[1]), command
        )
    out: list[str] = []
    shells: re.Match[str] | None = None
    word: str | None = None
    at = 0
    while at < len(command):
        if command[at].isspace():
            out += [] if word is None else [word]
            word = None
            at += 1
        elif command.startswith("\\\n", at):  # the line goes on
            at += 2
        else:
            found = _WORD.match(command, at)
            if found is None:
                raise _Open(f"a quote is not closed: {command[at : at + 20]}")
            shells = shells or _SHELLS.search(found["double"] or found["plain"] or "")
            word = (word or "") + _unquoted(found)
            at = found.end()
    if shells and not for_cmd:
        raise ValueError(f"{shells[1]} is the shell's: write what it stands for")
    return out if word is None else [*out, word]


def _unquoted(found: re.Match[str]) -> str:
    kind, text = found.lastgroup, found[found.lastgroup or 0]
    if kind == "ansi":
        return _ESCAPE.sub(_character, text)
    if kind == "double":
        return re.sub(r"\\([\\\"$`\n])", lambda one: one[1].replace("\n", ""), text)
    return text


def _character(found: re.Match[str]) -> str:
    digits = found["x"] or found["u"] or found["U"]
    if digits:
        return chr(int(digits, 16))
    return chr(int(found["o"], 8)) if found["o"] else _ESCAPES.get(found["c"], found[0])


class _Request:
    """What a command line has said so far."""

    def __init__(self) -> None:
        self.urls: list[str] = []
        self.method = ""
        self.header: list[tuple[str, str]] = []  # by -H
        self.defaults: list[tuple[str, str]] = []  # by other options; -H stands for them
        self.data: list[str] = []
        self.file = ""
        self.joined = False
        self.fields: list[tuple[str, str]] = []
        self.content_type = _FORM
        self.as_query = False
        self.follow = False
        self.globs = True
        self.given: dict[str, Any] = {}
        self.settings: dict[str, Any] = {}

    # --- options ---

    def add_header(self, text: str) -> None:
        if text.startswith("@"):
            raise ValueError("-H of a file is not supported")
        name, colon, value = text.partition(":")
        if colon and value.strip():
            self.header.append((name.strip(), value.strip()))
        elif text.endswith(";"):
            raise ValueError("a header field without a value can't be sent")

    def add_data(self, text: str) -> None:
        self.joined |= text.startswith("@")
        self.add_binary(text)

    def add_binary(self, text: str) -> None:
        if text.startswith("@"):
            self.add_file(text[1:])
        else:
            self.data.append(text)

    def add_file(self, name: str) -> None:
        if name == "-" or self.file or self.data:
            raise ValueError("-d @FILE can be there once, without other data, and not be -d @-")
        self.file = name

    def add_encoded(self, text: str) -> None:
        name, equals, value = text.partition("=")
        if not equals and "@" in text:
            raise ValueError("--data-urlencode of a file is not supported")
        encoded = quote(value if equals else text, safe="")
        self.data.append(f"{name}={encoded}" if equals and name else encoded)

    def add_json(self, text: str) -> None:
        if self.content_type == "application/json":
            raise ValueError("--json can be there once")
        self.content_type = "application/json"
        self.defaults.append(("Accept", "application/json"))
        self.add_binary(text)

    def add_field(self, text: str) -> None:
        name, equals, value = text.partition("=")
        if not equals:
            raise ValueError(f"-F takes NAME=VALUE or NAME=@FILE, got {text!r:.40}")
        if value.startswith("<"):
            raise ValueError("-F NAME=<FILE is not supported")
        self.fields.append((name, value))

    def add_user(self, text: str) -> None:
        self.defaults.append(("Authorization", basic(text, quoted=False)))

    def add_cookies(self, text: str) -> None:
        if "=" not in text:
            raise ValueError(f"-b of a file is not supported, got {text!r:.40}")
        self.defaults.append(("Cookie", text))

    def add_time(self, text: str) -> None:
        self.given["timeout"] = float(text)

    def add_version(self, version: str) -> None:
        self.given["http_version"] = version

    # --- the end ---

    def asked(self) -> Iterator[Asked]:
        if not self.urls:
            raise ValueError("the URL is missing")
        for given in self.urls:
            url = _unglobbed(given) if self.globs else given
            yield self._asked(url if "://" in url else f"http://{url}")

    def _asked(self, url: str) -> Asked:
        given = {**self.given, "follow": self.follow}
        names = {name.lower() for name, _ in self.header}
        header = [*self.header, *(one for one in self.defaults if one[0].lower() not in names)]
        if self.fields:
            return self._upload(url, header)
        body = "&".join(self.data) if self.data else None
        if self.as_query:
            if self.file:
                raise ValueError("-G with -d @FILE is not supported")
            joint = "&" if "?" in url else "?"
            url, body = (f"{url}{joint}{body}" if body else url), None
        elif self.file:
            given["body_file"] = self.file
        has_body = body is not None or bool(self.file)
        if has_body and "content-type" not in names:
            header.append(("Content-Type", self.content_type))
        method = self.method or ("POST" if has_body else "GET")
        return Asked(url, method.upper(), header, body, given, self.joined)

    def _upload(self, url: str, header: list[tuple[str, str]]) -> Asked:
        files = [(name, value[1:]) for name, value in self.fields if value[:1] == "@"]
        if len(files) != 1 or self.data or self.file or self.method not in ("", "POST"):
            raise ValueError("-F must have one NAME=@FILE among its fields, with POST")
        form = {name: value for name, value in self.fields if value[:1] != "@"}
        if len(form) + 1 != len(self.fields):
            raise ValueError("-F has a field twice")
        name, _, more = files[0][1].partition(";")
        if more:
            raise ValueError(f"-F takes NAME=@FILE, got more: {more!r:.40}")
        given = {"upload": True, "file": name, "field": files[0][0], "form": form}
        if "timeout" in self.given:
            given["timeout"] = self.given["timeout"]
        header = [(key, value) for key, value in header if key.lower() != "content-type"]
        return Asked(url, "POST", header, None, given)


def _unglobbed(url: str) -> str:
    """The URL that curl makes of one; ValueError: it makes several."""
    if re.search(r"(?<!\\)[][{}]", re.sub(r"//([^/@]*@)?\[[^]]*\]", "", url)):
        raise ValueError("curl makes several URLs of [] and {}: write each, or --globoff")
    return re.sub(r"\\([][{}])", r"\1", url)


def parse(command: str) -> tuple[list[Asked], dict[str, Any]]:
    """The requests of ``curl ...``, and settings of the Client that it asks for.

    ValueError says what can't be taken over.
    """
    name, *arguments = words(command)
    if name not in ("curl", "curl.exe"):
        raise ValueError(f"must be a curl command, got {name!r:.40}")
    request = _Request()
    rest = iter(arguments)
    for word in rest:
        if not word.startswith("-") or word == "-":
            request.urls.append(word)
        elif word.startswith("--"):
            _long(request, word, rest)
        else:
            _short(request, word, rest)
    return list(request.asked()), request.settings


def _long(request: _Request, word: str, rest: Iterator[str]) -> None:
    if word in _FLAGS:
        _FLAGS[word](request)
    elif word in _VALUES:
        _VALUES[word](request, _next(rest, word))
    else:
        raise ValueError(f"curl's {word} is not supported")


def _short(request: _Request, word: str, rest: Iterator[str]) -> None:
    """One or several in one word: ``-sSL``, ``-XPOST``."""
    for at in range(1, len(word)):
        option = f"-{word[at]}"
        if option in _FLAGS:
            _FLAGS[option](request)
        elif option in _VALUES:
            _VALUES[option](request, word[at + 1 :] or _next(rest, option))
            return
        else:
            raise ValueError(f"curl's {option} is not supported")


def _next(rest: Iterator[str], option: str) -> str:
    value = next(rest, None)
    if value is None:
        raise ValueError(f"curl's {option} has no value")
    return value


def _set(name: str, value: Any) -> Callable[[_Request], None]:
    return lambda request: setattr(request, name, value)


def _version(version: str) -> Callable[[_Request], None]:
    return lambda request: request.add_version(version)


def _ignored(request: _Request, value: str = "") -> None:
    """What says nothing of the request itself."""


#: Options without a value. Bodies are decoded whatever was asked for, as with --compressed.
_FLAGS: Final[dict[str, Callable[[_Request], None]]] = {
    **dict.fromkeys(
        ("-s", "--silent", "-S", "--show-error", "-v", "--verbose", "-i", "--include", "-f",
         "--fail", "-#", "--progress-bar", "-N", "--no-buffer", "--compressed", "-O",
         "--remote-name", "--fail-with-body", "--no-progress-meter"),
        _ignored,
    ),
    **dict.fromkeys(("-L", "--location"), _set("follow", True)),
    **dict.fromkeys(("-g", "--globoff"), _set("globs", False)),
    **dict.fromkeys(("-G", "--get"), _set("as_query", True)),
    **dict.fromkeys(("-I", "--head"), _set("method", "HEAD")),
    **dict.fromkeys(("-k", "--insecure"), lambda request: request.settings.update(verify=False)),
    "--http1.1": _version("1.1"),
    "--http2": _version("2"),
    "--http2-prior-knowledge": _version("2-prior-knowledge"),
    "--http3": _version("3"),
    "--http3-only": _version("3-only"),
}  # fmt: skip

#: Options with one.
_VALUES: Final[dict[str, Callable[[_Request, str], None]]] = {
    **dict.fromkeys(
        ("-o", "--output", "-w", "--write-out", "-D", "--dump-header", "-c", "--cookie-jar"),
        _ignored,
    ),
    **dict.fromkeys(("-X", "--request"), lambda request, text: setattr(request, "method", text)),
    **dict.fromkeys(("-H", "--header"), _Request.add_header),
    **dict.fromkeys(("-d", "--data", "--data-ascii"), _Request.add_data),
    "--data-binary": _Request.add_binary,
    "--data-raw": lambda request, text: request.data.append(text),
    "--data-urlencode": _Request.add_encoded,
    "--json": _Request.add_json,
    **dict.fromkeys(("-F", "--form"), _Request.add_field),
    **dict.fromkeys(("-u", "--user"), _Request.add_user),
    **dict.fromkeys(("-b", "--cookie"), _Request.add_cookies),
    **dict.fromkeys(
        ("-A", "--user-agent"), lambda request, text: request.defaults.append(("User-Agent", text))
    ),
    **dict.fromkeys(
        ("-e", "--referer"), lambda request, text: request.defaults.append(("Referer", text))
    ),
    **dict.fromkeys(("-m", "--max-time"), _Request.add_time),
    **dict.fromkeys(
        ("-x", "--proxy"), lambda request, text: request.settings.update(proxy=_proxy(text))
    ),
    "--cacert": lambda request, text: request.settings.update(ca=text),
    "--url": lambda request, text: request.urls.append(text),
}


def _proxy(text: str) -> str:
    return text if "://" in text else f"http://{text}"
