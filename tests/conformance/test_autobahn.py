"""The Autobahn|Testsuite; of its cases of compression only those with messages of 1024 bytes:
``ci/autobahn`` runs the longer ones, too."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conformance import autobahn
from tests.processes import ROOT

LIMIT = 60.0
CASES = [f"{chapter}.*" for chapter in (1, 2, 3, 4, 5, 6, 7, 9, 10)] + ["12.*.4", "13.*.4"]
COUNT = 313
NOT_HERE = 77


@pytest.fixture(scope="module")
def suite() -> Path:
    """Set up in the environment that the tests run in, once."""
    done = subprocess.run(
        [ROOT / "ci" / "autobahn", "--prepare"],
        env={**os.environ, "FTNET_VENV": sys.prefix},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=2 * LIMIT,
    )
    if done.returncode == NOT_HERE:
        pytest.skip(done.stdout.strip())
    assert done.returncode == 0, done.stdout
    return Path(sys.prefix) / "autobahn"


@pytest.mark.timeout(300)  # half a minute of work, where no one else has any
def test_no_case_fails(suite: Path, tmp_path: Path) -> None:
    outcomes = autobahn.run(suite, tmp_path, CASES, LIMIT)
    assert [outcome for outcome in outcomes if not outcome.good] == []
    assert len(outcomes) == COUNT
