"""libcurl's multi_socket interface driven from C: what libcurl itself costs.

The program is compiled for each run, against the libcurl that pycurl brings if that is a shared
library in its wheel, else against the system's.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

from benchmarks.peers import Case, Sample

SOURCE = Path(__file__).parent.parent / "limits" / "libcurl_loop.c"


def library() -> list[str]:
    """Linker arguments for the libcurl to use."""
    spec = importlib.util.find_spec("pycurl")
    if spec is not None and spec.origin is not None:
        folders = Path(spec.origin).parent, Path(spec.origin).parent.parent
        for path in (p for folder in folders for p in folder.glob("pycurl.libs/libcurl*.so*")):
            # its own dependencies carry the run path of the wheel, so ld need not see them
            return [str(path), f"-Wl,-rpath,{path.parent}", "-Wl,--allow-shlib-undefined"]
    return ["-lcurl"]


def _compile(program: str) -> subprocess.CompletedProcess[str]:
    command = ["cc", "-O2", "-o", program, str(SOURCE), *library()]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def program(*arguments: str) -> str:
    with tempfile.TemporaryDirectory(prefix="ftnet-bench-") as folder:
        program = f"{folder}/libcurl_loop"
        compiled = _compile(program)
        if compiled.returncode:
            raise RuntimeError(compiled.stderr)
        command = [program, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def run(url: str, concurrency: int, total: int) -> Sample:
    told = json.loads(program(url, str(concurrency), str(total)))
    return Sample(told["requests"], told["seconds"], told["cpu"])


@cache
def _missing() -> str:
    if shutil.which("cc") is None:
        return "not installed: a C compiler"
    probe = ["cc", "-E", "-x", "c", "-"]
    include = "#include <curl/curl.h>\n"
    found = subprocess.run(probe, input=include, capture_output=True, text=True, check=False)
    return "not installed: libcurl's headers" if found.returncode else ""


def _version() -> str:
    return program("--version").split()[0]


CASES = (Case("libcurl", "multi_socket loop in C", run, 17, _missing, _version),)
