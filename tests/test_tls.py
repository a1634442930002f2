"""TLS: whom a Client trusts, what it shows of itself, and what it writes down."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import ftnet as ft
from tests.origins import Origin, failure, fetch
from tests.profiles import check_profile
from tests.servers.certs import Certificates

WRONG = ["expired", "other_name", "untrusted"]


# --- trust ----------------------------------------------------------------------------------------


def test_a_certificate_of_a_trusted_authority_is_accepted(nginx: Any) -> None:
    with ft.Client(ca=nginx.ca, trust_env=False) as client:
        response = fetch(client, f"{nginx.https}/seen")
        assert response.data["scheme"] == "https"
        check_profile(response, reused=False, tls=True)


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_certificate_is_refused(nginx: Any, wrong: str) -> None:
    with ft.Client(ca=nginx.ca, trust_env=False) as client:
        error = failure(client, f"{getattr(nginx, wrong)}/seen")
    assert error.errno == ft.Errno.TLS
    assert error.cause is not None
    assert error.cause.name == "CURLE_PEER_FAILED_VERIFICATION"
    words = {"expired": "expired", "other_name": "127.0.0.1", "untrusted": "issuer"}
    assert words[wrong] in error.cause.text
    assert error.profile.SSLconnectionStart > 0
    assert error.profile.SSLconnectionEnd == error.profile.requestStart == 0
    assert error.profile.sendBytesCount == 0


def test_an_authority_nobody_told_about_is_not_trusted(plain: ft.Client, nginx: Any) -> None:
    assert failure(plain, f"{nginx.https}/seen").errno == ft.Errno.TLS


@pytest.mark.parametrize("origin", ["h3"], indirect=True)
def test_quic_checks_certificates_too(origin: Origin) -> None:
    with ft.Client(http_version="3-only", trust_env=False) as client:
        error = failure(client, f"{origin.base}/hello", timeout=5000)
    assert error.errno == ft.Errno.TLS


@pytest.mark.parametrize("wrong", WRONG)
def test_without_verification_any_certificate_will_do(nginx: Any, wrong: str) -> None:
    with ft.Client(verify=False, trust_env=False) as client:
        response = fetch(client, f"{getattr(nginx, wrong)}/seen")
        check_profile(response, reused=False, tls=True)


def test_switching_verification_off_is_for_one_client_only(nginx: Any) -> None:
    with (
        ft.Client(verify=False, trust_env=False) as careless,
        ft.Client(trust_env=False) as careful,
    ):
        url = f"{nginx.untrusted}/seen"
        assert fetch(careless, url).statusCode == 200
        assert failure(careful, url).errno == ft.Errno.TLS
        assert fetch(careless, url).profile.socketReused is True


def test_a_directory_of_authorities_is_taken(
    nginx: Any, certificates: Certificates, tmp_path: Path
) -> None:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("no openssl to name the file by its hash")
    shutil.copy(certificates.ca, tmp_path / "ca.pem")
    name = subprocess.run(
        [openssl, "x509", "-hash", "-noout", "-in", certificates.ca],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    (tmp_path / "ca.pem").rename(tmp_path / f"{name}.0")
    with ft.Client(ca=str(tmp_path), trust_env=False) as client:
        assert fetch(client, f"{nginx.https}/seen").statusCode == 200


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
def test_the_environment_names_authorities(
    nginx: Any, certificates: Certificates, variable: str, tmp_path: Path
) -> None:
    value = str(certificates.ca)
    if variable == "SSL_CERT_DIR":
        openssl = shutil.which("openssl")
        if openssl is None:
            pytest.skip("no openssl to name the file by its hash")
        shutil.copy(certificates.ca, tmp_path)
        subprocess.run([openssl, "rehash", tmp_path], check=True)
        value = str(tmp_path)
    script = "import sys, ftnet as ft\nprint(ft.request(url=sys.argv[1]).result(20).data['scheme'])"
    done = subprocess.run(
        [sys.executable, "-c", script, f"{nginx.https}/seen"],
        env={**os.environ, variable: value},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout == "https\n", done.stderr


def test_a_missing_authority_file_fails_with_its_name(nginx: Any, tmp_path: Path) -> None:
    missing = tmp_path / "missing.pem"
    try:
        client = ft.Client(ca=str(missing), trust_env=False)
    except ValueError as error:
        assert "ca" in str(error)  # noqa: PT017 - either at the call or when it is used
        return
    with client:
        error = failure(client, f"{nginx.https}/seen")
    assert error.errno == ft.Errno.TLS
    assert str(missing) in error.errMsg


# --- names ----------------------------------------------------------------------------------------


def test_the_name_of_the_url_is_what_counts(nginx: Any) -> None:
    port = nginx.https.rpartition(":")[2]
    resolve = {f"any.ftnet.test:{port}": "127.0.0.1", f"any.other.test:{port}": "127.0.0.1"}
    with ft.Client(ca=nginx.ca, resolve=resolve, trust_env=False) as client:
        response = fetch(client, f"https://any.ftnet.test:{port}/seen")
        assert (response.data["sni"], response.data["host"]) == ("any.ftnet.test",) * 2
        assert failure(client, f"https://any.other.test:{port}/seen").errno == ft.Errno.TLS


def test_a_number_is_not_sent_as_a_server_name(nginx: Any) -> None:
    with ft.Client(ca=nginx.ca, trust_env=False) as client:
        assert fetch(client, f"{nginx.https}/seen").data["sni"] == ""


def test_a_host_header_does_not_change_whom_the_certificate_must_name(nginx: Any) -> None:
    with ft.Client(ca=nginx.ca, trust_env=False) as client:
        url, header = f"{nginx.other_name}/seen", {"Host": "elsewhere.test"}
        assert failure(client, url, header=header).errno == ft.Errno.TLS


# --- client certificates --------------------------------------------------------------------------


def test_a_client_certificate_is_shown(nginx: Any, certificates: Certificates) -> None:
    pair = certificates.client
    with ft.Client(ca=nginx.ca, cert=str(pair.chain), key=str(pair.key), trust_env=False) as client:
        for reused in (False, True):
            response = fetch(client, f"{nginx.client_only}/seen")
            assert response.data["client_verified"] == "SUCCESS"
            check_profile(response, reused=reused, tls=True)


def test_without_a_client_certificate_nginx_says_no(nginx: Any) -> None:
    with ft.Client(ca=nginx.ca, trust_env=False) as client:
        response = fetch(client, f"{nginx.client_only}/seen")
    assert response.statusCode == 400
    assert "No required SSL certificate" in response.data


def test_a_client_certificate_of_a_stranger_is_not_believed(
    nginx: Any, certificates: Certificates
) -> None:
    pair = certificates.stranger
    with ft.Client(ca=nginx.ca, cert=str(pair.chain), key=str(pair.key), trust_env=False) as client:
        assert fetch(client, f"{nginx.client_only}/seen").statusCode == 400


def test_a_client_certificate_does_not_leak_to_another_client(
    nginx: Any, certificates: Certificates
) -> None:
    pair = certificates.client
    with (
        ft.Client(ca=nginx.ca, cert=str(pair.chain), key=str(pair.key), trust_env=False) as known,
        ft.Client(ca=nginx.ca, trust_env=False) as unknown,
    ):
        for _ in range(2):
            assert fetch(known, f"{nginx.client_only}/seen").statusCode == 200
            assert fetch(unknown, f"{nginx.client_only}/seen").statusCode == 400


@pytest.mark.parametrize("wrong", ["another key", "no certificate", "no key"])
def test_a_client_certificate_that_cannot_be_used_fails(
    nginx: Any, certificates: Certificates, tmp_path: Path, wrong: str
) -> None:
    (tmp_path / "empty").touch()
    cert, key = str(certificates.client.chain), str(certificates.client.key)
    if wrong == "another key":
        key = str(certificates.stranger.key)
    elif wrong == "no certificate":
        cert = str(tmp_path / "empty")
    else:
        key = str(tmp_path / "empty")
    with ft.Client(ca=nginx.ca, cert=cert, key=key, trust_env=False) as client:
        error = failure(client, f"{nginx.client_only}/seen")
    assert error.errno == ft.Errno.TLS
    assert (key if wrong != "no certificate" else cert) in error.errMsg


# --- keys and details -----------------------------------------------------------------------------

NSS_LINE = re.compile(r"^(CLIENT|SERVER|EXPORTER)[A-Z_0-9]* [0-9a-f]{64} [0-9a-f]{64,}$")


def secrets_in(path: Path) -> list[str]:
    lines = path.read_text().splitlines()
    assert lines
    assert all(NSS_LINE.match(line) for line in lines), lines
    return lines


@pytest.mark.parametrize("way", ["https", "h2"])
def test_a_client_logs_its_tls_secrets(nginx: Any, tmp_path: Path, way: str) -> None:
    path = tmp_path / "keys.log"
    with ft.Client(ca=nginx.ca, keylog_file=str(path), trust_env=False) as client:
        fetch(client, f"{getattr(nginx, way)}/seen")
        first = secrets_in(path)
        assert any(line.startswith("CLIENT_TRAFFIC_SECRET_0 ") for line in first)
    with ft.Client(ca=nginx.ca, keylog_file=str(path), trust_env=False) as client:
        fetch(client, f"{getattr(nginx, way)}/seen")
    assert len(secrets_in(path)) > len(first), "appended to, not overwritten"
    assert path.stat().st_mode & 0o077 == 0, "secrets are for the owner only"


def test_only_the_client_that_was_told_to_logs_secrets(nginx: Any, tmp_path: Path) -> None:
    path = tmp_path / "keys.log"
    with (
        ft.Client(ca=nginx.ca, keylog_file=str(path), trust_env=False) as open_one,
        ft.Client(ca=nginx.ca, trust_env=False) as other,
    ):
        fetch(open_one, f"{nginx.https}/seen")
        before = secrets_in(path)
        fetch(other, f"{nginx.https}/seen")
    assert secrets_in(path) == before


def test_sslkeylogfile_of_the_environment_is_written(nginx: Any, tmp_path: Path) -> None:
    path = tmp_path / "keys.log"
    script = (
        "import sys, ftnet as ft\n"
        "with ft.Client(ca=sys.argv[2], trust_env=False) as client:\n"
        "    client.request(url=sys.argv[1]).result(20)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, f"{nginx.https}/seen", nginx.ca],
        env={**os.environ, "SSLKEYLOGFILE": str(path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert secrets_in(path)


def test_tls_1_3_is_spoken_and_sessions_are_resumed(nginx: Any) -> None:
    with ft.Client(ca=nginx.ca, http_version="1.1", trust_env=False) as client:
        for resumed in (".", "r", "r"):
            response = fetch(client, f"{nginx.https}/seen", header={"Connection": "close"})
            assert response.data["tls"] == "TLSv1.3"
            assert response.data["session_reused"] == resumed
            check_profile(response, reused=False, tls=True)


def test_sessions_of_one_client_are_not_resumed_by_another(nginx: Any) -> None:
    for _ in range(2):
        with ft.Client(ca=nginx.ca, http_version="1.1", trust_env=False) as client:
            assert fetch(client, f"{nginx.https}/seen").data["session_reused"] == "."


def test_plain_http_where_tls_was_expected_is_a_tls_failure(plain: ft.Client, nginx: Any) -> None:
    error = failure(plain, nginx.http.replace("http:", "https:") + "/hello")
    assert error.errno == ft.Errno.TLS
    assert error.profile.requestStart == 0
