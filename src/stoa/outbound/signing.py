"""Amazon's signature of requests, version 4, for requests without a body. Pure.

Our own code, because every signing library also opens its own connections, without our address check. The tests
compare it with Amazon's examples.
"""

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final
from urllib.parse import quote

EMPTY_SHA256: Final = hashlib.sha256(b"").hexdigest()


def quoted(text: str) -> str:
    return quote(text, safe="-_.~")


def query_string(query: Sequence[tuple[str, str]]) -> str:
    return "&".join(f"{quoted(name)}={quoted(value)}" for name, value in sorted(query))


def signed(
    host: str,
    path: str,
    query: Sequence[tuple[str, str]],
    *,
    key_id: str,
    secret: str,
    token: str | None,
    region: str,
    now: datetime,
    headers: Mapping[str, str] | None = None,
    method: str = "GET",
) -> dict[str, str]:
    """The headers of a request without a body. `path` is quoted already, `host` is with its port where that is not the
    scheme\'s own."""
    stamp = now.strftime("%Y%m%dT%H%M%SZ")
    own = {
        "x-amz-date": stamp,
        "x-amz-content-sha256": EMPTY_SHA256,
        **({"x-amz-security-token": token} if token else {}),
        **(headers or {}),
    }
    signing = dict(sorted({"host": host, **{name.lower(): value.strip() for name, value in own.items()}}.items()))
    names = ";".join(signing)
    request = "\n".join(
        [
            method,
            path,
            query_string(query),
            *(f"{name}:{value}" for name, value in signing.items()),
            "",
            names,
            EMPTY_SHA256,
        ]
    )
    scope = f"{stamp[:8]}/{region}/s3/aws4_request"
    key = f"AWS4{secret}".encode()
    for part in scope.split("/"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
    signature = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
    return {
        **own,
        "Authorization": f"AWS4-HMAC-SHA256 Credential={key_id}/{scope},SignedHeaders={names},Signature={signature}",
    }
