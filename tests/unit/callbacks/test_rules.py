"""Callbacks' pure rules: signatures as Standard Webhooks has them, addresses, and when another try is made."""

import base64
import json
from datetime import UTC, datetime

import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from stoa.callbacks import rules
from stoa.kernel.errors import BadRequest

SECRET = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
BODY = b'{"test": 2432232314}'
ID, AT = "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330


def test_the_published_vector() -> None:
    signed = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    assert rules.signatures([SECRET], ID, AT, BODY) == signed
    assert rules.signatures([f"whsec_{SECRET}"], ID, AT, BODY) == signed


def test_the_library_of_receivers_takes_them_and_refuses_others() -> None:
    now = int(datetime.now(UTC).timestamp())
    old, new = (rules.new_secret(bytes([number] * rules.SECRET_BYTES)) for number in (1, 2))
    headers = {
        "webhook-id": ID,
        "webhook-timestamp": str(now),
        "webhook-signature": rules.signatures([new, old], ID, now, BODY),
    }
    for secret in (old, new):
        assert Webhook(secret).verify(BODY, headers) == json.loads(BODY)
    for wrong in ({"webhook-id": "msg_other"}, {"webhook-timestamp": str(now - 1)}):
        with pytest.raises(WebhookVerificationError):
            Webhook(new).verify(BODY, {**headers, **wrong})
    with pytest.raises(WebhookVerificationError):
        Webhook(rules.new_secret(bytes(rules.SECRET_BYTES))).verify(BODY, headers)
    assert len(base64.b64decode(new.removeprefix("whsec_"))) == rules.SECRET_BYTES


@pytest.mark.parametrize(
    "url",
    ["", "ftp://example.com/", "//example.com", "https://", "https://u:p@example.com/", "https://[::1", "https://a b/"],
)
def test_addresses_that_are_none(url: str) -> None:
    with pytest.raises(BadRequest) as refused:
        rules.checked_url("callbacks[0].url", url, allow_private=True)
    assert list(refused.value.details or ()) == ["callbacks[0].url"]


def test_plain_http_is_for_operators_who_allow_private_addresses() -> None:
    rules.checked_url("u", "http://10.0.0.1/", allow_private=True)
    rules.checked_url("u", "https://example.com/hook?x=1", allow_private=False)
    with pytest.raises(BadRequest):
        rules.checked_url("u", "http://example.com/", allow_private=False)


def test_waits_grow_and_believe_a_receiver_within_reason() -> None:
    waits = [rules.wait_seconds(attempt, 0.0, None) for attempt in range(1, 8)]
    assert waits == sorted(waits) == list(rules.WAITS)
    assert rules.wait_seconds(1, 1.0, None) == pytest.approx(waits[0] * 1.2)
    assert rules.wait_seconds(1, 0.0, 60.0) == 60
    assert rules.wait_seconds(3, 0.0, 60.0) == waits[2]
    assert rules.wait_seconds(1, 0.0, 1e9) == rules.RETRY_AFTER_MAX
    for text, seconds in (
        ("120", 120.0),
        ("", None),
        (None, None),
        ("-1", None),
        ("Wed, 21 Oct 2026 07:28:00 GMT", None),
    ):
        assert rules.retry_after(text) == seconds


def test_only_2xx_is_a_success() -> None:
    assert [rules.problem_of(status) is None for status in (200, 204, 299, 301, 404, 410, 500)] == [True] * 3 + [
        False
    ] * 4
