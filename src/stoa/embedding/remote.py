"""Any OpenAI-compatible `/v1/embeddings`."""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from stoa.embedding.types import EmbedderError
from stoa.outbound import AddressRefused, Outbound, cause

if TYPE_CHECKING:
    import aiohttp
    import numpy as np
    from numpy.typing import NDArray

BATCH_MAX: Final = 64
ATTEMPTS_MAX: Final = 3
SECONDS_MAX: Final = 60.0
RETRY_AFTER_SECONDS_MAX: Final = 20.0
ANSWER_BYTES_MAX: Final = 12 * 1024 * 1024
"""Of 64 vectors of 4,096 numbers, written out in full."""
_ANYWHERE: Final = Outbound(allow_private=True)
_CODES: Final = {
    401: "embedder_unauthorized",
    403: "embedder_unauthorized",
    404: "embedder_not_found",
    429: "embedder_rate_limited",
}


class RemoteEmbedder:
    """`outbound` decides which addresses it may ask: of the operator's endpoint any, of a tenant's those that are
    allowed.
    """

    tokens_max = 8_191

    def __init__(
        self,
        base_url: str,
        model: str,
        api_key: str | None,
        dimensions: int | None = None,
        *,
        outbound: Outbound = _ANYWHERE,
    ) -> None:
        self._outbound = outbound
        self._url = base_url.rstrip("/") + "/embeddings"
        self._model = model
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._asked = dimensions
        self._found = dimensions
        self._closed = False

    @property
    def identity(self) -> str:
        return f"{self._model}@{self._url}"

    @property
    def dimensions(self) -> int:
        if self._found is None:
            raise EmbedderError("embedder_not_ready", "The endpoint has not been asked yet.", retryable=True)
        return self._found

    async def prepare(self) -> None:
        if self._found is None:
            await self.embed(["dimensions"])

    async def close(self) -> None:
        self._closed = True

    async def embed(self, texts: Sequence[str]) -> "NDArray[np.float32]":
        import numpy as np  # noqa: PLC0415 — the server starts without it, and without aiohttp

        from stoa.outbound.client import client  # noqa: PLC0415

        if self._closed:
            raise EmbedderError("embedder_closed", "This server is stopping.", retryable=False)
        rows: list[Any] = []
        async with client(self._outbound, seconds_max=SECONDS_MAX, headers=self._headers) as session:
            for start in range(0, len(texts), BATCH_MAX):
                rows += await self._batch(session, texts[start : start + BATCH_MAX])
        try:
            vectors = np.array(rows, np.float32).reshape(len(texts), -1)
        except (ValueError, TypeError) as error:
            raise _garbled() from error
        if self._found is not None and len(texts) and vectors.shape[1] != self._found:
            raise EmbedderError(
                "embedder_protocol_error",
                f"The endpoint gave {vectors.shape[1]} dimensions, not {self._found}.",
                retryable=False,
            )
        self._found = self._found or (vectors.shape[1] or None)
        return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)

    async def _batch(self, session: "aiohttp.ClientSession", texts: Sequence[str]) -> list[Any]:
        body: dict[str, Any] = {
            "model": self._model,
            "input": [text or " " for text in texts],
            "encoding_format": "float",
        }
        if self._asked is not None:
            body["dimensions"] = self._asked
        for attempt in range(1, ATTEMPTS_MAX + 1):
            try:
                return await self._ask(session, body, len(texts))
            except EmbedderError as error:
                if (
                    not error.retryable
                    or attempt == ATTEMPTS_MAX
                    or (error.retry_after_seconds or 0) > RETRY_AFTER_SECONDS_MAX
                ):
                    raise
                await asyncio.sleep(error.retry_after_seconds or 0.5 * attempt)
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def _ask(self, session: "aiohttp.ClientSession", body: dict[str, Any], count: int) -> list[Any]:
        import aiohttp  # noqa: PLC0415 — the server starts without it

        from stoa.outbound.client import read_json  # noqa: PLC0415

        try:
            async with session.post(self._url, json=body, allow_redirects=False) as response:
                if response.status != 200:
                    after = response.headers.get("retry-after", "")
                    raise EmbedderError(
                        _CODES.get(
                            response.status,
                            "embedder_overloaded" if response.status >= 500 else "embedder_refused_request",
                        ),
                        f"The embeddings endpoint answered {response.status}.",
                        retryable=response.status == 429 or response.status >= 500,
                        retry_after_seconds=float(after) if after.isdigit() else None,
                    )
                answer = await read_json(response, ANSWER_BYTES_MAX)
            ordered = sorted(answer["data"], key=lambda item: item["index"])
            if len(ordered) != count:
                raise _garbled()
            return [item["embedding"] for item in ordered]
        except TimeoutError as error:
            raise EmbedderError(
                "embedder_timeout", "The embeddings endpoint did not answer in time.", retryable=True
            ) from error
        except (aiohttp.ClientError, OSError) as error:
            found = cause(error)
            raise EmbedderError(
                "embedder_unreachable",
                f"The embeddings endpoint cannot be reached. {found or ''}".strip(),
                retryable=not isinstance(found, AddressRefused),
            ) from error
        except (ValueError, KeyError, TypeError) as error:
            raise _garbled() from error


def _garbled() -> EmbedderError:
    return EmbedderError(
        "embedder_protocol_error", "The embeddings endpoint's answer has another form than expected.", retryable=False
    )
