"""`Idempotency-Key`: the header, and the fingerprint of the body it is bound to."""

import hashlib
from typing import Annotated

import orjson
from fastapi import Header
from pydantic import BaseModel

from stoa.db.idempotency import IdempotencyKey

IdempotencyKeyHeader = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        pattern=r"^[\x21-\x7e]+$",
        description="The same key with the same body within 24 hours answers with the first result.",
    ),
]


def fingerprint(body: object) -> bytes:
    """SHA-256 of the body, independent of the order of its fields and of white space."""
    return hashlib.sha256(orjson.dumps(body, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS)).digest()


def repeated(key: str | None, route: str, body: BaseModel) -> IdempotencyKey | None:
    """The idempotency key of a POST; None if it has none."""
    return IdempotencyKey(key, route, fingerprint(body.model_dump(mode="json"))) if key else None
