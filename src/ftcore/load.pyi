from collections.abc import Collection, Sequence

from ftcore.engine import Engine, Operation
from ftcore.settings import Settings
from ftcore.tally import Tally

def clock() -> int: ...

class Load(Operation):
    def __init__(
        self,
        engine: Engine,
        settings: Settings,
        *,
        url: bytes,
        head: bytes,
        body: bytes,
        for_head: bool,
        idempotent: bool,
        verb: bytes | None,
        lines: Sequence[bytes],
        http_version: int,
        connections: int,
        streams: int,
        open_model: bool,
        stages: Sequence[tuple[int, float, float]],
        rate_after: float,
        poisson: bool,
        seed: int,
        first: int,
        every: int,
        warmup: int,
        duration: int,
        requests: int,
        think: int,
        timeout: int,
        grace: int,
        late_after: int,
        statuses: Collection[int],
        length: int,
    ) -> None: ...
    def begin(self, start: int) -> None: ...
    @property
    def over(self) -> bool: ...
    @property
    def cpu(self) -> int: ...
    @property
    def stopped(self) -> bool: ...
    @property
    def ended_at(self) -> int | None: ...
    @property
    def http(self) -> int: ...
    @property
    def peer(self) -> tuple[str, int]: ...
    def set_rate(self, rate: float, at: int) -> None: ...
    def stop(self) -> None: ...
    def collect(self, into: Tally) -> bool: ...
