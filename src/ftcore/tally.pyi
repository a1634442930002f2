from ftcore.histogram import Histogram
from ftcore.profile import Phases

VERSION: int
COUNT_NAMES: tuple[str, ...]
SPAN_NAMES: tuple[str, ...]
CLASS_NAMES: tuple[str, ...]
RIGHT: int
WRONG_STATUS: int
WRONG_LENGTH: int
WRONG_CONTENT: int

class Tally:
    def reset(self) -> None: ...
    def merge(self, other: Tally) -> None: ...
    def to_bytes(self) -> bytes: ...
    def add_bytes(self, data: bytes, shift: int = 0) -> None: ...
    @staticmethod
    def check_bytes(data: bytes) -> None: ...
    def answered(
        self,
        of: Phases,
        status: int,
        due: int,
        ready: int,
        late_after: int,
        end: int,
        wrong: int,
        is_open: bool,
        counted: bool,
    ) -> int: ...
    def failed(
        self,
        of: Phases | None,
        outcome: int,
        os_errno: int,
        detail: str,
        due: int,
        ready: int,
        now: int,
        late_after: int,
        is_open: bool,
    ) -> int: ...
    def add(self, name: str, number: int = 1) -> None: ...
    def record(self, of: str, **spans: int) -> None: ...
    def late_by(self, ns: int) -> None: ...
    def stood(
        self,
        *,
        began: int,
        ended: int,
        cpu: int,
        in_flight: int,
        waiting: int,
        connections: int,
        target: float,
        measured: bool,
    ) -> None: ...
    def counts(self) -> dict[str, int]: ...
    def statuses(self) -> dict[int, int]: ...
    def failures(self) -> list[tuple[int, int, str, int]]: ...
    def histograms(self, span: str) -> dict[str, Histogram]: ...
    @property
    def lateness(self) -> Histogram | None: ...
    @property
    def began_at(self) -> int: ...
    @property
    def ended_at(self) -> int: ...
    @property
    def cpu(self) -> int: ...
    @property
    def in_flight(self) -> int: ...
    @property
    def waiting(self) -> int: ...
    @property
    def connections(self) -> int: ...
    @property
    def target(self) -> float: ...
    @property
    def measured(self) -> bool: ...
