"""Asking providers for their models."""

import re
from collections.abc import Sequence
from typing import Any, Final

import aiohttp

from stoa.gateway.catalogue import Offer, ProviderError
from stoa.gateway.types import Capabilities
from stoa.outbound import cause
from stoa.outbound.client import BodyError, read_json

MODELS_MAX: Final = 2_000
LIST_BYTES_MAX: Final = 8 * 1024 * 1024
ANTHROPIC_VERSION: Final = "2023-06-01"
_NOT_FOR_CHAT: Final = re.compile(
    r"embed|whisper|tts|dall-e|moderation|transcribe|realtime|^sora|gpt-image|davinci|babbage|computer-use|(?:^|[-/])(?:audio|rerank)",
    re.IGNORECASE,
)
"""OpenAI's list does not say what a model is for; names do."""
_SEES: Final = re.compile(
    r"gpt-4o|gpt-4\.|gpt-4-turbo|gpt-5|^o[134]|vision|llava|-vl|pixtral|gemini|gemma-?3|llama-?4", re.IGNORECASE
)


async def list_openai(session: aiohttp.ClientSession, base_url: str, api_key: str | None) -> Sequence[Offer]:
    """`GET /models` of anything that speaks OpenAI's wire. Raises ProviderError."""
    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    answer = await _get(session, f"{base_url}/models", headers)
    offers: list[Offer] = []
    for item in _items(answer):
        name = str(item.get("id", ""))
        if name and not _NOT_FOR_CHAT.search(name):
            context = item.get("context_length") or item.get("context_window") or item.get("max_model_len")
            tokens = context if isinstance(context, int) and context > 0 else 128_000
            offers.append(
                Offer(
                    name,
                    str(item.get("name") or name),
                    Capabilities(bool(_SEES.search(name)), tools=True, context_tokens=tokens),
                )
            )
    return offers


async def list_anthropic(session: aiohttp.ClientSession, base_url: str, api_key: str | None) -> Sequence[Offer]:
    """Anthropic's `GET /models`. Raises ProviderError."""
    headers = {"anthropic-version": ANTHROPIC_VERSION, **({"x-api-key": api_key} if api_key else {})}
    answer = await _get(session, f"{base_url}/models?limit=1000", headers)
    return [
        Offer(
            str(item["id"]),
            str(item.get("display_name") or item["id"]),
            Capabilities(images=True, tools=True, context_tokens=200_000),
        )
        for item in _items(answer)
        if item.get("id")
    ]


async def _get(session: aiohttp.ClientSession, url: str, headers: dict[str, str]) -> Any:
    try:
        async with session.get(url, headers=headers, allow_redirects=False) as response:
            if response.status in (401, 403):
                raise ProviderError("the provider refused the key", "api_key")
            if response.status != 200:
                raise ProviderError(f"the provider answered {response.status} to its model list")
            return await read_json(response, LIST_BYTES_MAX)
    except TimeoutError as error:
        raise ProviderError("the provider did not answer in time") from error
    except BodyError as error:
        raise ProviderError(f"the provider's model list {error}") from error
    except (aiohttp.ClientError, OSError, ValueError) as error:
        if (found := cause(error)) is not None:
            raise ProviderError(str(found)) from error
        raise ProviderError("the provider cannot be reached, or does not speak this API") from error


def _items(answer: Any) -> Sequence[dict[str, Any]]:
    items = answer.get("data") if isinstance(answer, dict) else None
    if not isinstance(items, list):
        raise ProviderError("the provider's model list has another form than expected")
    return [item for item in items[:MODELS_MAX] if isinstance(item, dict)]
