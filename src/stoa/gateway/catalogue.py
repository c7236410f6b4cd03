"""The models this node can use: the built-in one, those of the configured providers, and those of the caller's
connections."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from difflib import get_close_matches
from typing import Any, Final
from uuid import UUID, uuid5

import structlog

from stoa.db import Database, Row, Tx, load
from stoa.db.internal import internal, internal_statement
from stoa.gateway.offers import ModelEntry, Offer, Provider, ProviderError, ProviderState
from stoa.gateway.prices import Facts, line_of
from stoa.gateway.secrets import SecretError, Vault
from stoa.gateway.types import Capabilities, Endpoint, Model
from stoa.kernel.errors import BadRequest, NotFound, Unavailable
from stoa.kernel.pages import Page, PageRequest
from stoa.kernel.principal import Principal
from stoa.kernel.supervise import Supervisor

SQL: Final = load("stoa.gateway")
NAMESPACE: Final = UUID("5f0d7c1e-7c5b-5d0a-9d7e-0f6c2b8a4e10")
"""The namespace of global models' ids: derived from the slug, so that every node and every start gives a model the same
id."""
START_SECONDS_MAX: Final = 1.0
"""How long a start waits for providers; a slow one joins the catalogue later."""
RETRY_SECONDS: Final = 60.0
ADD_AGAIN_SECONDS: Final = 1.0
"""After the database was away while a provider's models were written down."""
_COMPARED_MAX: Final = 300
"""The limit of slugs that a misspelt one is compared with, which takes 2 ms."""
_log = structlog.get_logger("stoa.gateway")


class UnknownDefault(Exception):
    """STOA_DEFAULT_MODEL names no model of the catalogue."""


BuildConnection = Callable[[Endpoint, Offer], Model]
"""Returns the adapter of a tenant's model."""


class Catalogue:
    """Long-lived: `start` before use."""

    def __init__(
        self,
        database: Database,
        vault: Vault,
        builtin: tuple[str, Model],
        providers: Sequence[Provider],
        build: BuildConnection,
        default_slug: str | None,
        compatible_root: Callable[[str, str | None], str | None] = lambda _, base_url: base_url,
        facts: Sequence[Facts] = (),
    ) -> None:
        """`compatible_root` returns the base URL of OpenAI's other routes for a connection's type and URL; `facts` are
        the operator's, which override the providers'."""
        self._database = database
        self._compatible_root = compatible_root
        self._vault = vault
        self._builtin_slug, self._builtin = builtin
        self._providers = providers
        self._build = build
        self._default_slug = default_slug
        self._facts = facts
        self._entries: dict[UUID, ModelEntry] = {}
        self._by_slug: dict[str, ModelEntry] = {}
        self._models: dict[UUID, Model] = {}
        self._of_connections: dict[tuple[UUID, Any], Model] = {}
        self._listed: dict[str, int] = {}
        self._unreachable: dict[str, str] = {}
        self._supervisor = Supervisor()

    async def start(self) -> None:
        """Raises UnknownDefault when every provider answered and none has the configured default."""
        await self._add(
            "stoa",
            [
                Offer(
                    self._builtin_slug, "Stoa extractive (quotes the conversation's documents)", self._builtin.abilities
                )
            ],
            lambda _: self._builtin,
            prefix="",
        )
        probes = [
            self._supervisor.once(self._probe(provider), f"gateway.probe {provider.name}")
            for provider in self._providers
        ]
        if probes:
            await asyncio.wait(probes, timeout=START_SECONDS_MAX)
        if (
            self._default_slug
            and self.find(self._default_slug) is None
            and not self._unreachable
            and all(probe.done() for probe in probes)
        ):
            known = ", ".join(sorted(entry.slug for entry in self._entries.values()))
            raise UnknownDefault(
                f"STOA_DEFAULT_MODEL is {self._default_slug!r}, which no provider has. Known models: {known}."
            )

    async def stop(self) -> None:
        await self._supervisor.stop()

    def providers(self) -> Sequence[ProviderState]:
        """Each configured provider with its state."""
        return [
            ProviderState(
                provider.name,
                provider.url,
                self._listed.get(provider.name),
                self._unreachable.get(provider.name),
                provider.optional,
            )
            for provider in self._providers
        ]

    # --- asking -----------------------------------------------------------------------------------------------------
    def find(self, slug: str) -> ModelEntry | None:
        return self._by_slug.get(slug)

    def operators(self, slug: str) -> Model | None:
        """The adapter of a model that every tenant may use; None while no provider has it."""
        entry = self.find(slug)
        return self._models.get(entry.id) if entry is not None else None

    @property
    def default(self) -> ModelEntry:
        """STOA_DEFAULT_MODEL where it exists; otherwise the first model of a provider, or the built-in one."""
        chosen = self.find(self._default_slug) if self._default_slug else None
        builtin = self.find(self._builtin_slug)
        assert builtin is not None, "the catalogue is asked after its start"
        return chosen or next((entry for entry in self._entries.values() if entry is not builtin), builtin)

    async def list(self, principal: Principal, page: PageRequest) -> Page[ModelEntry]:
        """The default first, then by slug."""
        async with self._database.tenant(principal) as tx:
            rows = await tx.fetch(SQL.models_of_tenant, principal.org_id)
        default = self.default
        others = [entry for entry in self._entries.values() if entry is not default]
        others += [self._entry(row) for row in rows]
        entries = [replace(default, default=True)]
        entries += sorted(others, key=lambda entry: entry.slug)
        return Page(entries[page.offset : page.offset + page.page_size], page.page, page.page_size, len(entries))

    async def ids_of(self, principal: Principal, slugs: Sequence[str]) -> Mapping[str, UUID]:
        """The models of these slugs or ids that the principal may use; unknown names are left out."""
        async with self._database.tenant(principal) as tx:
            rows = await tx.fetch(SQL.models_of_tenant, principal.org_id)
        known = {row["slug"]: row["id"] for row in rows}
        known |= {entry.slug: entry.id for entry in self._entries.values()}
        known |= {str(model_id): model_id for model_id in known.values()}
        return {slug: known[slug] for slug in slugs if slug in known}

    async def entry(self, principal: Principal, name: str) -> ModelEntry:
        """A model by its slug or its id. Raises NotFound for one that the principal may not see."""
        model_id = _uuid(name)
        entry = self.find(name) if model_id is None else self._entries.get(model_id)
        if entry is not None:
            return entry
        async with self._database.tenant(principal) as tx:
            model_id = model_id or await _id_of_slug(tx, name)
            row = await tx.fetchrow(SQL.model, model_id)
        if row is None:
            raise NotFound(f"There is no model {name[:200]}; GET /v1/router/models lists them.")
        return self._entry(row)

    def facts(self, slug: str) -> Facts | None:
        """The operator's facts about a model."""
        return line_of(slug, self._facts)

    def _entry(self, row: Row) -> ModelEntry:
        abilities = self._known(row["slug"], Capabilities(**row["abilities"]))
        return ModelEntry(row["id"], row["slug"], row["name"], row["provider"], abilities)

    def _known(self, slug: str, found: Capabilities) -> Capabilities:
        facts = self.facts(slug)
        return found if facts is None else facts.of(found)

    @property
    def entries(self) -> Sequence[ModelEntry]:
        """The models that every tenant may use, by slug."""
        return sorted(self._entries.values(), key=lambda entry: entry.slug)

    async def own(self, principal: Principal) -> Sequence[ModelEntry]:
        """The models of the caller's connections, by slug."""
        async with self._database.tenant(principal) as tx:
            rows = await tx.fetch(SQL.models_of_tenant, principal.org_id)
        return [self._entry(row) for row in rows]

    async def named(self, principal: Principal, slug: str) -> tuple[ModelEntry, Model]:
        """A model by its slug or its id: one that every tenant may use, or one of the caller's connections. Raises
        NotFound."""
        model_id = _uuid(slug)
        entry = self.find(slug) if model_id is None else self._entries.get(model_id)
        if entry is not None:
            return entry, self._models[entry.id]
        async with self._database.tenant(principal) as tx:
            if model_id is None:
                row = await tx.fetchrow(SQL.model_by_slug, principal.org_id, slug) if slug.isprintable() else None
                row = row or await tx.fetchrow(SQL.model, await _id_of_slug(tx, slug))
            else:
                row = await tx.fetchrow(SQL.model, model_id)
        if row is None or (row["connection_id"] is None and self._unlisted(row["provider"]) is None):
            raise NotFound(f"There is no model {slug[:200]}; GET /v1/models lists them.")
        return self._entry(row), self._built(row)

    def configured(self, provider: str) -> bool:
        """Whether the operator has a provider of this name."""
        return any(one.name == provider for one in self._providers)

    async def built(self, principal: Principal, provider: str, wire_name: str) -> Model | None:
        """The adapter for any model of a provider, listed or not: the lists leave out models that only embed. None
        where neither the operator nor the caller's connections have a provider of this name."""
        offer = Offer(wire_name, wire_name, Capabilities(images=False, tools=False))
        configured = next((one for one in self._providers if one.name == provider), None)
        if configured is not None:
            return configured.build(offer)
        async with self._database.tenant(principal) as tx:
            row = await tx.fetchrow(SQL.connection_by_name, principal.org_id, provider)
        if row is None:
            return None
        api_key = self._key_of(row["id"], row["secret"])
        return self._build(Endpoint(row["type"], row["base_url"], api_key, row["ca_bundle"]), offer)

    async def id_of(self, tx: Tx, name: UUID | str) -> UUID:
        """The id of a model that is named by its id or its slug. Raises BadRequest naming `model_id` for a slug that
        the transaction's tenant cannot see; `check` tests whether the model can be used."""
        if isinstance(name, UUID):
            return name
        if (model_id := _uuid(name)) is not None:
            return model_id
        entry = self.find(name)
        found = entry.id if entry is not None else await _id_of_slug(tx, name)
        if found is None:
            raise BadRequest.field("model_id", f"is no model of the catalogue{self._meant(name)}")
        return found

    def _meant(self, slug: str) -> str:
        close = get_close_matches(slug, [entry.slug for entry in self._entries.values()][:_COMPARED_MAX], 1, 0.7)
        return f"; did you mean {close[0]}?" if close else "; GET /v1/router/models lists them"

    async def check(self, tx: Tx, model_id: UUID) -> None:
        """Raises BadRequest naming `model_id` if the transaction's tenant may not use it, or it is unavailable."""
        if model_id not in self._models:
            self._usable(await tx.fetchrow(SQL.model, model_id))

    async def model(self, org_id: UUID, project_id: UUID, model_id: UUID) -> tuple[str, Model]:
        """The slug and the adapter, for the worker. Raises BadRequest if the model no longer exists."""
        model = self._models.get(model_id)
        if model is not None:
            return self._entries[model_id].slug, model
        async with internal_statement(self._database) as tx:
            row = await tx.fetchrow(SQL.model, model_id)
        if row is not None and row["org_id"] is not None and (row["org_id"], row["project_id"]) != (org_id, project_id):
            row = None
        row = self._usable(row)
        return row["slug"], self._built(row)

    def _unlisted(self, provider: str) -> Provider | None:
        """A configured provider that this node has not been able to ask for its models yet. Other nodes have, or this
        one before its restart: what the table says of its models is enough to call them."""
        return next((one for one in self._providers if one.name == provider and provider not in self._listed), None)

    def _built(self, row: Row) -> Model:
        """The adapter of a connection's model, rebuilt when the connection has changed; or of a provider's model."""
        if row["connection_id"] is None and (provider := self._unlisted(row["provider"])) is not None:
            abilities = self._known(row["slug"], Capabilities(**row["abilities"]))
            return provider.build(Offer(row["wire_name"], row["name"], abilities))
        model_id: UUID = row["id"]
        key = (model_id, row["connection_updated_at"])
        if key not in self._of_connections:
            for stale in [old for old in self._of_connections if old[0] == model_id]:
                del self._of_connections[stale]
            self._of_connections[key] = self._of_row(row)
        return self._of_connections[key]

    async def credentials(
        self, org_id: UUID, project_id: UUID, connection_id: UUID
    ) -> tuple[str | None, str | None, str | None] | None:
        """(base URL, API key, CA bundle) of a project's connection to an OpenAI-compatible provider; None where there
        is none."""
        async with internal_statement(self._database) as tx:
            row = await tx.fetchrow(SQL.connection, org_id, connection_id)
        if row is None or row["project_id"] != project_id:
            return None
        base_url = self._compatible_root(row["type"], row["base_url"])
        if base_url is None:
            return None
        try:
            api_key = self._vault.open(connection_id, row["secret"]) if row["secret"] else None
        except SecretError:
            return None
        return base_url, api_key, row["ca_bundle"]

    def _of_row(self, row: Row) -> Model:
        api_key = self._key_of(row["connection_id"], row["secret"])
        offer = Offer(row["wire_name"], row["name"], self._known(row["slug"], Capabilities(**row["abilities"])))
        return self._build(Endpoint(row["connection_type"], row["base_url"], api_key, row["ca_bundle"]), offer)

    def _key_of(self, connection_id: UUID, secret: bytes | None) -> str | None:
        try:
            return self._vault.open(connection_id, secret) if secret else None
        except SecretError as error:
            raise BadRequest.field("model_id", f"cannot be used: {error}") from error

    def _usable(self, row: Row | None) -> Row:
        if row is None:
            raise BadRequest.field("model_id", "is no model of the catalogue; GET /v1/router/models lists them")
        if row["connection_id"] is None and self._unlisted(row["provider"]) is None:
            raise BadRequest.field(
                "model_id",
                f"is {row['slug']}, whose provider {row['provider']} is not available on this server just now",
            )
        return row

    # --- filling ----------------------------------------------------------------------------------------------------
    async def _probe(self, provider: Provider) -> None:
        """Retries until it answers; an optional provider is tried once."""
        while True:
            try:
                offers = await provider.offers()
            except ProviderError as error:
                if provider.optional:
                    return
                self._unreachable[provider.name] = str(error)
                _log.warning(
                    "provider cannot be asked for its models",
                    provider=provider.name,
                    reason=str(error),
                    retry_seconds=RETRY_SECONDS,
                )
                await asyncio.sleep(RETRY_SECONDS)
                continue
            self._unreachable.pop(provider.name, None)
            try:
                await self._add(provider.name, offers, provider.build, prefix=f"{provider.name}/")
            except Unavailable:  # The database was away in that moment.
                await asyncio.sleep(ADD_AGAIN_SECONDS)
                continue
            self._listed[provider.name] = len(offers)
            return

    async def _add(
        self, provider: str, offers: Sequence[Offer], build: Callable[[Offer], Model], *, prefix: str
    ) -> None:
        async with internal(self._database) as tx:
            # Sequential, because nodes that start at once insert the same models, and a row has two unique keys, id and
            # slug.
            await tx.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", "stoa.models")
            for found in offers:
                slug = prefix + found.wire_name
                offer = replace(found, abilities=self._known(slug, found.abilities))
                model_id = uuid5(NAMESPACE, slug)
                await tx.execute(
                    SQL.upsert_global, model_id, slug, offer.name, provider, offer.wire_name, asdict(offer.abilities)
                )
                entry = ModelEntry(model_id, slug, offer.name, provider, offer.abilities)
                self._entries[model_id] = self._by_slug[slug] = entry
                self._models[model_id] = build(offer)
        _log.info("models", provider=provider, count=len(offers))


async def _id_of_slug(tx: Tx, slug: str) -> UUID | None:
    return await tx.fetchval(SQL.id_of_slug, slug) if slug.isprintable() else None


def _uuid(name: str) -> UUID | None:
    """The id, where a model is referred to by one."""
    try:
        return UUID(name) if len(name) == 36 else None
    except ValueError:
        return None
