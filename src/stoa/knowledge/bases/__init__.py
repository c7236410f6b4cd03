"""Knowledge bases: items in, searches out. A front door of its own: that of `stoa.knowledge` must stay light."""

from stoa.knowledge.bases.api import routes
from stoa.knowledge.bases.deletions import Deletions
from stoa.knowledge.bases.embedders import Embedders
from stoa.knowledge.bases.evaluating import Evaluations
from stoa.knowledge.bases.evaluations import evaluation_routes
from stoa.knowledge.bases.host import HOST_KEY, host_routes
from stoa.knowledge.bases.ingesting import Ingestion
from stoa.knowledge.bases.items import Items
from stoa.knowledge.bases.mcp import Mcp
from stoa.knowledge.bases.ports import Transcript, TranscriptionError, Used
from stoa.knowledge.bases.promises import checks
from stoa.knowledge.bases.rerankers import Rerankers
from stoa.knowledge.bases.searching import Asked, Search
from stoa.knowledge.bases.service import KnowledgeBases
from stoa.knowledge.bases.tally import Tally, polls
from stoa.knowledge.bases.transcribing import Transcribing
from stoa.knowledge.bases.types import Item

__all__ = [
    "HOST_KEY", "Asked", "Deletions", "Embedders", "Evaluations", "Ingestion", "Item", "Items", "KnowledgeBases", "Mcp", "Rerankers", "Search", "Tally",
    "Transcribing", "Transcript", "TranscriptionError", "Used", "checks",
    "evaluation_routes", "host_routes", "polls", "routes",
]
