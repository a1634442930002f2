"""Scripts in an interpreter of their own, for what a test cannot do to the one it runs in."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Self

ROOT = Path(__file__).parents[1]
LIMIT = 30.0
PROMPTLY = 20.0  # seconds: far less than the 60 s a task would hold its process otherwise


class Script:
    """A running Python script; `with` ends it whatever happens."""

    def __init__(
        self, source: str, *arguments: str, under: Sequence[str] = (), **environment: str
    ) -> None:
        self._woken: list[str] = []  # how often its main thread was, when it was last looked at
        self._asleep_since = 0.0
        self.process = subprocess.Popen(
            [
                *under,
                sys.executable,
                "-X",
                "faulthandler",
                "-c",
                textwrap.dedent(source),
                *arguments,
            ],
            cwd=ROOT,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()

    def line(self) -> str:
        """The next line the script prints, empty at its end, which comes at LIMIT at the latest."""
        assert self.process.stdout is not None
        watchdog = threading.Timer(LIMIT, self.process.send_signal, (signal.SIGABRT,))
        watchdog.start()
        try:
            return self.process.stdout.readline().rstrip("\n")
        finally:
            watchdog.cancel()

    def tell(self, line: str = "") -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def sleeps(self) -> bool:
        """Whether its main thread has waited for one and the same thing for a while by now."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        asleep = "\nState:\tS" in status
        woken = re.findall(r"^voluntary_ctxt_switches:\s+(\d+)", status, re.MULTILINE)
        if not asleep or woken != self._woken:
            self._woken, self._asleep_since = woken, time.monotonic()
        return asleep and time.monotonic() - self._asleep_since > 0.1

    def interrupt(self) -> None:
        """What Ctrl-C does."""
        self.process.send_signal(signal.SIGINT)

    def finish(self, code: int | None = 0, limit: float = LIMIT) -> list[str]:
        """The lines still to come; asserts the exit code and that nothing was complained about."""
        try:
            out, err = self.process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGABRT)  # faulthandler prints where it hangs
            out, err = self.process.communicate()
            raise AssertionError(f"hangs\n{out}\n{err}") from None
        if code is not None:
            assert self.process.returncode == code, f"{self.process.returncode}\n{out}\n{err}"
        if code == 0:
            assert err == "", err
        assert "Fatal Python error" not in err, err
        return out.splitlines()


def run_script(
    source: str,
    *arguments: str,
    code: int = 0,
    limit: float = LIMIT,
    under: Sequence[str] = (),
) -> list[str]:
    """Run a script to its end, `under` another program; the lines it printed."""
    with Script(source, *arguments, under=under) as script:
        return script.finish(code, limit)
