"""The rules of the house that a compiler does not check."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import ftnet

ROOT = Path(__file__).parent.parent
CORE = ROOT / "src" / "ftcore"

#: From the ground up: a room may cimport only rooms before it (struct definitions included).
ROOMS = ["histogram", "libcurl", "op", "heading"]
ROOMS += ["buffers", "profile", "reactor", "engine", "multi", "codec", "decode"]
ROOMS += ["settings", "quality", "body", "sink", "handle", "moments", "connection", "wire", "slot"]
ROOMS += ["response", "timing", "samples", "redirect", "native", "pool", "transfer"]
ROOMS += ["permessage", "opening", "outgoing"]
ROOMS += ["frames", "messages", "websocket", "stream", "tcp", "datagram", "names", "lanes"]
ROOMS += ["udp_socket", "udp", "courier", "tally", "arrivals", "pattern", "visitor"]
ROOMS += ["load"]
PAIRS = [(path.stem, path) for path in sorted(CORE.glob("*.p[yx][xd]")) if path.suffix != ".pyi"]
CODE = {path: path.read_text() for _, path in PAIRS}


def test_every_room_has_its_floor() -> None:
    assert {name for name, _ in PAIRS} == set(ROOMS)


@pytest.mark.parametrize(("room", "path"), PAIRS, ids=[path.name for _, path in PAIRS])
def test_dependencies_only_point_down(room: str, path: Path) -> None:
    below = set(ROOMS[: ROOMS.index(room) + 1])
    if path.name == "slot.pyx":
        below.add("response")  # the handle is set to the callbacks that fill it
    for used in re.findall(r"^from ftcore\.(\w+) cimport", CODE[path], re.MULTILINE):
        assert used in below, f"{path.name} reaches up to {used}"


def test_one_line_lets_go_of_the_gil_and_none_takes_it() -> None:
    engine = {path: code for path, code in CODE.items() if path.name != "decode.pyx"}
    # decode.pyx has a face of its own for Python, which the engine does not use
    assert [path.name for path, code in engine.items() if "with nogil" in code] == ["engine.pyx"]
    assert CODE[CORE / "engine.pyx"].count("with nogil") == 1
    assert not [path.name for path, code in engine.items() if "with gil" in code]


def test_one_place_holds_owners_and_lets_them_go() -> None:
    for word in ("Py_INCREF(", "Py_DECREF("):
        places = [path.name for path, code in CODE.items() if word in code]
        assert places == ["engine.pyx"]
        assert CODE[CORE / "engine.pyx"].count(word) == 1


def test_one_file_knows_libcurls_numbers() -> None:
    numbered = re.compile(r"^\s+CURL(OPT|INFO|E|M|MOPT|SHOPT)_\w+ =", re.MULTILINE)
    assert [path.name for path, code in CODE.items() if numbered.search(code)] == ["libcurl.pxd"]


def test_only_pollers_know_their_system() -> None:
    for path in [*CODE, *CORE.glob("c/*.[ch]")]:
        code = re.sub(r'"""(?:.|\n)*?"""|/\*(?:.|\n)*?\*/|#.*', "", path.read_text())
        if not path.name.startswith("poller_"):
            assert not re.search(r"\b(epoll_\w+|kevent|kqueue)\(", code), path.name


def test_the_public_names_are_there_and_documented() -> None:
    for name in ftnet.__all__:
        value = getattr(ftnet, name)
        assert isinstance(value, str) or value.__doc__, name
