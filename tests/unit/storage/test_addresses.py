"""Addresses of buckets, and what errors of their client mean."""

import pytest

from stoa.settings import bucket_keys
from stoa.storage import BucketAddress, BucketConnection
from stoa.storage.bucket import is_final, reason_of

SLOW = "Error performing PUT https://s3/b/k in 9s, after 2 retries - Server returned error status code: 503"
SKEWED = "status code: 403 Forbidden: <Error><Code>RequestTimeTooSkewed</Code><Message>Too far.</Message></Error>"
ROLELESS = "Error performing PUT http://169.254.169.254/latest/api/token in 3s - HTTP error: error sending request"
ELSEWHERE = "Received redirect without LOCATION, this normally indicates an incorrectly configured region"
REFUSED = "Error performing GET https://s3/b/k in 1s - HTTP error: error sending request\n\nDebug source:\nGeneric"
NO_ROLE = "no credentials were found in the environment, and this machine has no role to take them from"


@pytest.mark.parametrize(
    ("text", "scheme", "bucket", "prefix"),
    [
        ("s3://files", "s3", "files", ""),
        ("s3://files/", "s3", "files", ""),
        ("s3://my.files-2/stoa/of ü+%/", "s3", "my.files-2", "stoa/of ü+%"),
        ("gs://files_1/stoa", "gs", "files_1", "stoa"),
        ("az://container/stoa", "az", "container", "stoa"),
    ],
)
def test_an_address(text: str, scheme: str, bucket: str, prefix: str) -> None:
    found = BucketAddress.of(text)
    assert (found.scheme, found.bucket, found.prefix) == (scheme, bucket, prefix)
    assert BucketAddress.of(str(found)) == found


@pytest.mark.parametrize(
    "text",
    [
        "files",
        "file:///tmp",
        "memory://x",
        "s3://",
        "s3:///x",
        "s3://a",
        "s3://key:secret@bucket/x",
        "s3://b_/x",
        "s3://files/a//b",
        "s3://files//a",
        "s3://files/../x",
        "s3://files/a/./b",
        "s3://files/a?b",
        "s3://files/a#b",
        "s3://files/a\\b",
        "s3://files/a\nb",
        "s3://files/" + "x" * 501,
    ],
)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ValueError, match=r"^(must|names|has)"):
        BucketAddress.of(text)


@pytest.mark.parametrize(
    "endpoint", [None, "https://s3.example.com", "http://127.0.0.1:9000", "http://[::1]:9", "http://localhost"]
)
def test_an_endpoint(endpoint: str | None) -> None:
    BucketConnection(endpoint).check()


@pytest.mark.parametrize(
    "endpoint",
    [
        "s3.example.com",
        "ftp://a",
        "https://",
        "https://a:x",
        "https://a/?b",
        "https://u:p@a",
        "http://10.0.0.1:9000",
        "http://127.0.0.1.example.com",
    ],
)
def test_what_is_no_endpoint(endpoint: str) -> None:
    with pytest.raises(ValueError, match=r"^(must|is not encrypted)"):
        BucketConnection(endpoint).check()
    if endpoint.startswith("http://"):
        BucketConnection(endpoint, allow_http=True).check()


def test_a_proxy_is_for_what_is_not_on_this_machine() -> None:
    given = {"https_proxy": "http://proxy:1", "http_proxy": "http://proxy:2"}
    assert BucketConnection(**given).proxy() == "http://proxy:1"
    assert BucketConnection("https://s3.example.com", **given).proxy() == "http://proxy:1"
    assert BucketConnection("http://s3.internal", **given).proxy() == "http://proxy:2"
    assert BucketConnection("http://127.0.0.1:9", **given).proxy() is None


@pytest.mark.parametrize(
    ("text", "final", "reason"),
    [
        (SLOW, False, "HTTP 503"),
        (SLOW.replace("503", "429"), False, "HTTP 429"),
        (SLOW.replace("503", "400"), True, "HTTP 400"),
        (SKEWED, True, "RequestTimeTooSkewed: Too far. (HTTP 403)"),
        (ROLELESS, True, NO_ROLE),
        (ELSEWHERE, True, "it lies in another region: set AWS_REGION"),
        (REFUSED, False, "Error performing GET in 1s - HTTP error: error sending request"),
    ],
)
def test_what_an_error_says(text: str, final: bool, reason: str) -> None:
    assert is_final(text) is final
    assert reason_of(Exception(text)) == reason


def test_keys_are_those_of_amazons_own_tools() -> None:
    assert bucket_keys({}) == {}
    assert bucket_keys({"AWS_ACCESS_KEY_ID": "a"}) == {}
    given = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_DEFAULT_REGION": "r", "AWS_SESSION_TOKEN": ""}
    assert bucket_keys(given) == {"key_id": "a", "secret": "b", "region": "r"}
