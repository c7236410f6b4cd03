"""The requirements of each provider, as one description from which requests are made valid. Pure."""

from dataclasses import dataclass
from typing import Final, Literal
from urllib.parse import urlsplit

PNG, JPEG, GIF, WEBP = "image/png", "image/jpeg", "image/gif", "image/webp"
_MIB: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Demands:
    """The defaults work with all OpenAI-compatible servers. Bytes are those of the image, before base64."""

    user_after_tool: bool = False
    """Whether a user's message may follow a tool's result. Where not, a short message of the assistant is put between
    them."""
    tool_name_characters_max: int = 64
    tool_description_characters_max: int = 1_024
    tools_max: int = 128
    plain_schemas: bool = False
    """Tool schemas in Gemini's subset of JSON schema: no references, one type each, items everywhere."""
    property_names: str = r".{1,200}"
    """What a tool's parameters may be called."""
    pictures: frozenset[str] = frozenset({PNG, JPEG, GIF, WEBP})
    picture_bytes_max: int = 15 * _MIB
    picture_pixels_max: int = 16_000
    """Of each side."""
    pictures_bytes_max: int = 20 * _MIB
    """Of all pictures together; the newest are kept."""
    pictures_max: int = 50
    structured_output: Literal["json_schema", "json_object", "none"] = "json_schema"
    named_results: bool = False
    """Whether a tool's result names its tool."""
    signatures: bool = False
    """Whether the first call of each reply must be signed; one of another provider's gets Gemini's placeholder."""
    completion_tokens: bool = False
    """Whether the limit is called `max_completion_tokens`."""
    stream_options: bool = True
    """Whether usage must be asked for."""


ANTHROPIC: Final = Demands(
    user_after_tool=True,
    tool_description_characters_max=10_000,
    property_names=r"[a-zA-Z0-9_.-]{1,64}",
    picture_bytes_max=5 * _MIB * 3 // 4,
    picture_pixels_max=8_000,
    structured_output="none",
)
OPENAI: Final = Demands(completion_tokens=True)
GEMINI: Final = Demands(plain_schemas=True, named_results=True, signatures=True, pictures=frozenset({PNG, JPEG, WEBP}))
MISTRAL: Final = Demands(stream_options=False, picture_bytes_max=10 * _MIB, pictures_max=8)
GROQ: Final = Demands(picture_bytes_max=3 * _MIB, pictures_max=5)
DEEPSEEK: Final = Demands(structured_output="json_object")
COMPATIBLE: Final = Demands()
LOCAL: Final = Demands(pictures=frozenset({PNG, JPEG}))
"""llama.cpp and Ollama decode pictures themselves, and not all kinds."""

BY_HOST: Final = (
    ("api.openai.com", OPENAI),
    ("openai.azure.com", OPENAI),
    ("cognitiveservices.azure.com", OPENAI),
    ("services.ai.azure.com", OPENAI),
    ("generativelanguage.googleapis.com", GEMINI),
    ("aiplatform.googleapis.com", GEMINI),
    ("api.mistral.ai", MISTRAL),
    ("api.groq.com", GROQ),
    ("api.deepseek.com", DEEPSEEK),
)
"""Of OpenAI's wire, by the end of the host's name: many providers speak it, and few tell what they demand."""


def demands_of(base_url: str, otherwise: Demands = COMPATIBLE) -> Demands:
    """What the provider at this address demands."""
    host = (urlsplit(base_url).hostname or "").lower()
    return next(
        (demands for end, demands in BY_HOST if host == end or host.endswith((f".{end}", f"-{end}"))), otherwise
    )
