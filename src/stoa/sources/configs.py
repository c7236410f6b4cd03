"""The `config` and `secrets` of a source, for each provider, validated field by field."""

import re
from typing import Annotated, Final
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from stoa.outbound.certificates import CaBundle
from stoa.sources import rules


class Config(BaseModel):
    """An unknown field is refused: a misspelled `exclude` must not include everything."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def plain(text: str) -> str:
    if not text.strip():
        raise ValueError("cannot be blank")
    if re.search(r"[\x00-\x1f\x7f\ud800-\udfff]", text):
        raise ValueError("cannot hold control characters")
    return text


def _pattern(text: str) -> str:
    plain(text)
    if "**" in text and any("**" in part and part != "**" for part in text.split("/")):
        raise ValueError("has ** beside other characters; it stands between slashes, as in docs/**/*.md")
    return text


def _web_address(text: str) -> str:
    return address(text, ("http", "https"))


def address(text: str, schemes: tuple[str, ...]) -> str:
    plain(text)
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError as error:
        raise ValueError("is no URL") from error
    if parts.scheme not in schemes or re.search(r"\s", text):
        raise ValueError(f"must be a URL that begins with {' or '.join(f'{scheme}://' for scheme in schemes)}")
    if parts.username is not None or parts.password is not None:
        raise ValueError("must not hold a user name or password; send the credential in secrets")
    if parts.scheme != "file" and not parts.hostname:
        raise ValueError("names no host")
    return text


def _repository(text: str) -> str:
    return address(text, ("https", "http", "file"))


def _host(text: str) -> str:
    if not re.fullmatch(r"[a-zA-Z0-9]([a-zA-Z0-9.-]{0,251}[a-zA-Z0-9])?(:\d{1,5})?", text):
        raise ValueError("is no host name, such as docs.example.com")
    return text.lower()


def _bucket(text: str) -> str:
    if not re.fullmatch(r"[a-zA-Z0-9][a-zA-Z0-9._-]{1,253}[a-zA-Z0-9]", text) or ".." in text:
        raise ValueError("is no name of a bucket")
    return text


def _branch(text: str) -> str:
    if not re.fullmatch(r"[^\s~^:?*\[\\\x00-\x1f\x7f-]\S*", text) or ".." in text or text.endswith((".lock", "/", ".")):
        raise ValueError("is no name of a branch or tag")
    return plain(text)


Pattern = Annotated[str, Field(max_length=300), AfterValidator(_pattern)]
Patterns = Annotated[tuple[Pattern, ...], Field(max_length=100)]
WebAddress = Annotated[str, Field(max_length=1_500), AfterValidator(_web_address)]
Secret = Annotated[str, Field(min_length=1, max_length=4_000, pattern=r"^[\x20-\x7e]+$")]


class Paths(Config):
    """`include` and `exclude` are path patterns: `docs/**/*.md`, `drafts/`. Without `include`, everything that can be
    read is taken."""

    include: Patterns = ()
    exclude: Patterns = ()


class Remote(Paths):
    """`ca_bundle`: certificate authorities (PEM) that the server's certificate may be signed by, beside the system's.
    It is a field of each that is asked over HTTPS."""

    ca_bundle: CaBundle | None = None


class WebsiteConfig(Remote):
    """A site from `url` on: its sitemaps (those of robots.txt, else /sitemap.xml) and its links, on its own host and on
    `hosts`.

    `include` and `exclude` match the paths of URLs. robots.txt and its Crawl-delay are always kept to.
    """

    url: WebAddress
    hosts: Annotated[tuple[Annotated[str, AfterValidator(_host)], ...], Field(max_length=50)] = ()
    depth_max: Annotated[int, Field(ge=0, le=20)] = 3
    pages_max: Annotated[int, Field(ge=1, le=20_000)] = 500
    page_bytes_max: Annotated[int, Field(ge=1_000, le=rules.ITEM_BYTES_MAX)] = 16 * 1024 * 1024
    delay_seconds: Annotated[float, Field(ge=0, le=60)] = 0.5
    sitemap: bool = True


class DirectoryConfig(Paths):
    """A directory on the server, below one that its operator has allowed. Hidden files only with `hidden`."""

    path: Annotated[str, Field(max_length=2_000), AfterValidator(plain)]
    hidden: bool = False


class S3Config(Remote):
    """A bucket of Amazon S3, or of what speaks its protocol at `endpoint`."""

    bucket: Annotated[str, AfterValidator(_bucket)]
    prefix: Annotated[str, Field(max_length=1_000, pattern=r"^[^\x00-\x1f\x7f]*$")] = ""
    region: Annotated[str, Field(pattern=r"^[a-z0-9-]{1,50}$")] = "us-east-1"
    endpoint: WebAddress | None = None


class GitConfig(Remote):
    """A repository, shallow, at `branch` (a branch or tag; the remote's HEAD where it is left out). Hidden files only
    with `hidden`."""

    url: Annotated[str, Field(max_length=1_500), AfterValidator(_repository)]
    branch: Annotated[str, Field(max_length=250), AfterValidator(_branch)] | None = None
    hidden: bool = False


class WebsiteSecrets(Config):
    """`authorization` is sent as that header, to the host of `url` alone."""

    authorization: Secret | None = None


class DirectorySecrets(Config):
    """There are none."""


class S3Secrets(Config):
    """Both keys, or none for a public bucket."""

    access_key_id: Secret | None = None
    secret_access_key: Secret | None = None
    session_token: Secret | None = None


class GitSecrets(Config):
    """`token` is sent as the password of HTTP's basic authentication; `username` where the host asks for a certain
    one."""

    token: Secret | None = None
    username: Secret | None = None


USER_AGENT: Final = "Stoa"
"""The token that robots.txt may address."""
