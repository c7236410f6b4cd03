"""One frozen Settings. The environment and `stoa.toml` are read here and nowhere else.

A flag of the command line overrides the environment, the environment overrides `stoa.toml`, and that overrides the
default. An unknown name is an error in each of them: a misspelt limit that is silently ignored would be noticed when it
is too late.
"""

import difflib
import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from ipaddress import ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal
from urllib.parse import urlsplit
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic.fields import FieldInfo

from stoa.kernel.leases import ITEMS_MAX, SYNCS_MAX

if TYPE_CHECKING:
    from pydantic_settings import PydanticBaseSettingsSource

CONFIG_FILE: Final = "stoa.toml"


class SettingsError(Exception):
    """The configuration cannot be used; the message names every bad setting."""


class Provider(BaseModel):
    """A model provider: found in the environment, or a `[[providers]]` table of stoa.toml."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
    """Leads the slugs of its models: `openai/gpt-…`."""
    type: Literal[
        "openai",
        "anthropic",
        "azure",
        "gemini",
        "openrouter",
        "groq",
        "mistral",
        "deepseek",
        "ollama",
        "llamacpp",
        "vllm",
    ]
    """As the table of `gateway/registry.py` has them, which a start need not load."""
    base_url: str | None = None
    api_key: SecretStr | None = None
    ca_file: Path | None = None
    """Certificate authorities (PEM) that this provider's certificate may be signed by, beside the system's."""
    models: tuple[str, ...] | None = None
    """Only these; None asks the provider for its list."""


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
    match counts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: Annotated[str, Field(min_length=1)]
    prompt: Annotated[float, Field(ge=0)]
    completion: Annotated[float, Field(ge=0)]
    cached: Annotated[float, Field(ge=0)] | None = None


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
    """An `[[mcp_servers]]` table: a program that this server starts and speaks MCP to over its stdin and stdout. Only
    here can one be declared, because it starts programs; a project's tools of type `mcp` name it as `server`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$")]
    command: Annotated[str, Field(min_length=1)]
    args: tuple[str, ...] = ()
    env: dict[str, SecretStr] = {}
    """All of its environment, beside PATH, HOME and the like."""
    cwd: Path | None = None
    projects: tuple[UUID, ...] | None = None
    """The projects that may use it; None: all of them. Each has a process of its own."""


class Oidc(BaseModel):
    """An `[oidc]` table: the OpenID Connect provider that people sign in with. It needs `public_url`, and at the
    provider the redirect URI `<public_url>/console/sign-in/oidc/callback`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    issuer: Annotated[str, Field(pattern=r"^https?://[^?#\s]+$")]
    client_id: Annotated[str, Field(min_length=1)]
    client_secret: SecretStr | None = None
    """None: a public client, which PKCE alone protects."""
    name: Annotated[str, Field(min_length=1, max_length=60)] = "single sign-on"
    """What the button says: `Sign in with …`."""
    scopes: tuple[str, ...] = ("openid", "email", "profile")
    domains: tuple[str, ...] = ()
    """Only e-mail addresses of these domains sign in; none named: all."""
    newcomers: Literal["invited", "members"] = "invited"
    """Who is no user yet needs an invitation to the address, or becomes a member of the first organization."""
    trust_email: bool = False
    """The provider gives out addresses of its own only, so that one without `email_verified` is verified too."""

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


class Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8080
    domain: str = "localhost"
    public_url: Annotated[str, Field(pattern=r"^https?://[^/?#\s]+/?$")] | None = None
    """Scheme, name and port by which the outside reaches this server; links and `url` fields are made from it."""
    data_dir: Path = Path(".stoa")
    database_url: SecretStr | None = None
    bootstrap_key: SecretStr | None = None
    secret_key: SecretStr | None = None
    """Encrypts connections' credentials and signs stream tickets; made in the data directory when not given. Nodes of
    one database share it."""
    metrics_token: Annotated[SecretStr, Field(min_length=16)] | None = None
    """Opens `GET /metrics` to who sends it as a bearer token. None: it is open to this machine alone, when the server
    listens on loopback."""
    providers: tuple[Provider, ...] = ()
    default_model: str | None = None
    ocr_model: Annotated[str, Field(min_length=1)] | None = None
    """The slug of a model that sees images: it reads the pages of knowledge bases' files that hold no text. None: they
    are only named."""
    prices: tuple[Price, ...] = ()
    router: tuple[Router, ...] = ()
    embeddings: Embeddings | None = None
    embedder: Annotated[str, Field(min_length=1)] = "auto"
    """The embedder of new knowledge bases on this machine: `minilm` (English), `multilingual` (about a hundred
    languages), or a directory with a model in ONNX. `auto`: by the language of the base, as far as both are
    installed."""
    mcp_servers: tuple[McpServer, ...] = ()
    oidc: Oidc | None = None
    smtp: Smtp | None = None
    reranker: Rerank | None = None
    allow_private_addresses: bool = False
    """Whether connections that tenants make may lead to private addresses. The operator's own providers always may."""
    https_proxy: SecretStr | None = None
    """The proxy for https:// endpoints; it may hold a user name and password. `http_proxy` is the one for http://."""
    http_proxy: SecretStr | None = None
    no_proxy: str | None = None
    """Hosts that are called directly: names with all names below them, addresses, networks, `*`; separated by
    commas."""
    proxy_resolves: bool = False
    """The proxy resolves names itself and refuses private addresses; otherwise this server asks it for addresses."""
    ca_file: Path | None = None
    """Certificate authorities (PEM) beside the system's, for every outbound call."""
    trusted_proxies: tuple[str, ...] = ("127.0.0.1", "::1")
    """Addresses and networks of reverse proxies, whose `X-Forwarded-For` and `X-Forwarded-Proto` are believed. By
    default those of this machine; a lone `none` trusts nobody."""
    source_directories: tuple[Path, ...] = ()
    """Directories of this machine that sources of knowledge bases may read, by every tenant; none unless named."""
    traces_retention_days: Annotated[float, Field(gt=0)] | None = 30.0
    """Traces that nothing was added to for so long are removed; None keeps them."""
    otlp_endpoint: Annotated[str, Field(pattern=r"^https?://[^\s]+$", max_length=2_000)] | None = None
    """Where the runs of all projects are exported to as OTLP, but of those that name an endpoint of their own: the
    whole URL, `https://collector.example.com/v1/traces`."""
    otlp_headers: SecretStr | None = None
    """Sent with them: `name=value,name=value`, as OTEL_EXPORTER_OTLP_HEADERS has it."""
    otlp_content: bool = False
    """Whether inputs and outputs are exported too."""
    cors_origins: tuple[str, ...] = ("*",)
    runs_max: Annotated[int, Field(ge=1, le=20_000)] = 2_000
    """Runs that this node works on at once; more wait in the database."""
    runs_per_project_max: Annotated[int, Field(ge=1)] | None = None
    """How many of these may belong to one project. None: nine times the number of free places, so that other projects
    always find one."""
    items_per_project_max: Annotated[int, Field(ge=1, le=ITEMS_MAX)] = ITEMS_MAX - 1
    """Of the files of knowledge bases that this node reads at once, how many may belong to one project."""
    syncs_per_project_max: Annotated[int, Field(ge=1, le=SYNCS_MAX)] = SYNCS_MAX - 1
    """Of the sources that this node syncs at once, how many may belong to one project."""
    connections_max: Annotated[int, Field(ge=4, le=200)] = 16
    drain_seconds_max: Annotated[float, Field(ge=0, le=3600)] = 10.0
    connections_per_address_max: Annotated[int, Field(ge=1)] | None = None
    """HTTP connections from one address; more are answered 503. None: half of the node's maximum. All connections of a
    reverse proxy have one address."""
    streams_per_key_max: Annotated[int, Field(ge=1)] = 10_000
    """Event streams that one access key may have open on this node; one more is answered 429."""
    runs_of_revoked_keys: Literal["finish_without_tools", "cancel", "finish"] = "finish_without_tools"
    """What becomes of the runs of a key that is revoked or expires: they answer without calling another tool, are
    canceled, or go on as if nothing had happened."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["auto", "json", "console"] = "auto"
    """`auto`: lines for people on a terminal, JSON everywhere else."""

    @field_validator("trusted_proxies")
    @classmethod
    def _addresses(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        if values == ("none",):
            return ()
        for value in values:
            try:
                ip_network(value)
            except ValueError as error:
                raise ValueError(f"{value} is no address or network, such as 10.0.0.5 or 10.0.0.0/24") from error
        return values

    @field_validator("router")
    @classmethod
    def _routed_once(cls, routes: tuple[Router, ...]) -> tuple[Router, ...]:
        for route in routes:
            if sum(other.slug == route.slug for other in routes) > 1:
                raise ValueError(f"{route.slug} is routed twice")
        return routes

    @model_validator(mode="after")
    def _reached_from_outside(self) -> "Settings":
        """Links in mails and redirects are made from this address: a request's Host is chosen by its sender."""
        if self.public_url is None and (self.oidc is not None or self.smtp is not None):
            which = "oidc" if self.oidc is not None else "smtp"
            raise ValueError(f"{which} needs public_url (STOA_PUBLIC_URL), the address that people open")
        return self

    @field_validator("mcp_servers")
    @classmethod
    def _declared_once(cls, servers: tuple[McpServer, ...]) -> tuple[McpServer, ...]:
        for server in servers:
            if sum(other.name == server.name for other in servers) > 1:
                raise ValueError(f"{server.name} is declared twice")
        return servers


_TABLES: Final[Mapping[str, type[BaseModel]]] = {
    "providers": Provider,
    "prices": Price,
    "router": Router,
    "embeddings": Embeddings,
    "mcp_servers": McpServer,
    "reranker": Rerank,
    "oidc": Oidc,
    "smtp": Smtp,
}
_FROM_VARIABLES: Final = ("embeddings", "reranker", "oidc", "smtp")
"""Tables that stand alone, so that a variable can name each of their keys."""
_PREFIX: Final = "STOA_"
_OF_CLIENTS: Final = (
    "STOA_KEY",
    "STOA_URL",
    "STOA_CREDENTIALS",
    *(
        f"STOA_SECRET_{name}"
        for name in ("TOKEN", "USERNAME", "AUTHORIZATION", "ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "API_KEY")
    ),
)
"""Variables that client commands read (`stoa kb sources create --secret token`); they are not settings of the
server."""
_LISTS: Final[Mapping[str, str]] = {"cors_origins": ",", "trusted_proxies": ",", "source_directories": os.pathsep}
"""Settings that are lists, and what separates their values in a variable."""
_LISTS_OF_TABLES: Final = ("scopes", "domains")
"""The same within tables that stand alone; a comma separates their values."""
_OF_EVERYBODY: Final[Mapping[str, str]] = {
    "HTTPS_PROXY": "STOA_HTTPS_PROXY",
    "HTTP_PROXY": "STOA_HTTP_PROXY",
    "NO_PROXY": "STOA_NO_PROXY",
    "SSL_CERT_FILE": "STOA_CA_FILE",
}
"""Variables that other programs read too, in upper or lower case; they count where our own variable is not set."""
_SERVICE_LINK: Final = re.compile(
    r"STOA_(\w+_)?(SERVICE_(HOST|PORT)(_\w+)?|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)"
)
"""What Kubernetes sets in every container for a service named `stoa…`; STOA_PORT among them, as
`tcp://10.0.0.1:8080`."""


def variables() -> Sequence[str]:
    """Every variable that `load` reads: one for each setting, and one for each key of a table that stands alone."""
    single = [name for name in Settings.model_fields if name not in _TABLES]
    tables = [f"{table}_{key}" for table in _FROM_VARIABLES for key in _TABLES[table].model_fields]
    return [f"{_PREFIX}{name.upper()}" for name in (*single, *tables)]


def load(environment: Mapping[str, str], flags: Mapping[str, Any], config: Path | None = None) -> Settings:
    """Raises SettingsError. `config` defaults to ./stoa.toml, which may be absent; a named file may not."""
    # 40 ms that commands which only ask a server do without.
    from pydantic_settings import BaseSettings, EnvSettingsSource, TomlConfigSettingsSource  # noqa: PLC0415
    from pydantic_settings import SettingsError as SourceError  # noqa: PLC0415

    given = _variables_of(environment)

    class Environment(EnvSettingsSource):
        def prepare_field_value(self, field_name: str, field: FieldInfo, value: Any, value_is_complex: bool) -> Any:
            if field_name in _LISTS and isinstance(value, str):
                return [part.strip() for part in value.split(_LISTS[field_name]) if part.strip()]
            return super().prepare_field_value(field_name, field, value, value_is_complex)

        def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:
            if field_name in _LISTS_OF_TABLES and isinstance(value, str):
                return [part.strip() for part in value.split(",") if part.strip()]
            return super().decode_complex_value(field_name, field, value)

    class Loaded(Settings, BaseSettings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: "PydanticBaseSettingsSource",
            env_settings: "PydanticBaseSettingsSource",  # noqa: ARG003 — pydantic calls with all of them
            dotenv_settings: "PydanticBaseSettingsSource",  # noqa: ARG003
            file_secret_settings: "PydanticBaseSettingsSource",  # noqa: ARG003
        ) -> "tuple[PydanticBaseSettingsSource, ...]":
            from_environment = Environment(
                settings_cls, env_prefix=_PREFIX, env_nested_delimiter="_", env_nested_max_split=1
            )
            from_environment.env_vars = {name.lower(): value for name, value in given.items()}
            return init_settings, from_environment, TomlConfigSettingsSource(settings_cls, config or Path(CONFIG_FILE))

    try:
        if config is not None and not config.is_file():
            raise SettingsError(f"{config} cannot be read: there is no such file")
        loaded = Loaded(**{name: value for name, value in flags.items() if value is not None})
    except ValidationError as error:
        raise SettingsError("; ".join(_explain(problem) for problem in error.errors())) from error
    except SourceError as error:
        raise SettingsError(str(error.__cause__ or error)) from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"{config or CONFIG_FILE} cannot be read: {error}") from error
    named = {provider.name for provider in loaded.providers}
    found = [Provider(**provider) for provider in _providers(environment) if provider["name"] not in named]
    return loaded.model_copy(update={"providers": (*loaded.providers, *found)})


def _variables_of(environment: Mapping[str, str]) -> Mapping[str, str]:
    """Those with a value. Raises SettingsError for a STOA_ variable that is no setting."""
    known = variables()
    given: dict[str, str] = {}
    unknown: list[str] = []
    for name, value in environment.items():
        if not name.startswith(_PREFIX) or name in _OF_CLIENTS or not value:
            continue
        if _SERVICE_LINK.fullmatch(name) and (name not in known or "://" in value):
            continue
        if name in known:
            given[name] = value
        elif name.removeprefix(_PREFIX).lower() in _TABLES:
            unknown.append(f"{name} is no setting; this table stands in {CONFIG_FILE}")
        else:
            unknown.append(f"{name} is no setting{_meant(name, (*known, *_OF_CLIENTS))}")
    if unknown:
        raise SettingsError("; ".join(unknown))
    for common, ours in _OF_EVERYBODY.items():
        if value := environment.get(common) or environment.get(common.lower()):
            given.setdefault(ours, value)
    return given


def _explain(problem: Mapping[str, Any]) -> str:
    location = tuple(str(part) for part in problem["loc"])
    name = ".".join(location)
    if problem["type"] == "extra_forbidden":
        parent = Settings if len(location) == 1 else _TABLES.get(location[0], Settings)
        return f"{name} is no setting{_meant(location[-1], tuple(parent.model_fields))}"
    variable = f"{_PREFIX}{'_'.join(location).upper()}"
    said = f"{name}{f' ({variable})' if variable in variables() else ''}: {problem['msg']}"
    return said.removeprefix(": Value error, ")


def _meant(name: str, known: Sequence[str]) -> str:
    bare = {candidate.removeprefix(_PREFIX): candidate for candidate in known}
    close = difflib.get_close_matches(name.removeprefix(_PREFIX), bare, n=1, cutoff=0.7)
    return f"; did you mean {bare[close[0]]}?" if close else f"; there are {', '.join(sorted(known))}"


def _providers(environment: Mapping[str, str]) -> list[dict[str, Any]]:
    """Providers from the variables that other tools use (OPENAI_API_KEY and the like). A local Ollama is tried without
    being named."""
    found: list[dict[str, Any]] = []
    if environment.get("OPENAI_API_KEY"):
        found.append(
            {
                "name": "openai",
                "type": "openai",
                "api_key": environment["OPENAI_API_KEY"],
                "base_url": environment.get("OPENAI_BASE_URL") or None,
            }
        )
    if environment.get("ANTHROPIC_API_KEY"):
        found.append(
            {
                "name": "anthropic",
                "type": "anthropic",
                "api_key": environment["ANTHROPIC_API_KEY"],
                "base_url": environment.get("ANTHROPIC_BASE_URL") or None,
            }
        )
    found.append({"name": "ollama", "type": "ollama", "base_url": environment.get("OLLAMA_HOST") or None})
    return found
