from collections.abc import Callable
from typing import Any, ClassVar

from ftcore.pattern import Pattern
from ftcore.profile import Phases
from ftcore.settings import Template
from ftcore.tally import Tally
from ftcore.transfer import Pool, Transfer

class Counting:
    measuring: bool
    late_after: int
    in_flight: int
    total: Tally

class Flow:
    open: bool
    end_at: int

class Work:
    name: str
    think: float | tuple[float, float]
    stops: bool
    whole: bool
    parts: Any
    any_status: bool
    status: int
    expected: tuple[Any, ...]
    extract: Callable[[Any, dict[str, Any]], None] | None
    when: Callable[[dict[str, Any]], bool] | None
    judges: Any
    tally: Tally
    judged: int
    broken: dict[str, int]
    def broke(self, text: str, counted: bool) -> int: ...
    def begin(self, user: Any, due: int) -> Any: ...

class Request(Work):
    made: Template | None
    pattern: Pattern | None
    pool: Pool
    timeout: float
    content: Callable[[dict[str, Any]], Any] | None

class Visit(Transfer):
    user: Any
    work: Any
    due: int
    @property
    def url(self) -> str: ...
    def _succeeded(
        self, status: int, raw: bytes, body: Any, phases: Phases, charset: bool
    ) -> None: ...
    def _failed(self, outcome: int, phases: Phases | None, os_errno: int, detail: str) -> None: ...

class User:
    plan_fault: ClassVar[int]
    jar: Any
    has_cookies: bool
    made: dict[Work, Any]
    variables: dict[str, Any]
    ready: int
    busy: bool
    gone: bool
    measured: bool
    scenario: int
    under_way: Any
    working: Work | None
    guide: Any
    made_up: Work | None
    def __init__(self, share: Any, stream: Any, number: int, jar: Any) -> None: ...
    @property
    def share(self) -> Any: ...
    @property
    def stream(self) -> Any: ...
    @property
    def number(self) -> int: ...
    def iterate(
        self, works: tuple[Work, ...], variables: dict[str, Any], due: int, now: int
    ) -> None: ...
    def step(self, due: int) -> None: ...
    def guided(self, work: Work, due: int) -> None: ...
    def answered(self, work: Work, answer: Any, phases: Phases, due: int) -> None: ...
    def judged(self, work: Work, answer: Any) -> int: ...
    def failed(
        self,
        work: Work,
        outcome: int,
        os_errno: int,
        detail: str,
        phases: Phases | None,
        due: int,
    ) -> None: ...
    def went(self, work: Work, at: int, stop: bool, answer: Any = None) -> None: ...
