"""Any endpoint of the `/rerank` wire: Jina, Cohere, Voyage, vLLM, llama.cpp, Hugging Face's text-embeddings-inference
behind a proxy.
"""

import asyncio
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from stoa.embedding.reranking.types import RerankerError
from stoa.outbound import Outbound, cause

if TYPE_CHECKING:
    import aiohttp

ATTEMPTS_MAX: Final = 2
SECONDS_MAX: Final = 20.0
"""Somebody waits for the answer of a search."""
TEXT_CHARACTERS_MAX: Final = 8_000
ANSWER_BYTES_MAX: Final = 4 * 1024 * 1024
_ANYWHERE: Final = Outbound(allow_private=True)
_CODES: Final = {
    401: "reranker_unauthorized",
    403: "reranker_unauthorized",
    404: "reranker_not_found",
    429: "reranker_rate_limited",
}
_AGAIN: Final = frozenset({"reranker_rate_limited", "reranker_overloaded", "reranker_unreachable"})


class RemoteReranker:
    """`outbound` decides which addresses it may ask: of the operator's endpoint any, of a tenant's those that are
    allowed.
    """

    def __init__(self, base_url: str, model: str, api_key: str | None, *, outbound: Outbound = _ANYWHERE) -> None:
        self._outbound = outbound
        self._url = base_url.rstrip("/") + "/rerank"
        self._model = model
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._closed = False

    @property
    def identity(self) -> str:
        return f"{self._model}@{self._url}"

    async def close(self) -> None:
        self._closed = True

    async def rerank(self, query: str, texts: Sequence[str]) -> Sequence[float]:
        if self._closed:
            raise RerankerError("reranker_closed", "This server is stopping.")
        if not texts:
            return []
        from stoa.outbound.client import client  # noqa: PLC0415 — the server starts without aiohttp

        body = {
            "model": self._model,
            "query": query,
            "documents": [text[:TEXT_CHARACTERS_MAX] or " " for text in texts],
            "top_n": len(texts),
        }
        async with client(self._outbound, seconds_max=SECONDS_MAX, headers=self._headers) as session:
            for attempt in range(1, ATTEMPTS_MAX + 1):
                try:
                    return _scores(await self._ask(session, body), len(texts))
                except RerankerError as error:
                    if error.code not in _AGAIN or attempt == ATTEMPTS_MAX:
                        raise
                    await asyncio.sleep(0.2 * attempt)
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def _ask(self, session: "aiohttp.ClientSession", body: Mapping[str, Any]) -> Any:
        import aiohttp  # noqa: PLC0415 — the server starts without it

        from stoa.outbound.client import read_json  # noqa: PLC0415

        try:
            async with session.post(self._url, json=body, allow_redirects=False) as response:
                if response.status != 200:
                    code = _CODES.get(
                        response.status, "reranker_overloaded" if response.status >= 500 else "reranker_refused_request"
                    )
                    raise RerankerError(code, f"The reranking endpoint answered {response.status}.")
                return await read_json(response, ANSWER_BYTES_MAX)
        except TimeoutError as error:
            raise RerankerError("reranker_timeout", "The reranking endpoint did not answer in time.") from error
        except (aiohttp.ClientError, OSError) as error:
            message = f"The reranking endpoint cannot be reached. {cause(error) or ''}".strip()
            raise RerankerError("reranker_unreachable", message) from error
        except ValueError as error:
            raise _garbled() from error


def _scores(answer: Any, count: int) -> Sequence[float]:
    """Each text's score, by its index; some endpoints give logits, which are brought into 0..1 in their order."""
    try:
        rows = answer["results"] if "results" in answer else answer["data"]
        found = {
            int(row["index"]): float(row["relevance_score"] if "relevance_score" in row else row["score"])
            for row in rows
        }
        scores = [found[index] for index in range(count)]
    except (KeyError, TypeError, ValueError) as error:
        raise _garbled() from error
    if not all(math.isfinite(score) for score in scores):
        raise _garbled()
    if all(0 <= score <= 1 for score in scores):
        return scores
    return [1 / (1 + math.exp(-max(-60.0, min(60.0, score)))) for score in scores]


def _garbled() -> RerankerError:
    return RerankerError("reranker_protocol_error", "The reranking endpoint's answer has another form than expected.")
