"""Where settings come from: flags, then the environment, then `stoa.toml`."""

import difflib
import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from stoa.settings.tables import Backup, Embeddings, McpServer, ModelFacts, Oidc, Price, Provider, Rerank, Router, Smtp
from stoa.settings.values import Settings

if TYPE_CHECKING:
    from pydantic_settings import PydanticBaseSettingsSource

CONFIG_FILE: Final = "stoa.toml"


class SettingsError(Exception):
    """The configuration cannot be used; the message names every bad setting."""


_TABLES: Final[Mapping[str, type[BaseModel]]] = {
    "providers": Provider,
    "prices": Price,
    "models": ModelFacts,
    "router": Router,
    "embeddings": Embeddings,
    "mcp_servers": McpServer,
    "reranker": Rerank,
    "oidc": Oidc,
    "smtp": Smtp,
    "backup": Backup,
}
_FROM_VARIABLES: Final = ("embeddings", "reranker", "oidc", "smtp", "backup")
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
"""Variables that other programs read too, in upper or lower case; used if our own variable is not set."""
_SERVICE_LINK: Final = re.compile(
    r"STOA_(\w+_)?(SERVICE_(HOST|PORT)(_\w+)?|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)"
)
"""Variables that Kubernetes sets in every container for a service named `stoa…`, including STOA_PORT as
`tcp://10.0.0.1:8080`."""


def variables() -> Sequence[str]:
    """Every variable that `load` reads: one for each setting, and one for each key of a table that stands alone."""
    single = [name for name in Settings.model_fields if name not in _TABLES]
    tables = [f"{table}_{key}" for table in _FROM_VARIABLES for key in _TABLES[table].model_fields]
    return [f"{_PREFIX}{name.upper()}" for name in (*single, *tables)]


def load(environment: Mapping[str, str], flags: Mapping[str, Any], config: Path | None = None) -> Settings:
    """Raises SettingsError. `config` defaults to ./stoa.toml, which may be absent; a named file may not."""
    # Imported here because it takes 40 ms, which client commands do not need.
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


def bucket_keys(environment: Mapping[str, str] | None = None) -> Mapping[str, str]:
    """The variables of Amazon's own tools: `key_id` and `secret`, with `token`, `region` and `endpoint` if they are
    set. Empty if the credentials come from a role or a file."""
    given = os.environ if environment is None else environment
    names = {
        "key_id": ("AWS_ACCESS_KEY_ID",),
        "secret": ("AWS_SECRET_ACCESS_KEY",),
        "token": ("AWS_SESSION_TOKEN",),
        "region": ("AWS_REGION", "AWS_DEFAULT_REGION"),
        "endpoint": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"),
    }
    found = {key: next(filter(None, map(given.get, several)), None) for key, several in names.items()}
    return {key: value for key, value in found.items() if value} if found["key_id"] and found["secret"] else {}


def _variables_of(environment: Mapping[str, str]) -> Mapping[str, str]:
    """The variables with a value. Raises SettingsError for an unknown STOA_ variable."""
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
    message = f"{name}{f' ({variable})' if variable in variables() else ''}: {problem['msg']}"
    return message.removeprefix(": Value error, ")


def _meant(name: str, known: Sequence[str]) -> str:
    bare = {candidate.removeprefix(_PREFIX): candidate for candidate in known}
    close = difflib.get_close_matches(name.removeprefix(_PREFIX), bare, n=1, cutoff=0.7)
    return f"; did you mean {bare[close[0]]}?" if close else f"; there are {', '.join(sorted(known))}"


def _providers(environment: Mapping[str, str]) -> list[dict[str, Any]]:
    """Providers from the variables of other tools (OPENAI_API_KEY and the like). A local Ollama is tried without a
    setting."""
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
