"""Calls of the public HTTP API. Standard library only, so that a command starts at once."""

import json
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, Final

from stoa.cli.stream.retry import RetryPolicy
from stoa.cli.stream.transport import Call, Response, Transport

POLICY: Final = RetryPolicy(attempts=3, reconnect_seconds=600.0)
"""A person waits: few attempts for a call. A stream is resumed for ten minutes: a laptop was closed, a server is
updated."""
SAFE: Final = frozenset({"GET", "PUT"})


def call(
    method: str, url: str, key: str, path: str, body: object | None = None, headers: dict[str, str] | None = None
) -> Any:
    """One JSON call. A POST is repeated only under an Idempotency-Key. Raises StoaError."""
    return transport(url, key).json(request(method, path, body, headers))


def request(method: str, path: str, body: object | None = None, headers: dict[str, str] | None = None) -> Call:
    sent = {"Content-Type": "application/json", **(headers or {})}
    data = None if body is None else json.dumps(body).encode()
    return Call(method, path, method in SAFE or "Idempotency-Key" in sent, data, sent)


@contextmanager
def open_call(
    method: str, url: str, key: str, path: str, data: bytes | None = None, headers: dict[str, str] | None = None
) -> Generator[Response]:
    """One call whose answer is read by the caller. Raises StoaError."""
    sent = headers or {}
    answer = transport(url, key).answer(Call(method, path, method in SAFE or "Idempotency-Key" in sent, data, sent))
    try:
        yield answer
    finally:
        answer.close()


def transport(url: str, key: str) -> Transport:
    return Transport(url.rstrip("/"), key, POLICY)
