"""Asking providers for their models."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import aiohttp

from stoa.gateway.offers import NoModelList, Offer, ProviderError
from stoa.gateway.providers.anthropic import output_tokens_max
from stoa.gateway.providers.fields import count_of, list_of, object_of, text_of
from stoa.gateway.providers.openai import azure_base
from stoa.gateway.providers.streaming import endpoint
from stoa.gateway.types import Capabilities
from stoa.outbound import cause
from stoa.outbound.client import BodyError, read_json

MODELS_MAX: Final = 2_000
NAME_CHARACTERS_MAX: Final = 200
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
    return _offers(await _get(session, endpoint(base_url, "/models"), headers))


async def list_azure(session: aiohttp.ClientSession, base_url: str, api_key: str | None) -> Sequence[Offer]:
    """The deployment that the address names; else what the resource lists. Raises ProviderError."""
    if named := re.search(r"/deployments/([^/]+)", urlsplit(base_url).path):
        return [Offer(unquote(named.group(1)), unquote(named.group(1)), Capabilities(images=True, tools=True))]
    base = azure_base(base_url, "").removesuffix("/deployments/")
    return _offers(await _get(session, endpoint(base, "/models"), {"api-key": api_key} if api_key else {}))


async def list_anthropic(session: aiohttp.ClientSession, base_url: str, api_key: str | None) -> Sequence[Offer]:
    """Anthropic's `GET /models`. Raises ProviderError."""
    headers = {"anthropic-version": ANTHROPIC_VERSION, **({"x-api-key": api_key} if api_key else {})}
    answer = await _get(session, f"{endpoint(base_url, '/models')}?limit=1000", headers)
    offers: list[Offer] = []
    for item in _items(answer):
        if name := _name(item.get("id")):
            context = count_of(item.get("max_input_tokens")) or 200_000
            longest = count_of(item.get("max_tokens")) or output_tokens_max(name)
            abilities = Capabilities(images=True, tools=True, context_tokens=context, output_tokens_max=longest)
            offers.append(Offer(name, _name(item.get("display_name")) or name, abilities))
    return offers


def _offers(answer: Any) -> Sequence[Offer]:
    offers: list[Offer] = []
    for item in _items(answer):
        name = _name(item.get("id")).removeprefix("models/")  # As Gemini calls them.
        chats = object_of(item.get("capabilities")).get("completion_chat") is not False  # Mistral says what is not.
        if name and chats and not _NOT_FOR_CHAT.search(name):
            offers.append(Offer(name, _name(item.get("name")) or name, _abilities(name, item)))
    return offers


def _abilities(name: str, item: Mapping[str, Any]) -> Capabilities:
    """What a provider says of its model, in the fields that some have; else what its name says."""
    top = object_of(item.get("top_provider"))
    sizes = [
        item.get("context_length"),
        item.get("context_window"),
        item.get("max_model_len"),
        item.get("max_context_length"),
    ]
    inputs = list_of(object_of(item.get("architecture")).get("input_modalities"))
    sees = object_of(item.get("capabilities")).get("vision") is True or "image" in inputs or bool(_SEES.search(name))
    return Capabilities(
        images=sees,
        tools=True,
        context_tokens=next((size for size in map(count_of, sizes) if size), 128_000),
        output_tokens_max=count_of(top.get("max_completion_tokens"))
        or count_of(item.get("max_completion_tokens"))
        or None,
    )


async def _get(session: aiohttp.ClientSession, url: str, headers: dict[str, str]) -> Any:
    try:
        async with session.get(url, headers=headers, allow_redirects=False) as response:
            if response.status in (401, 403):
                raise ProviderError("the provider refused the key", "api_key")
            if response.status in (404, 405, 501):
                message = f"the provider answered {response.status} to its model list; name its models"
                raise NoModelList(message)
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


def _items(answer: Any) -> Sequence[Mapping[str, Any]]:
    items = (answer.get("data") or answer.get("models")) if isinstance(answer, dict) else answer
    if not isinstance(items, list):
        if isinstance(answer, dict) and answer.get("object") == "list":
            return ()  # A server that has no model yet.
        raise ProviderError("the provider's model list has another form than expected")
    return [item for item in items[:MODELS_MAX] if isinstance(item, dict)]


def _name(value: Any) -> str:
    """A name as it can be stored and shown; empty for what is none."""
    name = text_of(value).strip()
    return name if name.isprintable() and len(name) <= NAME_CHARACTERS_MAX else ""
