class Part:
    def __init__(
        self,
        path: bytes,
        target: bytes | None = None,
        *,
        kept: bytes | None = None,
        note: bytes | None = None,
        asked_from: int = 0,
        asked_of: int = 0,
        etag: bytes | None = None,
        modified: bytes | None = None,
    ) -> None: ...
    @property
    def file(self) -> str: ...
    @property
    def length(self) -> int: ...
    @property
    def continuing(self) -> bool: ...
    def publish(self, target: bytes, sync: bool = False) -> None: ...
    def discard(self) -> None: ...
