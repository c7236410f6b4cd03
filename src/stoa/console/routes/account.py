"""Keys, and models with their connections."""

from collections.abc import Mapping, Sequence
from typing import Final

from starlette.responses import Response
from starlette.routing import Route

from stoa.console.api import page
from stoa.console.examples import Call
from stoa.console.view import View

PAGE_SIZE: Final = 50
PERMISSIONS: Final[Mapping[str, str]] = {
    "access:read": "see keys and projects",
    "access:write": "make and revoke keys, manage people",
    "apps:read": "see workflows and apps",
    "apps:run": "run apps",
    "apps:write": "make, deploy and delete workflows and apps",
    "artifacts:read": "read artifacts",
    "artifacts:write": "publish, share and delete artifacts",
    "audit:read": "read the audit",
    "connections:read": "see connections to providers",
    "connections:write": "connect and disconnect providers",
    "conversations:read": "read conversations and files",
    "conversations:write": "write, change and delete conversations",
    "doctor:read": "ask the doctor",
    "knowledge:read": "search and read knowledge bases",
    "knowledge:write": "fill, change and delete knowledge bases",
    "memory:read": "read what agents remember of users",
    "memory:write": "change and delete what agents remember of users",
    "models:read": "see models",
    "projects:transfer": "export and import projects",
    "projects:write": "make and change projects",
    "router:call": "call models through the router",
    "runs:read": "read runs and their events",
    "runs:write": "cancel runs and answer their questions",
    "skills:read": "read skills",
    "skills:write": "make, change and delete skills",
    "tools:read": "see tools",
    "tools:write": "define and delete tools",
    "traces:read": "read traces",
    "traces:write": "send and delete traces",
    "usage:read": "see usage and cost",
}
"""What each permission allows, as the page describes it."""
PROVIDERS: Final[Mapping[str, tuple[str, str]]] = {
    "openai": ("OpenAI", "https://api.openai.com/v1"),
    "anthropic": ("Anthropic", "https://api.anthropic.com/v1"),
    "azure": ("Azure OpenAI", "https://….openai.azure.com"),
    "gemini": ("Google Gemini", "https://generativelanguage.googleapis.com/v1beta/openai"),
    "mistral": ("Mistral", "https://api.mistral.ai/v1"),
    "deepseek": ("DeepSeek", "https://api.deepseek.com"),
    "groq": ("Groq", "https://api.groq.com/openai/v1"),
    "openrouter": ("OpenRouter", "https://openrouter.ai/api/v1"),
    "ollama": ("Ollama", "http://127.0.0.1:11434"),
    "llamacpp": ("llama.cpp", "http://127.0.0.1:8080/v1"),
    "vllm": ("vLLM", "http://127.0.0.1:8000/v1"),
}
"""Type of a connection → its name, and its default URL."""


def routes() -> Sequence[Route]:
    return [page("/console/keys", _keys), page("/console/models", _models)]


async def _keys(view: View) -> Response:
    query = {"page": view.number("page"), "page_size": PAGE_SIZE}
    (found, problem), (projects, _) = await view.several(
        ("/v1/access-keys", query), ("/v1/projects", {"page_size": 100})
    )
    keys = found["data"] if found else []
    return view.page(
        "keys.html",
        "keys",
        view.translate("Keys"),
        [
            Call("GET", "/v1/access-keys"),
            Call("POST", "/v1/access-keys", body={"name": "Reporting", "permissions": ["usage:read"]}),
        ],
        view=view,
        problem=problem,
        found=keys,
        names={key["id"]: key["name"] for key in keys},
        projects=projects["data"] if projects else [],
        project_names={one["id"]: one["name"] for one in projects["data"]} if projects else {},
        words=PERMISSIONS,
        pagination=found["pagination"] if found else {"page_count": 0},
    )


async def _models(view: View) -> Response:
    query = {"page": view.number("page"), "page_size": PAGE_SIZE}
    (models, problem), (connections, why) = await view.several(
        ("/v1/router/models", query), ("/v1/connections", {"page_size": 100})
    )
    return view.page(
        "models.html",
        "models",
        view.translate("Models"),
        [
            Call("GET", "/v1/router/models"),
            Call("POST", "/v1/connections", body={"name": "openai", "type": "openai", "config": {"api_key": "…"}}),
        ],
        view=view,
        problem=problem,
        found=models["data"] if models else [],
        pagination=models["pagination"] if models else {"page_count": 0},
        connections=connections["data"] if connections else [],
        connections_problem=why,
        providers=PROVIDERS,
    )
