"""Whose delivery it is, which delivery it is, and what input is made of it."""

import base64
import hashlib
import hmac
from datetime import UTC, datetime
from typing import Any

import pytest

from stoa.triggers import rules, signatures, transforming
from stoa.triggers.types import Signature, Webhook

NOW = datetime(2026, 6, 10, 9, 11, 2, tzinfo=UTC)
BODY = b'{"a":1}'
SECRET = "whsec_" + base64.b64encode(b"k" * 24).decode()


def standard(body: bytes = BODY, stamp: int | str | None = None, secret: bytes = b"k" * 24) -> dict[str, str]:
    stamp = int(NOW.timestamp()) if stamp is None else stamp
    made = hmac.new(secret, f"msg_1.{stamp}.".encode() + body, hashlib.sha256).digest()
    signed = f"v1,{base64.b64encode(made).decode()}"
    return {"webhook-id": "msg_1", "webhook-timestamp": str(stamp), "webhook-signature": f"v1a,x v1,AAAA {signed}"}


@pytest.mark.parametrize(
    ("headers", "problem"),
    [
        (standard(), None),
        (standard(b"{}"), "not that of this body"),
        (standard(secret=b"x"), "not that of this body"),
        (standard(stamp=int(NOW.timestamp()) - 301), "not within"),
        (standard(stamp=int(NOW.timestamp()) + 301), "not within"),
        (standard(stamp="9" * 400), "not within"),
        (standard(stamp="²"), "not within"),
        ({**standard(), "webhook-id": "msg_2"}, "not that of this body"),
        ({**standard(), "webhook-signature": "v1"}, "not that of this body"),
        ({}, "missing"),
    ],
)
def test_standard_webhooks(headers: dict[str, str], problem: str | None) -> None:
    found = signatures.problem(Signature("standard", ""), SECRET, headers, BODY, NOW)
    assert (found is None) if problem is None else (found is not None and problem in found)


@pytest.mark.parametrize("prefix", ["", "sha256="])
def test_a_hex_digest_in_a_header(prefix: str) -> None:
    signature = Signature("hmac-sha256", "X-Hub-Signature-256")
    made = hmac.new(b"secret-of-sixteen", BODY, hashlib.sha256).hexdigest()

    def problem(value: str, body: bytes = BODY) -> str | None:
        return signatures.problem(signature, "secret-of-sixteen", {"x-hub-signature-256": value}, body, NOW)

    assert problem(prefix + made) is None
    assert problem(prefix + made, b"{}")
    assert problem(prefix + made[:-1] + "é")
    assert problem("")
    assert signatures.problem(signature, "secret-of-sixteen", {}, BODY, NOW)


def test_which_delivery_it_is() -> None:
    usual = Webhook()
    assert rules.delivery_id(usual, {}) is None
    assert rules.delivery_id(usual, {"x-github-delivery": " 7 ", "ce-id": "8"}) == "7"
    assert rules.delivery_id(Webhook("X-My-Id"), {"x-my-id": "m", "webhook-id": "w"}) == "m"
    signed = Webhook("X-My-Id", Signature("standard", ""))
    assert rules.delivery_id(signed, {"x-my-id": "m", "webhook-id": "w"}) == "w", "only this id is signed"
    long = rules.delivery_id(usual, {"webhook-id": "x" * 5_000})
    assert long is not None
    assert len(long) == 64


@pytest.mark.parametrize(
    ("transformer", "expected"),
    [
        (None, {"issue": {"title": "Broken", "labels": ["a", "b"]}, "n": 5}),
        ({"path": "$.issue"}, {"title": "Broken", "labels": ["a", "b"]}),
        ({"path": "$.n"}, {"input": 5}),
        ({"selector": {"input": "$.issue.title", "cost": "$5", "at": "@channel", "n": 7}},
         {"input": "Broken", "cost": "$5", "at": "@channel", "n": 7}),
        ({"path": "$.issue", "selector": {"i": "$.title", "l": "$.labels[*]"}}, {"i": "Broken", "l": ["a", "b"]}),
    ],
)  # fmt: skip
def test_the_input_of_a_run(transformer: Any, expected: Any) -> None:
    payload = {"issue": {"title": "Broken", "labels": ["a", "b"]}, "n": 5}
    assert transforming.transformed(transformer, payload) == expected


def test_what_is_not_there_or_no_path_is_said() -> None:
    with pytest.raises(transforming.NoInput, match="missing"):
        transforming.transformed({"selector": {"input": "$.missing"}}, {})
    with pytest.raises(transforming.NoInput, match="more than 10000 values"):
        transforming.transformed({"path": "$.many[*]"}, {"many": [0] * 10_001})
    deep: dict[str, Any] = {}
    for _ in range(300):
        deep = {"a": deep}
    with pytest.raises(transforming.NoInput, match="cannot be followed"):
        transforming.transformed({"path": "$..b"}, deep)
    for bad in ("$.a[", "$..a..b", "$." + "x" * 1_100, "$.a || $.b", "$[", "$.a[?@.b == 1]"):
        assert transforming.problem(bad), bad
    assert transforming.problem("$..title") is None
