"""`POST /v1/embeddings`: by providers, whose responses are relayed unchanged, and by this server's embedders."""

import base64
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

import orjson

from stoa.gateway.catalogue import Catalogue
from stoa.gateway.prices import estimated_tokens
from stoa.gateway.providers.openai import OpenAIModel
from stoa.gateway.router import relaying, rules
from stoa.gateway.router.calls import Attempt, Calls
from stoa.gateway.router.chat import CompleteAnswer, headers
from stoa.gateway.router.routing import Routing, in_order
from stoa.gateway.router.types import CallProgress, Target
from stoa.gateway.types import Capabilities, Usage
from stoa.kernel.errors import BadRequest, NotFound
from stoa.kernel.principal import Principal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

INPUTS_MAX: Final = 2_048
"""OpenAI's limit."""
CHARACTERS_MAX: Final = 4_000_000
"""The limit for all inputs of a request that this server embeds itself."""


class Embedder(Protocol):
    """An embedder of this server. Raises ModelError."""

    async def embed(self, texts: Sequence[str]) -> "NDArray[np.float32]": ...


class _OwnEmbedder:
    """Takes the place of a model in the Target of an embedder of this server."""

    abilities = Capabilities(images=False, tools=False)

    def __init__(self, embedder: Embedder) -> None:
        self.embedder = embedder


class Embeddings:
    def __init__(self, calls: Calls, routing: Routing, catalogue: Catalogue, embedders: Mapping[str, Embedder]) -> None:
        self._calls = calls
        self._routing = routing
        self._catalogue = catalogue
        self._embedders = embedders

    @property
    def slugs(self) -> Sequence[str]:
        """The slugs of this server's own embedders."""
        return list(self._embedders)

    async def slugs_of(self, principal: Principal, slug: str) -> Sequence[str]:
        """The slugs of the models that can embed. Raises NotFound."""
        return [target.slug for target in await self._targets(principal, slug)]

    async def embed(self, principal: Principal, fields: dict[str, Any]) -> CompleteAnswer:
        """Raises AppError."""
        slug = rules.slug_of(fields)
        if fields.get("input") is None:
            raise BadRequest.field("input", "is required")
        targets = await self._targets(principal, slug)
        call = await self._calls.new(principal, slug, fields)

        async def begin(attempt: Attempt) -> tuple[bytes, str]:
            model = attempt.target.model
            if isinstance(model, OpenAIModel):
                body = orjson.dumps({**fields, "model": model.wire_name})
                return await relaying.read_whole(attempt.stack, model, "/embeddings", body, attempt.progress)
            ours = cast("_OwnEmbedder", model)
            return await _embedded(ours.embedder, slug, fields, attempt.progress), "application/json"

        begun = await self._calls.begin(call, targets, begin, completion_tokens=0)
        bill = self._calls.settle(begun, "completed")
        await begun.stack.aclose()
        await self._calls.accounts.committed(bill.entered)
        content, kind = begun.opened
        return CompleteAnswer(content, kind, headers(begun, bill, (), ()))

    async def _targets(self, principal: Principal, slug: str) -> Sequence[Target]:
        route = self._routing.route(slug)
        slugs = [one.model for one in in_order(route.targets, self._routing.chance)] if route else [slug]
        found = [target for one in slugs if (target := await self._target(principal, one)) is not None]
        if not found:
            raise NotFound(f"There is no model {slug[:200]} that embeds; GET /v1/models lists this server's own.")
        return found

    async def _target(self, principal: Principal, slug: str) -> Target | None:
        price = self._routing.price(slug)
        if (embedder := self._embedders.get(slug)) is not None:
            return Target(slug, slug, cast("Any", _OwnEmbedder(embedder)), price)
        provider, _, wire_name = slug.partition("/")
        model = await self._catalogue.built(principal, provider, wire_name) if wire_name else None
        if not isinstance(model, OpenAIModel):
            return None
        circuit = provider if self._catalogue.configured(provider) else f"{principal.org_id}/{provider}"
        return Target(slug, circuit, model, price)


async def _embedded(embedder: Embedder, slug: str, fields: Mapping[str, Any], progress: CallProgress) -> bytes:
    texts = _texts(fields["input"])
    wanted = fields.get("encoding_format") or "float"
    if wanted not in ("float", "base64"):
        raise BadRequest.field("encoding_format", "must be float or base64")
    vectors = await embedder.embed(texts)
    dimensions = fields.get("dimensions")
    if dimensions is not None and dimensions != vectors.shape[1]:
        raise BadRequest.field("dimensions", f"must be {vectors.shape[1]} for this model")
    progress.began = True
    tokens = sum(estimated_tokens(len(text)) for text in texts)
    progress.report(Usage(tokens, 0, estimated=True))
    data = [
        {
            "object": "embedding",
            "index": index,
            "embedding": base64.b64encode(vector.astype("<f4").tobytes()).decode() if wanted == "base64" else vector,
        }
        for index, vector in enumerate(vectors)
    ]
    answer = {
        "object": "list",
        "data": data,
        "model": slug,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }
    return orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)


def _texts(given: Any) -> list[str]:
    """Raises BadRequest for anything but text; lists of tokens need a tokenizer that this server does not have."""
    texts = given if isinstance(given, list) else [given]
    if not texts:
        raise BadRequest.field("input", "cannot be empty")
    if len(texts) > INPUTS_MAX:
        raise BadRequest.field("input", f"may hold {INPUTS_MAX} texts")
    for index, text in enumerate(texts):
        if not isinstance(text, str):
            where = f"input[{index}]" if isinstance(given, list) else "input"
            reason = "must be text: this model takes no tokens (in LangChain: check_embedding_ctx_length=False)"
            raise BadRequest.field(where, reason)
    if sum(map(len, texts)) > CHARACTERS_MAX:
        raise BadRequest.field("input", f"may hold {CHARACTERS_MAX:,} characters altogether; send fewer texts at once")
    return texts
