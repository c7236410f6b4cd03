"""The address of a bucket, and the connection to it. Pure."""

import re
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

SCHEMES: Final = ("s3", "gs", "az")
PREFIX_CHARACTERS_MAX: Final = 500
"""A key is at most 1,024 bytes; ours takes 150 of them."""
_BUCKET: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,220}[A-Za-z0-9]")


@dataclass(frozen=True, slots=True)
class BucketAddress:
    """`prefix` has no slash at either end; empty: the bucket holds nothing else."""

    scheme: str
    bucket: str
    prefix: str

    @classmethod
    def of(cls, text: str) -> "BucketAddress":
        """Parses `s3://bucket/prefix`. Raises ValueError, whose message continues after the setting's name."""
        scheme, separator, rest = text.partition("://")
        if not separator or scheme not in SCHEMES:
            raise ValueError("must be s3://bucket/prefix, gs://bucket/prefix or az://container/prefix")
        bucket, _, prefix = rest.partition("/")
        if not _BUCKET.fullmatch(bucket):
            raise ValueError(f"names no bucket: {bucket!r} cannot be the name of one")
        prefix = prefix.removesuffix("/")
        if len(prefix) > PREFIX_CHARACTERS_MAX:
            raise ValueError(f"has a prefix of over {PREFIX_CHARACTERS_MAX} characters")
        # Some servers and clients normalize a key with such a part.
        if prefix and any(part in {"", ".", ".."} for part in prefix.split("/")):
            raise ValueError("has a prefix with an empty part, '.' or '..'")
        if any(not character.isprintable() or character in "?#\\" for character in prefix):
            raise ValueError("has a prefix with a character that cannot be in one (?, #, \\ or a control character)")
        return cls(scheme, bucket, prefix)

    def __str__(self) -> str:
        return f"{self.scheme}://{self.bucket}{f'/{self.prefix}' if self.prefix else ''}"


@dataclass(frozen=True, slots=True)
class BucketConnection:
    """The connection to a bucket. `endpoint` is of a server other than the cloud's own; `ca` are additional trusted
    certificates (PEM); `https_proxy` and `http_proxy` are URLs, and `no_proxy` names hosts that are called directly.
    """

    endpoint: str | None = None
    allow_http: bool = False
    ca: str | None = None
    https_proxy: str | None = None
    http_proxy: str | None = None
    no_proxy: str | None = None

    def check(self) -> None:
        """Raises ValueError for an invalid endpoint, or one without TLS that is not on this machine."""
        if self.endpoint is None:
            return
        try:
            parts = urlsplit(self.endpoint)
            named = parts.hostname and (parts.port is None or parts.port > 0)
        except ValueError:
            named = False
            parts = urlsplit("")
        if not named or parts.scheme not in {"http", "https"} or parts.query or parts.fragment:
            raise ValueError("must be the URL of a server, such as https://s3.example.com:9000")
        if parts.username is not None or parts.password is not None:
            raise ValueError("must not hold credentials: they are read from the cloud's own variables")
        if parts.scheme == "http" and not self.allow_http and not is_loopback(parts.hostname or ""):
            raise ValueError(
                "is not encrypted: use https://, or allow it with blobs_allow_http (STOA_BLOBS_ALLOW_HTTP) where the"
                " network between is your own"
            )

    def proxy(self) -> str | None:
        """The proxy for the bucket's server."""
        parts = urlsplit(self.endpoint or "https://cloud.invalid")
        if is_loopback(parts.hostname or ""):
            return None
        return self.https_proxy if parts.scheme == "https" else self.http_proxy


def is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
