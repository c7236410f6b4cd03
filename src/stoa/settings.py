"""One frozen Settings. The environment and `stoa.toml` are read here and nowhere else.

A flag of the command line wins over the environment, the environment over `stoa.toml`, that over the default.
"""

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator, model_validator

CONFIG_FILE: Final = "stoa.toml"


class SettingsError(Exception):
    """The configuration cannot be used; the message names every bad setting."""


class Provider(BaseModel):
    """A model provider: found in the environment, or a `[[providers]]` table of stoa.toml."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
    """Leads the slugs of its models: `openai/gpt-…`."""
    type: Literal["openai", "anthropic", "ollama"]
    base_url: str | None = None
    api_key: SecretStr | None = None
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
    """A `[reranker]` table of stoa.toml, for knowledge bases: an endpoint of the `/rerank` wire (Jina, Cohere, Voyage, vLLM …), or a cross-encoder of this
    machine: `path`, a directory with `model.onnx` and `tokenizer.json`."""

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
    """A `[[prices]]` table: US dollars per million tokens of the models whose slug matches (`openai/gpt-*`); the first match counts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: Annotated[str, Field(min_length=1)]
    prompt: Annotated[float, Field(ge=0)]
    completion: Annotated[float, Field(ge=0)]
    cached: Annotated[float, Field(ge=0)] | None = None


class McpServer(BaseModel):
    """An `[[mcp_servers]]` table: a program that this server starts and speaks MCP to over its stdin and stdout. Only here can one be
    declared, because it starts programs; a project's tools of type `mcp` name it as `server`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$")]
    command: Annotated[str, Field(min_length=1)]
    args: tuple[str, ...] = ()
    env: dict[str, SecretStr] = {}
    """All of its environment, beside PATH, HOME and the like."""
    cwd: Path | None = None
    projects: tuple[UUID, ...] | None = None
    """The projects that may use it; None: all of them. Each has a process of its own."""


class Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8080
    domain: str = "localhost"
    data_dir: Path = Path(".stoa")
    database_url: SecretStr | None = None
    bootstrap_key: SecretStr | None = None
    secret_key: SecretStr | None = None
    """Encrypts connections' credentials and signs stream tickets; made in the data directory when not given. Nodes of one database share it."""
    metrics_token: Annotated[SecretStr, Field(min_length=16)] | None = None
    """Opens `GET /metrics` to who sends it as a bearer token. None: it is open to this machine alone, when the server listens on loopback."""
    providers: tuple[Provider, ...] = ()
    default_model: str | None = None
    ocr_model: Annotated[str, Field(min_length=1)] | None = None
    """The slug of a model that sees images: it reads the pages of knowledge bases' files that hold no text. None: they are only named."""
    prices: tuple[Price, ...] = ()
    embeddings: Embeddings | None = None
    mcp_servers: tuple[McpServer, ...] = ()
    reranker: Rerank | None = None
    allow_private_addresses: bool = False
    """Whether connections that tenants make may lead to private addresses. The operator's own providers always may."""
    source_directories: tuple[Path, ...] = ()
    """Directories of this machine that sources of knowledge bases may read, by every tenant; none unless named."""
    cors_origins: tuple[str, ...] = ("*",)
    runs_max: Annotated[int, Field(ge=1, le=20_000)] = 2_000
    """Runs that this node carries at once; more wait in the database."""
    connections_max: Annotated[int, Field(ge=4, le=200)] = 16
    drain_seconds_max: Annotated[float, Field(ge=0, le=3600)] = 10.0
    connections_per_address_max: Annotated[int, Field(ge=1)] | None = None
    """HTTP connections from one address; more are answered 503. None: half of what the node can take. Count a reverse proxy's as one address."""
    streams_per_key_max: Annotated[int, Field(ge=1)] = 10_000
    """Event streams that one access key may have open on this node; one more is answered 429."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["auto", "json", "console"] = "auto"
    """`auto`: lines for people on a terminal, JSON everywhere else."""

    @field_validator("mcp_servers")
    @classmethod
    def _declared_once(cls, servers: tuple[McpServer, ...]) -> tuple[McpServer, ...]:
        for server in servers:
            if sum(other.name == server.name for other in servers) > 1:
                raise ValueError(f"{server.name} is declared twice")
        return servers


_ENVIRONMENT: Final[Mapping[str, str]] = {
    "STOA_HOST": "host",
    "STOA_PORT": "port",
    "STOA_DOMAIN": "domain",
    "STOA_DATA_DIR": "data_dir",
    "STOA_DATABASE_URL": "database_url",
    "STOA_BOOTSTRAP_KEY": "bootstrap_key",
    "STOA_SECRET_KEY": "secret_key",
    "STOA_METRICS_TOKEN": "metrics_token",
    "STOA_DEFAULT_MODEL": "default_model",
    "STOA_OCR_MODEL": "ocr_model",
    "STOA_ALLOW_PRIVATE_ADDRESSES": "allow_private_addresses",
    "STOA_RUNS_MAX": "runs_max",
    "STOA_CONNECTIONS_MAX": "connections_max",
    "STOA_DRAIN_SECONDS_MAX": "drain_seconds_max",
    "STOA_CONNECTIONS_PER_ADDRESS_MAX": "connections_per_address_max",
    "STOA_STREAMS_PER_KEY_MAX": "streams_per_key_max",
    "STOA_LOG_LEVEL": "log_level",
    "STOA_LOG_FORMAT": "log_format",
}


def load(environment: Mapping[str, str], flags: Mapping[str, Any], config: Path | None = None) -> Settings:
    """Raises SettingsError. `config` defaults to ./stoa.toml, which may be absent; a named file may not."""
    path = config or Path(CONFIG_FILE)
    values: dict[str, Any] = {}
    if config is not None or path.is_file():
        try:
            values = tomllib.loads(path.read_text("utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise SettingsError(f"{path} cannot be read: {error}") from error
    for variable, name in _ENVIRONMENT.items():
        if environment.get(variable):
            values[name] = environment[variable]
    if environment.get("STOA_CORS_ORIGINS"):
        values["cors_origins"] = [origin.strip() for origin in environment["STOA_CORS_ORIGINS"].split(",")]
    if environment.get("STOA_RERANKER_PATH"):
        values["reranker"] = {"path": environment["STOA_RERANKER_PATH"]}
    if environment.get("STOA_SOURCE_DIRECTORIES"):
        values["source_directories"] = [
            path for path in environment["STOA_SOURCE_DIRECTORIES"].split(os.pathsep) if path
        ]
    values |= {name: value for name, value in flags.items() if value is not None}
    declared = list(values.get("providers", ()))
    names = {provider.get("name") for provider in declared if isinstance(provider, dict)}
    values["providers"] = declared + [found for found in _providers(environment) if found["name"] not in names]
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        raise SettingsError(
            "; ".join(_explain(problem["loc"], problem["msg"]) for problem in error.errors())
        ) from error


def _explain(location: tuple[int | str, ...], message: str) -> str:
    name = ".".join(str(part) for part in location)
    variable = next((variable for variable, setting in _ENVIRONMENT.items() if setting == name), None)
    return f"{name}{f' ({variable})' if variable else ''}: {message}"


def _providers(environment: Mapping[str, str]) -> list[dict[str, Any]]:
    """What the environment already holds for other tools counts here too. A local Ollama is looked for without being named."""
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
