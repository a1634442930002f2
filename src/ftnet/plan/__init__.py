"""Plans: what virtual users do, from a file."""

from __future__ import annotations

from ftnet.plan.model import Plan, Scenario
from ftnet.plan.problems import PlanError, Problem
from ftnet.plan.read import convert, convert_step, read

__all__ = ["Plan", "PlanError", "Problem", "Scenario", "convert", "convert_step", "read"]
