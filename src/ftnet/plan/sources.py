"""A plan from whatever a file is: a plan, a HAR file, a list, or an OpenAPI document."""

from __future__ import annotations

import os

import msgspec

from ftnet.plan.har import from_har
from ftnet.plan.listed import from_urls
from ftnet.plan.model import Plan
from ftnet.plan.openapi import from_openapi
from ftnet.plan.read import read

__all__ = ["load_any"]


def load_any(path: str | os.PathLike[str]) -> Plan:
    """The plan in a file, by its ending, and of .json by what is in it.

    .toml is a plan; .har a HAR file; .yaml and .yml are OpenAPI; .json is any of the three, in
    JSON; anything else is a list of URLs or curl commands. `PlanError` tells what is wrong in it.
    """
    ending = os.path.splitext(path)[1].lower()
    if ending == ".json":
        ending = _kind_of_json(path)
    if ending in (".toml", ".json"):
        return read(path)
    if ending == ".har":
        return from_har(path)
    return from_openapi(path) if ending in (".yaml", ".yml") else from_urls(path)


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
