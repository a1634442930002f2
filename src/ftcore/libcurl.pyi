from ftcore._libcurl import Library

library: Library
HTTP_VERSIONS: dict[str, int]

def can_keylog() -> bool: ...
def strerror(code: int) -> str: ...
