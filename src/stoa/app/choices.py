"""Converts settings into arguments of the slices: providers, embedders, programs and prices."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import SecretStr

from stoa import access, embedding, gateway, tools
from stoa.access.component import ExternalServices
from stoa.access.component import ProviderSettings as ProviderOfPeople
from stoa.db.embedded import locate
from stoa.doctor import DataLocation
from stoa.gateway.component import ProviderSettings
from stoa.gateway.providers.extractive import SLUG
from stoa.outbound import Outbound
from stoa.outbound.certificates import checked_bundle
from stoa.settings import SUBPROCESS, Provider, Settings, SettingsError
from stoa.traces import Endpoint, headers_of

EMBEDDINGS_SLUG: Final = "stoa-embeddings"
"""The local embedder, as the AI gateway names it."""
_BY_LANGUAGE: Final = "auto"
_EMBEDDERS: Final = {
    "minilm": embedding.MINILM,
    embedding.MINILM: embedding.MINILM,
    "multilingual": embedding.MULTILINGUAL,
    embedding.MULTILINGUAL: embedding.MULTILINGUAL,
}


def secret_of(settings: Settings) -> bytes:
    """The installation's secret; generated at the first start if none is set."""
    if settings.secret_key is not None:
        return settings.secret_key.get_secret_value().encode()
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    return gateway.load_or_make(settings.data_dir / "secret.key")


def data(settings: Settings) -> DataLocation:
    """Where the installation's data is, as the doctor shows it."""
    if settings.database_url is not None:
        where = "the PostgreSQL of STOA_DATABASE_URL"
    else:
        where = str(locate(settings.data_dir).database or "a PostgreSQL that this process was given")
    return DataLocation(files=settings.blobs or str(settings.data_dir.resolve()), database=where)


def providers(settings: Settings) -> Sequence[ProviderSettings]:
    return [
        ProviderSettings(
            name=configured.name,
            type=configured.type,
            base_url=configured.base_url,
            api_key=plain(configured.api_key),
            ca_bundle=_bundle(configured),
            models=configured.models,
        )
        for configured in settings.providers
    ]


def _bundle(configured: Provider) -> str | None:
    """Raises SettingsError for a file that holds no certificates."""
    if configured.ca_file is None:
        return None
    try:
        return checked_bundle(configured.ca_file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        reason = error if isinstance(error, OSError) else f"it {error}"
        raise SettingsError(f"ca_file of the provider {configured.name} cannot be used: {reason}") from error


def outside(settings: Settings) -> ExternalServices:
    """The sign-in provider, the mail server and the public address."""
    return ExternalServices(settings.public_url, _provider(settings), _mail_server(settings))


def _provider(settings: Settings) -> ProviderOfPeople | None:
    chosen = settings.oidc
    if chosen is None:
        return None
    return ProviderOfPeople(
        chosen.issuer,
        chosen.client_id,
        plain(chosen.client_secret),
        chosen.name,
        chosen.scopes,
        trust_email=chosen.trust_email,
        newcomers=access.SignUpPolicy(chosen.domains, members=chosen.newcomers == "members"),
    )


def _mail_server(settings: Settings) -> access.MailServer | None:
    chosen = settings.smtp
    if chosen is None:
        return None
    return access.MailServer(
        chosen.host,
        chosen.port or {"starttls": 587, "tls": 465, "none": 25}[chosen.tls],
        chosen.tls,
        chosen.sender,
        chosen.username,
        plain(chosen.password),
        str(settings.ca_file) if settings.ca_file is not None else None,
    )


def prices(settings: Settings) -> Sequence[gateway.Price]:
    """The operator's prices, and the built-in models, which are free."""
    own = [gateway.Price(SLUG, 0, 0), gateway.Price(EMBEDDINGS_SLUG, 0, 0)]
    return [*(gateway.Price(**price.model_dump()) for price in settings.prices), *own]


def facts(settings: Settings) -> Sequence[gateway.Facts]:
    """The operator's facts about models."""
    return [gateway.Facts(**one.model_dump()) for one in settings.models]


def routes(settings: Settings) -> Sequence[gateway.RouteSettings]:
    return [
        gateway.RouteSettings(
            route.slug,
            [gateway.TargetSettings(target.model, target.weight, target.order) for target in route.targets],
        )
        for route in settings.router
    ]


def programs(settings: Settings) -> Sequence[tools.Program]:
    return [
        tools.Program(
            declared.name,
            declared.command,
            declared.args,
            {name: value.get_secret_value() for name, value in declared.env.items()},
            str(declared.cwd) if declared.cwd else None,
            frozenset(declared.projects) if declared.projects is not None else None,
        )
        for declared in settings.mcp_servers
    ]


def sandbox(settings: Settings) -> tools.Sandbox | None:
    """Where Python code of flows runs; None: code is refused."""
    if settings.sandbox is None:
        return None
    return tools.Sandbox(None if settings.sandbox == SUBPROCESS else shlex.split(settings.sandbox))


def embedder(settings: Settings, outbound: Outbound) -> embedding.RemoteEmbedder | None:
    """The operator's endpoint; None where the local model embeds."""
    chosen = settings.embeddings
    if chosen is None:
        return None
    return embedding.RemoteEmbedder(
        chosen.base_url, chosen.model, plain(chosen.api_key), chosen.dimensions, outbound=outbound
    )


@dataclass(frozen=True, slots=True)
class LocalEmbedders:
    """The embedders of this machine by their names, and the default of new bases; None: by their language."""

    by_name: Mapping[str, embedding.Embedder]
    chosen: str | None

    @property
    def default(self) -> embedding.Embedder:
        """The embedder for conversations and the AI gateway, where there is no base."""
        return self.by_name[self.chosen or embedding.MINILM]

    async def load(self) -> None:
        """Loads the chosen models before the server answers. Raises SettingsError."""
        if self.chosen is None or self.chosen == embedding.MINILM:
            return  # Loaded at first use.
        try:
            await self.default.prepare()
        except embedding.EmbedderError as error:
            raise SettingsError(f"embedder (STOA_EMBEDDER): {error.message}") from error

    async def close(self) -> None:
        for one in self.by_name.values():
            await one.close()


def local_embedders(settings: Settings) -> LocalEmbedders:
    """Raises SettingsError for an invalid embedder."""
    by_name: dict[str, embedding.Embedder] = {embedding.MINILM: embedding.LocalEmbedder(settings.data_dir / "models")}
    if embedding.MultilingualEmbedder.is_installed() or _EMBEDDERS.get(settings.embedder) == embedding.MULTILINGUAL:
        by_name[embedding.MULTILINGUAL] = embedding.MultilingualEmbedder()
    if settings.embedder == _BY_LANGUAGE:
        return LocalEmbedders(by_name, None)
    if settings.embedder in _EMBEDDERS:
        return LocalEmbedders(by_name, _EMBEDDERS[settings.embedder])
    directory = Path(settings.embedder)
    if not directory.is_dir():
        known = ", ".join((_BY_LANGUAGE, *_EMBEDDERS))
        raise SettingsError(f"embedder (STOA_EMBEDDER): {settings.embedder} is no directory and none of {known}")
    own = embedding.DirectoryEmbedder(directory)
    if own.model in by_name:
        raise SettingsError(f"embedder (STOA_EMBEDDER): the name {own.model} is taken by a model of Stoa")
    return LocalEmbedders({**by_name, own.model: own}, own.model)


def reranker(settings: Settings, outbound: Outbound) -> embedding.LocalReranker | embedding.RemoteReranker | None:
    chosen = settings.reranker
    if chosen is None:
        return None
    if chosen.path is not None:
        return embedding.LocalReranker(chosen.path)
    assert chosen.base_url is not None
    assert chosen.model is not None
    return embedding.RemoteReranker(chosen.base_url, chosen.model, plain(chosen.api_key), outbound=outbound)


async def load(embedders: LocalEmbedders, chosen: embedding.LocalReranker | embedding.RemoteReranker | None) -> None:
    """Loads the configured models before the server answers. Raises SettingsError."""
    await embedders.load()
    if not isinstance(chosen, embedding.LocalReranker):
        return
    try:
        await chosen.prepare()
    except embedding.RerankerError as error:
        raise SettingsError(f"reranker.path (STOA_RERANKER_PATH): {error.message}") from error


def trace_endpoint(settings: Settings) -> Endpoint | None:
    """The OTLP endpoint for the runs of all projects."""
    if settings.otlp_endpoint is None:
        return None
    headers = headers_of(plain(settings.otlp_headers) or "")
    return Endpoint(settings.otlp_endpoint, headers, settings.otlp_content)


def plain(secret: SecretStr | None) -> str | None:
    return secret.get_secret_value() if secret is not None else None
