"""Plans: what virtual users do, from a file."""

from __future__ import annotations

from ftnet.plan.model import Plan, Scenario

__all__ = ["Plan", "Scenario"]
