from collections.abc import Iterable

class Settings:
    def __init__(
        self,
        *,
        ca_file: bytes | None = None,
        ca_path: bytes | None = None,
        cert: bytes | None = None,
        key: bytes | None = None,
        proxy: bytes | None = None,
        no_proxy: bytes | None = None,
        doh_url: bytes | None = None,
        interface: bytes | None = None,
        user_agent: bytes | None = None,
        resolve: Iterable[bytes] = (),
        verify: bool = True,
        cookies: bool = False,
        insecure_redirects: bool = False,
        nodelay: bool = True,
        happy_eyeballs_ms: int = 200,
        keepalive_s: int = 0,
        keylog_file: str | None = None,
        max_body: int | None = None,
        max_kept_body: int | None = None,
        max_buffered: int = ...,
        max_connections: int = 1024,
        max_connections_per_host: int = 1024,
        max_descriptors: int = 1024,
    ) -> None: ...

class Template:
    def __init__(
        self,
        url: bytes,
        *,
        verb: bytes | None = None,
        target: bytes | None = None,
        lines: Iterable[bytes] = (),
        http_version: int = 0,
        origin: int = 0,
        multiplex: bool = False,
        head: bool = False,
        with_body: bool = False,
        tunnel: bool = False,
        no_proxy: bool = False,
        follow: bool = True,
        chunked: bool = False,
        profile: bool = True,
        native: Settings | None = None,
    ) -> None: ...
    @property
    def asked(self) -> bytes: ...
    @property
    def url(self) -> str: ...
    def varied(self, url: bytes, asked: bytes, own: int) -> Template: ...
