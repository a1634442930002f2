"""Makes the throw-away certificates of the test server."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

NAMES = ("localhost", "127.0.0.1", "::1")


class Certificates(NamedTuple):
    """Paths of PEM files: the CA to trust, the server's chain and its private key."""

    ca: Path
    chain: Path
    key: Path


def make(directory: Path) -> Certificates:
    """Issue a certificate for NAMES into `directory`; one that is there already is used again.

    Raises OSError when the files can't be written.
    """
    import trustme

    paths = Certificates(directory / "ca.pem", directory / "server.pem", directory / "server.key")
    if all(path.exists() for path in paths):
        return paths
    directory.mkdir(parents=True, exist_ok=True)
    authority = trustme.CA()
    leaf = authority.issue_cert(*NAMES)
    paths.key.touch(mode=0o600)
    leaf.private_key_pem.write_to_path(paths.key)
    chain = b"".join(blob.bytes() for blob in leaf.cert_chain_pems)
    paths.chain.write_bytes(chain)
    authority.cert_pem.write_to_path(paths.ca)
    return paths
