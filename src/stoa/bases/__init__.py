"""Knowledge bases: items in, searches out."""

from stoa.bases.api import routes
from stoa.bases.checks import checks
from stoa.bases.deletions import Deletions
from stoa.bases.embedders import Embedders
from stoa.bases.evaluating import Evaluations
from stoa.bases.evaluations import evaluation_routes
from stoa.bases.host import host_routes
from stoa.bases.ingesting import Ingestion
from stoa.bases.items import Items, Upload
from stoa.bases.mcp import Mcp
from stoa.bases.metrics import IngestionMetrics, polls
from stoa.bases.ports import Transcript, TranscriptionError, Used
from stoa.bases.rerankers import Rerankers
from stoa.bases.rules import check_metadata
from stoa.bases.searching import Asked, Search
from stoa.bases.service import KnowledgeBases
from stoa.bases.transcribing import Transcribing
from stoa.bases.types import Item

__all__ = [
    "Asked",
    "Deletions",
    "Embedders",
    "Evaluations",
    "Ingestion",
    "IngestionMetrics",
    "Item",
    "Items",
    "KnowledgeBases",
    "Mcp",
    "Rerankers",
    "Search",
    "Transcribing",
    "Transcript",
    "TranscriptionError",
    "Upload",
    "Used",
    "check_metadata",
    "checks",
    "evaluation_routes",
    "host_routes",
    "polls",
    "routes",
]
