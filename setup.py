"""Builds ftcore: which extension is made of what. Everything else is in pyproject.toml.

FTCORE_BUILD: "release" (default), "debug", or "asan" (address and undefined-behaviour sanitizers).
"""

import os
import sys
from glob import glob

from Cython.Build import cythonize
from setuptools import Extension, setup

if sys.platform == "win32":
    raise SystemExit("ftnet needs epoll or kqueue: Linux, macOS or a BSD")

LINUX = sys.platform.startswith("linux")
POLLER = "epoll" if LINUX else "kqueue"
DATAGRAMS = ["datagram", "sock", "batch_linux" if LINUX else "batch_plain"]

#: extension -> its C kernels; one that keeps state is linked into one extension only
EXTENSIONS = {
    "libcurl": [],
    "buffers": ["slab"],
    "profile": [],
    "reactor": ["heap", *DATAGRAMS, "resolve", f"poller_{POLLER}"],
    "engine": [],
    "multi": ["sock"],
    "heading": [],
    "settings": [],
    "quality": ["network", "quality"],
    "body": ["file"],
    "sink": ["file"],
    "codec": [],
    "decode": [],
    "histogram": ["histogram"],
    "handle": [],
    "slot": ["url"],
    "response": [],
    "timing": ["sock", "url"],
    "moments": ["sock"],
    "wire": ["http1", "sock"],
    "samples": [],
    "redirect": ["url"],
    "native": ["sock", "url"],
    "pool": [],
    "connection": ["sock"],
    "permessage": [],
    "opening": [],
    "outgoing": ["utf8", "ws_frame", "ws_mask"],
    "frames": [],
    "messages": ["utf8", "ws_frame"],
    "websocket": ["ws_mask"],
    "datagram": [],
    "names": DATAGRAMS,
    "lanes": DATAGRAMS,
    "udp_socket": DATAGRAMS,
    "udp": DATAGRAMS,
    "stream": [],
    "tcp": [],
    "transfer": [],
    "courier": [],
    "tally": ["tally", "tally_bytes", "histogram"],
    "arrivals": ["schedule"],
    "pattern": [],
    "visitor": [],
    "load": ["schedule", "tally", "histogram", f"poller_{POLLER}"],
}

FLAGS = {
    "release": ["-O2"],
    "debug": ["-O0", "-g", "-UNDEBUG"],
    "asan": ["-O1", "-g", "-fsanitize=address,undefined", "-fno-omit-frame-pointer"],
}[os.environ.get("FTCORE_BUILD", "release")]
LINK = [flag for flag in FLAGS if flag.startswith("-fsanitize")]

# A struct changed in a shared .pxd with one side not rebuilt would read garbage.
SHARED = glob("src/ftcore/*.pxd") + glob("src/ftcore/c/*.h")

extensions = [
    Extension(
        f"ftcore.{name}",
        [f"src/ftcore/{name}.pyx", *(f"src/ftcore/c/{kernel}.c" for kernel in kernels)],
        include_dirs=["src/ftcore"],
        depends=SHARED,
        extra_compile_args=["-std=c11", "-D_DEFAULT_SOURCE", "-fvisibility=hidden", *FLAGS],
        extra_link_args=LINK,
    )
    for name, kernels in EXTENSIONS.items()
]

setup(
    ext_modules=cythonize(
        extensions,
        include_path=["src"],
        build_dir="build/cython",
        nthreads=os.cpu_count() or 1,
        compiler_directives={"language_level": 3, "embedsignature": True},
    ),
    cffi_modules=["src/ftcore/_libcurl_build.py:ffi"],
)
