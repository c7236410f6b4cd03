"""The tables of `stoa.toml` and their fields."""

from datetime import date
from pathlib import Path
from typing import Annotated, Final, Literal
from urllib.parse import urlsplit
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from stoa.kernel.model_providers import ProviderName


class Provider(BaseModel):
    """A model provider: found in the environment, or a `[[providers]]` table of stoa.toml."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
    """The prefix of its models' slugs: `openai/gpt-…`."""
    type: ProviderName
    base_url: str | None = None
    api_key: SecretStr | None = None
    ca_file: Path | None = None
    """Certificate authorities (PEM) that this provider's certificate may be signed by, beside the system's."""
    models: tuple[str, ...] | None = None
    """Only these models; None: the provider's own list."""


class Embeddings(BaseModel):
    """An OpenAI-compatible embeddings endpoint, instead of the local embedder."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    base_url: str
    model: str
    api_key: SecretStr | None = None
    dimensions: Annotated[int, Field(ge=1, le=4096)] | None = None


class Rerank(BaseModel):
    """A `[reranker]` table of stoa.toml, for knowledge bases: an endpoint of the `/rerank` wire (Jina, Cohere, Voyage,
    vLLM …), or a cross-encoder of this machine: `path`, a directory with `model.onnx` and `tokenizer.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    base_url: str | None = None
    model: str | None = None
    api_key: SecretStr | None = None
    path: Path | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> "Rerank":
        remote = self.base_url is not None and self.model is not None
        if remote == (self.path is not None) or (
            self.path is not None and (self.base_url or self.model or self.api_key)
        ):
            raise ValueError("needs base_url and model of an endpoint, or else the path of a model on this machine")
        return self


class Price(BaseModel):
    """A `[[prices]]` table: US dollars per million tokens of the models whose slug matches (`openai/gpt-*`); the first
    match counts. `source` and `as_of` say where the price was read, and when."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: Annotated[str, Field(min_length=1)]
    prompt: Annotated[float, Field(ge=0)]
    completion: Annotated[float, Field(ge=0)]
    cached: Annotated[float, Field(ge=0)] | None = None
    cache_write: Annotated[float, Field(ge=0)] | None = None
    source: Annotated[str, Field(min_length=1, max_length=500)] | None = None
    as_of: date | None = None


class ModelFacts(BaseModel):
    """A `[[models]]` table: what the models whose slug matches can do, instead of what their provider says or their
    name suggests; the first match counts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: Annotated[str, Field(min_length=1)]
    context_tokens: Annotated[int, Field(ge=1, le=100_000_000)] | None = None
    output_tokens: Annotated[int, Field(ge=1, le=100_000_000)] | None = None
    images: bool | None = None
    tools: bool | None = None
    source: Annotated[str, Field(min_length=1, max_length=500)] | None = None
    as_of: date | None = None


class RouterTarget(BaseModel):
    """One model behind a `[[router]]` slug. Lower `order` is tried first; within one order the first is chosen by
    `weight`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: Annotated[str, Field(min_length=1)]
    """A slug of the catalogue: `openai/gpt-…`."""
    weight: Annotated[float, Field(gt=0)] = 1.0
    order: Annotated[int, Field(ge=0)] = 0


class Router(BaseModel):
    """A `[[router]]` table of stoa.toml: a slug of the AI gateway that leads to several models."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    slug: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/-]{0,199}$")]
    targets: Annotated[tuple[RouterTarget, ...], Field(min_length=1, max_length=20)]


class McpServer(BaseModel):
    """An `[[mcp_servers]]` table: a program that this server starts as an MCP server over stdin and stdout. It can only
    be declared here, because it starts a program; a project's tools of type `mcp` name it as `server`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$")]
    command: Annotated[str, Field(min_length=1)]
    args: tuple[str, ...] = ()
    env: dict[str, SecretStr] = {}
    """Its whole environment, except PATH, HOME and similar variables."""
    cwd: Path | None = None
    projects: tuple[UUID, ...] | None = None
    """The projects that may use it; None: all. Each project has its own process."""


class Oidc(BaseModel):
    """An `[oidc]` table: the OpenID Connect provider that people sign in with. It needs `public_url`, and at the
    provider the redirect URI `<public_url>/console/sign-in/oidc/callback`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    issuer: Annotated[str, Field(pattern=r"^https?://[^?#\s]+$")]
    client_id: Annotated[str, Field(min_length=1)]
    client_secret: SecretStr | None = None
    """None: a public client, protected by PKCE only."""
    name: Annotated[str, Field(min_length=1, max_length=60)] = "single sign-on"
    """The name on the button: `Sign in with …`."""
    scopes: tuple[str, ...] = ("openid", "email", "profile")
    domains: tuple[str, ...] = ()
    """Only e-mail addresses of these domains may sign in; empty: all."""
    newcomers: Literal["invited", "members"] = "invited"
    """Whether a new user needs an invitation to the address, or becomes a member of the first organization."""
    trust_email: bool = False
    """The provider issues only its own addresses, so an address without `email_verified` counts as verified."""

    @field_validator("issuer")
    @classmethod
    def _over_tls(cls, value: str) -> str:
        host = urlsplit(value).hostname or ""
        if not value.startswith("https://") and host not in _THIS_MACHINE:
            raise ValueError("must begin with https://, unless the provider is on this machine")
        return value

    @field_validator("scopes")
    @classmethod
    def _openid(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        return values if "openid" in values else ("openid", *values)

    @field_validator("domains")
    @classmethod
    def _in_lower_case(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(value.lower().lstrip("@") for value in values)


class Backup(BaseModel):
    """A `[backup]` table: scheduled backups, and the defaults of `stoa backup` without a directory."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    directory: Path | None = None
    """None: no backups. The last part of the path is created if it does not exist."""
    schedule: str = "0 3 * * *"
    """The five fields of cron, in UTC."""
    keep: Annotated[int, Field(ge=0)] = 7
    """How many of the last backups are kept; and of how many days, weeks and months the newest one."""
    keep_daily: Annotated[int, Field(ge=0)] = 7
    keep_weekly: Annotated[int, Field(ge=0)] = 4
    keep_monthly: Annotated[int, Field(ge=0)] = 6
    passphrase: Annotated[SecretStr, Field(min_length=8)] | None = None
    """The passphrase for encryption; alternatively `key_file`."""
    key_file: Path | None = None
    include_secret_key: bool = False
    """Puts `secret.key` into encrypted backups."""
    files: bool = False
    """Copies the files of a bucket too; those of the data directory are always in a backup."""

    @model_validator(mode="after")
    def _consistent(self) -> "Backup":
        if self.passphrase is not None and self.key_file is not None:
            raise ValueError("takes a passphrase or a key_file, not both")
        if self.include_secret_key and self.passphrase is None and self.key_file is None:
            raise ValueError("include_secret_key needs a passphrase or key_file: the key is never stored in the clear")
        return self

    @field_validator("schedule")
    @classmethod
    def _comes_due(cls, value: str) -> str:
        from stoa.db.backup.rules import schedule_problem  # noqa: PLC0415 — for those who take backups

        if problem := schedule_problem(value):
            raise ValueError(problem)
        return value


class Smtp(BaseModel):
    """An `[smtp]` table: the mail server for invitations and forgotten passwords. It needs `public_url`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: Annotated[str, Field(min_length=1)]
    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    """None: 587 with `starttls`, 465 with `tls`, 25 with `none`."""
    tls: Literal["starttls", "tls", "none"] = "starttls"
    username: str | None = None
    password: SecretStr | None = None
    sender: Annotated[str, Field(pattern=r"^[^\r\n]*[^@\s]+@[^@\s]+$")]
    """`Stoa <stoa@example.com>`, or the address alone."""

    @model_validator(mode="after")
    def _no_secret_in_clear(self) -> "Smtp":
        if self.tls == "none" and self.username is not None and self.host not in _THIS_MACHINE:
            raise ValueError("a password is sent over TLS only; set tls to starttls or tls")
        if (self.username is None) != (self.password is None):
            raise ValueError("needs both username and password, or neither")
        return self


_THIS_MACHINE: Final = ("localhost", "127.0.0.1", "::1")
