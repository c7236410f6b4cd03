"""Every setting, with its default and its bounds."""

import shlex
import sys
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from stoa.kernel.leases import ITEMS_MAX, SYNCS_MAX
from stoa.settings.tables import Backup, Embeddings, McpServer, ModelFacts, Oidc, Price, Provider, Rerank, Router, Smtp

WORKERS_MAX = 64
SUBPROCESS = "subprocess"
"""The sandbox that is a confined process of this machine."""


class Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8080
    workers: Annotated[int, Field(ge=1, le=WORKERS_MAX)] | Literal["auto"] = 1
    """Worker processes behind one port; `auto` is one for each processor. A limit per node applies to each of them."""
    domain: str = "localhost"
    public_url: Annotated[str, Field(pattern=r"^https?://[^/?#\s]+/?$")] | None = None
    """The public scheme, hostname and port of this server; links and `url` fields are built from it."""
    data_dir: Path = Path(".stoa")
    blobs: Annotated[str, Field(pattern=r"^(s3|gs|az)://", max_length=800)] | None = None
    """Where the contents of files are: `s3://bucket/prefix`, `gs://bucket/prefix` or `az://container/prefix`; nodes of
    one database share it. Credentials are read from the variables that each cloud's own tools read. None: below the
    data directory."""
    blobs_endpoint: str | None = None
    """The URL of a server other than the cloud's own, such as `https://s3.example.com:9000`."""
    blobs_allow_http: bool = False
    """Whether that server may be called without encryption. On this machine it always may."""
    database_url: SecretStr | None = None
    """The operator's PostgreSQL; None: the embedded one. It may name several servers, and a pooler in transaction mode
    when `database_session_url` leads past it."""
    database_session_url: SecretStr | None = None
    """The same database for the few connections that need their own session: LISTEN, advisory locks, the journal
    writer, migrations."""
    bootstrap_key: SecretStr | None = None
    secret_key: SecretStr | None = None
    """Encrypts connections' credentials and signs stream tickets; made in the data directory when not given. Nodes of
    one database share it."""
    metrics_token: Annotated[SecretStr, Field(min_length=16)] | None = None
    """The bearer token for `GET /metrics`. None: only this machine can read it, if the server listens on loopback."""
    providers: tuple[Provider, ...] = ()
    default_model: str | None = None
    ocr_model: Annotated[str, Field(min_length=1)] | None = None
    """The slug of a model with vision: it reads the pages without text of knowledge bases' files. None: such pages are
    only named in warnings."""
    prices: tuple[Price, ...] = ()
    models: tuple[ModelFacts, ...] = ()
    router: tuple[Router, ...] = ()
    embeddings: Embeddings | None = None
    embedder: Annotated[str, Field(min_length=1)] = "auto"
    """The embedder of new knowledge bases on this machine: `minilm` (English), `multilingual` (about a hundred
    languages), or a directory with a model in ONNX. `auto`: by the language of the base, as far as both are
    installed."""
    mcp_servers: tuple[McpServer, ...] = ()
    sandbox: Annotated[str, Field(min_length=1, max_length=4_000)] | None = None
    """Where Python code of workflows runs: `subprocess`, a confined process of this machine (Linux), or the command
    line of a sandbox of your own that ends in a Python interpreter. None: flows with code are refused."""
    oidc: Oidc | None = None
    smtp: Smtp | None = None
    backup: Backup | None = None
    reranker: Rerank | None = None
    allow_private_addresses: bool = False
    """Whether tenants' connections may use private addresses. The operator's own providers always may."""
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
    """Addresses and networks of reverse proxies whose `X-Forwarded-For` and `X-Forwarded-Proto` are trusted. Default:
    this machine; `none` trusts nobody."""
    source_directories: tuple[Path, ...] = ()
    """Directories of this machine that sources of knowledge bases may read, for every tenant; default: none."""
    traces_retention_days: Annotated[float, Field(gt=0)] | None = 30.0
    """Traces are deleted so long after their last change; None keeps them."""
    otlp_endpoint: Annotated[str, Field(pattern=r"^https?://[^\s]+$", max_length=2_000)] | None = None
    """The OTLP endpoint for the runs of all projects without an endpoint of their own: the full URL,
    `https://collector.example.com/v1/traces`."""
    otlp_headers: SecretStr | None = None
    """Sent with them: `name=value,name=value`, as OTEL_EXPORTER_OTLP_HEADERS has it."""
    otlp_content: bool = False
    """Whether inputs and outputs are exported too."""
    cors_origins: tuple[str, ...] = ("*",)
    runs_max: Annotated[int, Field(ge=1, le=20_000)] = 2_000
    """Runs that this node executes at once; more wait in the database."""
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
    """What happens to the runs of a key that is revoked or expires: they answer without calling another tool, are
    canceled, or continue unchanged."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["auto", "json", "console"] = "auto"
    """`auto`: lines for people on a terminal, JSON everywhere else."""

    @field_validator("workers", mode="before")
    @classmethod
    def _workers(cls, value: object) -> object:
        if value == "auto":
            return value
        try:
            number = int(value) if isinstance(value, int | str) else 0
        except ValueError:
            number = 0
        if not 1 <= number <= WORKERS_MAX:
            raise ValueError(f"{value} is not a number from 1 to {WORKERS_MAX}, or auto")
        return number

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
    def _sessions_of_a_database(self) -> "Settings":
        if self.database_session_url is not None and self.database_url is None:
            raise ValueError("database_session_url goes with database_url, which is not set")
        return self

    @model_validator(mode="after")
    def _reached_from_outside(self) -> "Settings":
        """Links in mails and redirects are built from this address, because the sender of a request chooses its
        Host."""
        if self.public_url is None and (self.oidc is not None or self.smtp is not None):
            which = "oidc" if self.oidc is not None else "smtp"
            raise ValueError(f"{which} needs public_url (STOA_PUBLIC_URL), the address that people open")
        return self

    @field_validator("sandbox")
    @classmethod
    def _command(cls, value: str | None) -> str | None:
        try:
            words = shlex.split(value or SUBPROCESS)
        except ValueError as error:
            raise ValueError(f"{value} is no command line: {error}") from error
        if not words:
            raise ValueError(f"{value!r} names no program")
        if words == [SUBPROCESS] and sys.platform != "linux":
            raise ValueError(f"{SUBPROCESS} confines processes on Linux alone; name the command of another sandbox")
        return value

    @field_validator("mcp_servers")
    @classmethod
    def _declared_once(cls, servers: tuple[McpServer, ...]) -> tuple[McpServer, ...]:
        for server in servers:
            if sum(other.name == server.name for other in servers) > 1:
                raise ValueError(f"{server.name} is declared twice")
        return servers
