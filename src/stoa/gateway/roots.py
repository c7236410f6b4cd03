"""Where each kind of provider is found. Pure."""

from typing import Final

DEFAULT_URLS: Final = {
    "openai": "https://api.openai.com/v1",
    "anthropic": "https://api.anthropic.com/v1",
    "ollama": "http://127.0.0.1:11434",
}


def root(type_: str, base_url: str | None) -> str:
    """The base of a provider's API. Ollama is named by its host alone, or with the /v1 under which it speaks OpenAI's wire."""
    url = (base_url or DEFAULT_URLS[type_]).rstrip("/")
    if type_ == "ollama":
        url = url if "://" in url else f"http://{url}"
        url = url if url.endswith("/v1") else f"{url}/v1"
    return url
