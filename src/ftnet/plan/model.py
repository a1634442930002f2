"""What is in a plan file, as structs: names, types and defaults of every key.

Times are seconds: a file says ``"500ms"``, ``"1m30s"`` or a number, and `ftnet.plan.read` has made
seconds of it. A text of a step may hold ``${name}``, see `ftnet.plan.template`.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import msgspec

from ftnet.errors import redact
from ftnet.plan.urls import split_request

__all__ = [
    "Action",
    "Download",
    "Feed",
    "Http",
    "Load",
    "Plan",
    "Python",
    "Scenario",
    "Socket",
    "Step",
    "Tcp",
    "Udp",
    "Upload",
    "WebSocket",
    "kind_of",
]


class _Struct(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What all of them are."""


class Load(_Struct, frozen=True, kw_only=True):
    """How much: as the options of `ftnet.load.run` of the same names.

    With ``rate`` or ``stages`` iterations are due at their times (open model), carried out by the
    virtual users that are free, ``users`` at most; without, each user begins its next iteration
    when its last is over (closed model).
    """

    users: int = 10  #: virtual users, each with its own variables and cookies
    rate: float | None = None  #: iterations a second
    stages: tuple[tuple[float, float], ...] = ()  #: (seconds, rate they end at)
    #: how iterations that are due are spread
    arrivals: Literal["constant", "poisson"] = "constant"
    seed: int = 1  #: of all that is drawn
    warmup: float = 0.0  #: s before the measured part
    duration: float | None = None  #: s that are measured; default: 10 without another end
    iterations: int | None = None  #: that are measured
    grace: float = 5.0  #: s for iterations under way at the end


class Feed(_Struct, frozen=True, kw_only=True):
    """Rows of data for iterations: a CSV file with a header line, or JSON lines of objects."""

    file: str  #: beside the plan's file; its ending says what it is: .csv, .jsonl
    #: rows are taken one after the other, again from the first, or the run ends with the last
    order: Literal["sequential", "random", "once"] = "sequential"


#: What must hold of an answer: "status" (a number, "2xx" or a list of them), "header:NAME",
#: "json:PATH", "regex:...", "body" and "length", each with the value it must have; what is looked
#: for in a text with {contains = ...} or {matches = ...}, numbers with {min = ..., max = ...},
#: and what must be there at all with {exists = true}.
Expectations: TypeAlias = dict[str, Any]

#: Variables from an answer: name = "json:PATH", "header:NAME", "regex:..." or "body".
Extractions: TypeAlias = dict[str, str]


class _Step(_Struct, frozen=True, kw_only=True):
    """What steps have in common."""

    name: str = ""  #: by which it is counted; default: what it does
    think: float | tuple[float, float] = 0.0  #: s after it, or from least to most
    expect: Expectations = {}  #: what must hold of the answer; default: a status below 400
    extract: Extractions = {}  #: variables from the answer, for later steps of the iteration
    on_fail: Literal["stop", "continue"] = "stop"  #: what becomes of the iteration
    timeout: float | None = None  #: s; default: the plan's
    when: str = ""  #: only if this template is not "", "0" or "false"


class Http(_Step, frozen=True, kw_only=True):
    """One request; redirects are followed unless told otherwise."""

    request: str  #: absolute, or relative to the plan's base_url; GET without a method
    header: dict[str, str] = {}  #: beside the plan's, in place of its fields of the same name
    body: str | None = None  #: sent as text/plain, unless the header says otherwise
    body_file: str | None = None  #: read once, sent as it is
    json: Any = None  #: sent as JSON; its texts may hold variables
    form: dict[str, str] | None = None  #: sent as application/x-www-form-urlencoded
    #: default: that of the settings, or what is agreed on
    http_version: Literal["1.1", "2", "2-prior-knowledge", "3", "3-only"] | None = None
    follow: bool = True  #: redirects


class Download(_Step, frozen=True, kw_only=True):
    """A file to a temporary place, that is thrown away when it is complete."""

    download: str  #: absolute, or relative to the plan's base_url
    header: dict[str, str] = {}  #: beside the plan's


class Upload(_Step, frozen=True, kw_only=True):
    """A file as a form sends it."""

    upload: str  #: absolute, or relative to the plan's base_url
    file: str  #: that is sent
    field: str = "file"  #: of the form, that has the file
    form: dict[str, str] = {}  #: other fields, before the file
    header: dict[str, str] = {}  #: beside the plan's


class Action(_Struct, frozen=True, kw_only=True):
    """One thing done on an open socket; exactly one of the first four.

    ``send`` text (WebSocket: a message, TCP: bytes in UTF-8, UDP: a datagram), ``send_hex`` bytes,
    ``receive`` waits for the next message (TCP: for so many bytes, or through a text; UDP: for a
    datagram), ``close``.
    """

    send: str | None = None  #: a message, or bytes in UTF-8
    send_hex: str | None = None  #: a binary message, or bytes
    receive: bool | int | str | None = None  #: true: the next message or datagram
    close: bool | int | None = None  #: of a WebSocket, with a code
    expect: Expectations = {}  #: of what was received: "body", "json:PATH", "regex:..."
    extract: Extractions = {}  #: from what was received
    name: str = ""  #: counted by this name beside its step
    within: float | None = None  #: s; default: the step's timeout


class WebSocket(_Step, frozen=True, kw_only=True):
    """Opens a WebSocket, does things on it, and closes it."""

    websocket: str  #: absolute, or relative to the plan's base_url
    actions: tuple[Action, ...] = ()  #: one after the other
    header: dict[str, str] = {}  #: of the opening handshake; the plan's is not sent
    protocols: tuple[str, ...] = ()  #: that are offered


class Tcp(_Step, frozen=True, kw_only=True):
    """Opens a TCP connection, does things on it, and closes it."""

    tcp: str  #: where to
    actions: tuple[Action, ...] = ()  #: one after the other
    tls: bool = False  #: with a TLS handshake first


class Udp(_Step, frozen=True, kw_only=True):
    """Does things on a UDP socket of its own."""

    udp: str  #: the peer
    actions: tuple[Action, ...] = ()  #: one after the other


class Python(_Step, frozen=True, kw_only=True):
    """Calls ``function(user)``, whatever it does; slower than the other steps.

    One that returns a step (a mapping as in a plan file), or yields several, has them carried out;
    ``yield`` gives it the answer. ``user.variables`` are the virtual user's.
    """

    python: str  #: a function in a module, or in a file beside the plan


Socket: TypeAlias = WebSocket | Tcp | Udp
Step: TypeAlias = Http | Download | Upload | WebSocket | Tcp | Udp | Python


class Scenario(_Struct, frozen=True, kw_only=True):
    """Steps that a virtual user does one after the other: one iteration."""

    name: str  #: by which it is told
    step: tuple[Step, ...]  #: one after the other
    weight: float = 1.0  #: its share of the iterations, among those without a load of their own
    load: Load | None = None  #: of its own: then it has users and a schedule of its own
    think: float | tuple[float, float] = 0.0  #: s after an iteration, or from least to most


class Plan(_Struct, frozen=True, kw_only=True):
    """A whole file."""

    name: str = ""  #: default: the file's name
    base_url: str = ""  #: what URLs of steps are relative to; one with / first is from its root
    header: dict[str, str] = {}  #: of every request, download and upload
    timeout: float = 30.0  #: s for one step
    variables: dict[str, Any] = {}  #: that every iteration begins with; may hold ${env(NAME)}
    data: dict[str, Feed] = {}  #: ${NAME.COLUMN}
    cookies: bool = True  #: each virtual user keeps cookies from one step and iteration to the next
    settings: dict[str, Any] = {}  #: of the Client: verify, proxy, http_version, user_agent, ...
    load: Load = Load()  #: of all scenarios without one of their own
    scenario: tuple[Scenario, ...] = ()  #: at least one
    folder: str = ""  #: that its files are beside; `read` sets it

    def named(self) -> tuple[tuple[str, Step | Action], ...]:
        """All steps and named actions, by the names that they are counted by.

        A second one of a name is "name 2", the action "ask" of a step "chat" is "chat: ask".
        """
        seen: dict[str, int] = {}
        out: list[tuple[str, Step | Action]] = []
        for scenario in self.scenario:
            for step in scenario.step:
                name = _unique(step.name or does(step), seen)
                out.append((name, step))
                actions = getattr(step, "actions", ())
                out += [(_unique(f"{name}: {a.name}", seen), a) for a in actions if a.name]
        return tuple(out)

    def header_with(self, own: dict[str, str]) -> dict[str, str]:
        """The header of a step: its own fields stand for the plan's of the same names."""
        names = {name.lower() for name in own}
        shared = {name: text for name, text in self.header.items() if name.lower() not in names}
        return shared | own

    @property
    def target(self) -> str:
        """What it is about, without credentials: its base URL, or where its first step goes."""
        steps = [step for scenario in self.scenario for step in scenario.step]
        if self.base_url or not steps:
            return redact(self.base_url)
        first = steps[0]
        if isinstance(first, Http):
            return redact(split_request(first.request)[1])
        return redact(str(getattr(first, kind_of(first))))


def _unique(name: str, seen: dict[str, int]) -> str:
    seen[name] = seen.get(name, 0) + 1
    return name if seen[name] == 1 else f"{name} {seen[name]}"


def kind_of(step: Step | Action) -> str:
    """ "http", "download", "upload", "websocket", "tcp", "udp", "python"; "action"."""
    return type(step).__name__.lower()


def does(step: Step) -> str:
    """What a step without a name is called: without credentials."""
    if isinstance(step, Http):
        return redact(" ".join(split_request(step.request)))
    kind = kind_of(step)
    return redact(f"{kind} {getattr(step, kind)}")
