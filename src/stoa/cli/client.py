"""Calls the public HTTP API. Uses only the standard library, so that commands start fast."""

import json
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, Final

from stoa.cli.stream.retry import RetryPolicy
from stoa.cli.stream.transport import Call, Response, Transport

POLICY: Final = RetryPolicy(attempts=3, reconnect_seconds=600.0)
"""Few attempts per call, because a person is waiting. A stream is resumed for ten minutes: a laptop may be closed, or
the server may be updated."""
SAFE: Final = frozenset({"GET", "PUT"})


def call(
    method: str, url: str, key: str, path: str, body: object | None = None, headers: dict[str, str] | None = None
) -> Any:
    """One JSON call. A POST is repeated only if it has an Idempotency-Key. Raises StoaError."""
    return transport(url, key).json(request(method, path, body, headers))


def request(method: str, path: str, body: object | None = None, headers: dict[str, str] | None = None) -> Call:
    sent = {"Content-Type": "application/json", **(headers or {})}
    data = None if body is None else json.dumps(body).encode()
    return Call(method, path, method in SAFE or "Idempotency-Key" in sent, data, sent)


@contextmanager
def open_call(
    method: str, url: str, key: str, path: str, data: bytes | None = None, headers: dict[str, str] | None = None
) -> Generator[Response]:
    """One call; the caller reads the body. Raises StoaError."""
    sent = headers or {}
    answer = transport(url, key).answer(Call(method, path, method in SAFE or "Idempotency-Key" in sent, data, sent))
    try:
        yield answer
    finally:
        answer.close()


def transport(url: str, key: str) -> Transport:
    return Transport(url.rstrip("/"), key, POLICY)
