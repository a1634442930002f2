"""A plan from whatever a file is: a plan, a HAR file, a list, or an OpenAPI document."""

from __future__ import annotations

import os

import msgspec

from ftnet.plan.har import from_har
from ftnet.plan.listed import from_urls
from ftnet.plan.model import Plan
from ftnet.plan.openapi import from_openapi
from ftnet.plan.read import read
from ftnet.plan.recorded import LeftOut

__all__ = ["load_any"]


def load_any(path: str | os.PathLike[str], *, left_out: LeftOut | None = None) -> Plan:
    """The plan in a file, by its ending, and of .json by what is in it.

    .toml is a plan; .har a HAR file; .yaml and .yml are OpenAPI; .json is any of the three, in
    JSON; anything else is a list of URLs or curl commands. What is not taken over of a HAR file
    or an OpenAPI document is added to ``left_out``. `PlanError` tells what is wrong in it.
    """
    ending = os.path.splitext(path)[1].lower()
    if ending == ".json":
        ending = _kind_of_json(path)
    if ending in (".toml", ".json"):
        return read(path)
    if ending == ".har":
        return from_har(path, left_out=left_out)
    if ending in (".yaml", ".yml"):
        return from_openapi(path, left_out=left_out)
    return from_urls(path)


def _kind_of_json(path: str | os.PathLike[str]) -> str:
    """The ending that says what a .json file is; ".json" for a plan and for what is no JSON."""
    try:
        with open(path, "rb") as file:
            content = msgspec.json.decode(file.read().removeprefix(b"\xef\xbb\xbf"))
    except (OSError, msgspec.DecodeError, RecursionError):
        return ".json"
    if isinstance(content, dict):
        if isinstance(content.get("log"), dict):
            return ".har"
        if "openapi" in content or "swagger" in content:
            return ".yaml"
    return ".json"
