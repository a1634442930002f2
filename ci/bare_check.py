"""Checks an installation without extras: it runs a request, and no module is linked to libcurl."""

import pathlib
import shutil
import socket
import subprocess
import sys

import ftcore
import ftnet as ft


def linked_to_libcurl() -> list[str]:
    """The compiled modules that need a libcurl when they are loaded."""
    modules = sorted(pathlib.Path(ftcore.__file__).parent.glob("*.so"))
    if not modules:
        raise SystemExit("ftcore has no compiled modules")
    if shutil.which("ldd") is None:
        raise SystemExit("ldd is missing")
    run = [
        subprocess.run(["ldd", path], capture_output=True, text=True, check=True)
        for path in modules
    ]
    return [path.name for path, one in zip(modules, run, strict=True) if "libcurl" in one.stdout]


def main() -> int:
    info = ft.engine_info()
    if info["source"] != "pycurl":
        raise SystemExit(f"libcurl should be the one that pycurl brings, is {info['source']}")
    if names := linked_to_libcurl():
        raise SystemExit(f"linked to a libcurl at build time: {', '.join(names)}")
    with socket.socket() as bound:  # not listening: connections are refused
        bound.bind(("127.0.0.1", 0))
        task = ft.request(url=f"http://127.0.0.1:{bound.getsockname()[1]}/", timeout=10_000)
        try:
            task.result(20)
        except ft.FtError as error:
            if error.errno != ft.Errno.CONNECT:
                raise
        else:
            raise SystemExit("a refused connection did not fail")
    print(f"bare installation works: {info['version']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
