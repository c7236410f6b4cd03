"""The embedders that bases may name: those of this machine, the operator's endpoint, and endpoints of a tenant's
connections."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final
from uuid import UUID

from stoa.bases.ports import Credentials
from stoa.bases.types import EmbedderSpec
from stoa.embedding import MINILM, MULTILINGUAL, Embedder, EmbedderError, RemoteEmbedder
from stoa.kernel.errors import BadRequest
from stoa.outbound import Outbound

OPENAI_URL: Final = "https://api.openai.com/v1"
ENGLISH: Final = "english"


class Embedders:
    """Long-lived. `local` are this machine's by their names. New bases take `server`, the operator's endpoint, where
    there is one; else `chosen`; else what reads their language."""

    def __init__(
        self,
        local: Mapping[str, Embedder],
        chosen: str | None,
        server: Embedder | None,
        server_model: str | None,
        credentials: Credentials,
        *,
        outbound: Outbound,
    ) -> None:
        self._local = local
        self._chosen = chosen
        self._server = server
        self._server_model = server_model
        self._credentials = credentials
        self._outbound = outbound

    def default(self, language: str) -> EmbedderSpec:
        if self._server_model is not None:
            return EmbedderSpec("server", self._server_model, 0)
        fitting = MULTILINGUAL if language != ENGLISH and MULTILINGUAL in self._local else MINILM
        return EmbedderSpec("local", self._chosen or fitting, 0, automatic=self._chosen is None)

    def for_other_languages(self, spec: EmbedderSpec) -> EmbedderSpec | None:
        """The embedder that replaces an automatically chosen English one."""
        if not spec.automatic or spec.model != MINILM or MULTILINGUAL not in self._local:
            return None
        return EmbedderSpec("local", MULTILINGUAL, 0, automatic=True)

    async def check(self, org_id: UUID, project_id: UUID, spec: EmbedderSpec) -> EmbedderSpec:
        if spec.provider == "local" and spec.model not in self._local:
            raise BadRequest.field(
                "embedder.model", f"is not on this server; its local embedders are {', '.join(self._local)}"
            )
        if spec.provider == "connection" and spec.connection_id is None:
            raise BadRequest.field(
                "embedder.connection_id", "is needed with the provider connection: POST /v1/connections makes one"
            )
        if spec.provider == "server" and spec.model != self._server_model:
            known = f"it is {self._server_model}" if self._server_model else "the operator has configured none"
            raise BadRequest.field("embedder.model", f"is not the embedder of this server: {known}")
        try:
            embedder = await self._found(org_id, project_id, spec)
            await embedder.prepare()
        except EmbedderError as error:
            raise BadRequest.field("embedder", f"cannot be used: {error.message}") from error
        if spec.dimensions not in (0, embedder.dimensions):
            raise BadRequest.field(
                "embedder.dimensions", f"is {spec.dimensions}, but this embedder gives {embedder.dimensions}"
            )
        return replace(spec, dimensions=embedder.dimensions, identity=embedder.identity)

    async def get(self, org_id: UUID, project_id: UUID, spec: EmbedderSpec) -> Embedder:
        embedder = await self._found(org_id, project_id, spec)
        if embedder.identity != spec.identity:
            message = (
                f"This knowledge base was indexed with {spec.identity}; this server now has {embedder.identity}. "
                "Re-index it: POST …/reindex."
            )
            raise EmbedderError("embedder_changed", message, retryable=False)
        return embedder

    async def _found(self, org_id: UUID, project_id: UUID, spec: EmbedderSpec) -> Embedder:
        if spec.provider == "local":
            if spec.model not in self._local:
                raise _gone(spec)
            return self._local[spec.model]
        if spec.provider == "server":
            if self._server is None or self._server_model != spec.model:
                raise _gone(spec)
            return self._server
        assert spec.connection_id is not None, "checked when it was stored"
        found = await self._credentials(org_id, project_id, spec.connection_id)
        if found is None:
            raise EmbedderError(
                "embedder_unavailable", "The connection of this knowledge base's embedder is gone.", retryable=False
            )
        base_url, api_key, ca_bundle = found
        outbound = await self._outbound.trusting(ca_bundle)
        return RemoteEmbedder(base_url or OPENAI_URL, spec.model, api_key, spec.dimensions or None, outbound=outbound)


def _gone(spec: EmbedderSpec) -> EmbedderError:
    message = (
        f"The embedder {spec.model} that this knowledge base was made with is not configured on this server; "
        "re-index it with another."
    )
    return EmbedderError("embedder_unavailable", message, retryable=False)
