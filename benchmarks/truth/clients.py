"""The clients whose times are measured; each runs in a process of its own.

    python -m benchmarks.truth.clients < job.json

A client makes the requests of a `Job` and gives for each a `Call`: when it was made, and what the
client says of its phases, under the names of ftnet's profile, in ns of CLOCK_MONOTONIC.
"""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Final
from urllib.parse import urlsplit

from benchmarks.rounds import pin
from benchmarks.truth.capture import wall_offset

LIMIT = 60  # seconds for one request
FIELDS = (
    "invokeStart",
    "queueEnd",
    "redirectStart",
    "redirectEnd",
    "domainLookUpStart",
    "domainLookUpEnd",
    "connectStart",
    "SSLconnectionStart",
    "SSLconnectionEnd",
    "connectEnd",
    "requestStart",
    "requestEnd",
    "responseStart",
    "responseEnd",
)
OF_A_CONNECTION = FIELDS[4:10]
now = time.monotonic_ns


@dataclass(frozen=True, slots=True)
class Job:
    """`total` requests of `url`, where {id} stands for each one's name, `concurrency` at once.

    With `fresh` every request has a Client of its own; `limit` is the most connections.
    """

    client: str
    url: str
    ca: str
    total: int
    concurrency: int = 1
    version: str = "1.1"
    proxy: str = ""
    upload: int = 0
    fresh: bool = False
    limit: int = 0

    def names(self) -> list[tuple[str, str]]:
        """Of all requests: id, URL."""
        ids = [f"{self.client.split()[0]}-{number}" for number in range(self.total)]
        return [(ident, self.url.format(id=ident)) for ident in ids]


@dataclass(slots=True)
class Call:
    """One request; `floating` fields count from a moment that nobody knows."""

    id: str
    invoke: int
    fields: dict[str, int]
    floating: bool = False


class Ftnet:
    """ft.run() with callbacks: each success makes the next request."""

    def __init__(self, job: Job) -> None:
        self.job, self.left, self.taken = job, iter(job.names()), list[tuple[str, int, Any]]()
        self.options: dict[str, Any] = {"dataType": "text", "fail": self._failed}
        if job.upload:
            self.options |= {"method": "POST", "data": bytes(job.upload)}
        self.errors: list[Exception] = []

    def _client(self) -> Any:
        import ftnet as ft

        job, most = self.job, self.job.limit or self.job.concurrency
        return ft.Client(
            ca=job.ca, http_version=job.version, trust_env=False, proxy=job.proxy or None,
            max_connections=most, max_connections_per_host=most,
        )  # fmt: skip

    def run(self) -> list[Call]:
        import ftnet as ft

        if self.job.fresh:
            for one in self.left:
                with self._client() as client:
                    ft.run(self._ask, client, *one, lambda *_: None)
        else:
            with self._client() as client:
                ft.run(self._begin, client)
        if self.errors:
            raise self.errors[0]
        offset = wall_offset()
        return [Call(*one, self._fields(profile, offset)) for *one, profile in self.taken]

    def _begin(self, client: Any) -> None:
        for _ in range(self.job.concurrency):
            self._next(client)

    def _next(self, client: Any) -> None:
        one = next(self.left, None)
        if one and not self.errors:
            self._ask(client, *one, self._next)

    def _ask(self, client: Any, ident: str, url: str, then: Callable[[Any], None]) -> None:
        success = partial(self._done, ident, client, then, [])
        made = success.args[3]
        made.append(now())
        client.request(url=url, success=success, **self.options)

    def _done(self, ident: str, client: Any, then: Any, made: list[int], result: Any) -> None:
        self.taken.append((ident, made[0], result.profile))
        then(client)

    def _failed(self, error: Exception) -> None:
        self.errors.append(error)

    @staticmethod
    def _fields(profile: Any, offset: int) -> dict[str, int]:
        names = [one for one in FIELDS if not profile.socketReused or one not in OF_A_CONNECTION]
        told = {name: getattr(profile, name) for name in names}
        return {name: round(ms * 1e6) - offset for name, ms in told.items() if ms}


class Pycurl:
    """One handle and perform(), or a CurlMulti; times by getinfo, from the call on."""

    def __init__(self, job: Job) -> None:
        import pycurl

        self.pycurl, self.job = pycurl, job
        self.infos = {
            "connectStart": pycurl.NAMELOOKUP_TIME_T,
            "SSLconnectionStart": pycurl.CONNECT_TIME_T,
            "SSLconnectionEnd": pycurl.APPCONNECT_TIME_T,
            "requestStart": pycurl.PRETRANSFER_TIME_T,
            "requestEnd": pycurl.POSTTRANSFER_TIME_T,
            "responseStart": pycurl.STARTTRANSFER_TIME_T,
            "responseEnd": pycurl.TOTAL_TIME_T,
        }

    def _handle(self) -> Any:
        curl = self.pycurl.Curl()
        curl.setopt(self.pycurl.CAINFO, self.job.ca)
        curl.setopt(self.pycurl.HTTP_VERSION, self.pycurl.CURL_HTTP_VERSION_1_1)
        curl.setopt(self.pycurl.WRITEFUNCTION, len)
        curl.setopt(self.pycurl.PROXY, "")
        return curl

    def _call(self, curl: Any, ident: str, made: int) -> Call:
        told = {name: curl.getinfo(info) for name, info in self.infos.items()}
        if not curl.getinfo(self.pycurl.NUM_CONNECTS):
            told = {name: us for name, us in told.items() if name not in OF_A_CONNECTION}
        return Call(ident, made, _connected({n: made + us * 1000 for n, us in told.items() if us}))

    def run(self) -> list[Call]:
        return self._alone() if self.job.concurrency == 1 else self._together()

    def _alone(self) -> list[Call]:
        curl, calls = self._handle(), []
        for ident, url in self.job.names():
            curl.setopt(self.pycurl.URL, url)
            made = now()
            curl.perform()
            calls.append(self._call(curl, ident, made))
        return calls

    def _together(self) -> list[Call]:
        multi, left, calls = self.pycurl.CurlMulti(), iter(self.job.names()), list[Call]()
        made: dict[Any, tuple[str, int]] = {}

        def begin(curl: Any) -> None:
            if one := next(left, None):
                curl.setopt(self.pycurl.URL, one[1])
                made[curl] = one[0], now()
                multi.add_handle(curl)

        for _ in range(self.job.concurrency):
            begin(self._handle())
        while made:
            multi.perform()
            _, done, failed = multi.info_read()
            if failed:
                raise RuntimeError(failed[0][2])
            for curl in done:
                multi.remove_handle(curl)
                calls.append(self._call(curl, *made.pop(curl)))
                begin(curl)
            multi.select(0.1)
        return calls


class CurlCommand:
    """curl -w: one command for all requests, or one for each where connections are new.

    It says times since its transfer began, and not when that was.
    """

    WRITE = (
        '["%{time_namelookup}","%{time_connect}","%{time_appconnect}","%{time_pretransfer}",'
        '"%{time_starttransfer}","%{time_total}","%{num_connects}"]\\n'
    )
    NAMES = ("connectStart", "SSLconnectionStart", "SSLconnectionEnd", "requestStart",
             "responseStart", "responseEnd")  # fmt: skip

    def __init__(self, job: Job) -> None:
        self.job = job

    def run(self) -> list[Call]:
        names = self.job.names()
        each = "close=1" in self.job.url
        groups = [[one] for one in names] if each else [names]
        return [call for group in groups for call in self._some(group)]

    def _some(self, names: list[tuple[str, str]]) -> list[Call]:
        lines = [f'url = "{url}"\noutput = "/dev/null"\n' for _, url in names]
        command = ["curl", "-sS", "--http1.1", "--noproxy", "*", "--cacert", self.job.ca]
        command += ["-w", self.WRITE, "-K", "-"]
        made = now()
        done = subprocess.run(
            command, input="".join(lines), capture_output=True, text=True, check=True
        )
        told = [json.loads(line) for line in done.stdout.splitlines()]
        return [self._call(ident, made, one) for (ident, _), one in zip(names, told, strict=True)]

    def _call(self, ident: str, made: int, told: list[str]) -> Call:
        *times, connects = told
        pairs = zip(self.NAMES, (round(float(time) * 1e9) for time in times), strict=True)
        new = connects != "0"
        fields = {name: ns for name, ns in pairs if ns and (new or name not in OF_A_CONNECTION)}
        return Call(ident, made, _connected(fields), floating=True)


def _connected(fields: dict[str, int]) -> dict[str, int]:
    """libcurl's times by the profile's names: when TCP stood is connectEnd without TLS."""
    if "SSLconnectionEnd" in fields:
        fields["connectEnd"] = fields["SSLconnectionEnd"]
    elif "SSLconnectionStart" in fields:
        fields["connectEnd"] = fields.pop("SSLconnectionStart")
    return fields


async def _workers(job: Job, one: Callable[[str, str], Awaitable[Call]]) -> list[Call]:
    """What `concurrency` workers get that take the requests in turn."""
    left, calls = iter(job.names()), list[Call]()

    async def worker() -> None:
        for ident, url in left:
            calls.append(await one(ident, url))

    await asyncio.gather(*[worker() for _ in range(job.concurrency)])
    return calls


class Aiohttp:
    """TraceConfig; it has no moment for the end of TCP's part, nor for a request's first byte."""

    EVENTS: Final = {
        "on_connection_create_start": "connectStart",
        "on_connection_create_end": "connectEnd",
        "on_request_headers_sent": "requestEnd",
        "on_request_end": "responseStart",
        "on_response_chunk_received": "responseEnd",
    }

    def __init__(self, job: Job) -> None:
        self.job = job

    def run(self) -> list[Call]:
        return asyncio.run(self._run())

    async def _run(self) -> list[Call]:
        import aiohttp

        trace = aiohttp.TraceConfig()
        for event, name in self.EVENTS.items():
            getattr(trace, event).append(partial(self._note, name))
        context = ssl.create_default_context(cafile=self.job.ca)
        connector = aiohttp.TCPConnector(limit=self.job.concurrency, ssl=context)
        async with aiohttp.ClientSession(connector=connector, trace_configs=[trace]) as session:

            async def one(ident: str, url: str) -> Call:
                call = Call(ident, now(), {})
                async with session.get(url, trace_request_ctx=call) as response:
                    await response.read()
                return call

            return await _workers(self.job, one)

    @staticmethod
    async def _note(name: str, _session: Any, context: Any, _params: Any) -> None:
        context.trace_request_ctx.fields[name] = now()


class Httpx:
    """The trace extension of httpcore."""

    EVENTS: Final = {
        "connection.connect_tcp.started": ("connectStart",),
        "connection.connect_tcp.complete": ("connectEnd",),
        "connection.start_tls.started": ("SSLconnectionStart",),
        "connection.start_tls.complete": ("SSLconnectionEnd", "connectEnd"),
        "http11.send_request_headers.started": ("requestStart",),
        "http11.send_request_body.complete": ("requestEnd",),
        "http11.receive_response_headers.complete": ("responseStart",),
        "http11.receive_response_body.complete": ("responseEnd",),
    }

    def __init__(self, job: Job) -> None:
        self.job = job

    def run(self) -> list[Call]:
        return asyncio.run(self._run())

    async def _run(self) -> list[Call]:
        import httpx

        context = ssl.create_default_context(cafile=self.job.ca)
        limits = httpx.Limits(max_connections=self.job.concurrency)
        options = {"verify": context, "trust_env": False, "timeout": LIMIT, "limits": limits}
        async with httpx.AsyncClient(**options) as client:

            async def one(ident: str, url: str) -> Call:
                call = Call(ident, now(), {})
                await client.get(url, extensions={"trace": partial(self._note, call)})
                return call

            return await _workers(self.job, one)

    async def _note(self, call: Call, event: str, _info: Any) -> None:
        for name in self.EVENTS.get(event, ()):
            call.fields[name] = now()


class Bare:
    """What any client can reach: a blocking socket, and the clock before and after each call."""

    def __init__(self, job: Job) -> None:
        self.job = job

    def run(self) -> list[Call]:
        calls, open_ = list[Call](), list[socket.socket]()
        for ident, url in self.job.names():
            where = urlsplit(url)
            host, path = (where.hostname, where.port), f"{where.path}?{where.query}"
            request = f"GET {path} HTTP/1.1\r\nHost: {where.netloc}\r\n\r\n".encode()
            call = Call(ident, now(), {})
            if not open_:
                call.fields["connectStart"] = now()
                open_.append(socket.create_connection(host))
                call.fields["connectEnd"] = now()
            call.fields["requestStart"] = now()
            open_[0].sendall(request)
            call.fields["requestEnd"] = now()
            answer = open_[0].recv(65536)
            call.fields["responseStart"] = call.fields["responseEnd"] = now()
            if b"connection: close" in answer:
                open_.pop().close()
            calls.append(call)
        return calls


CLIENTS: dict[str, Callable[[Job], Any]] = {
    "ftnet": Ftnet,
    "pycurl": Pycurl,
    "curl -w": CurlCommand,
    "aiohttp": Aiohttp,
    "httpx": Httpx,
    "bare socket": Bare,
}
PEERS = tuple(CLIENTS)[1:]


def run(job: Job, resolv_conf: str = "") -> list[Call]:
    """Runs a job in a process of its own, with a resolver of its own if one is given.

    Raises RuntimeError with why it failed.
    """
    command = [sys.executable, "-m", __name__]
    if resolv_conf:
        script = 'mount --bind "$1" /etc/resolv.conf && shift && exec "$@"'
        command = ["unshare", "-m", "sh", "-c", script, "sh", resolv_conf, *command]
    done = subprocess.run(command, input=json.dumps(asdict(job)), capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{job.client}: {(done.stderr.strip() or 'no answer').splitlines()[-1]}")
    return [Call(*one) for one in json.loads(done.stdout)]


def main() -> None:
    pin(0)
    job = Job(**json.load(sys.stdin))
    calls = CLIENTS[job.client](job).run()
    json.dump([(call.id, call.invoke, call.fields, call.floating) for call in calls], sys.stdout)


if __name__ == "__main__":
    main()
