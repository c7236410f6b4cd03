"""The families of a workflow's nodes: what the registry sorts them by, and what the list of node types is asked for."""

from typing import Literal, TypeAlias

NodeGroup: TypeAlias = Literal[
    "agents",
    "converters",
    "embedders",
    "llms",
    "operators",
    "retrievers",
    "splitters",
    "tools",
    "utils",
    "writers",
]
