from collections.abc import Iterable

class Arrivals:
    def __init__(
        self,
        stages: Iterable[tuple[int, float, float]],
        after: float,
        *,
        poisson: bool = False,
        seed: int = 1,
        first: int = 0,
        every: int = 1,
        start: int = 0,
    ) -> None: ...
    @property
    def due(self) -> int: ...
    def take(self) -> int: ...
    def set_rate(self, at: int, rate: float) -> None: ...
    def rate(self, at: int) -> float: ...
    def waiting(self, now: int) -> int: ...
