"""The embedded PostgreSQL: a server of our own on one data directory, reached over a private unix socket.

`start_embedded(data_dir)` returns a running server: it creates it at first use, starts it, or joins the server that
another Stoa process runs there. The reasons are in docs/decisions/0002-embedded-postgresql.md.
"""

from stoa.db.embedded.errors import EmbeddedError
from stoa.db.embedded.relocation import DataPlaces, Leftover, leftovers, locate, move, remove, remove_leftover
from stoa.db.embedded.server import EmbeddedServer, start_embedded

__all__ = [
    "DataPlaces",
    "EmbeddedError",
    "EmbeddedServer",
    "Leftover",
    "leftovers",
    "locate",
    "move",
    "remove",
    "remove_leftover",
    "start_embedded",
]
