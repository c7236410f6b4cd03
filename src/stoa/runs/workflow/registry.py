"""The registry of node types: shown by `GET /v1/agent-builder/nodes`, used to validate releases and to run nodes.

A node type is a file in `nodes/`: its schema and its behaviour. The files are discovered automatically.
"""

import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from importlib import import_module
from pkgutil import iter_modules
from types import MappingProxyType
from typing import Final

from stoa.runs.workflow import nodes
from stoa.runs.workflow.nodes.node import NodeType


def _found() -> Iterator[NodeType]:
    for module in sorted(one.name for one in iter_modules(nodes.__path__)):
        yield from getattr(import_module(f"{nodes.__name__}.{module}"), "TYPES", ())


NODE_TYPES: Final[Mapping[str, NodeType]] = MappingProxyType({one.name: one for one in _found()})
_WITH_MODULE: Final = re.compile(r"^(dynamiq\.nodes\.\w+)\.[a-z_0-9]+\.(\w+)$")


INSTEAD: Final[Mapping[str, str]] = {
    "agents.orchestrators.": "give an agent the other agents as tools, or join agents by edges and a Choice",
    "converters.": "upload the file to a knowledge base, which reads it (POST /v1/knowledgebases/{id}/upload)",
    "splitters.": "use a DocumentSplitter, or let a knowledge base cut texts itself (its chunking)",
    "embedders.": "a knowledge base embeds texts itself (its embedder)",
    "writers.": "a knowledge base holds what is uploaded to it (POST /v1/knowledgebases/{id}/upload)",
    "retrievers.": "search a knowledge base with a node of dynamiq.nodes.knowledgebases",
    "rankers.": "a knowledge base reranks what it finds itself (its retriever.reranker)",
    "images.": "call the service that makes images as an HTTP or MCP tool",
    "audio.": "call the service that hears or speaks as an HTTP or MCP tool",
    "tools.cypher_executor.": "offer the graph database as an MCP server (POST /v1/tools)",
    "tools.CypherExecutor": "offer the graph database as an MCP server (POST /v1/tools)",
    "tools.CuaDesktopTool": "offer the desktop as an MCP server (POST /v1/tools)",
    "tools.Stagehand": "offer a browser as an MCP server (POST /v1/tools)",
    "tools.pipedream.": "no such service is configured here: make an HTTP or MCP tool of what it calls",
    "tools.Pipedream": "no such service is configured here: make an HTTP or MCP tool of what it calls",
    "tools.": "make it an HTTP or MCP tool",
}
"""Families of the platform's nodes that are not supported, and what to use instead."""


def instead_of(kind: str) -> str | None:
    """What to use instead of an unsupported node."""
    family = kind.removeprefix("dynamiq.nodes.")
    return next((way for prefix, way in INSTEAD.items() if family.startswith(prefix)), None) if family != kind else None


def canonical(kind: str) -> str:
    """Normalizes `dynamiq.nodes.tools.http_api_call.HttpApiCall` to `dynamiq.nodes.tools.HttpApiCall`: the platform's
    library accepts both."""
    return _WITH_MODULE.sub(r"\1.\2", kind)


def close_to(kind: str) -> str | None:
    """The type that was probably meant. If an alternative is known, only a near misspelling counts."""
    by_name = {one.title.lower(): one.name for one in NODE_TYPES.values() if one.refused is None}
    near = get_close_matches(
        kind.rsplit(".", 1)[-1][:100].lower(), by_name, n=1, cutoff=0.92 if instead_of(kind) else 0.75
    )
    return by_name[near[0]] if near else None
