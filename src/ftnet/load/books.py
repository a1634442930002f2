"""What a share of a run counts: its requests, and of a plan its iterations, steps and checks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from ftcore.tally import Tally

__all__ = ["Books"]


class _Packed(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Books as they travel: tallies in their own encoding, which has a version and a checksum."""

    total: bytes
    iterations: bytes | None
    steps: dict[str, bytes]
    checks: dict[str, dict[str, tuple[int, int]]]


_packing = msgspec.msgpack.Encoder()
_unpacking = msgspec.msgpack.Decoder(_Packed)


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
        self._add_checks(other.checks)

    def to_bytes(self) -> bytes:
        """All of it, for `merge_bytes` in another process, maybe on another machine."""
        return _packing.encode(
            (
                self.total.to_bytes(),
                None if self.iterations is None else self.iterations.to_bytes(),
                {name: tally.to_bytes() for name, tally in self.steps.items()},
                self.checks,
            )
        )

    def merge_bytes(self, data: bytes, shift: int = 0) -> None:
        """`merge` with those that `data` is of, their times taken to be `shift` ns later.

        ValueError says what is wrong with the data; then nothing was added.
        """
        try:
            packed = _unpacking.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ValueError(f"the books are corrupt: {error}") from error
        others = [*packed.steps.values()]
        if packed.iterations is not None:
            others.append(packed.iterations)
        for tally in others:
            Tally.check_bytes(tally)
        self.total.add_bytes(packed.total, shift)  # the first: it looks by itself
        if packed.iterations is not None:
            if self.iterations is None:
                self.iterations = Tally()
            self.iterations.add_bytes(packed.iterations, shift)
        for name, tally in packed.steps.items():
            self.steps.setdefault(name, Tally()).add_bytes(tally, shift)
        self._add_checks(packed.checks)

    def _add_checks(self, checks: Mapping[str, Mapping[str, Sequence[int]]]) -> None:
        for step, by_text in checks.items():
            mine = self.checks.setdefault(step, {})
            for text, (held, broken) in by_text.items():
                count = mine.setdefault(text, [0, 0])
                count[0] += held
                count[1] += broken
