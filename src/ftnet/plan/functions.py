"""Python functions that plans name: ``module:function``, or ``file.py:function``."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

__all__ = ["load"]


def load(target: str, folder: str = "") -> Callable[..., Any]:
    """The function; a file is beside the plan, in `folder`. ValueError says why there is none.

    A file is run once for all of its functions.
    """
    place, colon, name = target.rpartition(":")
    if not colon or not place or not name.isidentifier():
        raise ValueError
    try:
        if place.endswith(".py"):
            module = _of_file(os.path.abspath(os.path.join(folder, place)))
        else:
            module = importlib.import_module(place)
    except Exception as error:  # whatever the code does that is run here
        raise ValueError(f"can't be imported: {type(error).__name__}: {error}") from error
    function = getattr(module, name, None)
    if not callable(function):
        raise ValueError(f"{place} has no function {name}")
    return function  # type: ignore[no-any-return]


def _of_file(path: str) -> ModuleType:
    name = f"ftnet plan {path}"
    known = sys.modules.get(name)
    if known is not None:
        return known
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
