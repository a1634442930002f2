"""The profile of a task that failed: the phases it reached, and nothing that it did not."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

import ftnet as ft
from tests.drivers import in_callback
from tests.history import ORDER, check_phases, timed_out
from tests.origins import LIMIT, Origin, failure
from tests.profiles import check_invariants
from tests.servers.awkward import BlackHole, closed_port


def test_a_refused_connection_reached_only_the_connect_phase(plain: ft.Client) -> None:
    with closed_port() as port:
        error = failure(plain, f"http://127.0.0.1:{port}/")
    assert error.errno == ft.Errno.CONNECT
    check_phases(error.profile, "connect")
    assert error.profile.protocol == "unknown"
    assert error.profile.socketReused is False
    assert (error.profile.sendBytesCount, error.profile.receivedBytedCount) == (0, 0)


def test_an_unknown_name_reached_only_the_look_up(plain: ft.Client) -> None:
    error = failure(plain, "http://no-such-name.invalid/")
    assert error.errno == ft.Errno.DNS
    check_phases(error.profile, "dns")
    assert (error.profile.peerIP, error.profile.port) == ("", 0)


def test_a_silent_address_reached_only_the_connect_phase(plain: ft.Client) -> None:
    with BlackHole() as hole:
        timed_out(lambda limit: failure(plain, hole.url, timeout=limit), "connect")


def test_a_timed_out_answer_has_everything_up_to_the_wait(
    client: ft.Client, origin: Origin
) -> None:
    url = f"{origin.base}/delay?before=15000"
    error = timed_out(lambda limit: failure(client, url, timeout=limit), "wait")
    assert error.profile.socketReused is False
    assert error.profile.sendBytesCount > 0


def test_a_timed_out_body_has_everything_up_to_the_response(
    client: ft.Client, origin: Origin
) -> None:
    url = f"{origin.base}/delay?chunks=2&between=15000"
    error = timed_out(lambda limit: failure(client, url, timeout=limit), "body", 250)
    assert error.profile.receivedBytedCount > 0
    assert error.profile.protocol == origin.protocol


def test_an_aborted_task_has_its_phases_too(client: ft.Client, origin: Origin) -> None:
    came, errors = threading.Event(), []

    def start() -> ft.RequestTask:
        url = f"{origin.base}/delay?chunks=2&between=15000"
        task = client.request(url=url, fail=errors.append)
        task.onHeadersReceived(lambda _: came.set())
        return task

    task = in_callback(start)
    assert came.wait(LIMIT)
    task.abort()
    with pytest.raises(ft.FtError):
        task.result(LIMIT)
    check_phases(errors[0].profile, "body")


def test_a_failure_without_a_profile_has_none(plain: ft.Client) -> None:
    with closed_port() as port:
        assert failure(plain, f"http://127.0.0.1:{port}/", enableProfile=False).profile is None


def test_the_durations_of_a_failure_end_where_it_ended(plain: ft.Client) -> None:
    with closed_port() as port:
        durations = failure(plain, f"http://127.0.0.1:{port}/").profile.durations
    assert sum(durations.values()) == pytest.approx(2 * durations["total"], abs=1e-6)
    unreached = {name: durations[name] for name in ("ssl", "send", "ttfb", "download")}
    assert set(unreached.values()) == {0}
    assert durations["connect"] > 0


def test_the_phase_that_was_cut_off_lasts_until_the_failure(plain: ft.Client, server: Any) -> None:
    url = f"{server.http}/delay?before=15000"
    profile = timed_out(lambda limit: failure(plain, url, timeout=limit), "wait").profile
    assert cut_off(profile, "ttfb") == profile.requestEnd
    with BlackHole() as hole:
        url = hole.url
        profile = timed_out(lambda limit: failure(plain, url, timeout=limit), "connect").profile
    assert cut_off(profile, "connect") == profile.connectStart


def cut_off(profile: ft.Profile, phase: str) -> Any:
    """When the phase must have begun that lasted until the failure, which was a time-out."""
    durations = profile.durations
    assert durations["total"] > 149
    assert durations[phase] > 0
    end = profile.queueStart + durations["total"]
    return pytest.approx(end - durations[phase], abs=0.002)


def test_a_task_that_is_aborted_at_once_has_no_phase_of_the_one_before(
    client: ft.Client, origin: Origin
) -> None:
    url = f"{origin.base}/json"

    async def abort_at_once() -> ft.Profile:
        await client.request(url=url)
        task = client.request(url=url)
        task.abort()
        with pytest.raises(ft.FtError) as caught:
            await task
        return caught.value.profile

    profile = asyncio.run(abort_at_once())
    assert [getattr(profile, name) for name in ORDER[1:]] == [0.0] * len(ORDER[1:])
    assert (profile.sendBytesCount, profile.receivedBytedCount) == (0, 0)
    check_invariants(profile, tls=origin.tls)
