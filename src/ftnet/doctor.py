"""Looks at the machine as the engine will see it and says what would hold it back.

Every check is a function that returns rows; one that can't look says so in its row. ftcore is
imported inside a check, so a libcurl that is missing is a finding here and not a traceback.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import re
import resource
import shutil
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from ftnet.terminal import DIM, GREEN, RED, YELLOW, Style, paint

Status = Literal["ok", "warn", "fail"]

_NEWEST_ADVISED = (8, 20, 0)  # older ones have published holes in pooled-handle and proxy reuse
_QUICK_CLOCKS = frozenset({"tsc", "kvm-clock", "arch_sys_counter", "hyperv_clocksource_tsc_page"})
_ENGINE_FDS = 64  # what the interpreter, the pollers and the resolver threads hold themselves
_PROXY_VARIABLES = ("http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")


@dataclass(frozen=True, slots=True)
class Row:
    """One finding: ``hint`` says what to do about it and is empty when the status is ok."""

    name: str
    status: Status
    value: str
    hint: str = ""


def examine() -> list[Row]:
    """Runs every check, in the order in which they are shown."""
    return [row for check in CHECKS for row in check()]


def report(rows: list[Row]) -> dict[str, Any]:
    """The rows as one JSON-ready object: ``{"ok": bool, "checks": [row, ...]}``."""
    return {"ok": healthy(rows), "checks": [asdict(row) for row in rows]}


def healthy(rows: list[Row]) -> bool:
    """True when nothing failed; warnings don't count."""
    return all(row.status != "fail" for row in rows)


def table(rows: list[Row], style: Style) -> list[str]:
    """The rows as aligned lines, each hint under its row, and a count of the statuses."""
    colours = {"ok": GREEN, "warn": YELLOW, "fail": RED}
    arrow = "→" if style.blocks else "->"
    width = max(len(row.name) for row in rows)
    lines = []
    for row in rows:
        status = paint(f"{row.status:<4}", colours[row.status], style)
        lines.append(f"{status}  {row.name:<{width}}  {row.value}")
        if row.hint:
            lines.append(" " * (width + 8) + paint(f"{arrow} {row.hint}", DIM, style))
    counts = {status: sum(row.status == status for row in rows) for status in colours}
    summary = ", ".join(f"{count} {status}" for status, count in counts.items())
    return [*lines, "", summary]


def check_python() -> Iterator[Row]:
    version = f"{platform.python_implementation()} {platform.python_version()}"
    yield Row("python", "ok", f"{version} ({sys.executable})")
    system = f"{platform.system()} {platform.release()} {platform.machine()}"
    if sys.platform.startswith("linux") or sys.platform == "darwin":
        yield Row("platform", "ok", system)
    else:
        yield Row("platform", "warn", system, "the engine is made for Linux (epoll) and macOS")


def check_packages() -> Iterator[Row]:
    yield Row("ftnet", "ok", _version("ftnet") or "run from its sources, not installed")
    needed = {name: _version(name) for name in ("pycurl", "cffi", "msgspec", "idna")}
    value = ", ".join(f"{name} {version or 'missing'}" for name, version in needed.items())
    missing = [name for name, version in needed.items() if version is None]
    if missing:
        yield Row("packages", "warn", value, f"pip install {' '.join(missing)}")
    else:
        yield Row("packages", "ok", value)


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def check_engine() -> Iterator[Row]:
    try:
        import ftnet

        info = ftnet.engine_info()
    except ImportError as error:
        yield Row("ftcore", "fail", str(error), _import_hint(error))
        return
    folder = os.path.dirname(sys.modules["ftcore"].__file__ or "")
    yield Row("ftcore", "ok", f"compiled, in {folder}")
    yield from engine_rows(info)


def _import_hint(error: ImportError) -> str:
    if isinstance(error, ModuleNotFoundError) and (error.name or "").startswith("ftcore"):
        return "the compiled engine is not there: install it with `pip install .` (a C compiler)"
    if os.environ.get("FTCORE_LIBCURL"):
        return "FTCORE_LIBCURL is set: name a shared libcurl with TLS there, or unset it"
    return "pip install 'pycurl>=7.47' brings a libcurl that fits"


def engine_rows(info: Mapping[str, Any]) -> Iterator[Row]:
    """The rows that depend on the libcurl found; ``info`` is what `ftnet.engine_info` returns."""
    number = int(info["version_num"])
    version = (number >> 16 & 255, number >> 8 & 255, number & 255)
    dotted = ".".join(map(str, version))
    yield Row("libcurl", "ok", f"{info['path']} (from {info['source']})")
    if version >= _NEWEST_ADVISED:
        yield Row("libcurl version", "ok", dotted)
    else:
        yield Row(
            "libcurl version", "warn", dotted,
            "8.20 or newer is advised for its security fixes: pip install -U pycurl",
        )  # fmt: skip
    features = set(info["features"])
    if info["ssl_version"]:
        yield Row("TLS", "ok", info["ssl_version"])
    else:
        yield Row("TLS", "fail", "none", "https can't work: use a libcurl built with TLS")
    yield _feature("HTTP/2", "HTTP2" in features, "requests use HTTP/1.1")
    yield _feature("HTTP/3", "HTTP3" in features, "--http3 and enableQuic fall back to TCP")
    yield _feature("brotli", "brotli" in features, "servers are asked for gzip only")
    others = "gzip and brotli are asked for" if "brotli" in features else "gzip is asked for"
    yield Row("zstd", "ok", "yes" if "zstd" in features else f"no; {others}")
    yield _idn(features)
    yield Row("WebSocket", "ok", "yes" if "wss" in info["protocols"] else "not in libcurl")
    yield from _ca_rows(info["ca_file"], info["ca_path"])
    yield Row("poller", "ok", str(info["poller"]))
    yield _clock(str(info["clock"]))


def _feature(name: str, there: bool, without: str) -> Row:
    if there:
        return Row(name, "ok", "yes")
    return Row(name, "warn", "no", f"{without}; the libcurl of `pip install pycurl` has it")


def _idn(features: set[str]) -> Row:
    if "IDN" in features:
        return Row("IDN hosts", "ok", "yes (libcurl)")
    idna = _version("idna")
    if idna is not None:
        return Row("IDN hosts", "ok", f"yes (idna {idna})")
    hint = "host names beyond ASCII can't be resolved: pip install idna"
    return Row("IDN hosts", "warn", "no", hint)


def _ca_rows(ca_file: str | None, ca_path: str | None) -> Iterator[Row]:
    hint = "install ca-certificates, or `pip install certifi`, or set SSL_CERT_FILE"
    if not ca_file and not ca_path:
        yield Row("CA certificates", "fail", "none found: no https server can be verified", hint)
    if ca_file:
        try:
            context = ssl.create_default_context(cafile=ca_file)
            count = context.cert_store_stats()["x509_ca"]
        except OSError as error:  # ssl.SSLError is one
            yield Row("CA file", "fail", f"{ca_file}: {error}", hint)
        else:
            status: Status = "ok" if count else "fail"
            value = f"{ca_file} ({count} authorities)"
            yield Row("CA file", status, value, "" if count else hint)
    if ca_path:
        try:
            # OpenSSL looks a certificate up under the hash of its subject: "5ed36f99.0"
            count = sum(_hash_name(name) for name in os.listdir(ca_path))
        except OSError as error:
            yield Row("CA directory", "fail", f"{ca_path}: {error.strerror}", hint)
            return
        value = f"{ca_path} ({count} hashed certificates)"
        if count or ca_file:
            yield Row("CA directory", "ok", value)
        else:
            yield Row("CA directory", "fail", value, f"run `openssl rehash {ca_path}`")


def _hash_name(name: str) -> bool:
    stem, _, number = name.partition(".")
    return len(stem) == 8 and number.isdigit() and all(c in "0123456789abcdef" for c in stem)


def _clock(source: str) -> Row:
    resolution, cost = measure_clock(time.monotonic_ns)
    kernel = _read("/sys/devices/system/clocksource/clocksource0/current_clocksource")
    origin = f"{source} from {kernel}" if kernel else source
    value = f"{origin}, steps of {resolution} ns, {cost:.0f} ns to read in Python"
    if resolution > 10_000:
        return Row("clock", "warn", value, "phases shorter than the resolution show as 0")
    if kernel and kernel not in _QUICK_CLOCKS and cost > 300:
        return Row("clock", "warn", value, "reading the time is a system call here: boot with tsc")
    return Row("clock", "ok", value)


def measure_clock(read: Callable[[], int], readings: int = 20_000) -> tuple[int, float]:
    """(smallest step seen, mean cost of one reading), both in ns, of the clock ``read``."""
    smallest = 0
    first = previous = read()
    for _ in range(readings):
        now = read()
        step = now - previous
        if step > 0 and (smallest == 0 or step < smallest):
            smallest = step
        previous = now
    return smallest, (previous - first) / readings


def check_descriptors() -> Iterator[Row]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield descriptor_row(soft, hard)


def descriptor_row(soft: int, hard: int) -> Row:
    """Judges the limit of open files: each connection holds one."""
    if soft == resource.RLIM_INFINITY:
        return Row("open files", "ok", "unlimited")
    ceiling = "unlimited" if hard == resource.RLIM_INFINITY else str(hard)
    room = max(0, soft - _ENGINE_FDS)
    value = f"{soft} (hard limit {ceiling}): about {room} connections at a time"
    if soft <= _ENGINE_FDS:
        return Row("open files", "fail", value, f"too few to work: ulimit -n {_wanted(hard)}")
    if soft < 4096:
        return Row("open files", "warn", value, f"for more: ulimit -n {_wanted(hard)}")
    return Row("open files", "ok", value)


def _wanted(hard: int) -> int:
    return 65536 if hard == resource.RLIM_INFINITY else min(hard, 65536)


def check_ports() -> Iterator[Row]:
    low, high = _port_range()
    yield port_row(low, high)


def port_row(low: int | None, high: int | None) -> Row:
    """Judges the range that local ports of outgoing connections are taken from."""
    if low is None or high is None:
        return Row("local ports", "warn", "unknown", "the system doesn't tell its port range")
    count = high - low + 1
    value = f"{low}-{high}: {count} connections per destination address and port"
    if count >= 16_000:
        return Row("local ports", "ok", value)
    if sys.platform == "darwin":
        return Row("local ports", "warn", value, "sysctl net.inet.ip.portrange.first=16384")
    hint = 'for more: sysctl -w net.ipv4.ip_local_port_range="10240 65535"'
    return Row("local ports", "warn", value, hint)


def _port_range() -> tuple[int | None, int | None]:
    if sys.platform == "darwin":
        return _sysctl("net.inet.ip.portrange.first"), _sysctl("net.inet.ip.portrange.last")
    words = _read("/proc/sys/net/ipv4/ip_local_port_range").split()
    return (int(words[0]), int(words[1])) if len(words) == 2 else (None, None)


def check_backlog() -> Iterator[Row]:
    if sys.platform == "darwin":
        backlog = _sysctl("kern.ipc.somaxconn")
    else:
        text = _read("/proc/sys/net/core/somaxconn")
        backlog = int(text) if text.isdecimal() else None
    if backlog is None:
        hint = "the system doesn't tell its longest accept queue"
        yield Row("accept queue", "warn", "unknown", hint)
    elif backlog < 1024:
        name = "kern.ipc.somaxconn" if sys.platform == "darwin" else "net.core.somaxconn"
        hint = f"a server on this machine drops bursts of connections: sysctl -w {name}=4096"
        yield Row("accept queue", "warn", f"{backlog} (somaxconn)", hint)
    else:
        yield Row("accept queue", "ok", f"{backlog} (somaxconn)")


def check_processors() -> Iterator[Row]:
    total = os.cpu_count() or 1
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else total
    value = f"{usable} usable of {total}"
    quota = _read("/sys/fs/cgroup/cpu.max").split()
    if len(quota) == 2 and quota[0].isdecimal():
        share = int(quota[0]) / int(quota[1])
        value += f", control group allows {share:.3g}"
        if share < 1:
            yield Row("processors", "warn", value, "less than one core: latencies will show it")
            return
    if usable == 1:
        hint = "a server on the same core shares it: run load and server on different machines"
        yield Row("processors", "warn", value, hint)
    else:
        yield Row("processors", "ok", value)


def check_proxies() -> Iterator[Row]:
    used = [f"{v}={_without_secret(os.environ[v])}" for v in _PROXY_VARIABLES if os.environ.get(v)]
    yield Row("proxies", "ok", ", ".join(used) + " (from the environment)" if used else "none set")


def check_lane() -> Iterator[Row]:
    lane = os.environ.get("FTNET_LANE") or "auto"
    if lane == "auto":
        yield Row("lane", "ok", "auto: HTTP/1.1 is ftnet's own where it can be, else libcurl's")
    elif lane in ("libcurl", "native"):
        yield Row("lane", "warn", f"{lane}: FTNET_LANE pins it", "unset FTNET_LANE")
    else:
        yield Row("lane", "fail", f"FTNET_LANE={lane}", "it takes auto, libcurl or native")


def _without_secret(url: str) -> str:
    return re.sub(r"^([a-z][a-z0-9+.-]*://)?.*@", r"\1", url, flags=re.IGNORECASE)


def _read(path: str) -> str:
    """The stripped text of a small file of the kernel; empty when it isn't there."""
    with contextlib.suppress(OSError), open(path, encoding="ascii") as file:
        return file.read().strip()
    return ""


def _sysctl(name: str) -> int | None:
    tool = shutil.which("sysctl", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if tool is None:
        return None
    done = subprocess.run([tool, "-n", name], capture_output=True, text=True, check=False)
    text = done.stdout.strip()
    return int(text) if text.isdecimal() else None


CHECKS: tuple[Callable[[], Iterator[Row]], ...] = (
    check_python,
    check_packages,
    check_engine,
    check_descriptors,
    check_ports,
    check_backlog,
    check_processors,
    check_proxies,
    check_lane,
)
