"""The names of the kinds of model providers, for settings and connections; `gateway/registry.py` describes each.

They are here because settings are read before the gateway is loaded.
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
