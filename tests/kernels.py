"""C kernels of ftcore by themselves: built from their C files, called through their own headers."""

from __future__ import annotations

import os
import re
import subprocess
import sysconfig
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cffi import FFI

SOURCES = Path(__file__).parent.parent / "src" / "ftcore" / "c"


@dataclass
class Kernels:
    ffi: Any
    lib: Any


def build_kernels(
    folder: Path,
    *names: str,
    more: str = "",
    flags: Sequence[str] = (),
    types: str = "",
    code: Mapping[str, str] | None = None,
) -> Kernels:
    """One library of the kernels, and of `more` C source. A header comes after those it needs.

    `types` are C declarations of what the headers take from the system's; `code` names the source
    of a header that has several.
    """
    library, extra = folder / "kernels.so", folder / "extra.c"
    extra.write_text(more)
    sources = [(code or {}).get(name, name) for name in names]
    compiler = os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc"
    command = [*compiler.split(), "-std=gnu11", "-O2", "-shared", "-fPIC", *flags, "-o", library]
    subprocess.run([*command, extra, *(SOURCES / f"{name}.c" for name in sources)], check=True)
    ffi = FFI()
    ffi.cdef(types)
    for name in names:
        ffi.cdef(re.sub(r"^#.*", "", (SOURCES / f"{name}.h").read_text(), flags=re.MULTILINE))
    return Kernels(ffi, ffi.dlopen(str(library)))
