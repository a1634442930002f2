"""The doctor finds what is wrong with a machine and says what to do about it."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from ftnet import doctor
from ftnet.terminal import Style

LIMIT = 60.0


def engine(**changes: Any) -> Mapping[str, Any]:
    """What `ftnet.engine_info` tells on a machine where all is well."""
    return {
        "path": "/usr/lib/libcurl.so.4",
        "source": "pycurl",
        "version": "8.23.0",
        "version_num": 0x081700,
        "ssl_version": "OpenSSL/3.6.0",
        "features": ["SSL", "HTTP2", "HTTP3", "brotli", "zstd", "IDN"],
        "protocols": ["http", "https", "ws", "wss"],
        "ca_file": None,
        "ca_path": "/etc/ssl/certs",
        "poller": "epoll",
        "clock": "CLOCK_MONOTONIC",
        **changes,
    }


def find(name: str, rows: list[doctor.Row]) -> doctor.Row:
    return next(row for row in rows if row.name == name)


def run_doctor(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ftnet", "doctor", *arguments],
        env={**os.environ, "PYTHONIOENCODING": "utf-8", **variables},
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=LIMIT,
        check=False,
    )


@pytest.mark.parametrize(
    ("changes", "name", "status"),
    [
        ({}, "libcurl version", "ok"),
        ({"version_num": 0x075801}, "libcurl version", "warn"),
        ({}, "TLS", "ok"),
        ({"ssl_version": ""}, "TLS", "fail"),
        ({}, "HTTP/2", "ok"),
        ({"features": ["HTTP3"]}, "HTTP/2", "warn"),
        ({"features": ["HTTP2"]}, "HTTP/3", "warn"),
        ({"features": ["HTTP2"]}, "brotli", "warn"),
        ({"features": []}, "zstd", "ok"),
        ({"features": []}, "IDN hosts", "ok"),
        ({"ca_path": None}, "CA certificates", "fail"),
        ({"ca_file": "/nowhere/ca.pem"}, "CA file", "fail"),
        ({"ca_path": "/nowhere"}, "CA directory", "fail"),
    ],
)
def test_what_libcurl_lacks_is_judged(
    changes: dict[str, Any], name: str, status: doctor.Status
) -> None:
    row = find(name, list(doctor.engine_rows(engine(**changes))))
    assert row.status == status
    assert bool(row.hint) == (status != "ok")


def test_a_file_without_certificates_fails(tmp_path: Path) -> None:
    broken = tmp_path / "ca.pem"
    broken.write_text("-----BEGIN CERTIFICATE-----\nnot one\n-----END CERTIFICATE-----\n")
    rows = list(doctor.engine_rows(engine(ca_file=str(broken), ca_path=None)))
    assert find("CA file", rows).status == "fail"


def test_a_directory_counts_its_hashed_certificates(tmp_path: Path) -> None:
    for name in ("5ed36f99.0", "5ed36f99.1", "readme.txt", "gggggggg.0"):
        (tmp_path / name).touch()
    rows = list(doctor.engine_rows(engine(ca_file=None, ca_path=str(tmp_path))))
    assert find("CA directory", rows).value == f"{tmp_path} (2 hashed certificates)"
    assert find("CA directory", rows).status == "ok"


def test_a_directory_without_hashes_fails(tmp_path: Path) -> None:
    rows = list(doctor.engine_rows(engine(ca_file=None, ca_path=str(tmp_path))))
    assert find("CA directory", rows).status == "fail"
    assert "rehash" in find("CA directory", rows).hint


@pytest.mark.parametrize(
    ("soft", "hard", "status", "hint"),
    [
        (64, 64, "fail", "ulimit -n 64"),
        (1024, 4096, "warn", "ulimit -n 4096"),
        (1024, 1_000_000, "warn", "ulimit -n 65536"),
        (1024, resource.RLIM_INFINITY, "warn", "ulimit -n 65536"),
        (65536, 65536, "ok", ""),
        (resource.RLIM_INFINITY, resource.RLIM_INFINITY, "ok", ""),
    ],
)
def test_open_files_are_judged(soft: int, hard: int, status: doctor.Status, hint: str) -> None:
    row = doctor.descriptor_row(soft, hard)
    assert row.status == status
    assert hint in row.hint
    assert bool(row.hint) == bool(hint)


@pytest.mark.parametrize(
    ("low", "high", "status", "value"),
    [
        (32768, 60999, "ok", "28232 connections"),
        (50000, 50999, "warn", "1000 connections"),
        (None, None, "warn", "unknown"),
    ],
)
def test_local_ports_are_counted(
    low: int | None, high: int | None, status: doctor.Status, value: str
) -> None:
    row = doctor.port_row(low, high)
    assert row.status == status
    assert value in row.value


def test_a_clock_is_measured_by_its_own_steps() -> None:
    readings = iter(range(0, 1_000_000, 10))
    ticks = (reading // 40 * 40 for reading in readings)  # stands still, then jumps by 40
    resolution, cost = doctor.measure_clock(lambda: next(ticks), readings=1000)
    assert resolution == 40
    assert cost == pytest.approx(10, rel=0.01)


@pytest.mark.parametrize(
    "url",
    ["http://user:secret@proxy.test:3128", "user:secret@proxy.test:3128",
     "socks5h://user:se%40cret@proxy.test", "http://user:secret:://x@proxy.test"],
)  # fmt: skip
def test_proxy_passwords_are_not_shown(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("https_proxy", url)
    (row,) = doctor.check_proxies()
    assert "proxy.test" in row.value
    assert "cret" not in row.value
    assert "user" not in row.value


def test_hints_stand_under_their_row() -> None:
    rows = [doctor.Row("one", "ok", "fine"), doctor.Row("three", "fail", "broken", "mend it")]
    assert doctor.table(rows, Style(blocks=False)) == [
        "ok    one    fine",
        "fail  three  broken",
        "             -> mend it",
        "",
        "1 ok, 0 warn, 1 fail",
    ]


def test_warnings_do_not_make_a_machine_unhealthy() -> None:
    warned = [doctor.Row("one", "warn", "so so", "mend it")]
    assert doctor.healthy(warned)
    assert not doctor.healthy([*warned, doctor.Row("two", "fail", "broken", "mend it")])


@pytest.fixture(scope="module")
def checkup() -> dict[str, Any]:
    done = run_doctor("--json")
    report: dict[str, Any] = json.loads(done.stdout)
    assert done.returncode == (0 if report["ok"] else 1)
    assert done.stderr == ""
    return report


@pytest.mark.parametrize(
    "name",
    ["python", "platform", "ftnet", "packages", "ftcore", "libcurl", "libcurl version", "TLS",
     "HTTP/2", "HTTP/3", "brotli", "zstd", "IDN hosts", "WebSocket", "poller", "clock",
     "open files", "local ports", "accept queue", "processors", "proxies"],
)  # fmt: skip
def test_every_check_has_its_row(checkup: dict[str, Any], name: str) -> None:
    (row,) = [row for row in checkup["checks"] if row["name"] == name]
    assert row["status"] in ("ok", "warn", "fail")
    assert row["value"]
    assert bool(row["hint"]) == (row["status"] != "ok")


def test_the_table_says_the_same_as_the_json(checkup: dict[str, Any]) -> None:
    lines = run_doctor().stdout.splitlines()
    shown = [
        line[6:].split("  ")[0] for line in lines if line[:4].strip() in ("ok", "warn", "fail")
    ]
    assert shown == [row["name"] for row in checkup["checks"]]


def test_a_libcurl_that_does_not_open_is_a_finding() -> None:
    done = run_doctor(FTCORE_LIBCURL="/nowhere/libcurl.so")
    assert done.returncode == 1
    assert done.stderr == ""
    (row,) = [line for line in done.stdout.splitlines() if line.startswith("fail")]
    assert "ftcore" in row
    assert "/nowhere/libcurl.so" in row


def test_certificates_that_do_not_load_are_a_finding(tmp_path: Path) -> None:
    done = run_doctor("--json", SSL_CERT_FILE=str(tmp_path / "missing.pem"), SSL_CERT_DIR="")
    assert done.returncode == 1
    failed = [row["name"] for row in json.loads(done.stdout)["checks"] if row["status"] == "fail"]
    assert failed == ["CA file"]
