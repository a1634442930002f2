from collections.abc import Callable
from typing import Any

from ftcore.settings import Template

class Pattern:
    def __init__(
        self,
        made: Template,
        *,
        url: tuple[bytes, ...],
        head: tuple[bytes, ...],
        values: tuple[tuple[str | None, Callable[[dict[str, Any]], str]], ...],
        lines: int,
        own_cookie: bool,
    ) -> None: ...
    def fill(self, variables: dict[str, Any], jar: Any) -> Template | None: ...
