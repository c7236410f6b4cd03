"""What a provider says is believed only when it is signed by its key, meant for us, of this sign-in, and just made."""

import base64
import hmac
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey

from stoa.access.oidc import checking
from stoa.access.oidc.errors import ProviderAway, ProviderError, UnknownKey
from stoa.access.oidc.flows import Flows, name_of
from stoa.access.oidc.provider import Provider, Registration
from stoa.access.oidc.sealed import Sealed
from stoa.access.types import Claims, Opened
from stoa.kernel.errors import Forbidden, Unauthorized, Unavailable

ISSUER, CLIENT, NONCE = "https://id.example", "stoa", "n-0S6_WzA2Mj"
NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
KEY = RSAKey.generate_key(2048, {"kid": "one", "use": "sig"}, auto_kid=False)
OTHER = RSAKey.generate_key(2048, {"kid": "two", "use": "sig"}, auto_kid=False)


def said(**changes: Any) -> dict[str, Any]:
    at = int(NOW.timestamp())
    claims = {
        "iss": ISSUER,
        "sub": "ada-1",
        "aud": CLIENT,
        "exp": at + 300,
        "iat": at,
        "nonce": NONCE,
        "email": "ada@example.com",
        "email_verified": True,
    }
    return {name: value for name, value in {**claims, **changes}.items() if value is not None}


def signed(claims: Mapping[str, Any], key: Any = KEY, **header: Any) -> str:
    full = {"alg": "RS256", "kid": key.kid, **header}
    return jwt.encode({name: value for name, value in full.items() if value is not None}, dict(claims), key)


def check(token: str, keys: Any = (KEY,), allowed: Any = ("RS256",)) -> Mapping[str, Any]:
    return checking.id_token(
        token, keys, allowed, issuer=ISSUER, client_id=CLIENT, nonce=NONCE, access_token="at", now=NOW
    )


def test_a_good_token_is_believed() -> None:
    assert check(signed(said()))["sub"] == "ada-1"
    assert check(signed(said(aud=[CLIENT, "other"], azp=CLIENT)))["sub"] == "ada-1"
    assert check(signed(said(), kid=None), keys=(OTHER, KEY))["sub"] == "ada-1", "a provider with no kid, two keys"


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "https://evil.example"},
        {"iss": None},
        {"aud": "another-client"},
        {"aud": ["another-client"]},
        {"aud": None},
        {"aud": [CLIENT, "other"]},
        {"aud": [CLIENT, "other"], "azp": "other"},
        {"azp": "other"},
        {"nonce": "of-another-sign-in"},
        {"nonce": None},
        {"exp": int(NOW.timestamp()) - 61},
        {"exp": None},
        {"exp": "tomorrow"},
        {"iat": int(NOW.timestamp()) + 61},
        {"iat": None},
        {"nbf": int(NOW.timestamp()) + 61},
        {"sub": None},
        {"sub": ""},
        {"sub": 7},
        {"sub": "x" * 256},
        {"sub": "a\x00b"},
        {"at_hash": "b2YgYW5vdGhlciB0b2tlbg"},
    ],
    ids=str,
)
def test_a_token_of_another_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ProviderError):
        check(signed(said(**changes)))


def test_clocks_may_be_a_minute_apart() -> None:
    at = int(NOW.timestamp())
    for changes in ({"exp": at - 59}, {"iat": at + 59}, {"nbf": at + 59}):
        assert check(signed(said(**changes)))


def test_a_signature_that_proves_nothing_is_refused() -> None:
    """`none`, the public key as a shared secret, and an algorithm that the provider does not offer."""
    good = signed(said())
    body = good.split(".")[1]
    none = base64.urlsafe_b64encode(b'{"alg":"none"}').rstrip(b"=").decode()
    signing = base64.urlsafe_b64encode(b'{"alg":"HS256","kid":"one"}').rstrip(b"=").decode() + f".{body}"
    mac = hmac.digest(KEY.as_pem(private=False), signing.encode(), "sha256")
    confused = f"{signing}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"
    for token in (f"{none}.{body}.", confused, "", "a.b.c", "x" * 70_000, f"{good[:-10]}AAAAAAAAAA"):
        with pytest.raises(ProviderError):
            check(token)
    with pytest.raises(ProviderError):
        check(good, allowed=("ES256",))
    assert "none" not in checking.algorithms({"id_token_signing_alg_values_supported": ["none", "HS256", "RS256"]})
    with pytest.raises(UnknownKey):
        check(signed(said(), OTHER))


def test_a_key_of_an_unknown_kind_makes_the_others_no_worse() -> None:
    found = checking.keys(
        {
            "keys": [
                {"kty": "AKP", "alg": "ML-DSA-44", "pub": "x"},
                {"kty": "EC", "crv": "P-999", "x": "a", "y": "b"},
                {"kty": "oct", "k": "c2hhcmVk"},
                "nonsense",
                {**OTHER.as_dict(private=False), "use": "enc"},
                KEY.as_dict(private=False),
            ]
        }
    )
    assert [one.kid for one in found] == ["one"]
    assert checking.keys({}) == checking.keys({"keys": 7}) == []


METADATA = {
    "issuer": ISSUER,
    "authorization_endpoint": f"{ISSUER}/authorize",
    "token_endpoint": f"{ISSUER}/token",
    "jwks_uri": f"{ISSUER}/keys",
    "userinfo_endpoint": f"{ISSUER}/me",
    "end_session_endpoint": f"{ISSUER}/end?x=1",
}


def test_metadata_of_another_or_without_tls_is_refused() -> None:
    assert checking.metadata({**METADATA, "issuer": f"{ISSUER}/"}, ISSUER)
    for changes in (
        {"issuer": "https://evil.example"},
        {"issuer": None},
        {"token_endpoint": "http://id.example/token"},
        {"jwks_uri": None},
        {"authorization_endpoint": "javascript:alert(1)"},
        {"end_session_endpoint": "data:text/html,x"},
    ):
        with pytest.raises(ProviderError):
            checking.metadata({**METADATA, **changes}, ISSUER)


class Clock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> datetime:
        return NOW + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return self.seconds


class Scripted:
    """A provider: answers by path, and remembers what it was asked."""

    def __init__(self) -> None:
        self.metadata: dict[str, Any] = dict(METADATA)
        self.keys = [KEY]
        self.token = signed(said())
        self.me: dict[str, Any] = {}
        self.away = False
        self.asked: list[tuple[str, Mapping[str, str] | None, str | None]] = []

    async def __call__(
        self, url: str, form: Mapping[str, str] | None = None, authorization: str | None = None, /
    ) -> tuple[int, Mapping[str, Any]]:
        self.asked.append((url.removeprefix(ISSUER), form, authorization))
        if self.away:
            raise ProviderAway("it is away")
        match url.removeprefix(ISSUER):
            case "/.well-known/openid-configuration":
                return 200, self.metadata
            case "/keys":
                return 200, {"keys": [one.as_dict(private=False) for one in self.keys]}
            case "/token":
                return (200, {"id_token": self.token, "access_token": "at"}) if form else (400, {})
            case _:
                return 200, self.me

    def times(self, path: str) -> int:
        return sum(one[0] == path for one in self.asked)


@pytest.fixture
def scripted() -> Scripted:
    return Scripted()


def provider(scripted: Scripted, clock: Clock, secret: str | None = "s:e c", **changes: Any) -> Provider:
    us = Registration(ISSUER, CLIENT, secret, "https://stoa.example/back", "https://stoa.example/in", **changes)
    return Provider(us, scripted, clock)


async def test_what_is_sent_to_the_provider(scripted: Scripted) -> None:
    made = provider(scripted, Clock())
    address = await made.address("st", "no", "v" * 64)
    for part in (
        f"code_challenge={create_s256_code_challenge('v' * 64)}",
        "code_challenge_method=S256",
        "state=st",
        "nonce=no",
        "response_type=code",
        "scope=openid+email+profile",
    ):
        assert part in address
    await made.claims("c0de", NONCE, "v" * 64)
    _, form, authorization = next(one for one in scripted.asked if one[0] == "/token")
    assert form is not None
    assert (form["code_verifier"], form["redirect_uri"]) == ("v" * 64, "https://stoa.example/back")
    assert authorization == "Basic " + base64.b64encode(b"stoa:s%3Ae+c").decode()
    assert "client_secret" not in form
    scripted.metadata["token_endpoint_auth_methods_supported"] = ["client_secret_post"]
    await provider(scripted, Clock()).claims("c0de", NONCE, "v")
    assert dict(scripted.asked[-1][1] or {})["client_secret"] == "s:e c"
    await provider(scripted, Clock(), None).claims("c0de", NONCE, "v")
    assert "client_secret" not in dict(scripted.asked[-1][1] or {})


async def test_new_keys_are_asked_for_at_once_and_not_at_every_token(scripted: Scripted) -> None:
    clock = Clock()
    made = provider(scripted, clock)
    await made.claims("c", NONCE, "v")
    scripted.keys, scripted.token = [OTHER], signed(said(), OTHER)
    clock.seconds = 10
    assert (await made.claims("c", NONCE, "v"))[0].subject == "ada-1"
    assert scripted.times("/keys") == 2
    scripted.token = signed(said(), RSAKey.generate_key(2048, {"kid": "strange"}, auto_kid=False))
    for _ in range(3):
        with pytest.raises(UnknownKey):
            await made.claims("c", NONCE, "v")
    assert scripted.times("/keys") == 2, "within five seconds of the last answer"
    clock.seconds = 20
    with pytest.raises(UnknownKey):
        await made.claims("c", NONCE, "v")
    assert scripted.times("/keys") == 3


async def test_a_provider_that_is_unreachable(scripted: Scripted) -> None:
    """What is known stays good; nothing known is an error that is not asked for again at every request."""
    clock = Clock()
    scripted.away = True
    made = provider(scripted, clock)
    for _ in range(3):
        with pytest.raises(ProviderAway):
            await made.address("s", "n", "v")
    assert len(scripted.asked) == 1
    scripted.away, clock.seconds = False, 6
    assert await made.address("s", "n", "v")
    scripted.away, clock.seconds = True, 4000
    assert await made.address("s", "n", "v")
    assert await made.address_after("hint") is not None


async def test_an_address_is_taken_from_the_user_information_of_the_same_person(scripted: Scripted) -> None:
    scripted.token = signed(said(email=None, email_verified=None))
    scripted.me = {"sub": "ada-1", "email": "ada@example.com", "email_verified": "true", "given_name": "Ada"}
    claims, _ = await provider(scripted, Clock()).claims("c", NONCE, "v")
    assert (claims.email, claims.email_verified, claims.first_name) == ("ada@example.com", True, "Ada")
    scripted.me["sub"] = "mallory"
    with pytest.raises(ProviderError, match="somebody else"):
        await provider(scripted, Clock()).claims("c", NONCE, "v")


@pytest.mark.parametrize("word", [False, "false", None, 1, "yes", "TRUE", [True]])
async def test_only_true_verifies_an_address(scripted: Scripted, word: Any) -> None:
    scripted.token = signed(said(email_verified=word))
    assert not (await provider(scripted, Clock()).claims("c", NONCE, "v"))[0].email_verified
    trusting = provider(scripted, Clock(), trust_email=True)
    assert (await trusting.claims("c", NONCE, "v"))[0].email_verified


async def test_the_answer_of_another_issuer_is_not_taken(scripted: Scripted) -> None:
    made = provider(scripted, Clock())
    await made.check_issuer(None)
    await made.check_issuer(ISSUER)
    with pytest.raises(ProviderError):
        await made.check_issuer("https://evil.example")
    scripted.metadata["authorization_response_iss_parameter_supported"] = True
    with pytest.raises(ProviderError):
        await provider(scripted, Clock()).check_issuer(None)


async def test_other_kinds_of_keys(scripted: Scripted) -> None:
    key = ECKey.generate_key("P-256", {"kid": "ec"}, auto_kid=False)
    scripted.keys, scripted.metadata["id_token_signing_alg_values_supported"] = [KEY, key], ["RS256", "ES256"]
    scripted.token = jwt.encode({"alg": "ES256", "kid": "ec"}, said(), key, algorithms=["ES256"])
    assert (await provider(scripted, Clock()).claims("c", NONCE, "v"))[0].subject == "ada-1"


class Anybody:
    """Takes everybody whom the provider vouches for."""

    async def sign_in(self, claims: Claims, hint: str | None) -> Opened:
        return Opened(claims.subject, NOW)


def flows(scripted: Scripted, clock: Clock, secret: bytes = b"s") -> Flows:
    people: Any = Anybody()
    return Flows(provider(scripted, clock), people, Sealed(secret), clock)


async def begun(made: Flows, scripted: Scripted) -> tuple[dict[str, str], str]:
    """What comes back from the provider, and what the browser kept."""
    started = await made.begin("/console/runs")
    state = started.address.partition("&state=")[2].partition("&")[0]
    nonce = started.address.partition("&nonce=")[2].partition("&")[0]
    scripted.token = signed(said(nonce=nonce))
    assert started.name == name_of(state)
    return {"code": "c", "state": state}, started.value


async def test_a_sign_in_ends_where_it_began(scripted: Scripted) -> None:
    clock = Clock()
    made = flows(scripted, clock)
    answer, kept = await begun(made, scripted)
    assert (await made.finish(answer, kept))[1] == "/console/runs"
    _, other = await begun(made, scripted)
    tampered = kept[:-4] + ("AAAA" if kept[-4:] != "AAAA" else "BBBB")
    for wrong in (None, "", other, tampered, "x" * 20_000):
        with pytest.raises(Unauthorized, match="another browser"):
            await made.finish(answer, wrong)
    with pytest.raises(Unauthorized, match="another browser"):
        await made.finish({"code": "c"}, kept)
    with pytest.raises(Unauthorized, match="another browser"):
        await flows(scripted, clock, b"another installation").finish(answer, kept)
    clock.seconds = 601
    with pytest.raises(Unauthorized, match="ten minutes"):
        await made.finish(answer, kept)


async def test_what_the_provider_refuses(scripted: Scripted) -> None:
    clock = Clock()
    made = flows(scripted, clock)
    answer, kept = await begun(made, scripted)
    state = {"state": answer["state"]}
    with pytest.raises(Forbidden, match="did not agree"):
        await made.finish({**state, "error": "access_denied"}, kept)
    with pytest.raises(Unauthorized, match="can be trusted"):
        await made.finish({**state, "error": "<script>", "error_description": "x"}, kept)
    with pytest.raises(Unauthorized, match="can be trusted"):
        await made.finish({**answer, "iss": "https://evil.example"}, kept)
    scripted.away = True
    with pytest.raises(Unavailable):
        await made.finish(answer, kept)
