"""The report of a load run as one HTML file that asks no network for anything.

It can be read without scripts; a few lines of JavaScript tell what is under the pointer.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import TYPE_CHECKING

from ftnet.report import page

if TYPE_CHECKING:
    from ftnet.load.checks import Outcome
    from ftnet.load.result import Result

__all__ = ["render"]


def render(
    result: Result, outcomes: Sequence[Outcome] = (), versions: Mapping[str, str] | None = None
) -> str:
    """The page for a result, what came of its checks, and the versions of what was used.

    ImportError without jinja2, which ``pip install 'ftnet[report]'`` brings.
    """
    import jinja2

    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":")}
    style, script = _own("report.css"), _own("report.js")
    made = environment.from_string(_own("report.html.j2")).render(
        page.content(result, outcomes, versions or {}),
        style=style,
        script=script,
        style_hash=_hash(style),
        script_hash=_hash(script),
    )
    return made.lstrip()


def _own(name: str) -> str:
    return resources.files(__name__).joinpath(name).read_text("utf-8")


def _hash(text: str) -> str:
    """As a Content-Security-Policy names an inline style or script."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
