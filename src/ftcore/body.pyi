from collections.abc import Iterable

from typing_extensions import Buffer

class Body:
    def __init__(self, pieces: Iterable[str | Buffer]) -> None: ...
    @property
    def file(self) -> str: ...
