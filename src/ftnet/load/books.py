"""What a share of a run counts: its requests, and of a plan its iterations, steps and checks."""

from __future__ import annotations

from dataclasses import dataclass, field

from ftcore.tally import Tally

__all__ = ["Books"]


@dataclass(slots=True)
class Books:
    """Of one interval, or of all that is measured; `merge` adds exactly. One writer."""

    total: Tally = field(default_factory=Tally)  #: of requests; how things stood is in here alone
    iterations: Tally | None = None  #: of a plan
    steps: dict[str, Tally] = field(default_factory=dict)  #: by name
    #: by step and text: how often each held, and how often it did not
    checks: dict[str, dict[str, list[int]]] = field(default_factory=dict)

    def reset(self) -> None:
        """Forgets everything; memory and names are kept."""
        self.total.reset()
        if self.iterations is not None:
            self.iterations.reset()
        for tally in self.steps.values():
            tally.reset()
        for by_text in self.checks.values():
            for held in by_text.values():
                held[:] = (0, 0)

    def merge(self, other: Books) -> None:
        """Adds what another has, its steps and checks by their names."""
        self.total.merge(other.total)
        if other.iterations is not None:
            if self.iterations is None:
                self.iterations = Tally()
            self.iterations.merge(other.iterations)
        for name, tally in other.steps.items():
            self.steps.setdefault(name, Tally()).merge(tally)
        for step, by_text in other.checks.items():
            mine = self.checks.setdefault(step, {})
            for text, (held, broken) in by_text.items():
                count = mine.setdefault(text, [0, 0])
                count[0] += held
                count[1] += broken
