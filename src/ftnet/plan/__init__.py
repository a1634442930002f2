"""Plans: what virtual users do, from a file.

::

    from ftnet import load, plan

    result = load.run(plan.read("shop.toml"), rate=50, duration=60)

`read` takes a plan in TOML or JSON, see docs/plans.md; `from_har`, `from_urls` and `from_openapi`
make one of what others have written, and `load_any` finds out which it is. `PlanError` tells all
that is wrong in a file, with its line, key, what it got and what it takes.
"""

from __future__ import annotations

from ftnet.plan.har import from_har
from ftnet.plan.listed import from_urls
from ftnet.plan.model import Plan, Scenario
from ftnet.plan.openapi import from_openapi
from ftnet.plan.problems import PlanError, Problem
from ftnet.plan.read import convert, convert_step, read
from ftnet.plan.scope import used_feeds
from ftnet.plan.sources import load_any
from ftnet.plan.write import to_mapping, to_toml

__all__ = [
    "Plan",
    "PlanError",
    "Problem",
    "Scenario",
    "convert",
    "convert_step",
    "from_har",
    "from_openapi",
    "from_urls",
    "load_any",
    "read",
    "to_mapping",
    "to_toml",
    "used_feeds",
]
