"""The kinds of model providers by name: settings and connections name them, `gateway/registry.py` says what each is.

Here, because settings are read before the gateway is loaded.
"""

from typing import Literal, TypeAlias

ProviderName: TypeAlias = Literal[
    "openai",
    "anthropic",
    "azure",
    "gemini",
    "openrouter",
    "groq",
    "mistral",
    "deepseek",
    "ollama",
    "llamacpp",
    "vllm",
]
