"""Certificates for the servers: one that is right, and some each wrong in one way."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import trustme

NAMES = ("localhost", "127.0.0.1", "::1", "*.ftnet.test")


@dataclass(frozen=True)
class Pair:
    """A certificate chain and its private key, as PEM files."""

    chain: Path
    key: Path


@dataclass(frozen=True)
class Certificates:
    """Everything the TLS tests present or trust; `ca` vouches for all but `untrusted`."""

    ca: Path
    good: Pair
    expired: Pair
    other_name: Pair
    untrusted: Pair
    client: Pair
    stranger: Pair

    @classmethod
    def make(cls, directory: Path) -> Self:
        """Write the files into `directory`; `client` is signed by `ca`, `stranger` is not."""
        authority, foreign = trustme.CA(), trustme.CA()
        ca = directory / "ca.pem"
        authority.cert_pem.write_to_path(str(ca))
        past = datetime.datetime(2001, 1, 1, tzinfo=datetime.UTC)

        def write(name: str, leaf: trustme.LeafCert) -> Pair:
            pair = Pair(directory / f"{name}.pem", directory / f"{name}.key")
            pair.chain.write_bytes(b"".join(blob.bytes() for blob in leaf.cert_chain_pems))
            leaf.private_key_pem.write_to_path(str(pair.key))
            return pair

        return cls(
            ca,
            good=write("good", authority.issue_cert(*NAMES)),
            expired=write(
                "expired",
                authority.issue_cert(
                    *NAMES, not_before=past, not_after=past + datetime.timedelta(days=1)
                ),
            ),
            other_name=write("other-name", authority.issue_cert("elsewhere.test")),
            untrusted=write("untrusted", foreign.issue_cert(*NAMES)),
            client=write("client", authority.issue_cert("client@ftnet.test")),
            stranger=write("stranger", foreign.issue_cert("stranger@ftnet.test")),
        )
