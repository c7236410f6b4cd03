"""One frozen Settings. The environment and `stoa.toml` are read here and nowhere else.

A flag of the command line overrides the environment, the environment overrides `stoa.toml`, and that overrides the
default. An unknown name is an error in each of them: a misspelt limit that is silently ignored would be noticed when it
is too late.
"""

from stoa.settings.loading import SettingsError, bucket_keys, load, variables
from stoa.settings.tables import (
    Embeddings,
    McpServer,
    ModelFacts,
    Oidc,
    Price,
    Provider,
    Rerank,
    Router,
    RouterTarget,
    Smtp,
)
from stoa.settings.values import SUBPROCESS, Settings

__all__ = [
    "SUBPROCESS",
    "Embeddings",
    "McpServer",
    "ModelFacts",
    "Oidc",
    "Price",
    "Provider",
    "Rerank",
    "Router",
    "RouterTarget",
    "Settings",
    "SettingsError",
    "Smtp",
    "bucket_keys",
    "load",
    "variables",
]
